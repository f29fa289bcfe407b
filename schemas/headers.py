"""Record headers: CloudEvents' Kafka binding in binary mode, W3C trace context, and ragline's own.

Sources: CloudEvents Kafka Protocol Binding 1.0.2, section 3.2 (``ce_`` prefix, ``content-type``);
W3C Trace Context (``traceparent``).
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self, TypeAlias

import orjson

from schemas.values import MAX_INTEGER, in_utc

CONTENT_TYPE = "application/json"
# A request passes five stages, each a few times at most: what is longer was not written by ragline.
MAX_STAGE_TIMES = 256
# Attempts and redrives count from 1.
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_OFFSET = re.compile(r"[0-9]{1,18}")

REDRIVES = "ragline_redrives"
REDRIVEN_FOR = "ragline_redriven_for"

RawHeaders: TypeAlias = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Origin:
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


@dataclass(frozen=True, slots=True)
class Headers:
    """What a record's headers say. Every field may be missing on a record of a plain producer.

    ``redrives`` is how often the request or document was taken out of dead letters so far; ``redriven_for`` names the
    stage that failed, on the redriven record alone: to the topic's other readers it is old.
    """

    id: str | None = None
    type: str | None = None
    source: str | None = None
    time: datetime | None = None
    subject: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    tenant: str | None = None
    deadline_at: datetime | None = None
    attempt: int = 1
    origin: Origin | None = None
    timeline: tuple[StageTime, ...] = field(default=())
    redrives: int = 0
    redriven_for: str | None = None

    @classmethod
    def decode(cls, raw: Iterable[tuple[str, bytes | None]]) -> Self:
        """Read record headers; one that cannot be read counts as missing, for it must not fail its record."""
        text = {name: value.decode("utf-8", "replace") for name, value in raw if value is not None}
        return cls(
            id=text.get("ce_id"),
            type=text.get("ce_type"),
            source=text.get("ce_source"),
            time=_time(text.get("ce_time")),
            subject=text.get("ce_subject"),
            traceparent=text.get("traceparent"),
            tracestate=text.get("tracestate"),
            tenant=text.get("ragline_tenant"),
            deadline_at=_time(text.get("ragline_deadline")),
            attempt=_count(text.get("ragline_attempt"), 1),
            origin=_origin(text),
            timeline=_timeline(text.get("ragline_timeline")),
            redrives=_count(text.get(REDRIVES), 0),
            redriven_for=text.get(REDRIVEN_FOR),
        )

    def encode(self) -> list[tuple[str, bytes]]:
        """Write record headers, leaving out what is missing."""
        text: dict[str, str | None] = {
            "ce_specversion": "1.0",
            "ce_id": self.id,
            "ce_type": self.type,
            "ce_source": self.source,
            "ce_time": self.time.isoformat() if self.time else None,
            "ce_subject": self.subject,
            "content-type": CONTENT_TYPE,
            "traceparent": self.traceparent,
            "tracestate": self.tracestate,
            "ragline_tenant": self.tenant,
            "ragline_deadline": self.deadline_at.isoformat() if self.deadline_at else None,
            "ragline_attempt": str(self.attempt),
            REDRIVES: str(self.redrives) if self.redrives else None,
            REDRIVEN_FOR: self.redriven_for,
        }
        if self.origin:
            text["ragline_source_topic"] = self.origin.topic
            text["ragline_source_partition"] = str(self.origin.partition)
            text["ragline_source_offset"] = str(self.origin.offset)
        if self.timeline:
            spans = [[t.stage, t.started_ms, t.finished_ms, t.attempt] for t in self.timeline]
            text["ragline_timeline"] = orjson.dumps(spans).decode()
        return [(name, value.encode("utf-8", "replace")) for name, value in text.items() if value is not None]


def derive_id(*parts: str | int) -> str:
    """Make an ID that is the same whenever the parts are: a redelivered input yields the same output ID."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = str(part).encode("utf-8", "surrogatepass")
        # The length keeps ("a", "bc") apart from ("ab", "c").
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()[:32]


def _time(text: str | None) -> datetime | None:
    try:
        return in_utc(datetime.fromisoformat(text)) if text else None
    except ValueError:
        return None


def _count(text: str | None, otherwise: int) -> int:
    return int(text) if text and _COUNT.fullmatch(text) else otherwise


def _origin(text: dict[str, str]) -> Origin | None:
    topic = text.get("ragline_source_topic")
    partition = text.get("ragline_source_partition", "")
    offset = text.get("ragline_source_offset", "")
    if topic is None or not _OFFSET.fullmatch(partition) or not _OFFSET.fullmatch(offset):
        return None
    return Origin(topic, int(partition), int(offset))


def _timeline(text: str | None) -> tuple[StageTime, ...]:
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
