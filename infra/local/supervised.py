"""One process of the local stack, kept running."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local import child
from infra.local.guard import Guard
from infra.local.logs import LogFile, MergedView, log_path
from infra.local.process import ProcessSpec
from infra.local.pump import LinePump
from infra.local.report import LocalStackError, Report
from infra.local.state import Phase, ProcessState

_PROBE_INTERVAL_S = 0.1
_BACKOFF_INITIAL_S = 0.5
_BACKOFF_MAX_S = 30.0
# A process that has been ready for this long has recovered.
_STABLE_S = 30.0
_DEATHS_BEFORE_READY = 3
# A process that was not ready yet has nothing to finish.
_UNREADY_GRACE_S = 5.0


def backoff_s(deaths: int) -> float:
    """Wait before a start, in seconds, after so many deaths in a row."""
    return float(min(_BACKOFF_INITIAL_S * 2 ** (deaths - 1), _BACKOFF_MAX_S))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all processes of a stack share. ``changed`` is called when one's state is another."""

    data_dir: Path
    guard: Guard
    view: MergedView
    report: Report
    changed: Callable[[], None]


class Supervised:
    """Starts a process, starts it again when it dies, and stops it.

    ``first_ready`` is done when it is ready for the first time, and fails with ``LocalStackError`` when it dies again
    and again before.
    """

    def __init__(self, spec: ProcessSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._around = surroundings
        self._phase: Phase = "starting"
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._ready_at: float | None = None
        self._restarts = 0
        self._deaths = 0
        self._last_error = ""
        self._last_line = ""
        self._stopping = asyncio.Event()
        self._killing = asyncio.Event()
        self._show = surroundings.view.of(spec)

    @property
    def state(self) -> ProcessState:
        """The process as it is."""
        return ProcessState(
            name=self.spec.name,
            stage=self.spec.stage,
            pid=self._process.pid if self._process else None,
            started_at=self._started_at,
            http_port=self.spec.http_port,
            phase=self._phase,
            restarts=self._restarts,
            last_error=self._last_error,
        )

    async def run(self) -> None:
        """Keep the process running until ``stop``."""
        try:
            with contextlib.closing(LogFile(log_path(self._around.data_dir, self.spec.name))) as log:
                while not self._stopping.is_set():
                    status = await self._run_once(log)
                    if self._stopping.is_set():
                        break
                    self._note_death(status)
                    await self._wait_before_restart()
        except Exception as error:
            if self.first_ready.done():
                raise
            self.first_ready.set_exception(error)
        finally:
            self._enter("stopped")

    def stop(self) -> None:
        """Ask the process to end; SIGKILL follows after its grace."""
        self._stopping.set()

    def kill(self) -> None:
        """End the process now."""
        self._stopping.set()
        self._killing.set()

    async def _run_once(self, log: LogFile) -> int:
        """Run the process to its end, which ``stop`` brings about; its exit status as of ``subprocess``."""
        process, pump = self._spawn(log)
        self._process = process
        self._enter("starting")
        ended = asyncio.create_task(_ended(process))
        helpers = [asyncio.create_task(self._watch_readiness()), asyncio.create_task(self._end_when_stopped(process))]
        try:
            await ended
        finally:
            for task in helpers:
                task.cancel()
            # Not reaped yet: its number cannot be another's. What it has started goes with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
            self._around.guard.release(process.pid)
            self._process = None
            pump.close()
        await asyncio.gather(*helpers, return_exceptions=True)
        return status

    def _spawn(self, log: LogFile) -> tuple[subprocess.Popen[bytes], LinePump]:
        def take(line: bytes) -> None:
            log.write(line)
            text = line.decode(errors="replace")
            self._last_line = text.strip() or self._last_line
            self._show(text)

        self._last_line = ""
        self._ready_at = None
        pump = LinePump(take)
        # A session of its own: Ctrl-C on the terminal reaches the supervisor only, which stops things in order.
        process = subprocess.Popen(  # noqa: S603 - the stack's own programs
            child.command(self.spec.argv),
            env={**os.environ, **self.spec.env},
            stdin=subprocess.DEVNULL,
            stdout=pump.write_end,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._started_at = time.time()
        self._around.guard.watch(process.pid)
        pump.start()
        return process, pump

    async def _watch_readiness(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                if await self.spec.ready():
                    break
            await asyncio.sleep(_PROBE_INTERVAL_S)
        self._ready_at = time.monotonic()
        self._enter("ready")
        if not self.first_ready.done():
            self.first_ready.set_result(None)
        if self._restarts:
            self._around.report(f"{self.spec.name} is ready again")

    async def _end_when_stopped(self, process: subprocess.Popen[bytes]) -> None:
        await self._stopping.wait()
        self._enter("stopping")
        # Not Popen's method, which may reap.
        os.kill(process.pid, self.spec.stop_signal)
        try:
            async with asyncio.timeout(self.spec.stop_grace_s if self._ready_at is not None else _UNREADY_GRACE_S):
                await self._killing.wait()
        except TimeoutError:
            self._around.report(f"{self.spec.name} does not stop and is killed")
        os.killpg(process.pid, signal.SIGKILL)

    def _note_death(self, status: int) -> None:
        """Count a death; raises ``LocalStackError`` where it makes no sense to go on."""
        if self._ready_at is not None and time.monotonic() - self._ready_at > _STABLE_S:
            self._deaths = 0
        self._deaths += 1
        self._restarts += 1
        self._last_error = f"{_way_of_ending(status)}{f': {self._last_line}' if self._last_line else ''}"
        self._enter("restarting")
        if not self.first_ready.done() and self._deaths >= _DEATHS_BEFORE_READY:
            log = log_path(self._around.data_dir, self.spec.name)
            msg = f"{self.spec.name} does not start, it {self._last_error} (log: {log})"
            raise LocalStackError(msg)

    async def _wait_before_restart(self) -> None:
        wait_s = backoff_s(self._deaths)
        self._around.report(f"{self.spec.name} {self._last_error}; it is started again in {wait_s:g} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._around.changed()


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process without reaping it."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _way_of_ending(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
