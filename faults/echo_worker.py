"""A worker process of an echo stage: the real runtime, with traps in its way. Takes ``EchoOptions`` as JSON."""

import asyncio
import os
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from backends.kafka import KafkaSettings
from faults import mutants
from faults.echo import make_stage
from faults.traps import Traps
from topics.names import Namespace
from workers.runtime import logs
from workers.runtime.settings import RuntimeSettings
from workers.runtime.worker import Worker, stop_on_signals

_LOOK_S = 0.05


class EchoOptions(BaseModel):
    """What one worker is told. ``mutant`` plants a defect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    name: str
    bootstrap_servers: str
    namespace: str
    traps: Path
    runtime: RuntimeSettings
    mutant: mutants.Mutant | None = None


def ready_file(traps: Path, name: str, pid: int) -> Path:
    """The file that says that this process of a worker is ready."""
    return traps / "ready" / f"{name}.{pid}"


async def run(options: EchoOptions) -> None:
    """Run the worker until it is told to stop."""
    traps = Traps(options.traps, options.stage, options.name)
    traps.install()
    if options.mutant:
        mutants.plant(options.mutant)
    kafka = KafkaSettings(bootstrap_servers=options.bootstrap_servers)
    worker = Worker(make_stage(options.stage, traps), kafka, Namespace(options.namespace), options.runtime)
    async with stop_on_signals() as stop:
        announcing = asyncio.create_task(_announce(worker, ready_file(options.traps, options.name, os.getpid())))
        try:
            await worker.run(stop)
        finally:
            announcing.cancel()


async def _announce(worker: Worker, file: Path) -> None:
    while not worker.status()["ready"]:  # noqa: ASYNC110 - the worker tells only who asks
        await asyncio.sleep(_LOOK_S)
    await asyncio.to_thread(file.touch)


if __name__ == "__main__":
    logs.configure("json", "INFO")
    asyncio.run(run(EchoOptions.model_validate_json(sys.argv[1])))
