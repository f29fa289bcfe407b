import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from infra.local.logs import MergedView
from infra.local.process import ProcessSpec
from infra.local.report import LocalStackError
from infra.local.state import read_state
from infra.local.supervised import backoff_s
from infra.local.supervisor import Supervisor

DEADLINE_S = 20.0
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
# A child in the same process group, which outlives its parent.
WITH_CHILD = "import subprocess; child = subprocess.Popen(['sleep', '3600'])"


class Reports:
    """What the supervisor says; a test waits for a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._added = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._added.set()

    async def until(self, text: str) -> str:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                self._added.clear()
                await self._added.wait()


@pytest.fixture
def reports() -> Reports:
    return Reports()


def supervisor(folder: Path, reports: Reports, *, start_timeout_s: float = DEADLINE_S) -> Supervisor:
    view = MergedView(reports, colour=False, quiet=False)
    return Supervisor(folder, view=view, report=reports, start_timeout_s=start_timeout_s)


def program(folder: Path, name: str, code: str, *, grace_s: float = 10.0) -> ProcessSpec:
    """A process that runs ``code``, is then ready, and waits."""
    mark = folder / f"{name}.ready"
    text = f"{code}\nimport pathlib, signal; pathlib.Path({str(mark)!r}).touch()\nwhile True: signal.pause()"
    return ProcessSpec(
        name=name,
        stage=name,
        argv=(sys.executable, "-I", "-S", "-c", text),
        ready=file_exists(mark),
        stop_grace_s=grace_s,
    )


def file_exists(file: Path) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return file.exists()  # noqa: ASYNC240 - a look that takes microseconds

    return probe


def pid_of(folder: Path, name: str) -> int:
    state = read_state(folder)
    assert state is not None
    pid = next(process.pid for process in state.processes if process.name == name)
    assert pid is not None
    return pid


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_ready_then_stopped_in_reverse(tmp_path: Path, reports: Reports) -> None:
    async with supervisor(tmp_path, reports) as running:
        await running.start([program(tmp_path, "server", "")])
        await running.start([program(tmp_path, "worker", "")])
        pids = [pid_of(tmp_path, name) for name in ("server", "worker")]
        assert not any(map(is_gone, pids))
    assert all(map(is_gone, pids))
    assert reports.lines.index("stopping worker") < reports.lines.index("stopping server")


async def test_a_second_group_waits_for_the_first(tmp_path: Path, reports: Reports) -> None:
    never = ProcessSpec(name="never", stage="never", argv=("sleep", "60"), ready=file_exists(tmp_path / "nowhere"))
    async with supervisor(tmp_path, reports, start_timeout_s=0.3) as running:
        with pytest.raises(LocalStackError, match=r"not ready within 0\.3 s: never"):
            await running.start([never])


async def test_a_process_that_cannot_start_says_why(tmp_path: Path, reports: Reports) -> None:
    async with supervisor(tmp_path, reports) as running:
        with pytest.raises(LocalStackError, match="broken does not start, it ended with status 3: no such setting"):
            await running.start([program(tmp_path, "broken", "import sys; print('no such setting'); sys.exit(3)")])


async def test_a_program_that_is_not_there(tmp_path: Path, reports: Reports) -> None:
    spec = ProcessSpec(name="lost", stage="lost", argv=("/no/such/program",), ready=file_exists(tmp_path / "nowhere"))
    async with supervisor(tmp_path, reports) as running:
        with pytest.raises(LocalStackError, match="cannot run /no/such/program"):
            await running.start([spec])


async def test_a_dead_process_is_started_again_with_what_it_had_started_ended(tmp_path: Path, reports: Reports) -> None:
    child_pid = tmp_path / "child"
    code = f"{WITH_CHILD}; open({str(child_pid)!r}, 'w').write(str(child.pid))"
    async with supervisor(tmp_path, reports) as running:
        await running.start([program(tmp_path, "worker", code)])
        child = os.pidfd_open(int(child_pid.read_text()))
        os.kill(pid_of(tmp_path, "worker"), signal.SIGKILL)
        assert "it is started again in 0.5 s" in await reports.until("worker was ended by SIGKILL")
        await reports.until("worker is ready again")
        assert await asyncio.to_thread(is_readable, child)
        os.close(child)


def is_readable(descriptor: int) -> bool:
    """Whether the process of a descriptor ends in time."""
    import select  # noqa: PLC0415 - in a thread only

    return bool(select.select([descriptor], [], [], DEADLINE_S)[0])


async def test_a_stubborn_process_is_killed_after_its_grace(tmp_path: Path, reports: Reports) -> None:
    async with supervisor(tmp_path, reports) as running:
        await running.start([program(tmp_path, "stubborn", STUBBORN, grace_s=0.2)])
        pid = pid_of(tmp_path, "stubborn")
    assert is_gone(pid)
    assert "stubborn does not stop and is killed" in reports.lines


async def test_being_cancelled_while_stopping_cuts_the_grace_short(tmp_path: Path, reports: Reports) -> None:
    async def work() -> None:
        async with supervisor(tmp_path, reports) as running:
            await running.start([program(tmp_path, "stubborn", STUBBORN, grace_s=3600)])
            await running.wait()

    task = asyncio.create_task(work())
    await reports.until("stubborn ready")
    pid = pid_of(tmp_path, "stubborn")
    task.cancel()
    await reports.until("stopping stubborn")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(DEADLINE_S):
            await task
    assert is_gone(pid)


async def test_lines_without_an_end_and_long_ones_are_kept(tmp_path: Path, reports: Reports) -> None:
    code = "import sys; sys.stdout.write('x' * 300_000 + '\\nlast without an end'); sys.stdout.flush()"
    async with supervisor(tmp_path, reports) as running:
        await running.start([program(tmp_path, "chatty", code)])
    log = (tmp_path / "logs" / "chatty.log").read_text()
    assert log.count("x") == 300_000
    assert log.endswith("last without an end\n")


async def test_a_second_supervisor_is_refused(tmp_path: Path, reports: Reports) -> None:
    async with supervisor(tmp_path, reports):
        with pytest.raises(LocalStackError, match="already runs on"):
            await supervisor(tmp_path, reports).__aenter__()


def test_backoff_doubles_up_to_half_a_minute() -> None:
    assert [backoff_s(deaths) for deaths in (1, 2, 3, 6, 7, 100)] == [0.5, 1, 2, 16, 30, 30]
