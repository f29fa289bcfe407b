import os
from pathlib import Path

import pytest

from faults import traps as module
from faults.traps import Trap, TrapFolder, Traps, spring


@pytest.fixture
def folder(tmp_path: Path) -> TrapFolder:
    return TrapFolder(tmp_path)


@pytest.fixture
def worker(folder: TrapFolder) -> Traps:
    return Traps(folder.folder, "prompt", "prompt-1")


def test_a_trap_springs_once_after_so_many_passes_of_one_worker(folder: TrapFolder, worker: Traps) -> None:
    trap = folder.set("prompt", "before_send", "kill", passes=2)
    assert [worker.passed("before_send") for _ in range(4)] == [None, None, trap, None]
    assert folder.sprung_by(trap) == os.getpid()


def test_only_the_stage_and_the_point_count(folder: TrapFolder, worker: Traps) -> None:
    folder.set("query", "before_send", "kill")
    folder.set("prompt", "mid_commit", "kill")
    assert worker.passed("before_send") is None
    assert worker.passed("mid_commit") is not None


def test_a_trap_springs_in_one_worker_only(folder: TrapFolder, worker: Traps) -> None:
    other = Traps(folder.folder, "prompt", "prompt-2")
    folder.set("prompt", "after_send", "kill")
    assert worker.passed("after_send") is not None
    assert other.passed("after_send") is None


def test_traps_at_the_same_point_come_one_after_the_other(folder: TrapFolder, worker: Traps) -> None:
    numbers = []
    for _ in range(2):
        folder.set("prompt", "after_send", "kill", passes=1)
        assert worker.passed("after_send") is None
        trap = worker.passed("after_send")
        assert trap is not None
        numbers.append(trap.number)
    assert numbers == [1, 2]


def test_cleared_traps_are_gone(folder: TrapFolder, worker: Traps) -> None:
    left = folder.set("prompt", "before_send", "kill")
    folder.clear()
    assert worker.passed("before_send") is None
    assert folder.sprung_by(left) is None


def test_a_worker_is_slow_while_it_is_told_to_be(folder: TrapFolder, worker: Traps) -> None:
    folder.slow("prompt-1", slow=True)
    assert worker.slowed
    folder.slow("prompt-1", slow=False)
    assert not worker.slowed


def test_springing_kills_or_stops_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(module.os, "kill", lambda pid, number: sent.append((pid, number.name)))
    for action in ("kill", "stop", "engine_dead"):
        spring(Trap(number=1, action=action))
    assert sent == [(os.getpid(), "SIGKILL"), (os.getpid(), "SIGSTOP")]
