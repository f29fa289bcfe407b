"""Runs workers in a process under measurement."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.child_input import standard_input
from workers.runtime import logs
from workers.runtime.worker import Worker

_LOOK_S = 0.01


def be_silent() -> None:
    """Log errors only, and none of aiokafka's."""
    logs.configure("json", "ERROR")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@asynccontextmanager
async def serving(workers: Sequence[Worker]) -> AsyncIterator[asyncio.StreamReader]:
    """Run workers until the block ends, or one fails; gives standard input once all have their partitions and
    ``ready`` is written.
    """
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for worker in workers:
            tasks.create_task(worker.run(stop))
        while not all(worker.status()["ready"] for worker in workers):  # noqa: ASYNC110 - they offer no event
            await asyncio.sleep(_LOOK_S)
        print("ready", flush=True)
        yield await standard_input()
        stop.set()
