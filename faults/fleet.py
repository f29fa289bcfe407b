"""The worker processes of a campaign: whoever dies is started again."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from faults.addresses import Addresses
from faults.mutants import Mutant
from faults.worker import WorkerOptions, ready_file
from infra.local import child
from workers.runtime.settings import RuntimeSettings

_RESTART_WAIT_S = 0.2
_STOP_GRACE_S = 30.0
_READY_TIMEOUT_S = 120.0
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What all workers of a campaign have in common. With ``systems`` their stages are the real ones."""

    bootstrap_servers: str
    namespace: str
    traps: Path
    logs: Path
    runtime: RuntimeSettings
    systems: Addresses | None = None
    mutant: Mutant | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a worker that was not asked to stop; ``status`` is negative for a signal."""

    worker: str
    status: int
    at: float


class Fleet:
    """Workers by name, ``<stage>-<number>``. With ``static`` the name is also the group instance ID."""

    def __init__(self, options: FleetOptions) -> None:
        self._options = options
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._numbers: Counter[str] = Counter()
        self.deaths: list[Death] = []

    def add(self, stage: str, *, static: bool = True) -> str:
        """Start one more worker of a stage; gives its name."""
        self._numbers[stage] += 1
        name = f"{stage}-{self._numbers[stage]}"
        self._keepers[name] = asyncio.create_task(self._keep(name, stage, static=static))
        return name

    def workers(self, stage: str | None = None) -> list[str]:
        """Names of the workers, of one stage or all."""
        return sorted(name for name in self._keepers if stage is None or name.rpartition("-")[0] == stage)

    def pid(self, name: str) -> int | None:
        """Process ID of a worker; None while it is being started again."""
        process = self._processes.get(name)
        return process.pid if process is not None and process.returncode is None else None

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a worker; gives its process ID."""
        pid = self._processes[name].pid
        os.kill(pid, number)
        return pid

    async def wait_until_ready(self, name: str) -> None:
        """Wait until a worker's process, whichever it is then, has joined its group."""
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while not self._ready(name):  # noqa: ASYNC110 - a file, of another process
                await asyncio.sleep(_LOOK_S)

    async def restart(self, name: str) -> None:
        """SIGTERM; returns when the worker has ended, and leaves it to be started again."""
        process = self._processes[name]
        process.send_signal(signal.SIGTERM)
        await _ended(process)

    async def remove(self, name: str) -> None:
        """Stop a worker for good."""
        self._keepers.pop(name).cancel()
        process = self._processes.pop(name, None)
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
            await _ended(process)

    async def close(self) -> None:
        """Stop all of them."""
        await asyncio.gather(*[self.remove(name) for name in list(self._keepers)])

    def _ready(self, name: str) -> bool:
        pid = self.pid(name)
        return pid is not None and ready_file(self._options.traps, name, pid).exists()

    async def _keep(self, name: str, stage: str, *, static: bool) -> None:
        """Run a worker again and again until cancelled."""
        options = self._options
        instance = name if static else ""
        told = WorkerOptions(
            stage=stage,
            name=name,
            bootstrap_servers=options.bootstrap_servers,
            namespace=options.namespace,
            traps=options.traps,
            runtime=options.runtime.model_copy(update={"group_instance_id": instance}),
            systems=options.systems,
            mutant=options.mutant,
        )
        argv = child.command([sys.executable, "-m", "faults.worker", told.model_dump_json()])
        while True:
            with (options.logs / f"{name}.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=asyncio.subprocess.STDOUT
                )
            self._processes[name] = process
            status = await process.wait()
            if status != 0:
                self.deaths.append(Death(name, status, time.monotonic()))
            await asyncio.sleep(_RESTART_WAIT_S)


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_STOP_GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
