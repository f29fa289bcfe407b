"""The indexing stage."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.memory_vector_store import MemoryVectorStore
from backends.vector_store import Replaced, Replacement, Search
from schemas.events import ChunksEmbedded, DocumentIndexed
from schemas.headers import Headers, Origin
from schemas.values import Chunk, Embedding
from workers.indexing import IndexingStage
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, UnavailableError
from workers.settings import IndexingSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VECTOR = np.array([1, 0], dtype=np.float32)
DEADLINE_S = 5
Start = Callable[..., Awaitable[IndexingStage]]


class Store(MemoryVectorStore):
    """Says when it is flushed, and when it is asked to prepare."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed = asyncio.Event()
        self.asked = asyncio.Event()

    async def prepare(self, dimensions: int) -> None:
        self.asked.set()
        await super().prepare(dimensions)

    async def flush(self) -> None:
        await super().flush()
        self.flushed.set()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def start(store: Store) -> AsyncIterator[Start]:
    stages: list[IndexingStage] = []

    async def started(flush_after_ms: int = 0) -> IndexingStage:
        stages.append(IndexingStage(IndexingSettings(flush_after_ms=flush_after_ms), store, 2))
        await stages[-1].start()
        return stages[-1]

    yield started
    for stage in stages:
        await stage.stop()


def deliver(*texts: str, document_id: str = "d", revision: str = "1", **changes: object) -> Delivery[ChunksEmbedded]:
    event = ChunksEmbedded.model_validate(
        {
            "document_id": document_id,
            "revision": revision,
            "tenant": "t",
            "title": "Title",
            "source": "s",
            "chunks": [
                Chunk(chunk_id=f"{document_id}-{text}", ordinal=at, text=text, start=0, end=1)
                for at, text in enumerate(texts)
            ],
            "embeddings": [Embedding.pack("e", VECTOR) for _ in texts],
        }
        | changes
    )
    return Delivery(document_id, event, Headers(), Origin("rag.chunks.embedded", 0, 0), NOW)


def indexed(outcome: Outcome) -> tuple[str, int, int, int]:
    assert isinstance(outcome, Produce), outcome
    [event] = outcome.events
    assert isinstance(event, DocumentIndexed)
    return event.revision, event.chunks, event.added, event.removed


async def texts_in(store: MemoryVectorStore) -> set[str]:
    [hits] = await store.search([Search(VECTOR, "t", 100)])
    return {hit.chunk.text for hit in hits}


async def test_documents_become_searchable_and_say_what_changed(start: Start, store: Store) -> None:
    stage = await start()
    outcomes = await stage.handle([deliver("a", "b"), deliver("c", document_id="e")])
    assert [indexed(outcome) for outcome in outcomes] == [("1", 2, 2, 0), ("1", 1, 1, 0)]
    assert await texts_in(store) == {"a", "b", "c"}
    assert [indexed(outcome) for outcome in await stage.handle([deliver("a", "b")])] == [("1", 2, 0, 0)]
    assert [indexed(outcome) for outcome in await stage.handle([deliver(revision="gone")])] == [("gone", 0, 0, 2)]
    assert await texts_in(store) == {"c"}


async def test_of_several_revisions_in_a_batch_the_last_stays(start: Start, store: Store) -> None:
    stage = await start()
    outcomes = await stage.handle([deliver("a", "b"), deliver("b", "c", revision="2"), deliver("d", revision="3")])
    assert [indexed(outcome) for outcome in outcomes] == [("1", 2, 2, 0), ("2", 2, 1, 1), ("3", 1, 1, 2)]
    assert await texts_in(store) == {"d"}


@pytest.mark.parametrize(
    "changes",
    [
        {"embeddings": []},
        {"embeddings": [Embedding(model="e", dimensions=2, data="!")]},
        {"embeddings": [Embedding.pack("e", np.ones(3, dtype=np.float32))]},
        {"embeddings": [Embedding.pack("e", np.array([np.nan, 1], dtype=np.float32))]},
        {"title": "t" * 100_000},
    ],
)
async def test_a_document_that_cannot_be_stored_fails_alone(
    start: Start, store: Store, changes: dict[str, object]
) -> None:
    stage = await start()
    outcomes = await stage.handle([deliver("a"), deliver("b", document_id="bad", **changes), deliver("c")])
    assert [type(outcome) for outcome in outcomes] == [Produce, PoisonError, Produce]
    assert await texts_in(store) == {"c"}


async def test_a_store_that_goes_away_holds_back_the_rest_of_the_batch(start: Start, store: Store) -> None:
    stage = await start()
    store.away = True
    outcomes = await stage.handle([deliver("a"), deliver("b", revision="2")])
    assert [type(outcome) for outcome in outcomes] == [UnavailableError, UnavailableError]
    store.away = False
    outcomes = await stage.handle([deliver("a"), deliver("b", revision="2")])
    assert [indexed(outcome) for outcome in outcomes] == [("1", 1, 1, 0), ("2", 1, 1, 1)]


async def test_documents_of_a_batch_are_written_together_and_revisions_of_one_in_turn(
    start: Start, store: Store
) -> None:
    stage = await start()
    calls: list[list[str]] = []
    replace_many = store.replace_many

    async def counted(replacements: Sequence[Replacement]) -> list[Replaced]:
        calls.append([each.document_id for each in replacements])
        return await replace_many(replacements)

    store.replace_many = counted
    await stage.handle([deliver("a", document_id=name) for name in ("d", "e", "f", "d", "g", "d")])
    assert calls == [["d", "e", "f"], ["d", "g"], ["d"]]


async def test_no_revision_overtakes_one_that_is_held_back(start: Start, store: Store) -> None:
    stage = await start()
    replace_many = store.replace_many

    async def away_once(_: Sequence[Replacement]) -> list[Replaced]:
        store.replace_many = replace_many
        msg = "it is away"
        raise BackendUnavailableError(msg)

    store.replace_many = away_once
    outcomes = await stage.handle([deliver("a"), deliver("b", document_id="e"), deliver("c", revision="2")])
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    assert await texts_in(store) == set()


async def test_starting_waits_for_a_store_that_is_away(store: Store) -> None:
    stage = IndexingStage(IndexingSettings(), store, 2)
    store.away = True
    starting = asyncio.create_task(stage.start())
    async with asyncio.timeout(DEADLINE_S):
        await store.asked.wait()
        assert not starting.done()
        store.away = False
        await starting
    await stage.stop()


async def test_starting_on_a_collection_of_another_model_ends_with_the_reason(store: Store) -> None:
    await store.prepare(3)
    with pytest.raises(BackendRejectedError, match="length 3, not 2"):
        await IndexingStage(IndexingSettings(), store, 2).start()


async def test_flushes_once_when_a_load_goes_quiet(start: Start, store: Store) -> None:
    stage = await start(flush_after_ms=20)
    async with asyncio.timeout(DEADLINE_S):
        for number in range(5):
            await stage.handle([deliver("a", document_id=f"d{number}")])
        await store.flushed.wait()
    assert store.flushes == 1
    store.flushed.clear()
    await stage.handle([deliver("a", document_id="d0")])
    assert not stage._written.is_set(), "nothing was written"
    async with asyncio.timeout(DEADLINE_S):
        await stage.handle([deliver("b", document_id="d0")])
        await store.flushed.wait()
    assert store.flushes == 2


async def test_stopping_flushes_what_was_written(start: Start, store: Store) -> None:
    stage = await start(flush_after_ms=60_000)
    await stage.handle([deliver("a")])
    for _ in range(3):  # turns of the loop, in which the flusher begins its wait
        await asyncio.sleep(0)
    assert not stage._written.is_set()
    await stage.stop()
    assert store.flushes == 1


async def test_never_flushes_where_the_setting_says_so(start: Start, store: Store) -> None:
    stage = await start(flush_after_ms=0)
    await stage.handle([deliver("a")])
    await stage.stop()
    assert store.flushes == 0


async def test_a_flush_that_fails_is_made_again(start: Start, store: Store) -> None:
    stage = await start(flush_after_ms=5)
    failed = asyncio.Event()
    flush = store.flush

    async def fail_once() -> None:
        store.flush = flush
        failed.set()
        msg = "it is away"
        raise BackendUnavailableError(msg)

    store.flush = fail_once
    async with asyncio.timeout(DEADLINE_S):
        await stage.handle([deliver("a")])
        await failed.wait()
        await store.flushed.wait()


async def test_a_flush_that_breaks_fails_the_next_batch(start: Start, store: Store) -> None:
    stage = await start(flush_after_ms=1)

    async def break_down() -> None:
        msg = "a mistake in the store"
        raise ZeroDivisionError(msg)

    store.flush = break_down
    await stage.handle([deliver("a")])
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([stage._flusher])
    with pytest.raises(ZeroDivisionError):
        await stage.handle([deliver("b")])
