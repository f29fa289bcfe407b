"""The indexing stage: writes embedded chunks to the vector store."""

import asyncio
from collections.abc import Sequence
from typing import Literal

import numpy as np
import structlog
import tenacity

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.vector_store import Replaced, Replacement, StoredChunk, VectorStore
from schemas.events import ChunksEmbedded, DocumentIndexed
from topics.specs import CHUNKS_EMBEDDED, TopicSpec
from workers.isolation import call_isolated
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, StageError, UnavailableError
from workers.settings import IndexingSettings

log = structlog.get_logger(__name__)

_PREPARE_WAIT = tenacity.wait_random_exponential(multiplier=0.2, max=5)


class IndexingStage:
    """ChunksEmbedded → DocumentIndexed. Documents of a batch are written in the order they came, so that of several
    revisions of one document the last stays.

    ``dimensions`` is the length of the vectors, for a collection that is not there yet.
    """

    name = "indexing"
    consumes: tuple[TopicSpec, ...] = (CHUNKS_EMBEDDED,)
    subject: Literal["document"] = "document"

    def __init__(self, settings: IndexingSettings, store: VectorStore, dimensions: int) -> None:
        self._settings = settings
        self._store = store
        self._dimensions = dimensions
        self._written = asyncio.Event()
        self._unflushed = False
        self._flusher: asyncio.Task[None] | None = None

    @property
    def max_batch(self) -> int:
        return self._settings.max_batch

    @property
    def linger_ms(self) -> int:
        return self._settings.linger_ms

    async def start(self) -> None:
        """Prepare the collection, waiting for a store that is away.

        Raises:
            BackendRejectedError: the collection holds vectors of another length.
        """
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(BackendUnavailableError),
            wait=_PREPARE_WAIT,
            before_sleep=_log_waiting,
        ):
            with attempt:
                await self._store.prepare(self._dimensions)
        if self._settings.flush_after_ms:
            self._flusher = asyncio.create_task(self._flush_when_quiet(), name="indexing-flush")

    async def stop(self) -> None:
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.wait([self._flusher])
            self._flusher = None
            if self._unflushed:
                await self._flush()
        await self._store.close()

    async def handle(self, deliveries: Sequence[Delivery[ChunksEmbedded]]) -> list[Outcome]:
        if self._flusher is not None and self._flusher.done():
            self._flusher.result()
        outcomes: list[Outcome] = []
        away: UnavailableError | None = None
        for turn in _turns([delivery.event for delivery in deliveries]):
            # Each would wait for the same store, and an older revision must not come after a newer one.
            written = [UnavailableError(away.code, str(away)) for _ in turn] if away else await self._index(turn)
            away = away or next((outcome for outcome in written if isinstance(outcome, UnavailableError)), None)
            outcomes += written
        return outcomes

    async def _index(self, events: Sequence[ChunksEmbedded]) -> list[Outcome]:
        """Write documents that are all different ones."""
        read = [_replacement(event) for event in events]
        replacements = [each for each in read if isinstance(each, Replacement)]
        results = iter(await call_isolated(replacements, self._store.replace_many, "vector_store"))
        return [
            each if isinstance(each, StageError) else self._outcome(event, next(results))
            for event, each in zip(events, read, strict=True)
        ]

    def _outcome(self, event: ChunksEmbedded, replaced: Replaced | StageError) -> Outcome:
        if isinstance(replaced, StageError):
            return replaced
        if replaced.added or replaced.removed or replaced.updated:
            self._unflushed = True
            self._written.set()
        indexed = DocumentIndexed(
            document_id=event.document_id,
            revision=event.revision,
            tenant=event.tenant,
            chunks=len(event.chunks),
            added=replaced.added,
            removed=replaced.removed,
            updated=replaced.updated,
        )
        return Produce((indexed,))

    async def _flush_when_quiet(self) -> None:
        """Flush once no document has been written for ``flush_after_ms``."""
        while True:
            await self._written.wait()
            while self._written.is_set():
                self._written.clear()
                await asyncio.sleep(self._settings.flush_after_ms / 1000)
            await self._flush()

    async def _flush(self) -> None:
        self._unflushed = False
        try:
            await self._store.flush()
        except BackendUnavailableError as error:
            # The rows are stored and found all the same, only more slowly.
            log.warning("the vector store did not flush, trying again", error=str(error))
            self._unflushed = True
            self._written.set()
        except BackendRejectedError as error:
            log.warning("the vector store did not flush", error=str(error))


def _log_waiting(state: tenacity.RetryCallState) -> None:
    if state.outcome is not None:
        log.warning("waiting for the vector store", error=str(state.outcome.exception()))


def _turns(events: Sequence[ChunksEmbedded]) -> list[list[ChunksEmbedded]]:
    """The events in their order, cut before each document that is in the same turn already."""
    turns: list[list[ChunksEmbedded]] = []
    seen: set[tuple[str, str]] = set()
    for event in events:
        document = (event.tenant, event.document_id)
        if not turns or document in seen:
            turns.append([])
            seen.clear()
        turns[-1].append(event)
        seen.add(document)
    return turns


def _replacement(event: ChunksEmbedded) -> Replacement | StageError:
    try:
        return Replacement(event.tenant, event.document_id, stored_chunks(event))
    except ValueError as error:
        return PoisonError("bad_embedding", f"The chunks of the document cannot be stored: {error}.")


def stored_chunks(event: ChunksEmbedded) -> list[StoredChunk]:
    """What the store keeps of a document.

    Raises:
        ValueError: an embedding is missing, cannot be read, or is not finite.
    """
    chunks = []
    for chunk, embedding in zip(event.chunks, event.embeddings, strict=True):
        vector = embedding.unpack()
        if not np.isfinite(vector).all():
            msg = f"the embedding of chunk {chunk.ordinal} holds values that are not finite"
            raise ValueError(msg)
        chunks.append(
            StoredChunk(
                chunk_id=chunk.chunk_id,
                document_id=event.document_id,
                tenant=event.tenant,
                title=event.title,
                source=event.source,
                ordinal=chunk.ordinal,
                text=chunk.text,
                vector=vector,
                page=chunk.page,
                last_page=chunk.last_page,
                heading=chunk.heading,
                metadata=event.metadata,
            )
        )
    return chunks
