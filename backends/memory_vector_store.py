"""The in-memory twin of the vector store: exact search over a dictionary."""

from collections.abc import Sequence

import numpy as np

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.vector_store import Replaced, Search, StoredChunk, check
from schemas.values import FloatArray, Passage


class MemoryVectorStore:
    """Holds chunks in this process. ``away`` plays an outage: every call then raises ``BackendUnavailableError``."""

    def __init__(self) -> None:
        self._dimensions: int | None = None
        self._chunks: dict[str, StoredChunk] = {}
        self.away = False
        self.flushes = 0

    async def prepare(self, dimensions: int) -> None:
        self._answer()
        if self._dimensions not in {None, dimensions}:
            msg = (
                f"the collection holds vectors of length {self._dimensions}, not {dimensions}; "
                "use another one for this embedding model"
            )
            raise BackendRejectedError(msg)
        self._dimensions = dimensions

    async def search(self, searches: Sequence[Search]) -> list[list[Passage]]:
        self._answer()
        if self._dimensions is not None:
            for search in searches:
                if search.vector.shape != (self._dimensions,):
                    msg = f"a query vector has shape {search.vector.shape}, the collection's are ({self._dimensions},)"
                    raise BackendRejectedError(msg)
        return [self._nearest(search) for search in searches]

    async def replace(self, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        self._answer()
        if chunks:
            dimensions = self._dimensions or chunks[0].vector.shape[0]
            check(chunks, dimensions)
            self._dimensions = dimensions
        wanted = {chunk.chunk_id: chunk for chunk in chunks}
        present = {
            chunk.chunk_id
            for chunk in self._chunks.values()
            if (chunk.tenant, chunk.document_id) == (tenant, document_id)
        }
        for chunk_id, chunk in wanted.items():
            known = self._chunks.get(chunk_id)
            if known is None or known.ordinal != chunk.ordinal:
                self._chunks[chunk_id] = chunk
        surplus = present - wanted.keys()
        for chunk_id in surplus:
            del self._chunks[chunk_id]
        return Replaced(added=len(wanted.keys() - present), removed=len(surplus))

    async def vectors(self, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        self._answer()
        return {chunk_id: self._chunks[chunk_id].vector for chunk_id in chunk_ids if chunk_id in self._chunks}

    async def flush(self) -> None:
        self._answer()
        self.flushes += 1

    async def count(self) -> int:
        self._answer()
        return len(self._chunks)

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _answer(self) -> None:
        if self.away:
            msg = "the vector store is away"
            raise BackendUnavailableError(msg)

    def _nearest(self, search: Search) -> list[Passage]:
        scored = [
            (float(np.clip(np.dot(chunk.vector, search.vector), -1, 1)), chunk)
            for chunk in self._chunks.values()
            if chunk.tenant == search.tenant
        ]
        scored.sort(key=lambda pair: (-pair[0], pair[1].chunk_id))
        return [
            Passage(
                chunk_id=chunk.chunk_id,
                document_id=chunk.document_id,
                title=chunk.title,
                text=chunk.text,
                source=chunk.source,
                ordinal=chunk.ordinal,
                score=score,
            )
            for score, chunk in scored[: search.top_k]
            if score >= search.min_score
        ]
