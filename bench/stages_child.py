"""Workers under measurement, in a process of their own. Takes ``StageOptions`` as JSON.

It writes ``ready`` when all have their partitions, and ends when its input is closed.
"""

import sys

import uvloop

from bench.serving import be_silent, serving
from bench.stages_process import StageOptions
from ragline.settings import Settings
from ragline.stages import build_stage
from workers.runtime.worker import Worker


async def run(options: StageOptions) -> None:
    """Serve until standard input is closed, or a worker fails."""
    settings = Settings.model_validate(options.settings)
    runtime = settings.runtime.model_copy(update={"http_port": 0})
    workers = [Worker(build_stage(name, settings), settings.kafka, settings.names, runtime) for name in options.stages]
    async with serving(workers) as orders:
        await orders.read()


if __name__ == "__main__":
    be_silent()
    uvloop.run(run(StageOptions.model_validate_json(sys.argv[1])))
