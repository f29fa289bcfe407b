"""Topics that are grown, deleted, made anew or cut short under a running worker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import orjson
import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.errors import KafkaError

from schemas.events import Answered, QueryAsked
from schemas.values import Usage
from tests.fixtures.pipeline import Pipeline, eventually
from topics.admin import apply_topics
from topics.settings import TopicSettings
from topics.specs import ANSWERS, QUERIES, TopicSpec
from workers.runtime.stage import Delivery, Outcome, Produce

pytestmark = pytest.mark.servers
QUICK = {"metadata_max_age_ms": 300}


class Answering:
    """Answers with the question; those that say so wait for the gate."""

    name = "test-answering"
    consumes: tuple[TopicSpec, ...] = (QUERIES,)
    subject: Literal["request"] = "request"
    max_in_flight = 8

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def handle(self, delivery: Delivery[QueryAsked]) -> Outcome:
        if delivery.event.question == "wait":
            await self.gate.wait()
        answered = Answered(
            request_id=delivery.key,
            question=delivery.event.question,
            answer="a",
            finish_reason="stop",
            sources=(),
            model="test",
            usage=Usage(),
        )
        return Produce((answered,))


@pytest.fixture
async def admin(pipeline: Pipeline) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**pipeline.kafka.client_options())
    await client.start()
    yield client
    await client.close()


async def ask(pipeline: Pipeline, key: str, partition: int = 0, question: str = "q") -> None:
    """Produce to a partition of one's choice, also to one that is very new."""
    topic, value = pipeline.names.topic(QUERIES), orjson.dumps({"question": question})
    async with asyncio.timeout(30):
        while partition not in (await pipeline.producer.partitions_for(topic)):
            await pipeline.producer.client.force_metadata_update()
        while True:
            try:
                await pipeline.producer.send_and_wait(topic, value, key=key.encode(), partition=partition)
            except KafkaError:
                await pipeline.producer.client.force_metadata_update()
            else:
                return


async def answered(pipeline: Pipeline, *keys: str) -> None:
    await pipeline.read(pipeline.names.topic(ANSWERS), lambda found: {record.key for record in found} >= {*keys})


async def test_partitions_that_are_added_are_read(pipeline: Pipeline, admin: AIOKafkaAdminClient) -> None:
    async with pipeline.running(Answering(), **QUICK) as worker:
        await ask(pipeline, "old")
        await admin.create_partitions({pipeline.names.topic(QUERIES): NewPartitions(4)})
        await ask(pipeline, "new", partition=3)
        await answered(pipeline, "old", "new")
        assert len(worker.status()["partitions"]) == 4  # type: ignore[arg-type]


async def test_a_topic_that_is_made_anew_is_read_from_its_beginning(
    pipeline: Pipeline, admin: AIOKafkaAdminClient
) -> None:
    topic = pipeline.names.topic(QUERIES)
    async with pipeline.running(Answering(), **QUICK):
        for number in range(5):
            await ask(pipeline, f"before-{number}")
        await answered(pipeline, *[f"before-{number}" for number in range(5)])
        await admin.delete_topics([topic])

        async def made_anew() -> bool:
            await apply_topics(pipeline.kafka, TopicSettings(partitions=2), pipeline.names, specs=[QUERIES])
            return topic in await admin.list_topics()

        await eventually(made_anew)
        await ask(pipeline, "after")
        await answered(pipeline, "after")


async def test_work_goes_on_when_a_topic_is_deleted_for_good(pipeline: Pipeline, admin: AIOKafkaAdminClient) -> None:
    stage = Answering()
    async with pipeline.running(stage, **QUICK) as worker:
        await ask(pipeline, "running", question="wait")
        await eventually(lambda: worker.status()["in_flight"] == 1)
        await admin.delete_topics([pipeline.names.topic(QUERIES)])
        await eventually(lambda: not worker.status()["partitions"])
        assert worker.status()["ready"]
        stage.gate.set()


async def test_what_retention_took_is_said_and_the_rest_is_handled(
    pipeline: Pipeline, admin: AIOKafkaAdminClient
) -> None:
    async with pipeline.running(Answering()):
        await ask(pipeline, "first")
        await answered(pipeline, "first")
    for number in range(4):
        await ask(pipeline, f"later-{number}")
    end = (await pipeline.producer.send_and_wait(pipeline.names.topic(QUERIES), b"{}", key=b"x", partition=0)).offset
    tp = TopicPartition(pipeline.names.topic(QUERIES), 0)
    await admin.delete_records({tp: RecordsToDelete(before_offset=end - 1)})
    with structlog.testing.capture_logs() as logs:
        async with pipeline.running(Answering()):
            await answered(pipeline, "later-3")
    [said] = [entry for entry in logs if entry["event"].startswith("retention deleted records")]
    assert (said["partition"], said["kept_from"]) == (str(tp), end - 1)
    assert "later-0" not in {record.key for record in await pipeline.read_all(ANSWERS)}
