"""The chunk embedding stage: chunks of documents to vectors, apart from the questions so that an ingest slows none."""

from collections.abc import Iterable, Sequence
from typing import Literal

import structlog
from prometheus_client.registry import Collector

from backends.cached_embedder import CachedEmbedder
from backends.embedder import Embedder
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.vector_store import VectorStore
from schemas.events import ChunksEmbedded, DocumentChunked
from schemas.values import Embedding
from topics.specs import CHUNKS, TopicSpec
from workers.isolation import call_isolated
from workers.runtime.stage import Delivery, Outcome, Produce, StageError
from workers.settings import ChunkEmbeddingSettings

log = structlog.get_logger(__name__)

# Of a chunk that has no context of its own: the title must not push the text out of what the model reads.
MAX_TITLE_CHARS = 120


class ChunkEmbeddingStage:
    """DocumentChunked → ChunksEmbedded.

    A chunk that is in ``store`` keeps its vector, for a chunk's ID is made from all that its vector is made from:
    whichever revision wrote it, and whatever becomes of it there meanwhile, the vector is the right one. ``prompt`` is
    what the embedding model reads before a passage.
    """

    name = "chunk-embedding"
    consumes: tuple[TopicSpec, ...] = (CHUNKS,)
    subject: Literal["document"] = "document"

    def __init__(
        self, settings: ChunkEmbeddingSettings, embedder: Embedder, store: VectorStore, prompt: str = ""
    ) -> None:
        self._settings = settings
        self._embedder = embedder
        self._store = store
        self._prompt = prompt

    @property
    def max_batch(self) -> int:
        return self._settings.max_batch

    @property
    def linger_ms(self) -> int:
        return self._settings.linger_ms

    @property
    def collectors(self) -> tuple[Collector, ...]:
        """Metrics of the embedder's cache, if it has one."""
        return (self._embedder,) if isinstance(self._embedder, CachedEmbedder) else ()

    async def start(self) -> None:
        """Load the embedder. A store that is away is asked again with the first documents.

        Raises:
            BackendRejectedError: the collection is of another embedding model or language.
        """
        await self._embedder.start()
        try:
            await self._store.verify(self._embedder.dimensions)
        except BackendUnavailableError as error:
            log.warning("the vector store does not answer yet", error=str(error))

    async def stop(self) -> None:
        await self._embedder.close()
        await self._store.close()

    async def handle(self, deliveries: Sequence[Delivery[DocumentChunked]]) -> list[Outcome]:
        texts = {
            chunk.chunk_id: text
            for delivery in deliveries
            for chunk, text in zip(delivery.event.chunks, _texts(delivery.event), strict=True)
        }
        chunk_ids: dict[str, list[str]] = {}
        for delivery in deliveries:
            chunk_ids.setdefault(delivery.event.tenant, []).extend(chunk.chunk_id for chunk in delivery.event.chunks)
        embeddings: dict[str, Embedding | StageError] = {}
        for tenant, ids in chunk_ids.items():
            embeddings |= await self._known(tenant, ids)
        new = [chunk_id for chunk_id in texts if chunk_id not in embeddings]
        for start in range(0, len(new), self._settings.slice_chunks):
            piece = new[start : start + self._settings.slice_chunks]
            results = await call_isolated([texts[chunk_id] for chunk_id in piece], self._embed, "embedder")
            embeddings |= zip(piece, results, strict=True)
        return [
            _outcome(delivery.event, (embeddings[chunk.chunk_id] for chunk in delivery.event.chunks))
            for delivery in deliveries
        ]

    async def _known(self, tenant: str, chunk_ids: list[str]) -> dict[str, Embedding]:
        if not chunk_ids:
            return {}
        try:
            vectors = await self._store.vectors(tenant, chunk_ids)
        except (BackendUnavailableError, BackendRejectedError) as error:
            log.warning("vectors that may be stored are computed again", reason=str(error))
            return {}
        return {
            chunk_id: Embedding.pack(self._embedder.model, vector, self._prompt)
            for chunk_id, vector in vectors.items()
            if vector.shape == (self._embedder.dimensions,)
        }

    async def _embed(self, texts: Sequence[str]) -> list[Embedding]:
        vectors = await self._embedder.embed(texts, self._prompt)
        return [Embedding.pack(self._embedder.model, vector, self._prompt) for vector in vectors]


def _texts(event: DocumentChunked) -> list[str]:
    title = event.title[:MAX_TITLE_CHARS].strip()
    return [_with_context(title if chunk.context is None else chunk.context, chunk.text) for chunk in event.chunks]


def _with_context(context: str, text: str) -> str:
    return f"{context}\n\n{text}" if context else text


def _outcome(event: DocumentChunked, results: Iterable[Embedding | StageError]) -> Outcome:
    embeddings: list[Embedding] = []
    error: StageError | None = None
    for result in results:
        if isinstance(result, StageError):
            error = error or result
        else:
            embeddings.append(result)
    if error:
        return error
    embedded = ChunksEmbedded(
        document_id=event.document_id,
        revision=event.revision,
        tenant=event.tenant,
        title=event.title,
        source=event.source,
        chunks=event.chunks,
        embeddings=tuple(embeddings),
    )
    return Produce((embedded,))
