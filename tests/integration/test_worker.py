"""The runtime on a real broker, with stages that do what their question says."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from backends.engine import EngineDeadError
from schemas.events import Answered, QueryAsked
from schemas.headers import Headers
from schemas.values import Usage
from tests.fixtures.pipeline import Pipeline, eventually, make_pipeline
from topics.specs import ANSWERS, QUERIES, TopicSpec, dead_letters
from workers.runtime.settings import RuntimeSettings
from workers.runtime.stage import (
    Delivery,
    Outcome,
    PoisonError,
    Produce,
    RejectedError,
    RetryableError,
    UnavailableError,
)
from workers.runtime.worker import Worker

pytestmark = pytest.mark.servers


def answer(delivery: Delivery[QueryAsked]) -> Produce:
    text = "x" * 3_000_000 if delivery.event.question == "huge" else delivery.event.question
    answered = Answered(
        request_id=delivery.key,
        question=delivery.event.question,
        answer=text,
        finish_reason="stop",
        sources=(),
        model="test",
        usage=Usage(),
        attempt=delivery.attempt,
    )
    return Produce((answered,))


class Concurrent:
    name = "test-concurrent"
    consumes: tuple[TopicSpec, ...] = (QUERIES,)
    subject: Literal["request"] = "request"

    def __init__(self, max_in_flight: int = 8) -> None:
        self.max_in_flight = max_in_flight
        self.gate = asyncio.Event()
        self.down = False
        self.begun: Counter[str] = Counter()
        self.running = 0
        self.most_running = 0

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def handle(self, delivery: Delivery[QueryAsked]) -> Outcome:
        self.begun[delivery.key] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._handle(delivery)
        finally:
            self.running -= 1

    async def _handle(self, delivery: Delivery[QueryAsked]) -> Outcome:
        match delivery.event.question:
            case "wait":
                await self.gate.wait()
            case "reject":
                return RejectedError("no", "Not this one.")
            case "poison":
                raise PoisonError("bad", "Never.")
            case "nothing":
                return Produce(())
            case "flaky" if delivery.attempt < 3:
                raise RetryableError("flaky", "Not yet.")
            case "bug":
                raise KeyError("bug")
            case "down" if self.down:
                raise UnavailableError("down", "Comes back.")
        await asyncio.sleep(0)
        return answer(delivery)


class Batched:
    name = "test-batched"
    consumes: tuple[TopicSpec, ...] = (QUERIES,)
    subject: Literal["request"] = "request"
    max_batch = 16
    linger_ms = 50

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def handle(self, deliveries: Sequence[Delivery[QueryAsked]]) -> list[Outcome]:
        self.batches.append(len(deliveries))
        if any(delivery.event.question == "bug" for delivery in deliveries):
            raise KeyError("bug")
        return [
            PoisonError("bad", "Never.") if delivery.event.question == "poison" else answer(delivery)
            for delivery in deliveries
        ]


async def ask(pipeline: Pipeline, question: str, key: str | None, **fields: Any) -> int:
    return await pipeline.produce(QUERIES, orjson.dumps({"question": question, **fields}), key)


async def test_an_answer_carries_key_origin_trace_and_timeline(pipeline: Pipeline) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = Headers(id="upstream-1", type=QueryAsked.TYPE, traceparent=traceparent, tenant="acme")
    offset = await pipeline.produce(QUERIES, b'{"question": "hello", "unknown": 1}', "r1", headers)
    async with pipeline.running(Concurrent()):
        [record] = await pipeline.read_count(ANSWERS, 1)
    assert record.key == "r1"
    assert record.body["answer"] == "hello"
    assert record.headers.type == Answered.TYPE
    assert record.headers.tenant == "acme"
    assert record.headers.origin is not None
    assert (record.headers.origin.topic, record.headers.origin.offset) == (pipeline.names.topic(QUERIES), offset)
    assert record.headers.traceparent is not None
    assert record.headers.traceparent.split("-")[1] == traceparent.split("-")[1]
    assert [time.stage for time in record.headers.timeline] == ["test-concurrent"]
    committed = await pipeline.committed("test-concurrent", QUERIES)
    assert sum(position for position, _ in committed.values()) == 1


async def test_markers_of_transactions_are_no_lag(pipeline: Pipeline) -> None:
    producer = AIOKafkaProducer(**pipeline.kafka.client_options(), transactional_id=pipeline.names.prefix)
    async with producer, producer.transaction():
        topic = pipeline.names.topic(QUERIES)
        await producer.send_and_wait(topic, b'{"question": "q"}', key=b"r", partition=0)
    async with pipeline.running(Concurrent()):
        await pipeline.read_count(ANSWERS, 1)

        async def caught_up() -> bool:
            return (await pipeline.committed("test-concurrent", QUERIES))[0][0] == 2

        await eventually(caught_up)


async def test_records_of_which_nothing_is_produced_share_commits(pipeline: Pipeline) -> None:
    count = 20
    async with pipeline.running(Concurrent(), commit_interval_ms=60_000) as worker:
        for number in range(count):
            await ask(pipeline, "nothing", f"r{number}")
            await eventually(lambda: worker.status()["processed"] == number + 1)  # noqa: B023 - awaited at once
    committed = await pipeline.committed("test-concurrent", QUERIES)
    assert sum(position for position, _ in committed.values()) == count
    # The first at once, the rest at the end; a commit is of all partitions, or exactly once of each.
    assert worker._metrics.commits < count / 2


async def test_a_missing_key_gets_one_made_of_the_record_s_place(pipeline: Pipeline) -> None:
    await ask(pipeline, "a", None)
    await ask(pipeline, "b", None)
    async with pipeline.running(Concurrent()):
        records = await pipeline.read_count(ANSWERS, 2)
    assert len({record.key for record in records} - {""}) == 2
    assert all(record.key == record.body["request_id"] for record in records)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"not json", "undecodable"),
        (b'{"question": 7}', "undecodable"),
        (b"[]", "undecodable"),
        (b"\xff\xfe\x00", "undecodable"),
        (None, "undecodable"),
        (b'{"question": "poison"}', "bad"),
        (b'{"question": "bug"}', "unexpected_error"),
        (b'{"question": "huge"}', "output_too_large"),
    ],
)
async def test_what_cannot_be_handled_becomes_a_dead_letter_and_stops_nobody(
    pipeline: Pipeline, value: bytes | None, code: str
) -> None:
    await pipeline.produce(QUERIES, value, "bad")
    await ask(pipeline, "fine", "good")
    async with pipeline.running(Concurrent(), backoff_initial_ms=1, max_attempts=2) as worker:
        records = {record.key: record for record in await pipeline.read_count(ANSWERS, 2)}
        assert worker.status()["failed"] == 1
    assert records["good"].body["answer"] == "fine"
    assert records["bad"].headers.type == "ragline.request.failed.v1"
    assert records["bad"].body["code"] == code
    assert records["bad"].body["message"]
    [letter] = await pipeline.read_count(pipeline.names.topic(dead_letters(QUERIES)), 1)
    assert (letter.key, letter.value) == ("bad", value)
    assert letter.raw_headers["ragline_dead_letter_code"] == code.encode()
    assert letter.raw_headers["ragline_dead_letter_offset"] == b"0"


async def test_rejected_input_gets_its_terminal_event_and_no_dead_letter(pipeline: Pipeline) -> None:
    await ask(pipeline, "reject", "r")
    async with pipeline.running(Concurrent()):
        [record] = await pipeline.read_count(ANSWERS, 1)
    assert (record.body["code"], record.body["message"]) == ("no", "Not this one.")
    assert await pipeline.read_all(dead_letters(QUERIES)) == []


async def test_a_request_id_is_answered_once_also_after_a_restart(pipeline: Pipeline) -> None:
    await ask(pipeline, "first", "same")
    await ask(pipeline, "second", "same")
    async with pipeline.running(Concurrent()):
        await pipeline.read_count(ANSWERS, 1)
    await ask(pipeline, "third", "same")
    await ask(pipeline, "other", "other")
    async with pipeline.running(Concurrent()) as worker:
        await pipeline.read_count(ANSWERS, 2)
        await eventually(lambda: worker._metrics.duplicates >= 1)
    records = await pipeline.read_all(ANSWERS)
    assert sorted((record.key, record.body["answer"]) for record in records) == [("other", "other"), ("same", "first")]


async def test_a_slow_record_blocks_nobody_and_a_restart_repeats_only_it(pipeline: Pipeline) -> None:
    await ask(pipeline, "wait", "slow")
    for number in range(40):
        await ask(pipeline, f"q{number}", f"r{number}")
    first = Concurrent()
    async with pipeline.running(first, drain_timeout_ms=1):
        await pipeline.read_count(ANSWERS, 40)
    assert first.begun["slow"] == 1
    second = Concurrent()
    second.gate.set()
    async with pipeline.running(second):
        await pipeline.read_count(ANSWERS, 41)
    assert second.begun == {"slow": 1}


async def test_what_is_down_is_waited_for_while_others_pass(pipeline: Pipeline) -> None:
    stage = Concurrent()
    stage.down = True
    await ask(pipeline, "down", "held")
    await ask(pipeline, "flaky", "flaky")
    await ask(pipeline, "fine", "fine")
    async with pipeline.running(stage, backoff_initial_ms=1, backoff_max_ms=20, max_attempts=3):
        records = await pipeline.read_count(ANSWERS, 2)
        assert {record.key for record in records} == {"flaky", "fine"}
        await eventually(lambda: stage.begun["held"] > 5)
        stage.down = False
        records = await pipeline.read_count(ANSWERS, 3)
    assert {record.key: record.body.get("answer") for record in records}["held"] == "down"
    assert {record.key: record.body.get("attempt") for record in records}["flaky"] == 3


async def test_a_passed_deadline_is_said_without_any_work(pipeline: Pipeline) -> None:
    stage = Concurrent()
    past = datetime.now(UTC) - timedelta(seconds=1)
    await pipeline.produce(QUERIES, b'{"question": "late"}', "late", Headers(deadline_at=past))
    async with pipeline.running(stage):
        [record] = await pipeline.read_count(ANSWERS, 1)
    assert record.headers.type == "ragline.request.expired.v1"
    assert not stage.begun


async def test_no_more_is_taken_than_there_is_room_for(pipeline: Pipeline) -> None:
    stage = Concurrent(max_in_flight=4)
    for number in range(60):
        await ask(pipeline, "wait", f"r{number}")
    async with pipeline.running(stage, max_outstanding=10) as worker:
        await eventually(lambda: stage.running == 4)
        await eventually(lambda: worker.status()["queued"] == 16)
        assert worker.status()["in_flight"] == 4
        stage.gate.set()
        await pipeline.read_count(ANSWERS, 60)
    assert stage.most_running == 4
    assert set(stage.begun.values()) == {1}


async def test_a_stopping_worker_finishes_what_it_has_begun(pipeline: Pipeline) -> None:
    stage = Concurrent()
    await ask(pipeline, "wait", "r")
    async with pipeline.running(stage):
        await eventually(lambda: stage.running == 1)
        asyncio.get_running_loop().call_later(0.2, stage.gate.set)
    assert [record.key for record in await pipeline.read_all(ANSWERS)] == ["r"]
    again = Concurrent()
    await ask(pipeline, "next", "next")
    async with pipeline.running(again):
        await pipeline.read_count(ANSWERS, 2)
    assert again.begun == {"next": 1}


async def test_a_second_worker_repeats_nothing_on_partitions_that_stay(pipeline: Pipeline) -> None:
    first, second = Concurrent(max_in_flight=50), Concurrent(max_in_flight=50)
    for number in range(40):
        await ask(pipeline, "wait", f"r{number}")
    async with pipeline.running(first) as worker:
        await eventually(lambda: first.running == 40)
        async with pipeline.running(second) as other:
            await eventually(lambda: len(worker.status()["partitions"]) == 1)  # type: ignore[arg-type]
            await eventually(lambda: first.running + second.running == 40)
            stayed = set(first.begun) - set(second.begun)
            assert stayed
            assert set(worker.status()["partitions"]).isdisjoint(other.status()["partitions"])  # type: ignore[call-overload]
            first.gate.set()
            second.gate.set()
            records = await pipeline.read_count(ANSWERS, 40)
    assert {record.key for record in records} == {f"r{number}" for number in range(40)}
    assert len(await pipeline.read_all(ANSWERS)) == 40
    assert set(first.begun.values()) == {1}
    assert set(second.begun.values()) == {1}


async def test_a_batch_shares_nothing_but_the_work(pipeline: Pipeline) -> None:
    stage = Batched()
    for number in range(10):
        await ask(pipeline, f"q{number}", f"r{number}")
    await ask(pipeline, "poison", "poison")
    await ask(pipeline, "bug", "bug")
    async with pipeline.running(stage, backoff_initial_ms=1, max_attempts=2):
        records = await pipeline.read_count(ANSWERS, 12)
    failed = {
        record.key: record.body["code"] for record in records if record.headers.type == "ragline.request.failed.v1"
    }
    assert failed == {"poison": "bad", "bug": "unexpected_error"}
    assert max(stage.batches) > 1


async def test_a_stage_that_dies_ends_its_worker(pipeline: Pipeline) -> None:
    class Dying(Concurrent):
        async def _handle(self, delivery: Delivery[QueryAsked]) -> Outcome:
            raise EngineDeadError(f"gone at {delivery.key}")

    await ask(pipeline, "a", "a")
    worker = Worker(Dying(), pipeline.kafka, pipeline.names, RuntimeSettings())
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(worker.run(asyncio.Event()), 30)
    assert caught.group_contains(EngineDeadError)


async def test_a_record_that_kills_its_worker_again_and_again_is_quarantined(pipeline: Pipeline) -> None:
    class Mortal(Concurrent):
        async def _handle(self, delivery: Delivery[QueryAsked]) -> Outcome:
            if delivery.event.question == "kill":
                raise EngineDeadError(f"killed by {delivery.key}")
            return await super()._handle(delivery)

    async with make_pipeline(pipeline.kafka.bootstrap_servers, partitions=1) as one:
        one.guarantee = pipeline.guarantee
        for number in range(6):
            await ask(one, f"q{number}", f"r{number}")
        await ask(one, "kill", "killer")
        await ask(one, "after", "after")
        for _ in range(4):
            worker = Worker(Mortal(), one.kafka, one.names, RuntimeSettings(guarantee=one.guarantee))
            with pytest.raises(ExceptionGroup) as caught:
                await asyncio.wait_for(worker.run(asyncio.Event()), 60)
            assert caught.group_contains(EngineDeadError)
        async with one.running(Mortal()):
            records = await one.read(
                one.names.topic(ANSWERS), lambda found: {record.key for record in found} >= {"killer", "after"}
            )
        [letter] = await one.read_all(dead_letters(QUERIES))
    ended = {record.key: record for record in records}
    assert ended["killer"].body["code"] == "quarantined"
    assert (letter.key, letter.raw_headers["ragline_dead_letter_code"]) == ("killer", b"quarantined")
    assert {f"r{number}" for number in range(6)} <= set(ended)
