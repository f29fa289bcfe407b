"""What runs on a data folder: one file that tells, one lock that holds others off."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson
import psutil

from infra.local.report import LocalStackError, Report

Phase = Literal["starting", "ready", "restarting", "stopping", "stopped"]

# Clocks of the kernel and of this process differ by less.
_CLOCK_TOLERANCE_S = 1.0
_END_TIMEOUT_S = 5.0
_END_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process as it is. ``pid`` is also its process group; ``started_at`` is in seconds since 1970."""

    name: str
    stage: str
    pid: int | None
    started_at: float
    http_port: int | None
    phase: Phase
    restarts: int
    last_error: str


@dataclass(frozen=True, slots=True)
class StackState:
    """The local stack as it is; ``pid`` and ``started_at`` are the supervisor's."""

    pid: int
    started_at: float
    processes: tuple[ProcessState, ...]


def state_path(data_dir: Path) -> Path:
    """Where the state is written."""
    return data_dir / "run" / "stack.json"


def write_state(data_dir: Path, processes: Sequence[ProcessState]) -> None:
    """Replace the state; a reader sees the old one or the new one."""
    path = state_path(data_dir)
    supervisor = psutil.Process()
    state = StackState(supervisor.pid, supervisor.create_time(), tuple(processes))
    partial = path.with_suffix(".partial")
    partial.write_bytes(orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2))
    partial.replace(path)


def read_state(data_dir: Path) -> StackState | None:
    """The state of the stack that runs on ``data_dir`` now; None if none does."""
    state = _stored_state(data_dir)
    return state if state and _began(state.pid, state.started_at) else None


@contextmanager
def only_one(data_dir: Path, report: Report) -> Iterator[None]:
    """Hold the data folder while the context lasts; the state goes with it. What a killed stack left is ended first.

    Raises:
        LocalStackError: another stack runs on it.
    """
    path = _lock_path(data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            running = _stored_state(data_dir)
            by = f" (process {running.pid})" if running else ""
            msg = f"a local stack already runs on {data_dir}{by}; stop it, or set local.data_dir to another folder"
            raise LocalStackError(msg) from error
        _end_leftovers(data_dir, report)
        try:
            yield
        finally:
            state_path(data_dir).unlink(missing_ok=True)


def _end_leftovers(data_dir: Path, report: Report) -> None:
    state = _stored_state(data_dir)
    for process in state.processes if state else ():
        if process.pid is None or not _lives(process.pid, process.started_at):
            continue
        report(f"ending {process.name} (process {process.pid}), which a stack that was killed has left")
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + _END_TIMEOUT_S
        while _lives(process.pid, process.started_at) and time.monotonic() < deadline:
            time.sleep(_END_INTERVAL_S)


def _lives(group: int, started_at: float) -> bool:
    """Whether the process still runs, or what it has started does."""
    if psutil.pid_exists(group):
        return _began(group, started_at)
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group == os.getsid(process.pid):
                return True
    return False


def _began(pid: int, started_at: float) -> bool:
    """Whether the process with this number is the one that began then: numbers are given again."""
    try:
        return abs(psutil.Process(pid).create_time() - started_at) < _CLOCK_TOLERANCE_S
    except psutil.NoSuchProcess:
        return False


def _stored_state(data_dir: Path) -> StackState | None:
    try:
        stored = orjson.loads(state_path(data_dir).read_bytes())
    except FileNotFoundError:
        return None
    processes = tuple(ProcessState(**process) for process in stored["processes"])
    return StackState(stored["pid"], stored["started_at"], processes)


def _lock_path(data_dir: Path) -> Path:
    return data_dir / "run" / "stack.lock"
