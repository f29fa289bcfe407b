"""Workers under measurement, in a process of their own. Takes ``StageOptions`` as JSON.

It writes ``ready`` when all have their partitions, and ends when its input is closed.
"""

import asyncio
import logging
import sys

from bench.child_input import standard_input
from bench.stages_process import StageOptions
from ragline.settings import Settings
from ragline.stages import build_stage
from workers.runtime import logs
from workers.runtime.worker import Worker

_LOOK_S = 0.01


async def run(options: StageOptions) -> None:
    """Serve until standard input is closed, or a worker fails."""
    settings = Settings.model_validate(options.settings)
    runtime = settings.runtime.model_copy(update={"http_port": 0})
    workers = [Worker(build_stage(name, settings), settings.kafka, settings.names, runtime) for name in options.stages]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for worker in workers:
            tasks.create_task(worker.run(stop))
        while not all(worker.status()["ready"] for worker in workers):  # noqa: ASYNC110 - they offer no event
            await asyncio.sleep(_LOOK_S)
        print("ready", flush=True)
        await (await standard_input()).read()
        stop.set()


if __name__ == "__main__":
    logs.configure("json", "ERROR")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    asyncio.run(run(StageOptions.model_validate_json(sys.argv[1])))
