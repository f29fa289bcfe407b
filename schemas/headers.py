"""Record headers: CloudEvents' Kafka binding in binary mode, W3C trace context, and ragline's own.

Sources: CloudEvents Kafka Protocol Binding 1.0.2, section 3.2 (``ce_`` prefix, ``content-type``);
W3C Trace Context (``traceparent``).
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Self, TypeAlias

import orjson
from pydantic import JsonValue

from schemas import stamps
from schemas.values import MAX_INTEGER, in_utc

CONTENT_TYPE = "application/json"
# A request passes five stages, each a few times at most: what is longer was not written by ragline.
MAX_STAGE_TIMES = 256
_MAX_TIMELINE_BYTES = 16 * 1024
# Attempts and redrives count from 1.
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_OFFSET = re.compile(r"[0-9]{1,18}")

DATAREF = "ce_dataref"
REDRIVES = "ragline_redrives"
REDRIVEN_FOR = "ragline_redriven_for"
REPLAY = "ragline_replay"
STAMP = "ragline_stamp"
TIMELINE = "ragline_timeline"

RawHeaders: TypeAlias = Sequence[tuple[str, bytes]]


class Origin(NamedTuple):
    """Where a record stands: topic, partition and offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage's share of a request: when its record was fetched and when its outcome was ready.

    Both are Unix time in milliseconds.
    """

    stage: str
    started_ms: int
    finished_ms: int
    attempt: int = 1


class Headers:
    """What a record's headers say. Every one may be missing on a record of a plain producer.

    ``dataref`` is where the text of a document is that does not fit in its record (CloudEvents' extension ``dataref``).
    ``redrives`` is how often the request or document was taken out of dead letters so far; ``redriven_for`` names the
    stage that failed, on the redriven record alone: to the topic's other readers it is old. ``replay`` names the run of
    a replayed request; its deadlines are of a time gone by, and count no more. ``stamp`` says what decided the event.

    Those of a fetched record are understood only when they are asked for, since a stage looks at few of them. ``raw``
    has their bytes by name (those of a foreign producer may be null).
    """

    __slots__ = ("_wire", "raw")

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - CloudEvents' name
        type: str | None = None,  # noqa: A002
        source: str | None = None,
        time: datetime | None = None,
        subject: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        tenant: str | None = None,
        deadline_at: datetime | None = None,
        attempt: int = 1,
        origin: Origin | None = None,
        timeline: Sequence[StageTime] = (),
        redrives: int = 0,
        redriven_for: str | None = None,
        dataref: str | None = None,
        replay: str | None = None,
    ) -> None:
        text: dict[str, str | None] = {
            "ce_specversion": "1.0",
            "ce_id": id,
            "ce_type": type,
            "ce_source": source,
            "ce_time": time.isoformat() if time else None,
            "ce_subject": subject,
            DATAREF: dataref,
            "content-type": CONTENT_TYPE,
            "traceparent": traceparent,
            "tracestate": tracestate,
            "ragline_tenant": tenant,
            "ragline_deadline": deadline_at.isoformat() if deadline_at else None,
            "ragline_attempt": str(attempt),
            REDRIVES: str(redrives) if redrives else None,
            REDRIVEN_FOR: redriven_for,
            REPLAY: replay,
        }
        if origin:
            text["ragline_source_topic"] = origin.topic
            text["ragline_source_partition"] = str(origin.partition)
            text["ragline_source_offset"] = str(origin.offset)
        if timeline:
            spans = [[t.stage, t.started_ms, t.finished_ms, t.attempt] for t in timeline]
            text[TIMELINE] = orjson.dumps(spans).decode()
        said = {name: value for name, value in text.items() if value is not None}
        self._wire: RawHeaders = [(name, value.encode("utf-8", "replace")) for name, value in said.items()]
        self.raw = dict(self._wire)

    @classmethod
    def decode(cls, wire: RawHeaders) -> Self:
        """Read record headers; one that cannot be read counts as missing, for it must not fail its record."""
        self = cls.__new__(cls)
        self._wire = wire
        # Of a name that is there twice the last one counts.
        self.raw = dict(wire)
        return self

    def encode(self) -> list[tuple[str, bytes]]:
        """Write record headers: those that were read as they came, others without what is missing."""
        return list(self._wire)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._understood() == other._understood()

    def __hash__(self) -> int:
        return hash((self.id, self.type, self.timeline))

    def __repr__(self) -> str:
        said = (f"{name}={value!r}" for name, value in zip(_NAMES, self._understood(), strict=True) if value)
        return f"Headers({', '.join(said)})"

    @property
    def id(self) -> str | None:
        return self._text("ce_id")

    @property
    def type(self) -> str | None:
        return self._text("ce_type")

    @property
    def source(self) -> str | None:
        return self._text("ce_source")

    @property
    def time(self) -> datetime | None:
        return _time(self._text("ce_time"))

    @property
    def subject(self) -> str | None:
        return self._text("ce_subject")

    @property
    def dataref(self) -> str | None:
        return self._text(DATAREF)

    @property
    def traceparent(self) -> str | None:
        return self._text("traceparent")

    @property
    def tracestate(self) -> str | None:
        return self._text("tracestate")

    @property
    def tenant(self) -> str | None:
        return self._text("ragline_tenant")

    @property
    def deadline_at(self) -> datetime | None:
        text = self._text("ragline_deadline")
        return _time(text) if text else None

    @property
    def attempt(self) -> int:
        return _count(self._text("ragline_attempt"), 1)

    @property
    def origin(self) -> Origin | None:
        topic = self._text("ragline_source_topic")
        partition = self._text("ragline_source_partition") or ""
        offset = self._text("ragline_source_offset") or ""
        if topic is None or not _OFFSET.fullmatch(partition) or not _OFFSET.fullmatch(offset):
            return None
        return Origin(topic, int(partition), int(offset))

    @property
    def timeline(self) -> tuple[StageTime, ...]:
        return _timeline(self.raw.get(TIMELINE))

    @property
    def redrives(self) -> int:
        text = self._text(REDRIVES)
        return _count(text, 0) if text else 0

    @property
    def redriven_for(self) -> str | None:
        return self._text(REDRIVEN_FOR)

    @property
    def replay(self) -> str | None:
        return self._text(REPLAY)

    @property
    def stamp(self) -> dict[str, JsonValue]:
        return stamps.decode(self.raw.get(STAMP))

    def _understood(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in _NAMES)

    def _text(self, name: str) -> str | None:
        value = self.raw.get(name)
        return None if value is None else value.decode("utf-8", "replace")


_NAMES = tuple(name for name, member in vars(Headers).items() if isinstance(member, property))


def with_stage_time(timeline: bytes | None, stage: str, started_ms: int, finished_ms: int, attempt: int) -> bytes:
    """A timeline header with one more entry. One that is overlong or no list is begun anew; more is not looked at."""
    entry = orjson.dumps((stage, started_ms, finished_ms, attempt))
    if timeline and len(timeline) < _MAX_TIMELINE_BYTES and timeline.startswith(b"[[") and timeline.endswith(b"]]"):
        return timeline[:-1] + b"," + entry + b"]"
    return b"[" + entry + b"]"


def derive_id(*parts: str | int) -> str:
    """Make an ID that is the same whenever the parts are: a redelivered input yields the same output ID."""
    return hashlib.sha256(_joined(parts)).hexdigest()[:32]


def derive_output_id(cause: bytes, *parts: str | int) -> bytes:
    """``derive_id`` of a cause and what is the same for all outputs of a kind, quickly."""
    return hashlib.sha256(b"%d:%b%b" % (len(cause), cause, _joined_often(parts))).hexdigest()[:32].encode()


def _joined(parts: tuple[str | int, ...]) -> bytes:
    encoded = [str(part).encode("utf-8", "surrogatepass") for part in parts]
    # The length keeps ("a", "bc") apart from ("ab", "c").
    return b"".join([b"%d:%b" % (len(part), part) for part in encoded])


_joined_often = lru_cache(maxsize=256)(_joined)


def _time(text: str | None) -> datetime | None:
    try:
        return in_utc(datetime.fromisoformat(text)) if text else None
    except ValueError:
        return None


def _count(text: str | None, otherwise: int) -> int:
    return int(text) if text and _COUNT.fullmatch(text) else otherwise


def _timeline(text: bytes | None) -> tuple[StageTime, ...]:
    if not text:
        return ()
    try:
        spans = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ()
    if not isinstance(spans, list) or len(spans) > MAX_STAGE_TIMES or not all(map(_is_stage_time, spans)):
        return ()
    return tuple(StageTime(*span) for span in spans)


def _is_stage_time(span: object) -> bool:
    match span:
        case [str(), int(started), int(finished), int(attempt)]:
            return all(0 <= number <= MAX_INTEGER for number in (started, finished, attempt))
        case _:
            return False
