"""``python -m bench.bridge``: many websockets on one bridge, whole and cut again and again.

Valkey, the bridge, the source of the tokens and the clients are each a process. The last line on standard output is one
JSON object.
"""

import argparse
import asyncio
import gc
import random
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import psutil
import uvloop

from bench.bridge_clients import Client, Seen, connect
from bench.bridge_source import SourceOptions, request_name
from bench.broker import running_valkey
from bench.figures import percentile, rounded
from bench.hops_process import child_process
from bench.report import say

_MIB = 1024 * 1024
_CONNECTING = 100
_END_TIMEOUT_S = 60
_CUT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything; ``cut_share`` of the streaming websockets is cut every second."""

    idle: int = 5_000
    streaming: int = 500
    tokens_per_s: int = 20
    seconds: float = 30
    cut_share: float = 0.1


SHORT = Plan(idle=50, streaming=20, seconds=3)


async def measure(plan: Plan, cut_share: float, prefix: str = "") -> dict[str, float]:
    """One run on a bridge and a Valkey of its own."""
    async with running_valkey() as url, _bridge(url) as (address, process):
        idle = await _connect_all(address, plan.idle)
        rss_idle = process.memory_info().rss
        say(f"{plan.idle} idle websockets: {rss_idle / _MIB:.0f} MB")
        source = SourceOptions(url=url, requests=plan.streaming, tokens_per_s=plan.tokens_per_s, seconds=plan.seconds)
        seen = [Seen() for _ in range(plan.streaming)]
        async with asyncio.TaskGroup() as tasks, _source(source) as (inputs, outputs):
            following = [
                tasks.create_task(_follow(address, request_name(number), each, cut_share))
                for number, each in enumerate(seen)
            ]
            async with asyncio.timeout(_END_TIMEOUT_S):
                await asyncio.gather(*(each.begun.wait() for each in seen))
            cpu_before = _cpu_s(process)
            inputs.write(b"go\n")
            late_s = orjson.loads(await outputs.readline())["late_s"]
            _, late = await asyncio.wait(following, timeout=_END_TIMEOUT_S)
            if late:
                raise RuntimeError(f"{len(late)} requests did not end within {_END_TIMEOUT_S} s of their last token")
            cuts = sum(task.result() for task in following)
        for client in idle:
            client.cut()
        lags = [lag for each in seen for lag in each.lags_ms]
        expected = plan.streaming * source.tokens
        got = sum(each.next_token - each.lost for each in seen)
        say(f"{got} of {expected} tokens, {cuts} cuts; the source was {late_s * 1000:.0f} ms late")
        return {
            f"{prefix}lag_p50_ms": percentile(lags, 0.5),
            f"{prefix}lag_p99_ms": percentile(lags, 0.99),
            f"{prefix}lost": expected - got,
            f"{prefix}repeated": sum(each.repeated for each in seen),
            f"{prefix}rss_mb": process.memory_info().rss / _MIB,
            f"{prefix}cpu_s": _cpu_s(process) - cpu_before,
            f"{prefix}cuts": cuts,
        }


async def _follow(address: str, request_id: str, seen: Seen, cut_share: float) -> int:
    """Follow a request to its end; gives how often the connection was cut."""
    cuts = 0
    while not seen.ended:
        client = await connect(address, request_id, seen)
        while not seen.ended and not client.closed.is_set():
            try:
                async with asyncio.timeout(_CUT_EVERY_S * random.uniform(0.9, 1.1)):  # noqa: S311 - spreads the cuts
                    await client.closed.wait()
            except TimeoutError:
                if random.random() < cut_share and not seen.ended:  # noqa: S311
                    client.cut()
                    cuts += 1
        client.cut()
        await client.closed.wait()
    return cuts


async def _connect_all(address: str, count: int) -> list[Client]:
    room = asyncio.Semaphore(_CONNECTING)

    async def one() -> Client:
        async with room:
            return await connect(address)

    return await asyncio.gather(*(one() for _ in range(count)))


@asynccontextmanager
async def _bridge(url: str) -> AsyncIterator[tuple[str, psutil.Process]]:
    async with child_process([sys.executable, "-m", "bench.bridge_child", url]) as process:
        assert process.stdin  # noqa: S101 - piped
        assert process.stdout  # noqa: S101
        address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise RuntimeError("the bridge did not start")
        yield address, psutil.Process(process.pid)
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _END_TIMEOUT_S)


@asynccontextmanager
async def _source(options: SourceOptions) -> AsyncIterator[tuple[asyncio.StreamWriter, asyncio.StreamReader]]:
    async with child_process([sys.executable, "-m", "bench.bridge_source", options.model_dump_json()]) as process:
        assert process.stdin  # noqa: S101 - piped
        assert process.stdout  # noqa: S101
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the source of the tokens did not start")
        yield process.stdin, process.stdout


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.bridge", description="Many websockets on one bridge.")
    parser.add_argument("--short", action="store_true", help="few and for seconds, to see that everything runs")
    options = parser.parse_args()
    # Its pauses would count as the bridge's.
    gc.disable()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    plan = SHORT if options.short else Plan()
    figures = await measure(plan, 0.0)
    figures |= await measure(plan, plan.cut_share, "cut_")
    print(orjson.dumps(rounded(figures)).decode())


if __name__ == "__main__":
    uvloop.run(main())
