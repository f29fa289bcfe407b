import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.runtime.survival import Mark, split, take_over

REACH = 10


def test_a_clean_end_leaves_no_mark() -> None:
    assert split("r1:AQE=") == ("r1:AQE=", None)
    assert take_over(None, 5, REACH) == (Mark(), None)


@given(st.builds(Mark, st.integers(0, 99), st.integers(0, 2**60), st.none() | st.integers(0, 2**60)))
def test_marks_round_trip(mark: Mark) -> None:
    assert split("r1:AQE=" + mark.encode()) == ("r1:AQE=", mark)
    assert split(mark.encode()) == ("", mark)


@pytest.mark.parametrize("metadata", ["|", "|1,2", "|1,2,3,4", "|a,b,c", "other|text"])
def test_a_foreign_mark_is_none(metadata: str) -> None:
    assert split(metadata)[1] is None


@pytest.mark.parametrize("start", [0, 100])
def test_the_record_of_the_third_death_is_quarantined(start: int) -> None:
    mark, quarantined = take_over(None, start, REACH)
    assert not mark.is_careful(start)
    mark, quarantined = take_over(mark, start, REACH)
    assert (mark.deaths, quarantined) == (1, None)
    assert not mark.is_careful(start + 3)
    mark, quarantined = take_over(mark, start + 1, REACH)
    assert (mark.deaths, quarantined) == (2, None)
    assert mark.is_careful(start + 3)
    assert not mark.is_careful(start + 11)
    mark, quarantined = take_over(Mark(mark.deaths, mark.horizon, suspect=start + 3), start + 2, REACH)
    assert quarantined == start + 3
    assert mark == Mark()


def test_progress_past_the_dead_owners_work_forgives_their_deaths() -> None:
    mark, quarantined = take_over(Mark(deaths=2, horizon=110, suspect=103), 111, REACH)
    assert (mark, quarantined) == (Mark(deaths=1, horizon=121), None)
