"""How fast questions are embedded and searched, one at a time and many at once."""

import asyncio
import time
from collections.abc import Mapping
from itertools import cycle, islice
from typing import TypeAlias

from bench.figures import percentile
from bench.retrieval_system import System
from schemas.events import QueryAccepted
from workers.runtime.stage import Delivery

_CONCURRENT = 64
_SINGLE = 100
_LOADED = 1_024
_WARM_UP = 8
_TOP_K = 5

Waiting: TypeAlias = tuple[Delivery[QueryAccepted], asyncio.Future[None]]


async def speed(system: System, questions: Mapping[str, str]) -> dict[str, object]:
    """Questions a second and their latency in milliseconds, in the default mode."""
    accepted = await system.accept(questions, top_k=_TOP_K)
    for one in accepted[:_WARM_UP]:
        await system.passages([one])
    single, single_qps = await _one_by_one(system, list(islice(cycle(accepted), _SINGLE)))
    loaded, loaded_qps = await _at_once(system, list(islice(cycle(accepted), _LOADED)))
    return {
        "qps_single": round(single_qps, 1),
        "qps_loaded": round(loaded_qps, 1),
        "qps_ratio": round(loaded_qps / single_qps, 2),
        "single_p50_ms": round(percentile(single, 0.5), 1),
        "single_p95_ms": round(percentile(single, 0.95), 1),
        "loaded_p50_ms": round(percentile(loaded, 0.5), 1),
        "loaded_p95_ms": round(percentile(loaded, 0.95), 1),
    }


async def _one_by_one(system: System, accepted: list[Delivery[QueryAccepted]]) -> tuple[list[float], float]:
    began = time.monotonic()
    latencies = []
    for one in accepted:
        start = time.monotonic()
        await system.passages([one])
        latencies.append((time.monotonic() - start) * 1000)
    return latencies, len(accepted) / (time.monotonic() - began)


async def _at_once(system: System, accepted: list[Delivery[QueryAccepted]]) -> tuple[list[float], float]:
    """Clients that each ask again when they have their answer; what waits becomes the next batch, as in a worker."""
    waiting: asyncio.Queue[Waiting] = asyncio.Queue()
    rest = iter(accepted)
    latencies: list[float] = []

    async def ask() -> None:
        for one in rest:
            answered = asyncio.get_running_loop().create_future()
            start = time.monotonic()
            waiting.put_nowait((one, answered))
            await answered
            latencies.append((time.monotonic() - start) * 1000)

    async def serve() -> None:
        while True:
            batch = [await waiting.get()]
            while not waiting.empty() and len(batch) < system.max_batch:
                batch.append(waiting.get_nowait())
            await system.passages([one for one, _ in batch])
            for _, answered in batch:
                answered.set_result(None)

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        server = tasks.create_task(serve())
        async with asyncio.TaskGroup() as clients:
            for _ in range(_CONCURRENT):
                clients.create_task(ask())
        server.cancel()
    return latencies, len(accepted) / (time.monotonic() - began)
