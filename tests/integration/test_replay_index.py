"""A run searches the version of the index that production had live when the run began."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from backends.index_topic import index_writer, read_index, write_index
from replay.errors import ReplayError
from replay.index import keep_index
from schemas.events import IndexChanged, IndexVersion
from tests.fixtures.pipeline import Pipeline, make_pipeline
from topics.admin import apply_topics
from topics.names import Namespace
from topics.settings import TopicSettings
from topics.specs import ANSWERS, INDEXES

pytestmark = pytest.mark.servers

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def production(kafka_bootstrap: str) -> AsyncIterator[Pipeline]:
    async with make_pipeline(kafka_bootstrap, [INDEXES]) as made:
        yield made


def live(number: int) -> IndexChanged:
    version = IndexVersion(
        version=number, collection=f"rag_chunks_v{number}", embedding_model="model", settings={}, made_at=AT
    )
    return IndexChanged(alias="rag_chunks", live=version, last=number, by="reindex", at=AT)


async def run_of(production: Pipeline) -> Namespace:
    own = Namespace(f"{production.names.prefix}-replay-run")
    await apply_topics(production.kafka, TopicSettings(partitions=1), own, specs=[INDEXES])
    return own


async def say(production: Pipeline, event: IndexChanged) -> None:
    async with index_writer(production.kafka, production.names) as producer:
        await write_index(producer, production.names, event)


async def test_what_was_live_when_the_run_began_holds_to_its_end(production: Pipeline) -> None:
    own = await run_of(production)
    await say(production, live(2))
    await keep_index(production.kafka, production.names, own, "rag_chunks")
    await say(production, live(3))
    await keep_index(production.kafka, production.names, own, "rag_chunks")
    assert await read_index(production.kafka, own) == live(2)


async def test_nothing_is_said_where_production_has_said_nothing(production: Pipeline) -> None:
    own = await run_of(production)
    await keep_index(production.kafka, production.names, own, "rag_chunks")
    assert await read_index(production.kafka, own) is None


async def test_a_pipeline_without_the_topic_is_an_error_that_says_what_to_do(kafka_bootstrap: str) -> None:
    async with make_pipeline(kafka_bootstrap, [ANSWERS]) as production:
        own = await run_of(production)
        with pytest.raises(ReplayError, match=r"rag\.indexes is missing; .*ragline topics apply"):
            await keep_index(production.kafka, production.names, own, "rag_chunks")
