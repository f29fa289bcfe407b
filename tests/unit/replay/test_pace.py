import pytest

from replay.pace import Pace
from replay.schedule import AtOnce, AtRate, Warped
from replay.tracker import Tracker


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_pace_is_of_the_last_while_and_idle_only_while_something_is_waited_for() -> None:
    clock = Clock()
    pace = Pace(clock)
    for second in range(100):
        clock.now_s = second
        pace.note(10 * second, pending=1)
    assert pace.per_second == pytest.approx(10)
    assert pace.idle_s == 0
    clock.now_s = 110
    pace.note(990, pending=1)
    assert pace.idle_s == 11
    pace.note(990, pending=0)
    assert pace.idle_s == 0


def test_schedules() -> None:
    assert AtOnce().due_s(5, 5_000) == 0
    assert AtRate(10).due_s(5, 5_000) == 0.5
    assert Warped(2, 1_000).due_s(5, 5_000) == 2
    assert Warped(2, 1_000).due_s(5, 500) == 0


def test_each_request_is_sent_and_ends_once() -> None:
    tracker = Tracker()
    assert tracker.send("a")
    assert not tracker.send("a")
    assert not tracker.end("b", "answered")
    assert tracker.end("a", "answered")
    assert not tracker.end("a", "failed")
    assert (tracker.sent, tracker.ended, tracker.pending, tracker.repeated) == (1, 1, 0, 1)
    assert tracker.states == {"answered": 1}
