"""The other stages' process. Takes ``ChildOptions`` as JSON; ``stages`` says which.

It writes ``ready`` when all have their partitions, and ends when its input is closed.
"""

import asyncio
import logging
import sys

from bench.child_input import standard_input
from bench.ttft_options import ChildOptions
from ragline.settings import Settings
from ragline.stages import build_stage
from workers.runtime import logs
from workers.runtime.settings import RuntimeSettings
from workers.runtime.worker import Worker

_LOOK_S = 0.01


async def run(options: ChildOptions) -> None:
    """Serve until standard input is closed, or a worker fails."""
    runtime = RuntimeSettings.model_validate({"guarantee": options.guarantee, "http_port": 0})
    settings = Settings.model_validate(
        {
            "namespace": options.namespace,
            "kafka": {"bootstrap_servers": options.bootstrap_servers},
            "redis": {"url": options.redis_url},
            "milvus": {"uri": options.milvus_uri or "http://127.0.0.1:1"},
        }
    )
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
    asyncio.run(run(ChildOptions.model_validate_json(sys.argv[1])))
