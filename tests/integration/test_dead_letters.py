"""Dead letters on a real broker: redriven once, dropped once, whatever happens in between."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
import pytest
from aiokafka.errors import ProducerFenced
from typer.testing import CliRunner, Result

from ragline.cli import Context
from ragline.dead_letters import DeadLetters, DeadLettersError
from ragline.dead_letters_cli import app
from ragline.letters import Filter, Letter
from ragline.redrive import Clerk, Outcome
from ragline.settings import Settings
from schemas.events import Answered, QueryAsked, RequestFailed
from schemas.headers import Headers
from schemas.values import Usage
from tests.fixtures.pipeline import Pipeline, Record, make_pipeline
from topics.names import Namespace
from topics.specs import (
    ANSWERS,
    DEAD_LETTERS_AUDIT,
    DOCUMENTS,
    QUERIES,
    TopicSpec,
    all_topics,
    dead_letters,
)
from workers.runtime import stage as runtime
from workers.runtime.stage import Delivery, PoisonError, Produce

pytestmark = pytest.mark.servers

EVERY = Filter()
MINUTE = timedelta(minutes=1)


class Stage:
    """Fails what it is asked until it is mended; then answers."""

    name = "test-redrive"
    consumes: tuple[TopicSpec, ...] = (QUERIES,)
    subject: Literal["request"] = "request"
    max_in_flight = 8

    def __init__(self, *, mended: bool = False, name: str = "test-redrive") -> None:
        self.name = name
        self.mended = mended
        self.handled: list[Delivery[Any]] = []

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def handle(self, delivery: Delivery[QueryAsked]) -> runtime.Outcome:
        self.handled.append(delivery)
        if not self.mended:
            raise PoisonError(f"broken_{delivery.event.question}", "It is broken.")
        answered = Answered(
            request_id=delivery.key,
            question=delivery.event.question,
            answer="mended",
            finish_reason="stop",
            sources=(),
            model="m",
            usage=Usage(),
        )
        return Produce((answered,))


async def fail_all(pipeline: Pipeline, *keys: str) -> None:
    """Have a letter for each key."""
    for key in keys:
        await pipeline.produce(QUERIES, orjson.dumps({"question": key}), key, Headers(id=f"id-{key}", tenant="acme"))
    async with pipeline.running(Stage()):
        await pipeline.read_count(dead_letters(QUERIES), len(keys))


async def put_letters(pipeline: Pipeline, count: int, value: bytes = b'{"question": "q"}') -> None:
    """The same, without a worker."""
    for number in range(count):
        headers = {
            "ragline_dead_letter_stage": "test-redrive",
            "ragline_dead_letter_code": "broken",
            "ragline_dead_letter_topic": pipeline.names.topic(QUERIES),
            "ragline_dead_letter_partition": "0",
            "ragline_dead_letter_offset": str(number),
        }
        encoded = [(name, text.encode()) for name, text in headers.items()]
        topic = pipeline.names.topic(dead_letters(QUERIES))
        await pipeline.producer.send_and_wait(topic, value, key=b"r%d" % number, headers=encoded)


async def find(pipeline: Pipeline, wanted: Filter = EVERY) -> list[Letter]:
    async with DeadLetters(pipeline.kafka, pipeline.names) as reader:
        return await reader.find(wanted)


async def redrive(pipeline: Pipeline, wanted: Filter = EVERY, **options: Any) -> Outcome:
    async with Clerk(pipeline.kafka, pipeline.names, "ana@ops") as clerk:
        return await clerk.redrive(wanted, options.pop("time_left", MINUTE), **options)


async def drop(pipeline: Pipeline, wanted: Filter = EVERY) -> Outcome:
    async with Clerk(pipeline.kafka, pipeline.names, "ana@ops") as clerk:
        return await clerk.drop(wanted, "a test")


def states(found: Sequence[Letter]) -> dict[str, str]:
    return {letter.key: letter.state for letter in found}


def endings(records: Sequence[Record]) -> list[tuple[str, str | None, int]]:
    return [(record.key, record.headers.type, record.headers.redrives) for record in records]


async def test_a_redriven_request_is_answered_under_its_own_id(pipeline: Pipeline) -> None:
    await fail_all(pipeline, "r")
    assert (await redrive(pipeline)).done == 1
    stage = Stage(mended=True)
    async with pipeline.running(stage):
        failed, answered = await pipeline.read_count(ANSWERS, 2)
    assert endings([failed, answered]) == [("r", RequestFailed.TYPE, 0), ("r", Answered.TYPE, 1)]
    assert failed.headers.id != answered.headers.id
    [delivery] = stage.handled
    assert (delivery.headers.id, delivery.headers.tenant, delivery.headers.redrives) == ("id-r", "acme", 1)
    assert delivery.deadline_at is not None
    assert timedelta() < delivery.deadline_at - datetime.now(UTC) <= MINUTE
    first, second = await pipeline.read_count(QUERIES, 2)
    assert (first.key, first.value) == (second.key, second.value)
    audit = {name: text for name, text in second.raw_headers.items() if name.startswith("ragline_redriven")}
    assert audit["ragline_redriven_by"] == b"ana@ops"
    assert audit["ragline_redriven_for"] == b"test-redrive"
    assert audit["ragline_redriven_from_topic"] == pipeline.names.topic(dead_letters(QUERIES)).encode()
    assert datetime.fromisoformat(audit["ragline_redriven_at"].decode()) <= datetime.now(UTC)


async def test_a_request_that_fails_again_is_a_letter_again_and_counts(pipeline: Pipeline) -> None:
    await fail_all(pipeline, "r")
    for redrives in (1, 2):
        assert (await redrive(pipeline)).done == 1
        async with pipeline.running(Stage()):
            letters = await pipeline.read_count(dead_letters(QUERIES), redrives + 1)
        assert letters[-1].headers.redrives == redrives
    found = await find(pipeline)
    assert sorted((letter.redrives, letter.state) for letter in found) == [
        (0, "redriven"),
        (1, "redriven"),
        (2, "open"),
    ]
    records = await pipeline.read_all(ANSWERS)
    assert sorted(endings(records)) == [("r", RequestFailed.TYPE, redrives) for redrives in (0, 1, 2)]
    assert len({record.headers.id for record in records}) == 3


async def test_only_the_stage_that_failed_takes_a_redriven_record(pipeline: Pipeline) -> None:
    await fail_all(pipeline, "r")
    await redrive(pipeline)
    other = Stage(mended=True, name="test-other")
    async with pipeline.running(other):
        await pipeline.produce(QUERIES, b'{"question": "next"}', "s")
        await pipeline.read(pipeline.names.topic(ANSWERS), lambda records: any(record.key == "s" for record in records))
    assert [(delivery.key, delivery.headers.redrives) for delivery in other.handled] == [("r", 0), ("s", 0)]


async def test_a_letter_is_redriven_or_dropped_once(pipeline: Pipeline) -> None:
    await put_letters(pipeline, 3)
    assert (await drop(pipeline, Filter(ids=frozenset({"r0"})))).done == 1
    assert (await redrive(pipeline, Filter(limit=1))).done == 1
    assert states(await find(pipeline)) == {"r0": "dropped", "r1": "redriven", "r2": "open"}
    assert (await redrive(pipeline)).done == 1
    assert (await redrive(pipeline)).done == 0
    assert (await drop(pipeline)).done == 0
    assert sorted(record.key for record in await read_redriven(pipeline, 2)) == ["r1", "r2"]
    marks = await pipeline.read_count(DEAD_LETTERS_AUDIT, 3)
    assert {mark.body["by"] for mark in marks} == {"ana@ops"}


async def read_redriven(pipeline: Pipeline, count: int) -> list[Record]:
    """All records of the queries' topic, which are known to be so many."""
    records = await pipeline.read_count(QUERIES, count)
    assert len(records) == count
    return records


async def test_a_letter_that_was_written_twice_is_redriven_once(pipeline: Pipeline) -> None:
    await put_letters(pipeline, 2)
    await put_letters(pipeline, 2)
    assert (await redrive(pipeline)).done == 2
    assert [letter.state for letter in await find(pipeline)] == ["redriven"] * 4


async def test_a_clerk_that_is_killed_leaves_nothing_half_done(pipeline: Pipeline) -> None:
    await put_letters(pipeline, 5)
    killed = Clerk(pipeline.kafka, pipeline.names, "killed")
    async with killed:
        assert (await killed.redrive(Filter(limit=2), MINUTE)).done == 2
        # It dies in the middle of a transaction: the record is in the topic, the transaction is open.
        await killed._producer.begin_transaction()
        topic = pipeline.names.topic(QUERIES)
        await killed._producer.send_and_wait(topic, b"half", key=b"half", partition=0)
        assert (await redrive(pipeline)).done == 3
        with pytest.raises(ProducerFenced):
            await killed._producer.commit_transaction()
    assert sorted(record.key for record in await read_redriven(pipeline, 5)) == ["r0", "r1", "r2", "r3", "r4"]
    assert set(states(await find(pipeline)).values()) == {"redriven"}


async def test_a_later_clerk_shuts_out_an_earlier_one(pipeline: Pipeline) -> None:
    await put_letters(pipeline, 3)
    reported = asyncio.Event()
    async with Clerk(pipeline.kafka, pipeline.names, "slow", lambda _: reported.set()) as slow:
        slowly = asyncio.create_task(slow.redrive(EVERY, MINUTE, rate=0.5))
        await reported.wait()
        assert (await redrive(pipeline)).done == 2
        with pytest.raises(DeadLettersError, match="another redrive or drop has begun"):
            await slowly
    assert len(await read_redriven(pipeline, 3)) == 3


async def test_the_rate_is_kept(pipeline: Pipeline) -> None:
    await put_letters(pipeline, 11)
    started = asyncio.get_running_loop().time()
    assert (await redrive(pipeline, rate=5)).done == 11
    # Five, five, one: the third second has begun.
    assert asyncio.get_running_loop().time() - started >= 2


async def test_a_record_too_large_for_its_topic_holds_up_no_other(kafka_bootstrap: str) -> None:
    async with make_pipeline(kafka_bootstrap) as pipeline:
        await put_letters(pipeline, 2)
        # Room for the letter's headers is more than for the topic's own.
        await put_letters(pipeline, 1, b"x" * (QUERIES.max_message_bytes - 200))
        await put_letters(pipeline, 2, b"more")
        outcome = await redrive(pipeline)
        assert outcome.done == 4
        [(letter, reason)] = outcome.refused
        assert letter.key == "r0"
        assert reason
        assert sorted(record.key for record in await read_redriven(pipeline, 4)) == ["r0", "r0", "r1", "r1"]
        assert sorted(letter.state for letter in await find(pipeline)) == ["open"] + ["redriven"] * 4


async def test_filters_choose_among_topics_and_times(pipeline: Pipeline) -> None:
    await fail_all(pipeline, "a", "b")
    between = datetime.now(UTC)
    # Kafka counts time in whole milliseconds: what follows must not fall into the same one.
    await asyncio.sleep(0.002)
    await pipeline.produce(dead_letters(DOCUMENTS), b"junk", "d")
    found = await find(pipeline)
    assert [letter.key for letter in found][-1] == "d"
    assert states(await find(pipeline, Filter(topics=frozenset({"rag.documents"})))) == {"d": "open"}
    assert states(await find(pipeline, Filter(codes=frozenset({"broken_b"})))) == {"b": "open"}
    assert states(await find(pipeline, Filter(since=between))) == {"d": "open"}
    assert set(states(await find(pipeline, Filter(until=between)))) == {"a", "b"}
    assert await find(pipeline, Filter(stages=frozenset({"unknown"}))) == []


async def test_an_old_deadline_does_not_end_a_redriven_request(pipeline: Pipeline) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=3)
    await pipeline.produce(QUERIES, b'{"question": "q"}', "r", Headers(deadline_at=soon))
    async with pipeline.running(Stage()):
        await pipeline.read_count(dead_letters(QUERIES), 1)
    await asyncio.sleep((soon - datetime.now(UTC)).total_seconds())
    await redrive(pipeline)
    async with pipeline.running(Stage(mended=True)):
        records = await pipeline.read_count(ANSWERS, 2)
    assert endings(records) == [("r", RequestFailed.TYPE, 0), ("r", Answered.TYPE, 1)]


async def test_missing_topics_and_servers_are_said_in_one_sentence(pipeline: Pipeline) -> None:
    specs = [spec for spec in all_topics() if spec is not DEAD_LETTERS_AUDIT]
    async with make_pipeline(pipeline.kafka.bootstrap_servers, specs, partitions=1) as without:
        with pytest.raises(DeadLettersError, match=r"dead-letters\.audit is missing; create the topics"):
            await redrive(without)
    nowhere = pipeline.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(DeadLettersError, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        async with DeadLetters(nowhere, Namespace()):
            pass


def ragline(pipeline: Pipeline, *arguments: str) -> Result:
    settings = Settings(kafka=pipeline.kafka, namespace=pipeline.names.prefix)
    return CliRunner().invoke(app, arguments, obj=Context(settings, None))


async def test_the_commands(kafka_bootstrap: str) -> None:
    async with make_pipeline(kafka_bootstrap) as pipeline:
        await fail_all(pipeline, "r")
        await put_letters(pipeline, 1)

        async def run(*arguments: str) -> str:
            result = await asyncio.to_thread(ragline, pipeline, *arguments)
            assert result.exit_code == 0, result.output
            return result.stdout

        listed = [orjson.loads(line) for line in (await run("list", "--json")).splitlines()]
        assert [(letter["key"], letter["state"]) for letter in listed] == [("r", "open"), ("r0", "open")]
        assert await run("show", listed[0]["id"], "--raw") == '{"question":"r"}'
        assert "broken_r: It is broken." in await run("show", "r")
        assert "1 would be redriven" in await run("redrive", "--id", "r", "--dry-run")
        assert states(await find(pipeline)) == {"r": "open", "r0": "open"}
        assert await run("redrive", "--id", "r", "--by", "ana") == "redriven 1\n"
        assert await run("drop", "--all", "--reason", "a test") == "dropped 1\n"
        table = await run("list")
        assert [line.split()[-2:] for line in table.splitlines()[1:]] == [["redriven", "r"], ["dropped", "r0"]]
        unknown = await asyncio.to_thread(ragline, pipeline, "show", "unknown")
        assert (unknown.exit_code, "there is no dead letter unknown" in unknown.stderr) == (1, True)
