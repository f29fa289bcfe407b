"""A worker process of one stage: the real runtime, with traps in its way. Takes ``WorkerOptions`` as JSON."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from backends.kafka import KafkaSettings
from faults import mutants
from faults.addresses import Addresses
from faults.echo import make_stage
from faults.traps import Traps
from topics.names import Namespace
from workers.runtime import logs
from workers.runtime.settings import RuntimeSettings
from workers.runtime.stage import BatchedStage, ConcurrentStage
from workers.runtime.worker import Worker, stop_on_signals

_LOOK_S = 0.05


class WorkerOptions(BaseModel):
    """What one worker is told. With ``systems`` its stage is the real one, else an echo; ``mutant`` plants a defect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    name: str
    bootstrap_servers: str
    namespace: str
    traps: Path
    runtime: RuntimeSettings
    systems: Addresses | None = None
    mutant: mutants.Mutant | None = None


def ready_file(traps: Path, name: str, pid: int) -> Path:
    """The file that says that this process of a worker is ready."""
    return traps / "ready" / f"{name}.{pid}"


async def run(options: WorkerOptions) -> None:
    """Run the worker until it is told to stop."""
    traps = Traps(options.traps, options.stage, options.name)
    traps.install()
    if options.mutant:
        mutants.plant(options.mutant)
    kafka = KafkaSettings(bootstrap_servers=options.bootstrap_servers)
    names = Namespace(options.namespace)
    worker = Worker(_stage(options, names, traps), kafka, names, options.runtime)
    async with stop_on_signals() as stop:
        announcing = asyncio.create_task(_announce(worker, ready_file(options.traps, options.name, os.getpid())))
        try:
            await worker.run(stop)
        finally:
            announcing.cancel()


def _stage(options: WorkerOptions, names: Namespace, traps: Traps) -> BatchedStage[Any] | ConcurrentStage[Any]:
    if options.systems is None:
        return make_stage(options.stage, traps)
    # Only real stages need what it imports, and a worker that was killed is to be back soon.
    from faults.real import make_real_stage  # noqa: PLC0415

    return make_real_stage(options.stage, options.systems, names, traps)


async def _announce(worker: Worker, file: Path) -> None:
    while not worker.status()["ready"]:  # noqa: ASYNC110 - the worker tells only who asks
        await asyncio.sleep(_LOOK_S)
    await asyncio.to_thread(file.touch)


if __name__ == "__main__":
    logs.configure("json", "INFO")
    asyncio.run(run(WorkerOptions.model_validate_json(sys.argv[1])))
