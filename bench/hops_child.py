"""The process under measurement: all stages of one run. Takes ``HopsOptions`` as JSON.

It writes ``ready`` when every stage but the first has its partitions, begins the first on a line from its standard
input, and ends when that is closed.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeAlias

from backends.kafka import KafkaSettings
from bench.child_input import standard_input
from bench.hops_echo import Echo
from bench.hops_options import HopsOptions
from bench.hops_raw import RawHop
from topics.names import Namespace
from workers.runtime import logs
from workers.runtime.settings import RuntimeSettings
from workers.runtime.worker import Worker

RunningStage: TypeAlias = Callable[[asyncio.TaskGroup, HopsOptions, int], AbstractAsyncContextManager[None]]
_LOOK_S = 0.01


async def run(options: HopsOptions) -> None:
    """Run until standard input is closed, or a stage fails."""
    running = _STAGES[options.kind]
    lines = await standard_input()
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        for number in reversed(range(options.stages)):
            if number == 0:
                print("ready", flush=True)
                await lines.readline()
            await stack.enter_async_context(running(group, options, number))
        await lines.read()


@contextlib.asynccontextmanager
async def _raw_stage(group: asyncio.TaskGroup, options: HopsOptions, number: int) -> AsyncIterator[None]:
    async with RawHop(options, number) as hop:
        task = group.create_task(hop.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


@contextlib.asynccontextmanager
async def _ragline_stage(group: asyncio.TaskGroup, options: HopsOptions, number: int) -> AsyncIterator[None]:
    worker = Worker(
        Echo(number, options.slow_ms),
        KafkaSettings(bootstrap_servers=options.bootstrap_servers),
        Namespace(options.namespace),
        RuntimeSettings(guarantee=options.guarantee),
    )
    stop = asyncio.Event()
    task = group.create_task(worker.run(stop))
    try:
        while not worker.status()["ready"]:  # noqa: ASYNC110 - the worker offers no event
            await asyncio.sleep(_LOOK_S)
        yield
    finally:
        stop.set()
        await asyncio.wait({task})


_STAGES: dict[str, RunningStage] = {"raw": _raw_stage, "ragline": _ragline_stage}

if __name__ == "__main__":
    logs.configure("json", "WARNING")
    # It complains until a new broker has made its own topics; what does not work shows in the run.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    asyncio.run(run(HopsOptions.model_validate_json(sys.argv[1])))
