"""The whole supervisor as a program of its own, with fake workers: interrupted and killed at any moment."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.local.state import read_state
from tests.fixtures.servers import free_ports

PROGRAM = Path(__file__).with_name("fake_stack.py")
PROCESSES = 12
# Two of them start a process of their own.
ALL_PROCESSES = PROCESSES + 2
DEADLINE_S = 30.0


class Stack:
    def __init__(self, folder: Path, first_port: int, *, ready: bool) -> None:
        self.pids_dir = folder / "pids"
        self.pids_dir.mkdir(exist_ok=True)
        self.data_dir = folder / "data"
        self.first_port = first_port
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(PROGRAM), str(self.data_dir), str(self.first_port)],
            env={**os.environ, "FAKE_PIDS": str(self.pids_dir), "FAKE_READY": "1" if ready else "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def read_until(self, text: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        pytest.fail(f"{text!r} did not come; the output was:\n{''.join(self.lines)}")

    def end(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        return self.process.wait(DEADLINE_S)

    def worker_pids(self, count: int) -> list[int]:
        """Numbers of the workers, once so many have begun."""
        deadline = time.monotonic() + DEADLINE_S
        while len(files := [file for file in self.pids_dir.iterdir() if file.suffix != ".partial"]) < count:
            assert time.monotonic() < deadline, [file.name for file in files]
            time.sleep(0.02)
        return [int(file.read_text()) for file in files]


@contextmanager
def stack(folder: Path, first_port: int | None = None, *, ready: bool = True) -> Iterator[Stack]:
    running = Stack(folder, first_port or free_ports(PROCESSES), ready=ready)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()


def wait_until_gone(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], DEADLINE_S)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)


def test_start_then_a_clean_stop(tmp_path: Path) -> None:
    with stack(tmp_path) as running:
        running.read_until("stack: topics")
        assert not any("generation" in line for line in running.lines)
        running.read_until("all ready")
        state = read_state(running.data_dir)
        assert state is not None
        assert state.pid == running.process.pid
        assert {process.phase for process in state.processes} == {"ready"}
        assert {process.name for process in state.processes} >= {"generation", "generation-2", "bridge", "monitor"}
        pids = [process.pid for process in state.processes]
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 0
    assert running.lines[-1] == "stack: result None\n"
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    assert read_state(running.data_dir) is None
    assert "INFO generation began" in (running.data_dir / "logs" / "generation.log").read_text()


@pytest.mark.parametrize("workers", [0, 6])
def test_interrupted_while_it_starts(tmp_path: Path, workers: int) -> None:
    with stack(tmp_path, ready=False) as running:
        running.read_until("waiting for generation")
        running.worker_pids(workers)
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 0
    assert "all ready" not in "".join(running.lines)
    for pid in running.worker_pids(workers):
        wait_until_gone(pid)


def test_killed_it_takes_its_workers_along_and_can_begin_again(tmp_path: Path) -> None:
    with stack(tmp_path) as first:
        first.read_until("all ready")
        pids = first.worker_pids(ALL_PROCESSES)
        first.process.kill()
        first.process.wait()
        assert read_state(first.data_dir) is None
        for pid in pids:
            wait_until_gone(pid)
        with stack(tmp_path, first.first_port) as second:
            second.read_until("all ready")
            second.process.send_signal(signal.SIGTERM)
            assert second.end() == 0


def test_two_on_one_folder(tmp_path: Path) -> None:
    with stack(tmp_path) as first:
        first.read_until("all ready")
        with stack(tmp_path) as second:
            assert second.end() == 1
        (sentence,) = second.lines
        assert f"already runs on {first.data_dir} (process {first.process.pid})" in sentence


def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    with stack(tmp_path) as running:
        running.read_until("all ready")
        state = read_state(running.data_dir)
        assert state is not None
        victim = next(process for process in state.processes if process.name == "retrieval")
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        assert "was ended by SIGKILL" in running.read_until("stack: retrieval ")
        running.read_until("retrieval is ready again")
        state = read_state(running.data_dir)
        assert state is not None
        again = next(process for process in state.processes if process.name == "retrieval")
        assert (again.phase, again.restarts) == ("ready", 1)
        assert again.pid != victim.pid
