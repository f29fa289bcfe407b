"""Recorded requests are answered again beside production, with the echo engine; production is as it was before."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from redis.asyncio import Redis

from backends.echo_engine import EchoEngine
from backends.engine import EngineSettings
from backends.live_view import LiveViewSettings
from backends.redis_live_view import RedisLiveView
from infra.local import child
from replay.run_folder.reader import Run
from replay.run_folder.rows import AnswerRow, PassageRow, RequestRow, StampRow
from schemas import codec
from schemas.events import Answered, PassagesRetrieved, QueryAccepted
from schemas.headers import Headers
from schemas.values import Passage, QueryOptions, Sampling
from tests.fixtures.pipeline import Pipeline, consumer, eventually, make_pipeline, read_topic
from topics.names import Namespace
from topics.specs import ANSWERS, PASSAGES_RETRIEVED, PROMPTS_BUILT, QUERIES
from workers.generation import GenerationStage
from workers.prompt import PromptStage
from workers.settings import GenerationSettings, PromptSettings
from workers.template import load_templates

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
REQUESTS = 40
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
COMMAND_TIMEOUT_S = 60


def retrieved(number: int) -> PassagesRetrieved:
    query = QueryAccepted(
        request_id=f"r{number}",
        tenant="default",
        question=f"What is {number}?",
        lane="interactive",
        asked_at=LONG_AGO,
        deadline_at=LONG_AGO + timedelta(minutes=10),
        options=QueryOptions(
            model="SmolLM2-135M-Instruct", top_k=1, min_score=0, template="default", sampling=Sampling(max_tokens=12)
        ),
    )
    passage = Passage(
        chunk_id=f"c{number}", document_id="d", title="Numbers", text=f"{number} is odd.", source="", ordinal=0, score=1
    )
    # Nothing is found for the first one: it is answered by the prompt stage.
    return PassagesRetrieved(
        query=query, collection="c", embedding_model="m", passages=(passage,) if number else ()
    )


class Production:
    """A pipeline that has answered some requests, and the command line on it."""

    def __init__(self, pipeline: Pipeline, redis_url: str, folder: Path) -> None:
        self.pipeline = pipeline
        self.redis_url = redis_url
        self.runs = folder / "runs"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAGLINE_NAMESPACE": pipeline.names.prefix,
            "RAGLINE_KAFKA__BOOTSTRAP_SERVERS": pipeline.kafka.bootstrap_servers,
            "RAGLINE_REDIS__URL": redis_url,
            "RAGLINE_ENGINE__KIND": "echo",
            "RAGLINE_REPLAY__RUNS_FOLDER": str(self.runs),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(  # noqa: S603 - our own command
            child.command([sys.executable, "-m", "ragline", *arguments]),
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command to its end; gives status, output and errors."""
        with contextlib.closing(_Ended(self.start(*arguments))) as started:
            import time;b=time.time()
            output, errors = await asyncio.to_thread(started.process.communicate, timeout=COMMAND_TIMEOUT_S);print('TIMED',arguments,time.time()-b,errors)
        return started.process.returncode, output, errors

    async def state(self) -> dict[str, Any]:
        """All that a replay must leave alone."""
        import time;b=time.time()
        prefix = self.pipeline.names.prefix
        admin = AIOKafkaAdminClient(**self.pipeline.kafka.client_options())
        await admin.start()
        try:
            topics = sorted(topic for topic in await admin.list_topics() if topic.startswith(f"{prefix}."))
            groups = sorted(group for group, *_ in await admin.list_consumer_groups() if group.startswith(f"{prefix}."))
            offsets = {group: await admin.list_consumer_group_offsets(group) for group in groups}
        finally:
            await admin.close()
        records = await self._records(topics)
        async with Redis.from_url(self.redis_url) as redis:
            keys = sorted([key async for key in redis.scan_iter(match=f"{prefix}.*")])
            streams = {key: await redis.xrange(key) for key in keys if key.endswith(b"entries")}
        print("STATE",time.time()-b)
        return {"records": records, "offsets": offsets, "keys": keys, "streams": streams}

    async def _records(self, topics: list[str]) -> list[tuple[str, int, int, bytes | None, bytes | None]]:
        """What topics hold, by one reader: for each new one it would wait a while."""
        async with consumer(self.pipeline.kafka, topics[0]) as reader:
            partitions = [TopicPartition(topic, number) for topic in topics for number in reader.partitions_for_topic(topic) or ()]
            reader.assign(partitions)
            found = []
            for tp, end in (await reader.end_offsets(partitions)).items():
                while await reader.position(tp) < end:
                    for batch in (await reader.getmany(timeout_ms=100)).values():
                        found += [(it.topic, it.partition, it.offset, it.key, it.value) for it in batch]
        return sorted(found, key=lambda record: record[:3])

    async def left_of(self, run: str) -> tuple[list[str], list[str], list[bytes]]:
        """Topics, groups and keys of a run."""
        prefix = f"{self.pipeline.names.prefix}-replay-{run}."
        admin = AIOKafkaAdminClient(**self.pipeline.kafka.client_options())
        await admin.start()
        try:
            topics = [topic for topic in await admin.list_topics() if topic.startswith(prefix)]
            groups = [group for group, *_ in await admin.list_consumer_groups() if group.startswith(prefix)]
        finally:
            await admin.close()
        async with Redis.from_url(self.redis_url) as redis:
            return topics, groups, [key async for key in redis.scan_iter(match=f"{prefix}*")]


class _Ended:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
async def production(kafka_bootstrap: str, redis_url: str, engine_folder: Path, tmp_path: Path) -> AsyncIterator[Production]:
    async with make_pipeline(kafka_bootstrap) as pipeline:
        templates = load_templates()
        from backends.tokenizer import ChatTokenizer  # noqa: PLC0415 - transformers' imports take seconds

        tokenizer = ChatTokenizer.load(str(engine_folder))
        live_view = RedisLiveView(LiveViewSettings(url=redis_url), pipeline.names)
        prompt = PromptStage(PromptSettings(), tokenizer, templates, EngineSettings().max_model_len)
        engine = EchoEngine(EngineSettings(kind="echo"))
        generation = GenerationStage(GenerationSettings(), engine, live_view)
        in_time = datetime.now(UTC) + timedelta(hours=1)
        async with pipeline.running(prompt), pipeline.running(generation):
            for number in range(REQUESTS):
                event = retrieved(number)
                event = event.model_copy(update={"query": event.query.model_copy(update={"deadline_at": in_time})})
                headers = Headers(id=f"e{number}", type=event.TYPE, subject=event.key, tenant="default")
                await pipeline.produce(PASSAGES_RETRIEVED, codec.encode(event), event.key, headers)
            await pipeline.read_count(ANSWERS, REQUESTS)
        yield Production(pipeline, redis_url, tmp_path)


async def test_a_replay_with_nothing_changed_says_the_same_and_touches_nothing(production: Production) -> None:
    before = await production.state()
    status, output, errors = await production.run(
        "replay", "--from", "rag.passages.retrieved", "--run", "same", "--json"
    )
    assert status == 0, errors
    summary = orjson.loads(output.splitlines()[-1])
    assert summary["requests"] == REQUESTS
    assert summary["states"] == {"answered": REQUESTS}
    assert summary["agreement"] == {
        PROMPTS_BUILT.name: {"same": REQUESTS - 1, "different": 0, "unmatched": 0},
        ANSWERS.name: {"same": REQUESTS, "different": 0, "unmatched": 0},
    }
    run = Run(production.runs / "same")
    requests = {row.request_id: row for row in run.rows(RequestRow)}
    assert len(requests) == run.count(RequestRow) == run.count(AnswerRow) == REQUESTS
    assert requests["r7"].question == "What is 7?"
    assert run.count(PassageRow) == REQUESTS - 1
    assert {row.stage for row in run.rows(StampRow)} == {"prompt", "generation"}
    assert await production.state() == before

    topics, groups, keys = await production.left_of("same")
    assert topics
    assert groups
    assert keys
    assert (await production.run("replay", "--from", "rag.passages.retrieved", "--run", "same"))[0] == 1
    status, output, errors = await production.run("runs", "delete", "same")
    assert status == 0, errors
    assert await production.left_of("same") == ([], [], [])
    assert not (production.runs / "same").exists()
    assert await production.state() == before


async def test_a_replay_that_is_killed_goes_on_with_the_same_command(production: Production, tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "default.j2").write_text("{% block system %}{% endblock %}{% block user %}Say: {{ question }}{% endblock %}")
    command = ("replay", "--from", "rag.passages.retrieved", "--run", "killed", "--json", "--rate", "20")
    command += ("--set", f"prompt.templates_path={templates}", "--set", "query.max_tokens=3")
    answers = Namespace(f"{production.pipeline.names.prefix}-replay-killed").topic(ANSWERS)

    async def some_are_answered() -> bool:
        with contextlib.suppress(AssertionError):
            return len(await read_topic(production.pipeline.kafka, answers)) >= REQUESTS // 4
        return False

    with contextlib.closing(_Ended(production.start(*command))) as started:
        await eventually(some_are_answered)
        started.process.kill()
        assert await asyncio.to_thread(started.process.wait) == -9
    assert 0 < len(await read_topic(production.pipeline.kafka, answers)) < REQUESTS

    status, output, errors = await production.run(*command)
    assert status == 0, errors
    summary = orjson.loads(output.splitlines()[-1])
    assert (summary["requests"], summary["states"]) == (REQUESTS, {"answered": REQUESTS})
    assert summary["agreement"][PROMPTS_BUILT.name] == {"same": 0, "different": REQUESTS - 1, "unmatched": 0}
    texts = {row.request_id: row.text for row in Run(production.runs / "killed").rows(AnswerRow)}
    assert len(texts) == REQUESTS
    assert texts["r7"] == "Say: What is"
