"""The stages from a chunk to the index and from a question to its passages, driven without Kafka.

A document is one chunk, of which the embedding model reads the beginning, as in published figures.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from backends.embedder import Embedder
from backends.milvus import MilvusVectorStore
from ragline.settings import Settings
from ragline.stages import create_reranker
from schemas.events import DocumentChunked, DocumentSubmitted, Event, QueryAccepted, QueryAsked
from schemas.headers import Headers, Origin
from schemas.revision import document_revision
from schemas.values import Chunk, Passage
from workers.chunk_embedding import ChunkEmbeddingStage
from workers.embedding import EmbeddingStage
from workers.indexing import IndexingStage
from workers.places import OnePlace
from workers.query import QueryStage
from workers.retrieval import RetrievalStage
from workers.runtime.stage import Delivery, Outcome, Produce

T = TypeVar("T")
E = TypeVar("E", bound=Event)

TENANT = "default"
_DOCUMENTS = 32
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class System:
    """Each stage's ``handle``, one after the other."""

    def __init__(self, settings: Settings, embedder: Embedder) -> None:
        self.embedder = embedder
        self.store = MilvusVectorStore(settings.milvus)
        self.late_interaction = create_reranker(settings, "late_interaction")
        self._chunk_embedding = ChunkEmbeddingStage(settings.chunk_embedding, embedder, self.store)
        self._indexing = IndexingStage(settings.indexing, self.store, settings.embedder.dimensions)
        self._query = QueryStage(settings.query, {settings.query.template}, lambda: _NOW)
        self._embedding = EmbeddingStage(settings.embedding, embedder)
        self._retrieval = RetrievalStage(
            settings.retrieval,
            OnePlace(MilvusVectorStore(settings.milvus), settings.milvus.collection, settings.embedder.dimensions),
            {"late_interaction": self.late_interaction},
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["System"]:
        """The same, started; stopped when the block ends."""
        await self.embedder.start()
        stages = (self._indexing, self._retrieval)
        for stage in stages:
            await stage.start()
        try:
            yield self
        finally:
            for stage in stages:
                await stage.stop()
            await self.embedder.close()

    async def fill(self, documents: Iterable[tuple[str, DocumentSubmitted]]) -> AsyncIterator[int]:
        """Make the documents searchable; yields how many are."""
        done = 0
        for some in batches(documents, _DOCUMENTS):
            chunked = [_delivery(key, _whole(key, document)) for key, document in some]
            embedded = await self._chunk_embedding.handle(chunked)
            for outcome in await self._indexing.handle([_next(outcome) for outcome in embedded]):
                _next(outcome)
            done += len(some)
            yield done

    async def flush(self) -> None:
        """Bring everything into the index."""
        await self.store.flush()

    @property
    def max_batch(self) -> int:
        """Questions that are embedded and searched at once."""
        return self._retrieval.max_batch

    async def accept(self, questions: Mapping[str, str], **options: Any) -> list[Delivery[QueryAccepted]]:
        """The questions by request ID, as the query stage takes them with these options."""
        asked = [QueryAsked(question=text, **options) for text in questions.values()]
        return [
            _next(await self._query.handle(_delivery(key, event))) for key, event in zip(questions, asked, strict=True)
        ]

    async def passages(self, accepted: Sequence[Delivery[QueryAccepted]]) -> list[tuple[Passage, ...]]:
        """What is found for each."""
        embedded = await self._embedding.handle(accepted)
        retrieved = await self._retrieval.handle([_next(outcome) for outcome in embedded])
        return [_next(outcome).event.passages for outcome in retrieved]

    async def rankings(self, questions: Mapping[str, str], **options: Any) -> dict[str, dict[str, float]]:
        """Documents of each question with falling scores, a document once: where its best passage is."""
        accepted = await self.accept(questions, **options)
        found: dict[str, dict[str, float]] = {}
        for some in batches(accepted, self.max_batch):
            for delivery, passages in zip(some, await self.passages(some), strict=True):
                documents = dict.fromkeys(passage.document_id for passage in passages)
                found[delivery.key] = {document: 1 / rank for rank, document in enumerate(documents, 1)}
        return found


def _whole(document_id: str, document: DocumentSubmitted) -> DocumentChunked:
    chunk = Chunk(chunk_id=document_id, ordinal=0, text=document.text, start=0, end=len(document.text))
    return DocumentChunked(
        document_id=document_id,
        revision=document_revision(document),
        tenant=TENANT,
        title=document.title,
        source="",
        chunks=(chunk,),
    )


def _delivery(key: str, event: E) -> Delivery[E]:
    return Delivery(key, event, Headers(), Origin("bench", 0, 0), _NOW)


def _next(outcome: Outcome) -> Delivery[Any]:
    if not isinstance(outcome, Produce):
        raise outcome
    [event] = outcome.events
    return _delivery(event.key, event)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, at most ``size`` at a time."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
