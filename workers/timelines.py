"""What the monitor knows: a timeline per request and the latency of each stage, from records of the stage topics."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.events import MAX_REQUEST_ID_CHARS, QueryAsked, Terminal
from schemas.headers import StageTime, derive_id
from topics.specs import (
    ANSWERS,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    TopicSpec,
)
from workers.latency import Latency, LatencyWindow
from workers.runtime.records import Incoming, request_key

WATCHED: tuple[TopicSpec, ...] = (
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    ANSWERS,
)
# Steps of a request, in order; expansion is one of generation's.
STAGES: tuple[str, ...] = ("query", "expansion", "embedding", "retrieval", "prompt", "generation")
UNKNOWN_TYPE = "unknown"
# A request makes six events, or eight; more than this under one ID are not a request's.
MAX_EVENTS = 64


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as far as the monitor reads it. Times are Unix milliseconds."""

    request_id: str
    event_id: str
    event_type: str
    topic: str
    at_ms: int
    asked: bool
    terminal: bool
    timeline: tuple[StageTime, ...]


@dataclass(frozen=True, slots=True)
class StageShare:
    """One stage's part of a request: how long its record waited for it, and how long it took."""

    stage: str
    attempt: int
    started_ms: int
    finished_ms: int
    waited_ms: int | None
    took_ms: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is known of a request; ``ended`` is the type of its terminal event, ``total_ms`` from question to end."""

    request_id: str
    asked_ms: int | None
    ended: str | None
    ended_ms: int | None
    total_ms: int | None
    stages: tuple[StageShare, ...]
    events: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class StageLatency:
    """One stage's latencies in the window."""

    took: Latency
    waited: Latency


@dataclass(slots=True)
class _Request:
    events: dict[str, Seen] = field(default_factory=dict)
    stages: dict[tuple[str, int], StageTime] = field(default_factory=dict)
    asked_ms: int | None = None
    terminal: Seen | None = None


def see(record: Incoming, spec: TopicSpec) -> Seen:
    """Read a record's key, time and headers; its value is not needed."""
    headers = record.headers
    types = {kind.TYPE: kind for kind in spec.events}
    kind = types.get(headers.type or QueryAsked.TYPE)
    recorded_ms = int(record.timestamp.timestamp() * 1000)
    # A request's clock starts when its record was written, whatever an upstream says.
    said_ms = int(headers.time.timestamp() * 1000) if headers.time and spec is not QUERIES else recorded_ms
    origin = record.origin
    return Seen(
        request_id=request_key(record)[:MAX_REQUEST_ID_CHARS],
        event_id=headers.id or derive_id(origin.topic, origin.partition, origin.offset),
        event_type=kind.TYPE if kind else UNKNOWN_TYPE,
        topic=spec.name,
        at_ms=said_ms,
        asked=spec is QUERIES,
        terminal=kind is not None and issubclass(kind, Terminal),
        timeline=tuple(time for time in headers.timeline if time.stage in STAGES),
    )


class Timelines:
    """Timelines of the latest ``max_requests`` requests, and latencies of the last ``window_ms``.

    Each event ID of a request counts once, whichever of its records comes first.
    """

    def __init__(self, max_requests: int, window_ms: int) -> None:
        self._max_requests = max_requests
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._took = {stage: LatencyWindow(window_ms) for stage in STAGES}
        self._waited = {stage: LatencyWindow(window_ms) for stage in STAGES}
        self._total = LatencyWindow(window_ms)

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, seen: Seen) -> bool:
        """Take in a record; False if it says nothing new."""
        request = self._requests.setdefault(seen.request_id, _Request())
        self._requests.move_to_end(seen.request_id)
        if len(self._requests) > self._max_requests:
            self._requests.popitem(last=False)
        if seen.event_id in request.events or len(request.events) >= MAX_EVENTS:
            return False
        request.events[seen.event_id] = seen
        if seen.asked and request.asked_ms is None:
            request.asked_ms = seen.at_ms
        self._count_stages(request, seen.timeline)
        if seen.terminal and request.terminal is None:
            request.terminal = seen
            if request.asked_ms is not None:
                self._total.add(seen.at_ms, max(0, seen.at_ms - request.asked_ms))
        return True

    def timeline(self, request_id: str) -> Timeline | None:
        """What is known of a request, or None."""
        request = self._requests.get(request_id)
        return _timeline(request_id, request) if request else None

    def latest(self, count: int) -> list[Timeline]:
        """The requests of which something was seen last, the latest first."""
        latest = list(reversed(self._requests.items()))[:count]
        return [_timeline(request_id, request) for request_id, request in latest]

    def latency(self, now_ms: int) -> dict[str, StageLatency]:
        """Latencies by stage, in the order of the stages."""
        return {
            stage: StageLatency(self._took[stage].latency(now_ms), self._waited[stage].latency(now_ms))
            for stage in STAGES
        }

    def total(self, now_ms: int) -> Latency:
        """Latency of whole requests, from question to terminal event."""
        return self._total.latency(now_ms)

    def _count_stages(self, request: _Request, timeline: Iterable[StageTime]) -> None:
        before_ms = request.asked_ms
        for time in timeline:
            if request.stages.setdefault((time.stage, time.attempt), time) is time:
                self._took[time.stage].add(time.finished_ms, max(0, time.finished_ms - time.started_ms))
                if before_ms is not None:
                    self._waited[time.stage].add(time.started_ms, max(0, time.started_ms - before_ms))
            before_ms = time.finished_ms


def _timeline(request_id: str, request: _Request) -> Timeline:
    shares: list[StageShare] = []
    before_ms = request.asked_ms
    for time in sorted(request.stages.values(), key=lambda time: time.started_ms):
        waited_ms = None if before_ms is None else max(0, time.started_ms - before_ms)
        took_ms = max(0, time.finished_ms - time.started_ms)
        shares.append(StageShare(time.stage, time.attempt, time.started_ms, time.finished_ms, waited_ms, took_ms))
        before_ms = time.finished_ms
    end = request.terminal
    total_ms = max(0, end.at_ms - request.asked_ms) if end and request.asked_ms is not None else None
    return Timeline(
        request_id=request_id,
        asked_ms=request.asked_ms,
        ended=end.event_type if end else None,
        ended_ms=end.at_ms if end else None,
        total_ms=total_ms,
        stages=tuple(shares),
        events=tuple(sorted(request.events.values(), key=lambda seen: seen.at_ms)),
    )
