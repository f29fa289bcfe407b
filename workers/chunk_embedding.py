"""The chunk embedding stage: chunks of documents to vectors, apart from the questions so that an ingest slows none."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Literal

from backends.embedder import Embedder
from schemas.events import ChunksEmbedded, DocumentChunked
from schemas.values import Embedding
from topics.specs import CHUNKS, TopicSpec
from workers.isolation import call_isolated
from workers.runtime.stage import Delivery, Outcome, Produce, StageError
from workers.settings import ChunkEmbeddingSettings

# Of a chunk that has no context of its own: the title must not push the text out of what the model reads.
MAX_TITLE_CHARS = 120


class ChunkEmbeddingStage:
    """DocumentChunked → ChunksEmbedded."""

    name = "chunk-embedding"
    consumes: tuple[TopicSpec, ...] = (CHUNKS,)
    subject: Literal["document"] = "document"

    def __init__(self, settings: ChunkEmbeddingSettings, embedder: Embedder) -> None:
        self._settings = settings
        self._embedder = embedder

    @property
    def max_batch(self) -> int:
        return self._settings.max_batch

    @property
    def linger_ms(self) -> int:
        return self._settings.linger_ms

    async def start(self) -> None:
        await self._embedder.start()

    async def stop(self) -> None:
        await self._embedder.close()

    async def handle(self, deliveries: Sequence[Delivery[DocumentChunked]]) -> list[Outcome]:
        texts = [text for delivery in deliveries for text in _texts(delivery.event)]
        results: list[Embedding | StageError] = []
        for start in range(0, len(texts), self._settings.slice_chunks):
            piece = texts[start : start + self._settings.slice_chunks]
            results += await call_isolated(piece, self._embed, "embedder")
        rest = iter(results)
        return [_outcome(delivery.event, islice(rest, len(delivery.event.chunks))) for delivery in deliveries]

    async def _embed(self, texts: Sequence[str]) -> list[Embedding]:
        vectors = await self._embedder.embed(texts)
        return [Embedding.pack(self._embedder.model, vector) for vector in vectors]


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
