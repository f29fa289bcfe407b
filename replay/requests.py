"""Recorded requests as records of a replay: pure, on plain values."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from replay.overrides import OptionChanges
from schemas import codec
from schemas.events import MAX_REQUEST_ID_CHARS
from schemas.headers import REDRIVES, REPLAY, Headers, Origin
from topics.specs import TopicSpec
from workers.runtime.records import Incoming, Outgoing, request_key

REPLAYED_FROM = "ragline_replayed_from"
# A replay is not part of the trace of what it repeats, nor a redrive.
_LEFT_BEHIND = frozenset({"traceparent", "tracestate", REDRIVES})
_REDRIVEN_PREFIX = "ragline_redriven_"

Make = Callable[[Incoming], Outgoing]


def incoming(record: Any) -> Incoming:
    """A consumed record of aiokafka's as a worker sees it."""
    return Incoming(
        origin=Origin(record.topic, record.partition, record.offset),
        key=record.key,
        value=record.value,
        headers=Headers.decode(record.headers),
        timestamp=datetime.fromtimestamp(max(record.timestamp, 0) / 1000, UTC),
        fetched_ms=0,
    )


def request_id(record: Incoming) -> str:
    """The request ID, as its terminal event has it."""
    return request_key(record)[:MAX_REQUEST_ID_CHARS]


def maker(spec: TopicSpec, topic: str, run: str, changes: OptionChanges) -> Make:
    """A function that makes the record for ``topic``, in the run's namespace, of one of ``spec``.

    Key, value and IDs stay as they were, so that what follows is the same where nothing was changed: what production
    made of the record's place or time is written down. With ``changes`` the value has them; one that cannot be decoded
    stays as it is, and is a dead letter of the run.
    """

    def make(record: Incoming) -> Outgoing:
        value = _changed(record, spec, changes) if changes else record.value
        key = record.key or request_key(record).encode()
        return Outgoing(topic, key, value, _headers(record, run))

    return make


def _headers(record: Incoming, run: str) -> list[tuple[str, bytes]]:
    raw = record.headers.raw
    kept = [
        (name, value)
        for name, value in raw.items()
        if name not in _LEFT_BEHIND and not name.startswith(_REDRIVEN_PREFIX) and value is not None
    ]
    if "ce_id" not in raw:
        kept.append(("ce_id", request_key(record._replace(key=None)).encode()))
    if record.headers.time is None:
        kept = [(name, value) for name, value in kept if name != "ce_time"]
        kept.append(("ce_time", record.timestamp.isoformat().encode()))
    return [*kept, (REPLAY, run.encode()), (REPLAYED_FROM, str(record.origin).encode())]


def _changed(record: Incoming, spec: TopicSpec, changes: OptionChanges) -> bytes | None:
    try:
        event = codec.decode(record.value, record.headers.type, spec.events)
    except codec.UndecodableError:
        return record.value
    return codec.encode(changes.made_to(event))
