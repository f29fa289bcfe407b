"""Runs the processes of the local stack: started in groups that wait for each other, stopped the other way round."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.guard import Guard
from infra.local.logs import MergedView
from infra.local.process import ProcessSpec
from infra.local.report import LocalStackError, Report
from infra.local.state import only_one, write_state
from infra.local.supervised import Supervised, Surroundings

_REPORT_INTERVAL_S = 5.0


class Supervisor:
    """An asynchronous context that leaves no process behind, whatever ends it.

    Entered on the main thread: the kernel ends the processes with the thread that has started them.

    Raises:
        LocalStackError: another supervisor has the data folder.
    """

    def __init__(self, data_dir: Path, *, view: MergedView, report: Report, start_timeout_s: float) -> None:
        self._data_dir = data_dir
        self._view = view
        self._report = report
        self._start_timeout_s = start_timeout_s
        self._groups: list[list[Supervised]] = []
        self._tasks: dict[Supervised, asyncio.Task[None]] = {}
        self._resources = ExitStack()
        self._killing = False

    async def __aenter__(self) -> Self:
        with ExitStack() as resources:
            resources.enter_context(only_one(self._data_dir, self._report))
            guard = resources.enter_context(Guard())
            self._around = Surroundings(self._data_dir, guard, self._view, self._report, self._changed)
            self._changed()
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with self._resources:
            stopping = asyncio.create_task(self._stop())
            while not stopping.done():
                try:
                    await asyncio.shield(stopping)
                except asyncio.CancelledError:
                    # Whoever does not want to wait for the clean stop gets a quick one, but no process stays.
                    self.kill()
            stopping.result()

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Start processes together; returns when all are ready.

        Raises:
            LocalStackError: one dies again and again, or is not ready in time.
        """
        group = [Supervised(spec, self._around) for spec in specs]
        self._groups.append(group)
        for process in group:
            self._tasks[process] = asyncio.create_task(process.run(), name=process.spec.name)
            if self._killing:
                process.kill()
        await self._all_ready(group)

    async def wait(self) -> None:
        """Wait while the processes run, which are started again when they die.

        Raises:
            Exception: the supervision itself failed.
        """
        running: set[asyncio.Future[None]] = {*self._tasks.values()}
        done, _ = await asyncio.wait(running or {asyncio.Future()}, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    def kill(self) -> None:
        """Stop without grace."""
        self._killing = True
        for process in self._tasks:
            process.kill()

    async def _all_ready(self, group: Sequence[Supervised]) -> None:
        began = time.monotonic()
        while waiting := [process for process in group if not process.first_ready.done()]:
            elapsed_s = time.monotonic() - began
            names = ", ".join(process.spec.name for process in waiting)
            if elapsed_s > self._start_timeout_s:
                hint = f"see {self._data_dir / 'logs'}, or set local.start_timeout_s higher"
                msg = f"not ready within {self._start_timeout_s:g} s: {names}; {hint}"
                raise LocalStackError(msg)
            self._report(f"waiting for {names} ({elapsed_s:.0f} s)")
            done, _ = await asyncio.wait(
                [process.first_ready for process in waiting],
                timeout=min(_REPORT_INTERVAL_S, self._start_timeout_s - elapsed_s + 0.1),
                return_when=asyncio.FIRST_EXCEPTION,
            )
            for outcome in done:
                outcome.result()
        self._report(f"{', '.join(process.spec.name for process in group)} ready ({time.monotonic() - began:.0f} s)")

    async def _stop(self) -> None:
        for group in reversed(self._groups):
            running = [process for process in group if not self._tasks[process].done()]
            if running:
                self._report(f"stopping {', '.join(process.spec.name for process in running)}")
            for process in running:
                process.stop()
            await asyncio.gather(*(self._tasks[process] for process in group), return_exceptions=True)
            for process in group:
                # Read, or asyncio would complain about a failure that nobody has seen.
                if not process.first_ready.cancel() and not process.first_ready.cancelled():
                    process.first_ready.exception()
        self._report("all processes have ended")

    def _changed(self) -> None:
        states = [process.state for group in self._groups for process in group]
        write_state(self._data_dir, states)
