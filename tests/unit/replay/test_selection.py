"""Which records are replayed, for any bounds, times and samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.errors import ReplayError
from replay.selection import (
    Bounds,
    Selection,
    Span,
    deleted_before_ms,
    last_rank_of,
    parse_offsets,
    rank,
    spans_of_offsets,
    spans_of_times,
)

TOPIC = "rag.queries"


@st.composite
def logs(draw: st.DrawFn) -> dict[int, list[tuple[int, int]]]:
    """Partitions with (offset, time) of their records: offsets grow and may have holes, times need not."""
    made = {}
    for partition in range(draw(st.integers(1, 4))):
        steps = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1000)), max_size=12))
        offset, records = draw(st.integers(0, 50)), []
        for step, time in steps:
            records.append((offset, time))
            offset += step
        made[partition] = records
    return made


def bounds_of(log: dict[int, list[tuple[int, int]]]) -> dict[int, Bounds]:
    return {
        partition: Bounds(records[0][0], records[-1][0] + 3, records[0][1]) if records else Bounds(7, 7)
        for partition, records in log.items()
    }


def found(log: dict[int, list[tuple[int, int]]], at_ms: int) -> dict[int, int | None]:
    """The first offset at or after a time, as Kafka finds it."""
    return {
        partition: next((offset for offset, time in records if time >= at_ms), None)
        for partition, records in log.items()
    }


@given(logs())
def test_without_a_range_everything_is_there(log: dict[int, list[tuple[int, int]]]) -> None:
    if not any(log.values()):
        with pytest.raises(ReplayError, match="is empty: retention has deleted all of it"):
            spans_of_times(TOPIC, bounds_of(log), None, {}, {})
        return
    spans = spans_of_times(TOPIC, bounds_of(log), None, {}, {})
    for partition, records in log.items():
        assert all(spans[partition].first <= offset < spans[partition].end for offset, _ in records)
        assert (partition in spans) == bool(records)


@given(logs(), st.integers(0, 1000), st.integers(1, 500))
def test_a_range_of_times_takes_what_kafka_has_between_them_and_no_other_time(
    log: dict[int, list[tuple[int, int]]], since_ms: int, length_ms: int
) -> None:
    until_ms = since_ms + length_ms
    selection = Selection(since_ms, until_ms)
    try:
        spans = spans_of_times(
            TOPIC, bounds_of(log), since_ms, found(log, since_ms), found(log, until_ms), kept_since_ms=0
        )
    except ReplayError:
        spans = {}
    for partition, records in log.items():
        span = spans.get(partition, Span(0, 0))
        taken = [(o, t) for o, t in records if span.first <= o < span.end and selection.takes("r", t)]
        assert all(since_ms <= time < until_ms for _, time in taken)
        times = [time for _, time in records]
        if times == sorted(times):
            assert taken == [(o, t) for o, t in records if since_ms <= t < until_ms]


@given(logs(), st.integers(0, 60), st.integers(0, 60))
def test_a_range_of_offsets_is_within_what_is_there(
    log: dict[int, list[tuple[int, int]]], first: int, length: int
) -> None:
    bounds = bounds_of(log)
    last = first + length
    if not bounds[0].first <= first < bounds[0].end:
        with pytest.raises(ReplayError):
            spans_of_offsets(TOPIC, {0: (first, last)}, bounds)
        return
    assert spans_of_offsets(TOPIC, {0: (first, last)}, bounds) == {0: Span(first, min(last + 1, bounds[0].end))}


@given(st.lists(st.text(min_size=1), max_size=50), st.integers(1, 20), st.integers(0, 9))
def test_a_sample_has_its_size_and_does_not_depend_on_order_or_repetition(
    request_ids: list[str], size: int, seed: int
) -> None:
    last = last_rank_of(size, seed, request_ids)
    drawn = {name for name in request_ids if Selection(seed=seed, last_rank=last).takes(name, 0)}
    assert len(drawn) == min(size, len(set(request_ids)))
    assert last_rank_of(size, seed, [*reversed(request_ids), *request_ids]) == last


def test_another_seed_draws_another_sample() -> None:
    names = [f"r{number}" for number in range(1_000)]
    orders = [sorted(names, key=lambda name: rank(seed, name))[:50] for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_offsets_are_read() -> None:
    assert parse_offsets("0:5-9, 1:-3,2:7-") == {0: (5, 9), 1: (None, 3), 2: (7, None)}


@pytest.mark.parametrize("text", ["", "0", "0:5", "a:1-2", "0:5-4", "0:1-2,0:3-4", "0:1-2,"])
def test_what_says_no_offsets_is_refused(text: str) -> None:
    with pytest.raises(ReplayError, match="--offsets"):
        parse_offsets(text)


def test_a_range_before_what_retention_has_left_says_from_when_it_is_there() -> None:
    bounds = {0: Bounds(10, 20, 1_767_225_600_000), 1: Bounds(0, 5, 1)}
    with pytest.raises(ReplayError, match=r"before offset 10 .*2026-01-01T00:00:00.000\+00:00.*ask for 0:10-"):
        spans_of_offsets(TOPIC, {0: (9, None)}, bounds)
    with pytest.raises(ReplayError, match="say --since 2026-01-01T00:00:00"):
        spans_of_times(TOPIC, bounds, 5, {0: 10, 1: 3}, {})
    # A topic that was quiet is not one that was cut: what retention may delete is older than what is asked for.
    assert spans_of_times(TOPIC, bounds, 5, {0: 10, 1: 3}, {}, kept_since_ms=5)[0] == Span(10, 20)
    assert deleted_before_ms(bounds) == 1_767_225_600_000
    assert deleted_before_ms({1: Bounds(0, 5, 1)}) is None
