"""``python -m bench.ttft``: what the way through Kafka, Redis and the bridge adds to the first token.

The engine runs once, in a process of its own, and is driven directly and by a generation worker in turn, with prompts
of the same length that have nothing in common. The last line on standard output is one JSON object.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median

import orjson
from pydantic import BaseModel

from bench.broker import free_port, running_broker, running_milvus, running_valkey
from bench.figures import paired_ratio, percentile, rounded
from bench.hops_process import ROOT, child_process, until_ready
from bench.report import say
from bench.stages_process import StageOptions
from bench.ttft_client import Clients, Speed, Way
from bench.ttft_corpus import QUESTIONS, fill
from bench.ttft_options import ChildOptions, Direct, names_of
from infra.local.models import engine_path
from infra.local.probes import http_ok
from topics.admin import apply_topics
from topics.names import Namespace
from topics.settings import TopicSettings

_GUARANTEES = {"alo": "at_least_once", "eos": "exactly_once"}
_WHOLE = ("query", "embedding", "retrieval", "prompt", "projector")
_READY_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Plan:
    """Answers of a block by how many run at a time, blocks, and tokens, to the first token; the same of the
    throughput; questions of the whole way.
    """

    ttft: dict[int, int]
    ttft_blocks: int
    ttft_tokens: int
    full_concurrent: int
    full_count: int
    full_tokens: int
    repetitions: int
    questions: int


FULL = Plan({1: 13, 8: 72}, 10, 12, 32, 96, 32, 7, 20)
SHORT = Plan({1: 3, 8: 16}, 2, 6, 32, 32, 16, 1, 4)


class EngineProcess:
    """The engine's process, as this one speaks to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin  # noqa: S101 - piped
        assert process.stdout  # noqa: S101
        self._in, self._out = process.stdin, process.stdout

    async def direct(self, label: str, count: int, concurrent: int, mean_tokens: int) -> Speed:
        """Have it generate without the pipeline."""
        order = Direct(label=label, count=count, concurrent=concurrent, mean_tokens=mean_tokens)
        self._in.write(order.model_dump_json().encode() + b"\n")
        answer = orjson.loads(await self._out.readline())
        return Speed(answer["ttft_ms"], answer["tokens_per_s"])


async def measure(plan: Plan, engine: str) -> dict[str, float]:
    """All figures."""
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(running_broker(ROOT / ".ragline", say))
        redis_url = await stack.enter_async_context(running_valkey())
        milvus_uri = await stack.enter_async_context(running_milvus())
        options = ChildOptions(
            bootstrap_servers=kafka.bootstrap_servers,
            redis_url=redis_url,
            engine=engine,
            engine_path=str(engine_path(ROOT / ".ragline")) if engine == "vllm" else "",
        )
        for guarantee in _GUARANTEES.values():
            await apply_topics(kafka, TopicSettings(partitions=2), names_of(guarantee))
        say("loading the embedder and the engine")
        await fill(milvus_uri)
        process = await stack.enter_async_context(_ready_child("bench.ttft_engine", options))
        figures: dict[str, float] = {}
        for name, guarantee in _GUARANTEES.items():
            # The whole way does not depend on it; once is enough.
            stages = StageOptions(
                stages=_WHOLE if name == "alo" else ("projector",),
                settings={
                    "namespace": names_of(guarantee).prefix,
                    "kafka": {"bootstrap_servers": kafka.bootstrap_servers},
                    "redis": {"url": redis_url},
                    "milvus": {"uri": milvus_uri},
                    "runtime": {"guarantee": guarantee},
                },
            )
            async with (
                _ready_child("bench.stages_child", stages),
                _bridge(options, names_of(guarantee)) as bridge,
                Clients(kafka, redis_url, names_of(guarantee), bridge) as clients,
            ):
                figures |= await _against(EngineProcess(process), clients, plan, name)
                if name == "alo":
                    figures |= _of_whole_way(await clients.questions(QUESTIONS[: plan.questions]))
        # The worst holds.
        figures["throughput_ratio"] = min(figures[f"{name}_throughput_ratio"] for name in _GUARANTEES)
        for share in ("p50", "p95"):
            added = [value for name, value in figures.items() if f"_added_ttft_{share}_ms_" in name]
            figures[f"added_ttft_{share}_ms"] = max(added)
        return figures


async def _against(engine: EngineProcess, clients: Clients, plan: Plan, name: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    # What is slow for the first time, in either.
    await engine.direct(f"{name}-warm-direct", 2, 2, 4)
    await clients.prompts(f"{name}-warm", 2, 2, 4)
    for concurrent, count in plan.ttft.items():
        direct, ours = Speed(), Speed()
        # In turns, every other one turned round, so that a machine that is slow for a while is slow for both.
        for block in range(plan.ttft_blocks):
            label = f"{name}-{concurrent}-{block}"
            order = (count, concurrent, plan.ttft_tokens)
            if block % 2:
                ours.ttft_ms += (await clients.prompts(f"{label}-ours", *order)).ttft_ms
                direct.ttft_ms += (await engine.direct(f"{label}-direct", *order)).ttft_ms
            else:
                direct.ttft_ms += (await engine.direct(f"{label}-direct", *order)).ttft_ms
                ours.ttft_ms += (await clients.prompts(f"{label}-ours", *order)).ttft_ms
        for share, part in (("p50", 0.5), ("p95", 0.95)):
            own, raw = percentile(ours.ttft_ms, part), percentile(direct.ttft_ms, part)
            figures[f"{name}_added_ttft_{share}_ms_{concurrent}"] = own - raw
            figures[f"{name}_direct_ttft_{share}_ms_{concurrent}"] = raw
            say(f"{name}, {concurrent} at a time: first token {share} {own:.1f} ms, direct {raw:.1f} ms")
    full = (plan.full_count, plan.full_concurrent, plan.full_tokens)
    rates: list[tuple[float, float]] = []
    for repetition in range(plan.repetitions):
        ours = await clients.prompts(f"{name}-full-{repetition}-ours", *full)
        direct = await engine.direct(f"{name}-full-{repetition}-direct", *full)
        rates.append((ours.tokens_per_s, direct.tokens_per_s))
        say(f"{name}, {plan.full_concurrent} at a time: {rates[-1][0]:.0f} tokens/s, direct {rates[-1][1]:.0f}")
    figures[f"{name}_throughput_ratio"] = paired_ratio(*zip(*rates, strict=True))
    return figures


def _of_whole_way(ways: list[Way]) -> dict[str, float]:
    figures = {"whole_ttft_p50_ms": median(way.whole_ms for way in ways)}
    for stage in ways[0].stages_ms:
        figures[f"whole_{stage}_ms"] = median(way.stages_ms.get(stage, 0.0) for way in ways)
    say(f"the whole way: {figures}")
    return figures


@asynccontextmanager
async def _ready_child(module: str, options: BaseModel) -> AsyncIterator[asyncio.subprocess.Process]:
    async with child_process([sys.executable, "-m", module, options.model_dump_json()]) as process:
        assert process.stdin  # noqa: S101 - piped
        assert process.stdout  # noqa: S101
        async with asyncio.timeout(_READY_TIMEOUT_S):
            if await process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"{module} did not become ready")
        yield process
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _READY_TIMEOUT_S)


@asynccontextmanager
async def _bridge(options: ChildOptions, names: Namespace) -> AsyncIterator[str]:
    """``ragline bridge``, as it is; gives its address."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    settings = {
        "RAGLINE_NAMESPACE": names.prefix,
        "RAGLINE_KAFKA__BOOTSTRAP_SERVERS": options.bootstrap_servers,
        "RAGLINE_REDIS__URL": options.redis_url,
        "RAGLINE_BRIDGE__PORT": str(port),
        "RAGLINE_LOG_LEVEL": "error",
    }
    argv = [sys.executable, "-m", "ragline", "bridge"]
    async with child_process(argv, env={**os.environ, **settings}) as process:
        await until_ready(process, http_ok("127.0.0.1", port, "/readyz"), "the bridge", _READY_TIMEOUT_S)
        yield address


async def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.ttft", description="What the pipeline adds to the first token.")
    parser.add_argument("--short", action="store_true", help="few answers, to see that everything runs")
    parser.add_argument("--engine", choices=("vllm", "echo"), default="vllm", help="echo needs no model")
    options = parser.parse_args()
    figures = await measure(SHORT if options.short else FULL, options.engine)
    print(orjson.dumps(rounded(figures)).decode())


if __name__ == "__main__":
    asyncio.run(main())
