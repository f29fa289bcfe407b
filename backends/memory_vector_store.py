"""The in-memory twin of the vector store: exact search over a dictionary."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.filters import COLUMNS, Filter, matches
from backends.stemming import query_stems, stems
from backends.vector_store import NO_KEYWORD_SEARCH, Hit, Replaced, Replacement, Search, StoredChunk, check
from schemas.values import FloatArray

_LANGUAGE = "english"
_K1 = 1.2
_B = 0.75


class MemoryVectorStore:
    """Holds chunks in this process. ``away`` plays an outage: every call then raises ``BackendUnavailableError``."""

    def __init__(self, *, keyword_search: bool = True) -> None:
        self.keyword_search = keyword_search
        self._dimensions: int | None = None
        self._chunks: dict[str, StoredChunk] = {}
        self.away = False
        self.flushes = 0

    async def prepare(self, dimensions: int) -> None:
        await self.verify(dimensions)
        self._dimensions = dimensions

    async def verify(self, dimensions: int) -> None:
        self._answer()
        if self._dimensions not in {None, dimensions}:
            msg = (
                f"the collection holds vectors of length {self._dimensions}, not {dimensions}; "
                "use another one for this embedding model"
            )
            raise BackendRejectedError(msg)

    async def search(self, searches: Sequence[Search]) -> list[list[Hit]]:
        self._answer()
        for search in searches:
            if isinstance(search.query, str) and not self.keyword_search:
                raise BackendRejectedError(NO_KEYWORD_SEARCH)
            if self._dimensions is None or isinstance(search.query, str):
                continue
            if search.query.shape != (self._dimensions,):
                msg = f"a query vector has shape {search.query.shape}, the collection's are ({self._dimensions},)"
                raise BackendRejectedError(msg)
        return [self._best(search) for search in searches]

    async def select(self, tenant: str, condition: Filter, limit: int) -> list[StoredChunk]:
        self._answer()
        found = [chunk for chunk in self._chunks.values() if _is_within(chunk, tenant, condition)]
        return sorted(found, key=lambda chunk: (chunk.document_id, chunk.ordinal))[:limit]

    async def replace(self, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        self._answer()
        if chunks:
            dimensions = self._dimensions or chunks[0].vector.shape[0]
            check(chunks, dimensions)
            self._dimensions = dimensions
        wanted = {chunk.chunk_id: chunk for chunk in chunks}
        present = {
            chunk.chunk_id: chunk
            for chunk in self._chunks.values()
            if (chunk.tenant, chunk.document_id) == (tenant, document_id)
        }
        updated = [key for key in wanted.keys() & present.keys() if not wanted[key].is_placed_as(present[key])]
        added = wanted.keys() - present.keys()
        surplus = present.keys() - wanted.keys()
        self._chunks |= {chunk_id: wanted[chunk_id] for chunk_id in (*added, *updated)}
        for chunk_id in surplus:
            del self._chunks[chunk_id]
        return Replaced(added=len(added), removed=len(surplus), updated=len(updated))

    async def replace_many(self, replacements: Sequence[Replacement]) -> list[Replaced]:
        return [await self.replace(each.tenant, each.document_id, each.chunks) for each in replacements]

    async def vectors(self, tenant: str, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        self._answer()
        found = (self._chunks.get(chunk_id) for chunk_id in chunk_ids)
        return {chunk.chunk_id: chunk.vector for chunk in found if chunk is not None and chunk.tenant == tenant}

    async def flush(self) -> None:
        self._answer()
        self.flushes += 1

    async def count(self, tenant: str | None = None) -> int:
        self._answer()
        return sum(tenant in {None, chunk.tenant} for chunk in self._chunks.values())

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _answer(self) -> None:
        if self.away:
            msg = "the vector store is away"
            raise BackendUnavailableError(msg)

    def _best(self, search: Search) -> list[Hit]:
        if isinstance(search.query, str):
            scores = bm25_scores(search.query, {key: f"{c.title} {c.text}" for key, c in self._chunks.items()})
        else:
            query = search.query
            scores = {key: float(np.clip(np.dot(c.vector, query), -1, 1)) for key, c in self._chunks.items()}
        hits = [
            Hit(chunk, scores[key])
            for key, chunk in self._chunks.items()
            if key in scores and _is_within(chunk, search.tenant, search.filter)
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.chunk.chunk_id))[: search.limit]


def _is_within(chunk: StoredChunk, tenant: str, condition: Filter | None) -> bool:
    if chunk.tenant != tenant or condition is None:
        return chunk.tenant == tenant
    details = chunk.details
    return matches(condition, lambda field: getattr(chunk, field) if field in COLUMNS else details.get(field))


def bm25_scores(query: str, texts: Mapping[str, str]) -> dict[str, float]:
    """BM25 of the texts that share a stem with the query (Robertson and Zaragoza 2009, with an IDF above 0)."""
    bags = {key: Counter(stems(text, _LANGUAGE)) for key, text in texts.items()}
    mean_length = sum(bag.total() for bag in bags.values()) / max(1, len(bags)) or 1
    scores: dict[str, float] = defaultdict(float)
    for stem in query_stems(query, _LANGUAGE):
        holding = [key for key, bag in bags.items() if stem in bag]
        idf = math.log((len(bags) - len(holding) + 0.5) / (len(holding) + 0.5) + 1)
        for key in holding:
            count, length = bags[key][stem], bags[key].total()
            scores[key] += idf * count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * length / mean_length))
    return dict(scores)
