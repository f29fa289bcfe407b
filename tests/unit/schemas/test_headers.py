import inspect
from dataclasses import astuple
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import MAX_STAGE_TIMES, Headers, Origin, StageTime, derive_id, derive_output_id, with_stage_time
from schemas.values import MAX_INTEGER

TEXT = st.text(max_size=30)
MOMENTS = st.none() | st.datetimes(timezones=st.just(UTC))
NUMBERS = st.integers(0, MAX_INTEGER)
ANY_HEADERS = st.builds(
    Headers,
    id=st.none() | TEXT,
    type=st.none() | TEXT,
    source=st.none() | TEXT,
    time=MOMENTS,
    subject=st.none() | TEXT,
    traceparent=st.none() | TEXT,
    tracestate=st.none() | TEXT,
    tenant=st.none() | TEXT,
    deadline_at=MOMENTS,
    attempt=st.integers(1, 999_999_999),
    origin=st.none() | st.builds(Origin, TEXT, st.integers(0, 10**6), st.integers(0, 10**18 - 1)),
    timeline=st.lists(st.builds(StageTime, TEXT, NUMBERS, NUMBERS, NUMBERS), max_size=6).map(tuple),
    redrives=st.integers(0, 999_999_999),
    redriven_for=st.none() | TEXT,
    replay=st.none() | TEXT,
)
FIELDS = list(inspect.signature(Headers).parameters)
NAMES = [name for name, _ in Headers("i", "t", "s", datetime.now(UTC), origin=Origin("t", 0, 0)).encode()] + [
    "ragline_timeline",
    "ragline_deadline",
    "ragline_redrives",
    "x",
]


def said(headers: Headers) -> dict[str, object]:
    return {name: getattr(headers, name) for name in FIELDS}


@given(ANY_HEADERS)
def test_headers_say_what_they_were_made_with(headers: Headers) -> None:
    assert Headers(**said(headers)) == headers  # type: ignore[arg-type]


@given(ANY_HEADERS)
def test_headers_come_back_as_they_went(headers: Headers) -> None:
    assert Headers.decode(headers.encode()) == headers


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.binary(max_size=60) | TEXT.map(str.encode))))
def test_headers_of_any_kind_are_read_and_written_again(raw: list[tuple[str, bytes | None]]) -> None:
    headers = Headers.decode(raw)
    assert Headers.decode(headers.encode()) == headers


HOSTILE = {
    "ragline_attempt": ["0", "-1", "1e3", "\uff19", "1_0", " 1", "9" * 10_000, "true", ""],
    "ragline_redrives": ["0", "-1", "\uff19", "9" * 10_000, "many", ""],
    "ragline_source_offset": ["-1", "\uff19", "9" * 10_000, "1.0", ""],
    "ce_time": [
        "yesterday",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "\uff12\uff10\uff12\uff16-01-01",
        "9" * 10_000,
    ],
    "ragline_deadline": ["9999-12-31T23:59:59-23:59", "12", ""],
    "ragline_timeline": [
        "[" * 100_000,
        "{}",
        '{"abcd": 1}',
        '["a123"]',
        '[["query", 1, 2]]',
        '[["query", 1, 2, 1, 1]]',
        '[["query", 1, 1e30, 1]]',
        '[["query", 1, 99999999999999999999, 1]]',
        '[["query", 1, -2, 1]]',
        "[[null, 1, 2, 1]]",
        '[["query", "1", "2", "1"]]',
        '[["query", [], {}, 1]]',
        "[" + ",".join(['["query",1,2,1]'] * (MAX_STAGE_TIMES + 1)) + "]",
        "NaN",
        "null",
        "1",
    ],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in HOSTILE.items() for text in texts], ids=lambda part: part[:30]
)
def test_a_header_that_cannot_be_read_counts_as_missing(name: str, text: str) -> None:
    place = {"ragline_source_topic": b"t", "ragline_source_partition": b"0", "ragline_source_offset": b"1"}
    raw = (place if name == "ragline_source_offset" else {}) | {name: text.encode()}
    assert Headers.decode(list(raw.items())) == Headers()


TIMES = st.builds(StageTime, TEXT, NUMBERS, NUMBERS, NUMBERS)


@given(st.lists(TIMES, min_size=1, max_size=6))
def test_a_timeline_grows_entry_by_entry(times: list[StageTime]) -> None:
    timeline = None
    for time in times:
        timeline = with_stage_time(timeline, *astuple(time))
    assert timeline
    assert Headers.decode([("ragline_timeline", timeline)]).timeline == tuple(times)


@pytest.mark.parametrize("before", [b"", b"[]", b"{}", b"[" * 100_000, b"[[" + b"1," * 100_000 + b"1]]"])
def test_a_timeline_that_is_none_is_begun_anew(before: bytes) -> None:
    time = StageTime("query", 1, 2, 3)
    assert Headers.decode([("ragline_timeline", with_stage_time(before, *astuple(time)))]).timeline == (time,)


def test_headers_are_passed_on_as_they_came() -> None:
    raw = [("x", b"1"), ("x", b"2"), ("ce_id", b"a"), ("ce_id", b"b")]
    assert Headers.decode(raw).encode() == raw
    assert Headers.decode(raw).id == "b"


def test_a_time_without_offset_is_utc() -> None:
    headers = Headers.decode([("ragline_deadline", b"2026-01-02T03:04:05")])
    assert headers.deadline_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_cloudevents_names_and_what_is_missing() -> None:
    assert Headers.decode([]) == Headers()
    written = dict(Headers(id="1", type="t").encode())
    assert written == {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_type": b"t",
        "content-type": b"application/json",
        "ragline_attempt": b"1",
    }


def test_a_lone_surrogate_does_not_stop_a_record() -> None:
    assert ("ce_subject", b"a?") in Headers(subject="a\ud800").encode()


@given(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))
def test_derived_ids_are_equal_exactly_when_their_parts_are(one: list[str], other: list[str]) -> None:
    assert (derive_id(*one) == derive_id(*other)) == (one == other)


@given(TEXT, st.lists(TEXT | st.integers(0, 9), max_size=4))
def test_output_ids_are_derived_alike(cause: str, parts: list[str | int]) -> None:
    assert derive_output_id(cause.encode(), *parts).decode() == derive_id(cause, *parts)


def test_derived_ids_take_numbers_and_any_text() -> None:
    assert derive_id("rag.queries", 1, 23) != derive_id("rag.queries", 12, 3)
    assert len(derive_id("\ud800")) == 32
