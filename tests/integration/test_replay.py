"""Recorded requests are answered again beside production, with the echo engine; production is as it was before."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from infra.local import child
from infra.local.report import LocalStackError
from ragline import replaying
from ragline.replaying import Order, prepare
from ragline.settings import SettingsError
from replay.errors import ReplayError
from replay.overrides import parse
from replay.planning import Asked
from replay.run_folder.errors import RunError
from replay.run_folder.reader import Run
from replay.run_folder.rows import AnswerRow, PassageRow, RequestRow, StampRow
from schemas import codec
from schemas.headers import Headers
from tests.fixtures import replay_process
from tests.fixtures.pipeline import eventually, read_topic
from tests.fixtures.production import LATE, REQUESTS, Production, echoing, retrieved
from topics.specs import ANSWERS, PASSAGES_RETRIEVED, PROMPTS_BUILT
from workers.template import TEMPLATES_PATH

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
COMMAND_TIMEOUT_S = 120
FROM = PASSAGES_RETRIEVED.name


def order(run: str, *changes: str, **asked: Any) -> Order:
    words = {"set": list(changes)}
    return Order(run, Asked(**({"topic": FROM} | asked), overrides=parse(changes), words=words), local=False)


async def replayed(
    production: Production, wanted: Order, monkeypatch: pytest.MonkeyPatch, templates: Path = TEMPLATES_PATH
) -> dict[str, Any]:
    """Replay with stages in this process; gives the summary."""

    def workers(*_: object) -> Any:
        return echoing(production.of_run(wanted.run), production.redis_url, templates)

    monkeypatch.setattr(replaying, "workers_of", workers)
    prepared = await prepare(production.settings, wanted)
    summary: dict[str, Any] = await replaying.replay(
        production.settings, None, wanted, prepared, lambda _: None, lambda _: None
    )
    return summary


async def test_with_nothing_changed_the_same_is_said_and_production_stays_as_it_was(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await production.state()
    summary = await replayed(production, order("same"), monkeypatch)
    assert summary == {
        "requests": REQUESTS + 1,
        "states": {"answered": REQUESTS + 1},
        "agreement": {
            PROMPTS_BUILT.name: {"same": REQUESTS - 1, "different": 0, "unmatched": 1},
            ANSWERS.name: {"same": REQUESTS, "different": 0, "unmatched": 1},
        },
    }
    assert await production.state() == before

    run = Run(production.runs / "same")
    requests = {row.request_id: row for row in run.rows(RequestRow)}
    assert requests.keys() == {LATE, *(f"r{number}" for number in range(REQUESTS))}
    assert requests["r7"].question == "What is 7?"
    assert {row.partition for row in requests.values()} == {0, 1}
    assert run.count(PassageRow) == REQUESTS
    assert {row.request_id: row.state for row in run.rows(AnswerRow)} == dict.fromkeys(requests, "answered")
    assert {row.stage for row in run.rows(StampRow) if row.request_id == "r7"} == {"retrieval", "prompt", "generation"}


async def test_a_changed_template_and_option_change_prompts_and_answers_of_the_run_alone(
    production: Production, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "{% block system %}{% endblock %}{% block user %}Say: {{ question }}{% endblock %}"
    (tmp_path / "brief.j2").write_text(text)
    before = await production.state()
    changes = (f"prompt.templates_path={tmp_path}", "query.template=brief", "query.max_tokens=3")
    wanted = order("brief", *changes, ids=frozenset({"r0", "r7", "r8", "elsewhere"}))
    summary = await replayed(production, wanted, monkeypatch, tmp_path)
    assert summary["agreement"][PROMPTS_BUILT.name] == {"same": 0, "different": 2, "unmatched": 0}
    # Nothing was found for r0, whatever the template.
    assert summary["agreement"][ANSWERS.name] == {"same": 1, "different": 2, "unmatched": 0}
    run = Run(production.runs / "brief")
    assert {row.request_id: row.text for row in run.rows(AnswerRow)}["r7"] == "Say: What is"
    assert await production.state() == before


async def test_one_that_is_killed_goes_on_with_the_same_command(production: Production, tmp_path: Path) -> None:
    of_run = production.of_run("killed")

    def start(rate: str) -> Any:
        log = tmp_path / "log"
        return started(replay_process.__file__, "killed", rate, environment=production.environment, log=log)

    async def some_are_answered() -> bool:
        with contextlib.suppress(AssertionError):
            return len(await read_topic(of_run.kafka, of_run.names.topic(ANSWERS))) >= 3
        return False

    # Slowly enough to be killed in the middle, however slow the machine is.
    with start("2") as process:
        await eventually(some_are_answered)
        with pytest.raises(RunError, match="another process writes"):
            await replaying.replay(
                production.settings,
                None,
                order("killed"),
                await prepare(production.settings, Order("killed", Asked(FROM))),
                lambda _: None,
                lambda _: None,
            )
        process.kill()
        process.wait()
    assert 0 < len(await read_topic(of_run.kafka, of_run.names.topic(ANSWERS))) < REQUESTS
    with start("1000") as process:
        assert await asyncio.to_thread(process.wait, COMMAND_TIMEOUT_S) == 0, (tmp_path / "log").read_text()[-2000:]
    sent = await read_topic(of_run.kafka, of_run.names.topic(PASSAGES_RETRIEVED))
    assert len(sent) == len({record.key for record in sent}) == REQUESTS + 1
    run = Run(production.runs / "killed")
    answers = [row.request_id for row in run.rows(AnswerRow)]
    assert len(answers) == len(set(answers)) == run.count(RequestRow) == REQUESTS + 1


@contextlib.contextmanager
def started(*arguments: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            child.command([sys.executable, *arguments]),
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.models
async def test_the_command_replays_with_workers_of_its_own_and_leaves_nothing_when_deleted(
    production: Production, engine_folder: Path, tmp_path: Path
) -> None:
    before = await production.state()
    environment = production.environment | {"RAGLINE_ENGINE__PATH": str(engine_folder)}

    async def ragline(*arguments: str) -> str:
        log = tmp_path / f"{arguments[0]}.log"
        with started("-m", "ragline", *arguments, environment=environment, log=log) as process:
            status = await asyncio.to_thread(process.wait, COMMAND_TIMEOUT_S)
        said = log.read_text()
        assert status == 0, said
        return said

    said = await ragline("replay", "--from", FROM, "--run", "whole", "--sample", "5", "--seed", "3", "--json")
    assert orjson.loads(said.splitlines()[-1])["states"] == {"answered": 5}
    assert all(await production.left_of("whole"))
    await ragline("runs", "delete", "whole")
    assert await production.left_of("whole") == ([], [], [])
    assert not (production.runs / "whole").exists()
    assert await production.state() == before


async def test_what_production_answered_is_recorded_as_a_run(production: Production) -> None:
    export = await replaying.record(production.settings, "original", Asked(FROM))
    assert (export.requests, export.endings) == (REQUESTS + 1, REQUESTS)
    answers = {row.request_id: row.text for row in Run(production.runs / "original").rows(AnswerRow)}
    assert len(answers) == REQUESTS
    with pytest.raises(RunError, match="there is a run original already"):
        await replaying.record(production.settings, "original", Asked(FROM))


async def test_what_cannot_be_replayed_is_told_in_a_sentence_and_leaves_nothing(production: Production) -> None:
    settings = production.settings
    for wanted, problem in (
        (order("r", topic="rag.queries"), "rag.queries is empty"),
        (order("r", since_ms=4_000_000_000_000), "has no record in the range"),
        (order("r", offsets="0:100-200"), "has no record in the range"),
        (order("r", offsets="7:0-"), "has no partition 7"),
        (order("r", ids=frozenset({"elsewhere"})), "none of the 1 request IDs"),
        (order("r", "prompt.templat=x"), "there is no setting prompt.templat"),
        (order("a-name-that-is-longer-than-sixty-four-characters-with-its-prefix"), "the run's name has"),
    ):
        with pytest.raises(ReplayError, match=problem):
            await prepare(settings, wanted)
    with pytest.raises(SettingsError, match=r"query.template is 'gone'"):
        await prepare(settings, order("r", "query.template=gone"))
    assert not production.runs.exists()
    assert await production.left_of("r") == ([], [], [])


async def test_a_replay_whose_workers_do_not_start_leaves_nothing(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def broken(*_: object) -> AsyncIterator[None]:
        assert (production.runs / "broken").is_dir()
        raise LocalStackError("prompt does not start")
        yield

    monkeypatch.setattr(replaying, "workers_of", broken)
    wanted = order("broken")
    prepared = await prepare(production.settings, wanted)
    with pytest.raises(LocalStackError, match="prompt does not start"):
        await replaying.replay(production.settings, None, wanted, prepared, lambda _: None, lambda _: None)
    assert not (production.runs / "broken").exists()
    assert await production.left_of("broken") == ([], [], [])


async def test_a_run_can_be_gone_on_with_by_the_same_options_alone(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def idle(*_: object) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(replaying, "workers_of", idle)
    wanted = replace(order("stalled"), stalled_s=0.5)
    prepared = await prepare(production.settings, wanted)
    with pytest.raises(ReplayError, match=r"no request has ended for 0\.5 s, 41 are under way"):
        await replaying.replay(production.settings, None, wanted, prepared, lambda _: None, lambda _: None)
    with pytest.raises(ReplayError, match="begun with other options and not complete"):
        await prepare(production.settings, order("stalled", "query.max_tokens=3"))
    assert (await replayed(production, wanted, monkeypatch))["states"] == {"answered": REQUESTS + 1}
    with pytest.raises(RunError, match="there is a run stalled already"):
        await prepare(production.settings, wanted)


async def test_a_topic_that_retention_has_partly_deleted_is_told_of(production: Production) -> None:
    pipeline = production.pipeline
    topic = pipeline.names.topic(PASSAGES_RETRIEVED)
    admin = AIOKafkaAdminClient(**pipeline.kafka.client_options())
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=3)})
    finally:
        await admin.close()
    with pytest.raises(ReplayError, match=r"before offset 3 of partition 0 .kept from 20.*ask for 0:3-"):
        await prepare(production.settings, order("r", offsets="0:0-9"))
    with pytest.raises(ReplayError, match="say --since 20"):
        await prepare(production.settings, order("r", since_ms=1))
    prepared = await prepare(production.settings, order("r"))
    assert prepared.plan.spans[0].first == 3
    assert prepared.plan.whole_from_ms is not None


async def test_aborted_records_and_holes_are_passed_over(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = production.pipeline
    topic = pipeline.names.topic(PASSAGES_RETRIEVED)
    producer = AIOKafkaProducer(**pipeline.kafka.client_options(), transactional_id=pipeline.names.of("aborts"))
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"never", key=b"aborted", headers=Headers(id="a").encode())
        await producer.abort_transaction()
        async with producer.transaction():
            # Known already: it was said twice.
            await producer.send_and_wait(topic, b"twice", key=b"r7", headers=Headers(id="b").encode())
    finally:
        await producer.stop()
    summary = await replayed(production, order("holes"), monkeypatch)
    assert (summary["requests"], summary["states"]) == (REQUESTS + 1, {"answered": REQUESTS + 1})


async def test_a_record_without_what_later_versions_added_is_replayed(
    production: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = retrieved("old", 7, datetime.now(UTC))
    value = event.model_dump_json(exclude_defaults=True).encode()
    assert len(value) < len(codec.encode(event))
    await production.pipeline.produce(PASSAGES_RETRIEVED, value, "old", Headers(id="old", type=event.TYPE))
    summary = await replayed(production, order("older", ids=frozenset({"old"})), monkeypatch)
    assert summary["states"] == {"answered": 1}
    (request,) = Run(production.runs / "older").rows(RequestRow)
    assert request.question == "What is 7?"
