"""Re-indexes on a real broker and a real Milvus while questions are asked and documents come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from backends.index_topic import read_index
from bridge.documents.endings import KafkaEndings
from ragline.reindex.errors import ReindexError
from ragline.reindex.options import Options
from ragline.reindex.run import reindex, rollback
from ragline.reindex.session import Session
from ragline.settings import Settings
from ragline.stages import create_aliases
from tests.fixtures.pipeline import Pipeline, eventually, make_pipeline
from tests.fixtures.reindexing import (
    WORDS,
    asking,
    expected,
    make_change,
    make_document,
    make_settings,
    make_systems,
    make_tokenizer,
    pretend_indexed,
    reindexing_process,
    send,
    texts_in,
    withdraw,
    workers,
)
from topics.names import INGEST_STAGES

pytestmark = pytest.mark.servers

STABLE = [f"stable{number}" for number in range(12)]
QUESTIONS = ("embedding", "retrieval")


@pytest.fixture
async def small(kafka_bootstrap: str) -> AsyncIterator[Pipeline]:
    async with make_pipeline(kafka_bootstrap) as made:
        yield made


@pytest.fixture
def settings(small: Pipeline, milvus_uri: str, tmp_path: Path) -> Settings:
    return make_settings(small, milvus_uri, make_tokenizer(tmp_path / "model"))


class Churn:
    """Adds, changes and deletes documents without a pause while it runs; ``documents`` are the editions that stay."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rounds = 0
        self.documents = dict.fromkeys(STABLE, 0)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._rounds += 1
            gone, new, changed = f"gone{self._rounds}", f"new{self._rounds}", f"changed{self._rounds % 3}"
            await send(self._settings, make_document(gone))
            await send(self._settings, make_document(new), make_document(changed, self._rounds), withdraw(gone))
            self.documents |= {new: 0, changed: self._rounds}

    async def during(self, work: object) -> object:
        stop = asyncio.Event()
        task = asyncio.create_task(self.run(stop))
        try:
            return await work  # type: ignore[misc]  # a coroutine
        finally:
            stop.set()
            await task


@asynccontextmanager
async def endings_of_a_bridge(settings: Settings) -> AsyncIterator[KafkaEndings]:
    endings = KafkaEndings(settings.kafka, settings.names)
    task = asyncio.create_task(endings.run())
    try:
        yield endings
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_questions_are_answered_while_another_index_takes_over_and_back(
    small: Pipeline, settings: Settings
) -> None:
    alias, change, churn = settings.milvus.collection, make_change(settings), Churn(settings)
    async with workers(settings, *INGEST_STAGES, *QUESTIONS), endings_of_a_bridge(settings) as endings:
        await send(settings, *map(make_document, STABLE))
        async with asking(small, STABLE) as asked:
            options = Options(index="IVF_FLAT,nlist=4,nprobe=4", chunking=f"max_tokens={2 * WORDS}")
            summary = await churn.during(reindex(change, make_systems(settings), options))
            assert (summary.version, summary.collection, summary.previous) == (2, f"{alias}_v2", f"{alias}_v1")
            await send(settings, make_document("after"))
            churn.documents["after"] = 0
            await eventually(lambda: endings.find("default", "after") is not None)
            await eventually(lambda: (f"{alias}_v2", "first") in asked.collections)
            assert await texts_in(settings, alias) == expected(churn.documents, 2)
            assert await texts_in(settings, f"{alias}_v2") == expected(churn.documents, 2)
            # The old one was left where it was.
            assert ("after", "") not in await texts_in(settings, f"{alias}_v1")

            back = await churn.during(rollback(change, make_systems(settings)))
            assert (back.version, back.previous) == (1, f"{alias}_v2")
            await send(settings, make_document("again"))
            churn.documents["again"] = 0
            assert await texts_in(settings, alias) == expected(churn.documents, 1)
    assert asked.ended == []
    assert asked.empty == []
    state = await read_index(settings.kafka, settings.names)
    assert state is not None
    assert (state.live.version, state.previous and state.previous.version, state.last) == (1, 2, 2)
    async with Session(change) as session:
        await session.remove(f"{alias}_v2")
    assert await create_aliases(settings).target(alias) == f"{alias}_v1"


async def test_a_question_finds_the_collection_of_the_model_that_embedded_it(
    small: Pipeline, settings: Settings
) -> None:
    alias = settings.milvus.collection
    async with workers(settings, *INGEST_STAGES, *QUESTIONS):
        await send(settings, *map(make_document, STABLE))
        async with asking(small, STABLE) as asked:
            await eventually(lambda: len(asked.retrieved) > 10)
            await reindex(make_change(settings), make_systems(settings), Options(embedder="model=second,dimensions=24"))
            await eventually(lambda: asked.collections[f"{alias}_v2", "second"] > 10)
    assert asked.ended == []
    assert asked.empty == []
    assert asked.collections.keys() == {(f"{alias}_v1", "first"), (f"{alias}_v2", "second")}


async def test_a_killed_reindex_changes_nothing_and_goes_on_when_it_is_called_again(
    small: Pipeline, settings: Settings, tmp_path: Path
) -> None:
    alias, options = settings.milvus.collection, Options(index="FLAT")
    async with workers(settings, *INGEST_STAGES, *QUESTIONS):
        await send(settings, *map(make_document, STABLE))
        with reindexing_process(settings, tmp_path) as process:
            await eventually(lambda: "FILLING" in process.output())
            with pytest.raises(ReindexError, match="running already"):
                await reindex(make_change(settings), make_systems(settings), options)
            process.kill()
        await eventually(lambda: not process.workers())
        state = await read_index(settings.kafka, settings.names)
        assert state is not None
        assert (state.live.version, state.building and state.building.version, state.last) == (1, 2, 2)
        async with asking(small, STABLE) as asked:
            await eventually(lambda: len(asked.retrieved) > 10)
        assert (asked.ended, asked.empty, asked.collections.keys()) == ([], [], {(f"{alias}_v1", "first")})

        # As if deleted so long ago that compaction has taken even the deletion.
        await pretend_indexed(small, 2, "forgotten")
        said: list[str] = []
        systems = replace(make_systems(settings), report=said.append)
        summary = await reindex(make_change(settings), systems, options)
        assert (summary.version, summary.documents) == (2, len(STABLE))
        assert f"going on with {alias}_v2" in said
        assert "removed 1 documents that were deleted long ago" in said
        assert await texts_in(settings, alias) == expected(dict.fromkeys(STABLE, 0), 1)
        with pytest.raises(ReindexError, match=f"{alias}_v1 is kept from the last re-index"):
            await reindex(make_change(settings), make_systems(settings), options)
        with pytest.raises(ReindexError, match=f"{alias}_v2 is the live collection"):
            async with Session(make_change(settings)) as session:
                await session.remove(f"{alias}_v2")


async def test_what_would_be_lost_stops_the_reindex(small: Pipeline, settings: Settings) -> None:
    change, systems = make_change(settings), make_systems(settings)
    with pytest.raises(ReindexError, match="no documents to index"):
        await reindex(change, systems, Options())
    with pytest.raises(ReindexError, match="no version is kept"):
        await rollback(change, systems)
    async with workers(settings, *INGEST_STAGES):
        await send(settings, *map(make_document, STABLE))
        with pytest.raises(ReindexError, match="12 documents that are searchable now would be so no longer: stable"):
            await reindex(change, systems, Options(chunking="max_document_chars=20"))
        assert await create_aliases(settings).target(settings.milvus.collection) == f"{settings.milvus.collection}_v1"
        said: list[str] = []
        # With other settings the half-made one goes.
        await reindex(change, replace(systems, report=said.append), Options(index="FLAT"))
        assert f"removing {settings.milvus.collection}_v2, which was begun with other settings" in said
    state = await read_index(small.kafka, small.names)
    assert state is not None
    assert (state.live.version, state.last) == (3, 3)
