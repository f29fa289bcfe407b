"""Cancelling requests on a real broker: queued, running, before they arrive, after they end."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

import orjson
import pytest
from structlog.testing import capture_logs

from ragline.client import Client, RequestError
from ragline.settings import Settings
from schemas.events import Answered, CancellationRequested, QueryAsked, RequestCancelled
from schemas.headers import Headers
from schemas.values import Usage
from tests.fixtures.pipeline import Pipeline, Record, eventually, make_pipeline
from topics.admin import apply_topics
from topics.settings import TopicSettings
from topics.specs import ANSWERS, CONTROL, QUERIES, TopicSpec, all_topics
from workers.runtime.cancellation import Cancellations
from workers.runtime.stage import Delivery, Outcome, Produce, UnavailableError
from workers.runtime.worker import Worker

pytestmark = pytest.mark.servers


class Stage:
    """Answers ``wait`` once the gate is open, everything else at once; one at a time."""

    name = "test-cancellation"
    consumes: tuple[TopicSpec, ...] = (QUERIES,)
    subject: Literal["request"] = "request"
    max_in_flight = 1

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: Counter[str] = Counter()
        self.stopped: list[str] = []

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def handle(self, delivery: Delivery[QueryAsked]) -> Outcome:
        self.begun[delivery.key] += 1
        if delivery.event.question == "wait":
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.stopped.append(delivery.key)
                raise
        if delivery.event.question == "down":
            return UnavailableError("down", "Not now.")
        return answer(delivery)


class Batch(Stage):
    """The same in batches; what runs is not stopped."""

    max_batch = 4
    linger_ms = 0

    async def handle(self, deliveries: Sequence[Delivery[QueryAsked]]) -> list[Outcome]:  # type: ignore[override]
        return [await super(Batch, self).handle(delivery) for delivery in deliveries]


def answer(delivery: Delivery[QueryAsked]) -> Produce:
    text = delivery.event.question
    answered = Answered(
        request_id=delivery.key, question=text, answer=text, finish_reason="stop", sources=(), model="m", usage=Usage()
    )
    return Produce((answered,))


async def ask(pipeline: Pipeline, question: str, key: str) -> None:
    await pipeline.produce(QUERIES, orjson.dumps({"question": question}), key)


async def cancel(pipeline: Pipeline, request_id: str, reason: str | None = None) -> None:
    """As an upstream in any language may do it."""
    body: dict[str, str | None] = {"request_id": request_id, "reason": reason}
    await pipeline.produce(CONTROL, orjson.dumps(body), request_id)


async def knows(worker: Worker, request_id: str) -> None:
    await eventually(lambda: worker._cancellations.cancelled.find(request_id) is not None)


def endings(records: Sequence[Record]) -> list[tuple[str, str | None]]:
    return sorted((record.key, record.headers.type) for record in records)


async def test_a_running_request_is_stopped_and_ends_as_cancelled(pipeline: Pipeline) -> None:
    stage = Stage()
    await pipeline.produce(QUERIES, b'{"question": "wait"}', "r", Headers(tenant="acme"))
    async with pipeline.running(stage):
        await eventually(lambda: stage.begun["r"] == 1)
        await cancel(pipeline, "r", "the client left")
        [record] = await pipeline.read_count(ANSWERS, 1)
        assert stage.stopped == ["r"]
        await ask(pipeline, "next", "s")
        assert endings(await pipeline.read_count(ANSWERS, 2)) == [("r", RequestCancelled.TYPE), ("s", Answered.TYPE)]
    assert record.body == {
        "request_id": "r",
        "tenant": "acme",
        "stage": "test-cancellation",
        "reason": "the client left",
    }
    committed = await pipeline.committed("test-cancellation", QUERIES)
    assert all(not metadata for _, metadata in committed.values())


async def test_a_queued_request_ends_at_once_and_is_never_begun(pipeline: Pipeline) -> None:
    stage = Stage()
    async with pipeline.running(stage) as worker:
        await ask(pipeline, "wait", "first")
        await eventually(lambda: stage.begun["first"] == 1)
        await ask(pipeline, "queued", "second")
        await eventually(lambda: worker.status()["queued"] == 1)
        await cancel(pipeline, "second")
        assert endings(await pipeline.read_count(ANSWERS, 1)) == [("second", RequestCancelled.TYPE)]
        stage.gate.set()
        records = await pipeline.read_count(ANSWERS, 2)
    assert endings(records) == [("first", Answered.TYPE), ("second", RequestCancelled.TYPE)]
    assert stage.begun["second"] == 0


async def test_a_request_cancelled_before_it_arrives_is_never_begun(pipeline: Pipeline) -> None:
    stage = Stage()
    async with pipeline.running(stage) as worker:
        await cancel(pipeline, "early")
        await knows(worker, "early")
        await ask(pipeline, "late", "early")
        records = await pipeline.read_count(ANSWERS, 1)
    assert endings(records) == [("early", RequestCancelled.TYPE)]
    assert not stage.begun


async def test_a_worker_that_starts_after_the_cancellation_knows_of_it(pipeline: Pipeline) -> None:
    await ask(pipeline, "queued", "r")
    await ask(pipeline, "queued", "s")
    await cancel(pipeline, "r")
    stage = Stage()
    async with pipeline.running(stage):
        records = await pipeline.read_count(ANSWERS, 2)
    assert endings(records) == [("r", RequestCancelled.TYPE), ("s", Answered.TYPE)]
    assert stage.begun == {"s": 1}


async def test_a_cancellation_older_than_the_window_does_not_count(pipeline: Pipeline) -> None:
    await cancel(pipeline, "r")
    await ask(pipeline, "queued", "r")
    async with pipeline.running(Stage(), cancellation_window_ms=1):
        records = await pipeline.read_count(ANSWERS, 1)
    assert endings(records) == [("r", Answered.TYPE)]


async def test_an_unknown_request_and_one_that_has_ended_change_nothing(pipeline: Pipeline) -> None:
    stage = Stage()
    await ask(pipeline, "quick", "r")
    async with pipeline.running(stage) as worker:
        await pipeline.read_count(ANSWERS, 1)
        for request_id in ("r", "unknown"):
            await cancel(pipeline, request_id)
            await knows(worker, request_id)
        await ask(pipeline, "next", "s")
        await pipeline.read_count(ANSWERS, 2)
    assert endings(await pipeline.read_all(ANSWERS)) == [("r", Answered.TYPE), ("s", Answered.TYPE)]


async def test_a_request_held_back_by_an_outage_ends_when_it_is_cancelled(pipeline: Pipeline) -> None:
    stage = Stage()
    await ask(pipeline, "down", "r")
    async with pipeline.running(stage, backoff_initial_ms=1, backoff_max_ms=20):
        await eventually(lambda: stage.begun["r"] >= 2)
        await cancel(pipeline, "r")
        records = await pipeline.read_count(ANSWERS, 1)
    assert endings(records) == [("r", RequestCancelled.TYPE)]


async def test_a_batch_leaves_out_what_was_cancelled(pipeline: Pipeline) -> None:
    stage = Batch()
    await cancel(pipeline, "b")
    for key in "abc":
        await ask(pipeline, "quick", key)
    async with pipeline.running(stage):
        records = await pipeline.read_count(ANSWERS, 3)
    assert endings(records) == [("a", Answered.TYPE), ("b", RequestCancelled.TYPE), ("c", Answered.TYPE)]
    assert stage.begun == {"a": 1, "c": 1}


async def test_what_is_no_cancellation_stops_nobody(pipeline: Pipeline) -> None:
    stage = Stage()
    async with pipeline.running(stage) as worker:
        await pipeline.produce(CONTROL, b"junk", "r")
        await pipeline.produce(CONTROL, None, "r")
        headers = Headers(type=CancellationRequested.TYPE)
        await pipeline.produce(CONTROL, b'{"request_id": "s"}', "s", headers)
        await knows(worker, "s")
        await ask(pipeline, "quick", "r")
        records = await pipeline.read_count(ANSWERS, 1)
    assert endings(records) == [("r", Answered.TYPE)]


async def test_the_client_cancels_and_whoever_waits_is_told(pipeline: Pipeline) -> None:
    stage = Stage()
    settings = Settings(kafka=pipeline.kafka, namespace=pipeline.names.prefix)
    async with Client(settings) as client, pipeline.running(stage):
        asking = asyncio.create_task(client.ask("wait", request_id="r"))
        try:
            await eventually(lambda: stage.begun["r"] == 1)
            await client.cancel("r", "no longer needed")
            with pytest.raises(RequestError, match="no longer needed") as caught:
                await asking
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError, RequestError):
                await asking
    assert caught.value.code == "cancelled"


async def test_a_topic_that_is_missing_is_waited_for(kafka_bootstrap: str) -> None:
    specs = [spec for spec in all_topics() if spec is not CONTROL]
    async with make_pipeline(kafka_bootstrap, specs, partitions=1) as pipeline:
        cancellations = Cancellations(pipeline.kafka, pipeline.names, window_s=60)
        with capture_logs() as logs:
            following = asyncio.create_task(cancellations.run())
            try:
                await eventually(lambda: any("rag.control is missing" in str(line.get("reason")) for line in logs))
                assert not cancellations.caught_up.is_set()
                await apply_topics(pipeline.kafka, TopicSettings(partitions=1), pipeline.names, specs=[CONTROL])
                await cancel(pipeline, "r")
                await eventually(lambda: cancellations.cancelled.find("r") is not None)
                await eventually(cancellations.caught_up.is_set)
            finally:
                following.cancel()
                await asyncio.wait({following})
