from collections.abc import Iterable
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from starlette.applications import Starlette

from schemas.events import Answered, QueryAccepted, QueryAsked, QueryEmbedded
from schemas.headers import Headers, Origin, StageTime
from topics.specs import ANSWERS, QUERIES, QUERIES_ACCEPTED, QUERIES_EMBEDDED, TopicSpec
from workers.latency import Latency, LatencyWindow, percentile
from workers.monitor_pages import MonitorMetrics, routes
from workers.runtime.records import Incoming
from workers.timelines import MAX_EVENTS, STAGES, UNKNOWN_TYPE, WATCHED, Timelines, see

QUERY = StageTime("query", 1_100, 1_150)
EMBEDDING = StageTime("embedding", 1_200, 1_500)


def record(
    spec: TopicSpec,
    *,
    key: bytes | None = b"r1",
    headers: Headers | Iterable[tuple[str, bytes]] = (),
    at_ms: int = 1_000,
    offset: int = 0,
) -> Incoming:
    raw = headers.encode() if isinstance(headers, Headers) else list(headers)
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return Incoming(Origin(spec.name, 0, offset), key, b"{}", Headers.decode(raw), moment, at_ms)


def said(event_id: str, event_type: str, at_ms: int, *timeline: StageTime) -> Headers:
    return Headers(id=event_id, type=event_type, time=datetime.fromtimestamp(at_ms / 1000, UTC), timeline=timeline)


def one_request(timelines: Timelines) -> None:
    timelines.add(see(record(QUERIES), QUERIES))
    for spec, headers in (
        (QUERIES_ACCEPTED, said("e1", QueryAccepted.TYPE, 1_150, QUERY)),
        (QUERIES_EMBEDDED, said("e2", QueryEmbedded.TYPE, 1_500, QUERY, EMBEDDING)),
        (ANSWERS, said("e3", Answered.TYPE, 2_000, QUERY, EMBEDDING, StageTime("generation", 1_600, 2_000))),
    ):
        timelines.add(see(record(spec, headers=headers), spec))


@pytest.fixture
def timelines() -> Timelines:
    return Timelines(max_requests=10, window_ms=60_000)


def test_the_stages_are_those_that_write_the_watched_topics() -> None:
    owners = [spec.owner for spec in WATCHED if spec is not QUERIES]
    assert [stage for stage in STAGES if stage != "expansion"] == owners


def test_a_plain_question_is_read_without_headers() -> None:
    seen = see(record(QUERIES, key=None, at_ms=1_234), QUERIES)
    assert seen.event_type == QueryAsked.TYPE
    assert seen.at_ms == 1_234
    assert seen.asked
    assert seen.event_id
    assert seen.request_id == seen.event_id


def test_the_clock_of_a_request_starts_when_its_record_was_written() -> None:
    assert see(record(QUERIES, headers=said("x", QueryAsked.TYPE, 99)), QUERIES).at_ms == 1_000
    assert see(record(ANSWERS, headers=said("x", Answered.TYPE, 99)), ANSWERS).at_ms == 99


def test_a_type_that_does_not_belong_is_unknown() -> None:
    seen = see(record(ANSWERS, headers=said("x", QueryAsked.TYPE, 99)), ANSWERS)
    assert (seen.event_type, seen.terminal) == (UNKNOWN_TYPE, False)


def test_stages_that_do_not_exist_are_left_out() -> None:
    headers = said("x", Answered.TYPE, 99, StageTime("evil", 0, 1), QUERY)
    assert see(record(ANSWERS, headers=headers), ANSWERS).timeline == (QUERY,)


@given(
    spec=st.sampled_from(WATCHED),
    key=st.none() | st.binary(max_size=300),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["ce_id", "ce_time", "ce_type", "ragline_timeline", "ragline_attempt"]),
            st.binary(max_size=40) | st.sampled_from([b'[["query",5,1,1]]', b'[["prompt",1,9223372036854775807,0]]']),
        )
    ),
)
def test_no_record_stops_the_monitor(spec: TopicSpec, key: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    timelines = Timelines(max_requests=2, window_ms=1_000)
    seen = see(record(spec, key=key, headers=headers), spec)
    assert timelines.add(seen)
    assert not timelines.add(seen)
    assert timelines.timeline(seen.request_id) is not None
    timelines.latency(2_000)
    timelines.total(2_000)


def test_a_timeline_tells_waits_and_times_of_each_stage(timelines: Timelines) -> None:
    one_request(timelines)
    found = timelines.timeline("r1")
    assert found is not None
    assert [(share.stage, share.waited_ms, share.took_ms) for share in found.stages] == [
        ("query", 100, 50),
        ("embedding", 50, 300),
        ("generation", 100, 400),
    ]
    assert (found.asked_ms, found.ended, found.total_ms) == (1_000, Answered.TYPE, 1_000)
    assert [seen.topic for seen in found.events] == [
        "rag.queries",
        "rag.queries.accepted",
        "rag.queries.embedded",
        "rag.answers",
    ]


def test_each_stage_counts_once_however_many_events_carry_it(timelines: Timelines) -> None:
    one_request(timelines)
    latency = timelines.latency(3_000)
    assert {stage: latency[stage].took.count for stage in STAGES} == {
        "query": 1,
        "expansion": 0,
        "embedding": 1,
        "retrieval": 0,
        "prompt": 0,
        "generation": 1,
    }
    assert latency["embedding"].took == Latency(1, 300, 300)
    assert latency["embedding"].waited == Latency(1, 50, 50)
    assert timelines.total(3_000) == Latency(1, 1_000, 1_000)


def test_an_event_that_comes_twice_counts_once(timelines: Timelines) -> None:
    again = said("e1", QueryAccepted.TYPE, 1_900, StageTime("query", 1_800, 1_900))
    one_request(timelines)
    assert not timelines.add(see(record(QUERIES_ACCEPTED, headers=again, offset=7), QUERIES_ACCEPTED))
    assert timelines.latency(3_000)["query"].took == Latency(1, 50, 50)


def test_the_first_terminal_event_holds(timelines: Timelines) -> None:
    one_request(timelines)
    assert timelines.add(see(record(ANSWERS, headers=said("e9", Answered.TYPE, 9_000)), ANSWERS))
    found = timelines.timeline("r1")
    assert found is not None
    assert found.ended_ms == 2_000


def test_a_request_that_was_not_seen_from_the_start_has_no_total(timelines: Timelines) -> None:
    timelines.add(see(record(ANSWERS, headers=said("e3", Answered.TYPE, 2_000, QUERY)), ANSWERS))
    found = timelines.timeline("r1")
    assert found is not None
    assert (found.asked_ms, found.total_ms, found.stages[0].waited_ms) == (None, None, None)
    assert timelines.total(3_000).count == 0


def test_the_latest_requests_are_kept() -> None:
    timelines = Timelines(max_requests=2, window_ms=1_000)
    for key in (b"a", b"b", b"a", b"c"):
        timelines.add(see(record(QUERIES, key=key), QUERIES))
    assert len(timelines) == 2
    assert [found.request_id for found in timelines.latest(5)] == ["c", "a"]
    assert timelines.timeline("b") is None


def test_one_request_cannot_fill_the_memory(timelines: Timelines) -> None:
    taken = [timelines.add(see(record(QUERIES, offset=offset), QUERIES)) for offset in range(MAX_EVENTS + 5)]
    assert sum(taken) == MAX_EVENTS


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    found = percentile(sorted(values), percent)
    assert found is not None
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert all(sum(value <= less for value in values) * 100 < percent * len(values) for less in values if less < found)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 50)), max_size=30), st.integers(0, 150))
def test_a_window_holds_what_ended_within_it(samples: list[tuple[int, int]], now: int) -> None:
    window = LatencyWindow(window_ms=20)
    for ended, took in samples:
        window.add(ended, took)
    within = sorted(took for ended, took in samples if ended >= now - 20)
    assert window.latency(now) == Latency(len(within), percentile(within, 50), percentile(within, 95))


def test_a_window_keeps_the_latest_of_too_many() -> None:
    window = LatencyWindow(window_ms=1_000, max_samples=2)
    for ended in (3, 1, 2):
        window.add(ended, ended)
    assert window.latency(10) == Latency(2, 2, 3)


async def get(timelines: Timelines, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(Starlette(routes=routes(timelines, window_s=60)))
    async with httpx.AsyncClient(transport=transport, base_url="http://monitor") as client:
        return await client.get(path)


async def test_the_pages(timelines: Timelines) -> None:
    one_request(timelines)
    found = (await get(timelines, "/requests/r1")).json()
    assert found["stages"][0] == {
        "stage": "query",
        "attempt": 1,
        "started_ms": 1_100,
        "finished_ms": 1_150,
        "waited_ms": 100,
        "took_ms": 50,
    }
    assert [request["request_id"] for request in (await get(timelines, "/requests")).json()] == ["r1"]
    latency = (await get(timelines, "/latency")).json()
    assert latency["window_s"] == 60
    assert list(latency["stages"]) == list(STAGES)
    assert set(latency["stages"]["query"]["took"]) == {"count", "p50_ms", "p95_ms"}


async def test_a_request_that_nobody_saw_is_not_found(timelines: Timelines) -> None:
    missing = await get(timelines, "/requests/a/b")
    assert missing.status_code == 404
    assert missing.json() == {"error": "nothing was seen of request a/b"}


async def test_the_page_comes_from_nowhere_else(timelines: Timelines) -> None:
    page = await get(timelines, "/")
    assert "ragline monitor" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_the_metrics(timelines: Timelines) -> None:
    one_request(timelines)
    metrics = MonitorMetrics(timelines)
    metrics.records.labels("rag.queries").inc()
    text = generate_latest(metrics.registry).decode()
    assert 'ragline_monitor_records_total{topic="rag.queries"} 1.0' in text
    assert "ragline_monitor_requests 1.0" in text
