"""``python -m bench.replay``: replays recorded requests with the echo engine, against the live pipeline's own speed.

The live pipeline is prompt, generation and projector, one process each, with an upstream that produces and one that
reads answers; a replay is the command, with its own workers. The last line on standard output is one JSON object.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import psutil
from aiokafka import AIOKafkaProducer

from backends.kafka import KafkaSettings
from bench.broker import free_port, running_broker, running_valkey
from bench.figures import paired_ratio, rounded
from bench.hops_process import ROOT, child_process, until_ready
from bench.hops_records import Sink, first_append_ms, reading
from bench.replay_load import keys, produce
from bench.report import say
from infra.local.probes import http_ok
from replay.run_folder.reader import Run
from replay.run_folder.rows import AnswerRow
from topics.admin import apply_topics, describe_topics
from topics.names import Namespace
from topics.settings import TopicSettings
from topics.specs import ANSWERS, PASSAGES_RETRIEVED

LIVE = ("prompt", "generation", "projector")
_PARTITIONS = 6
_TIMEOUT_S = 1_800.0
_LOOK_S = 0.5
_MIB = 1024 * 1024
# After this share of the requests, memory counts.
_WARM = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests, how often the live pipeline and a replay take turns, and how the replay that is killed goes."""

    requests: int
    repetitions: int
    killed: tuple[str, ...] = ()


FULL = Plan(100_000, 2)
# Slowly enough to be killed in the middle.
SHORT = Plan(600, 1, ("--rate", "100"))


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one replay came to. ``lost`` and ``repeated`` are of the run's folder."""

    rate: float
    rss_mb_growth: float
    lost: int
    repeated: int


class Bench:
    """Pipelines on one broker; ``folder`` takes the runs."""

    def __init__(self, kafka: KafkaSettings, redis_url: str, folder: Path, plan: Plan) -> None:
        self._kafka = kafka
        self._redis_url = redis_url
        self._folder = folder
        self._plan = plan

    async def measure(self) -> dict[str, float]:
        """All figures."""
        live, replays = [], []
        for number in range(self._plan.repetitions):
            names = Namespace(f"bench{number}")
            live.append(await self._live(names))
            say(f"live: {live[-1]:.0f} requests a second")
            replays.append(await self._replay(names, "plain"))
            say(f"replay: {replays[-1]}")
        killed = await self._replay(names, "killed", kills=2)
        say(f"killed and gone on with twice: {killed}")
        return {
            "replay_ratio": paired_ratio([replayed.rate for replayed in replays], live),
            "live_per_s": live[-1],
            "replay_per_s": replays[-1].rate,
            "rss_mb_growth": max(replayed.rss_mb_growth for replayed in replays),
            "lost": sum(replayed.lost for replayed in (*replays, killed)),
            "repeated": sum(replayed.repeated for replayed in (*replays, killed)),
        }

    async def _live(self, names: Namespace) -> float:
        """Requests a second, from the first record in the source to the last answer."""
        await apply_topics(self._kafka, TopicSettings(partitions=_PARTITIONS), names)
        producer = AIOKafkaProducer(**self._kafka.client_options(), enable_idempotence=True)
        await producer.start()
        source = names.topic(PASSAGES_RETRIEVED)
        try:
            async with contextlib.AsyncExitStack() as stack:
                for stage in LIVE:
                    await stack.enter_async_context(self._worker(names, stage))
                sink = await stack.enter_async_context(reading(self._kafka, names.topic(ANSWERS), _PARTITIONS))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(produce(producer, source, keys(self._plan.requests)))
                    await sink.wait_for(self._plan.requests, _TIMEOUT_S)
        finally:
            await producer.stop()
        return await self._rate(names, sink)

    async def _replay(self, names: Namespace, run: str, kills: int = 0) -> Replayed:
        own = Namespace(f"{names.prefix}-replay-{run}")
        count = self._plan.requests
        grown = 0.0
        for kill in range(kills + 1):
            until = count * (kill + 1) // (kills + 1) if kill < kills else count
            command = ("replay", "--from", PASSAGES_RETRIEVED.name, "--run", run, *(self._plan.killed if kills else ()))
            async with self._command(names, *command) as process:
                grown = await self._watch(process, own, until)
                if kill < kills:
                    process.send_signal(signal.SIGKILL)
                status = await asyncio.wait_for(process.wait(), _TIMEOUT_S)
            if status != (-signal.SIGKILL if kill < kills else 0):
                raise RuntimeError(f"the replay ended with status {status}")
        async with reading(self._kafka, own.topic(ANSWERS), _PARTITIONS) as sink:
            await sink.wait_for(count, _TIMEOUT_S)
            rate = await self._rate(own, sink)
        answers = [
            row.request_id for row in Run(self._folder / names.prefix / run).rows(AnswerRow, ("text", "sources"))
        ]
        lost = len(set(keys(count)) - set(answers))
        async with self._command(names, "runs", "delete", run) as process:
            await asyncio.wait_for(process.wait(), _TIMEOUT_S)
        return Replayed(rate, grown, lost, len(answers) - len(set(answers)))

    async def _watch(self, process: asyncio.subprocess.Process, own: Namespace, until: int) -> float:
        """Wait until so many have been answered, or it has ended; gives how far its memory grew at most, in MiB."""
        usage = psutil.Process(process.pid)
        warm_mb = most_mb = 0.0
        deadline = time.monotonic() + _TIMEOUT_S
        async with contextlib.AsyncExitStack() as stack:
            sink: Sink | None = None
            while process.returncode is None and (
                until == self._plan.requests or sink is None or len(sink.arrived) < until
            ):
                if time.monotonic() > deadline:
                    raise TimeoutError("the replay did not end")
                if sink is None and await self._is_there(own):
                    sink = await stack.enter_async_context(reading(self._kafka, own.topic(ANSWERS), _PARTITIONS))
                with contextlib.suppress(TimeoutError):
                    await sink.wait_for(self._plan.requests + 1, _LOOK_S) if sink else await asyncio.sleep(_LOOK_S)
                if sink and len(sink.arrived) >= _WARM * self._plan.requests:
                    with contextlib.suppress(psutil.Error):
                        most_mb = max(most_mb, usage.memory_info().rss / _MIB)
                        warm_mb = warm_mb or most_mb
        return most_mb - warm_mb

    async def _is_there(self, own: Namespace) -> bool:
        return bool(await describe_topics(self._kafka, own, specs=[ANSWERS]))

    async def _rate(self, names: Namespace, sink: Sink) -> float:
        first_ms = await first_append_ms(self._kafka, names.topic(PASSAGES_RETRIEVED), _PARTITIONS)
        return self._plan.requests * 1000 / (sink.last_ms - first_ms)

    @contextlib.asynccontextmanager
    async def _worker(self, names: Namespace, stage: str) -> AsyncIterator[None]:
        port = free_port()
        environment = self._environment(names) | {"RAGLINE_RUNTIME__HTTP_PORT": str(port)}
        argv = [sys.executable, "-m", "ragline", "worker", stage]
        async with child_process(argv, asyncio.subprocess.DEVNULL, env=environment) as process:
            await until_ready(process, http_ok("127.0.0.1", port, "/readyz"), f"the worker of {stage}", _TIMEOUT_S)
            yield

    @contextlib.asynccontextmanager
    async def _command(self, names: Namespace, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        argv = [sys.executable, "-m", "ragline", *arguments]
        async with child_process(argv, asyncio.subprocess.DEVNULL, env=self._environment(names)) as process:
            yield process

    def _environment(self, names: Namespace) -> dict[str, str]:
        return {
            **os.environ,
            "RAGLINE_NAMESPACE": names.prefix,
            "RAGLINE_KAFKA__BOOTSTRAP_SERVERS": self._kafka.bootstrap_servers,
            "RAGLINE_REDIS__URL": self._redis_url,
            "RAGLINE_ENGINE__KIND": "echo",
            "RAGLINE_REPLAY__RUNS_FOLDER": str(self._folder / names.prefix),
            "RAGLINE_LOG_LEVEL": "error",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }


async def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.replay", description="How fast and how safely requests are replayed.")
    parser.add_argument("--short", action="store_true", help="few requests, to see that everything runs")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with TemporaryDirectory(prefix="ragline-bench-") as folder:
        async with running_broker(ROOT / ".ragline", say) as kafka, running_valkey() as redis_url:
            bench = Bench(kafka, redis_url, Path(folder), SHORT if options.short else FULL)
            figures = await bench.measure()
    print(orjson.dumps(rounded(figures)).decode())


if __name__ == "__main__":
    asyncio.run(main())
