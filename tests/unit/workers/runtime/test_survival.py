from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.runtime.survival import Mark, split, take_over

REACH = 10


def test_a_clean_end_leaves_no_mark() -> None:
    assert split("r1:AQE=") == ("r1:AQE=", None)
    assert take_over(None, 5, REACH) == (Mark(), None)


marks = st.builds(Mark, st.integers(0, 99), st.integers(0, 2**60), st.none() | st.integers(0, 2**60))
accusing = st.builds(lambda mark, *of: replace(mark, accused=of[0], times=of[1]), marks, st.integers(0, 9), st.just(1))


@given(marks | accusing)
def test_marks_round_trip(mark: Mark) -> None:
    assert split("r1:AQE=" + mark.encode()) == ("r1:AQE=", mark)
    assert split(mark.encode()) == ("", mark)


@pytest.mark.parametrize("metadata", ["|", "|1,2", "|1,2,3,4", "|a,b,c", "other|text"])
def test_a_foreign_mark_is_none(metadata: str) -> None:
    assert split(metadata)[1] is None


def died(mark: Mark, watermark: int, suspect: int | None = None) -> tuple[Mark, int | None]:
    """What the next owner knows when one that had the mark died while it handled the suspect alone."""
    return take_over(replace(mark, suspect=suspect), watermark, REACH)


@pytest.mark.parametrize("start", [0, 100])
def test_a_record_that_was_alone_at_two_deaths_is_quarantined(start: int) -> None:
    mark, _ = take_over(None, start, REACH)
    assert not mark.is_careful(start)
    mark, quarantined = died(mark, start)
    assert (mark.deaths, quarantined) == (1, None)
    assert not mark.is_careful(start + 3)
    mark, quarantined = died(mark, start + 1)
    assert (mark.deaths, quarantined) == (2, None)
    assert mark.is_careful(start + 3)
    assert not mark.is_careful(start + 12)
    mark, quarantined = died(mark, start + 2, suspect=start + 3)
    assert (mark.deaths, mark.accused, mark.times, quarantined) == (3, start + 3, 1, None)
    assert died(mark, start + 3, suspect=start + 3) == (Mark(), start + 3)


def test_deaths_from_outside_that_meet_others_each_time_accuse_nobody() -> None:
    mark = Mark(deaths=2, horizon=10)
    for offset in range(0, 100, 5):
        mark, quarantined = died(mark, offset, suspect=offset)
        assert quarantined is None
        assert mark.times == 1
        # Its successor gets past it, and is killed in its turn.
        assert mark.is_careful(offset + REACH)


def test_a_death_between_two_records_leaves_the_accused_accused() -> None:
    mark, _ = died(Mark(deaths=2, horizon=10), 3, suspect=3)
    mark, quarantined = died(mark, 3)
    assert (mark.accused, mark.times, quarantined) == (3, 1, None)
    assert died(mark, 3, suspect=3)[1] == 3


def test_what_was_begun_beside_a_suspect_is_handled_alone_the_next_time() -> None:
    mark, _ = died(Mark(deaths=2, horizon=10), 8, suspect=8)
    assert mark.is_careful(8 + REACH)


def test_progress_past_the_dead_owners_work_forgives_their_deaths() -> None:
    mark, quarantined = died(Mark(deaths=2, horizon=110, accused=103, times=1), 111, suspect=103)
    assert (mark, quarantined) == (Mark(deaths=1, horizon=121), None)


def test_a_mark_of_an_earlier_version_is_read() -> None:
    assert split("|2,110,103") == ("", Mark(2, 110, 103))
