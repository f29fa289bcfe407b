"""Between Kafka records and what a stage sees: pure functions on plain values."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from schemas import codec
from schemas.events import (
    MAX_REQUEST_ID_CHARS,
    DocumentFailed,
    DocumentStageEvent,
    DocumentSubmitted,
    Event,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
)
from schemas.headers import (
    CONTENT_TYPE,
    REDRIVES,
    REPLAY,
    STAMP,
    TIMELINE,
    Headers,
    Origin,
    derive_id,
    derive_output_id,
    with_stage_time,
)
from schemas.revision import document_revision
from topics.names import Namespace
from topics.specs import TOPIC_OF_EVENT, TopicSpec, dead_letters
from workers.runtime.stage import Delivery, PoisonError, StageError


class Incoming(NamedTuple):
    """A record as fetched. ``fetched_ms`` is Unix time in milliseconds."""

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: datetime
    fetched_ms: int


class Outgoing(NamedTuple):
    """A record to produce."""

    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


def request_key(record: Incoming) -> str:
    """The record key as text; a missing one is made from topic, partition and offset."""
    if not record.key:
        return _own_id(record)
    return record.key.decode("utf-8", "replace")


def identity(record: Incoming, spec: TopicSpec) -> bytes:
    """What makes two records of a topic the same: the key where it may come once, else the event ID.

    A redriven record is another than the one that failed.
    """
    raw = record.headers.raw
    name = record.key if spec.once_per_key else raw.get("ce_id")
    if not name:
        return str(record.origin).encode()
    redrives = raw.get(REDRIVES)
    return name + b"\0" + redrives if redrives else name


def deliver(record: Incoming, spec: TopicSpec, attempt: int) -> Delivery[Event]:
    """Decode a record for its ``attempt``-th handling.

    Raises:
        PoisonError: the key is too long, or the value is not an event of the topic.
    """
    key = request_key(record)
    headers = record.headers
    if "\ufffd" in key:
        msg = "the record key is not UTF-8 text"
        raise PoisonError("key_not_text", msg)
    if spec.once_per_key and len(key) > MAX_REQUEST_ID_CHARS:
        msg = f"the request ID has {len(key)} characters; at most {MAX_REQUEST_ID_CHARS} are allowed"
        raise PoisonError("request_id_too_long", msg)
    try:
        event = codec.decode(record.value, headers.type, spec.events)
    except codec.UndecodableError as error:
        raise PoisonError("undecodable", str(error)) from error
    if headers.raw.get("ce_id") is None:
        headers = Headers.decode([*headers.encode(), ("ce_id", _own_id(record).encode())])
    return Delivery(key, event, headers, record.origin, record.timestamp, attempt)


def is_for(record: Incoming, stage: str) -> bool:
    """Whether the stage should handle the record: a redriven one is for the stage that failed, and no other reader."""
    return record.headers.redriven_for in (None, stage)


def _own_id(record: Incoming) -> str:
    return derive_id(*record.origin)


class Span(NamedTuple):
    """The share of one stage in handling a record: who, when (Unix ms), which attempt, and the trace."""

    stage: str
    started_ms: int
    finished_ms: int
    attempt: int = 1
    traceparent: str | None = None


def outgoing(
    record: Incoming, events: Sequence[Event], span: Span, names: Namespace, stamp: bytes = b""
) -> list[Outgoing]:
    """The records for the events that follow from a record, with the encoded ``stamp`` of what decided them.

    An output's ``ce_id`` is made from the input's, so that handling the input again gives the same ID; a redrive is
    meant to have another outcome, and gives another.
    """
    if not events:
        return []
    raw = record.headers.raw
    cause = raw.get("ce_id") or _own_id(record).encode()
    redrives = record.headers.redrives
    passed = _passed_on(record, span, redrives)
    if stamp:
        passed.append((STAMP, stamp))
    made = []
    for index, event in enumerate(events):
        kind = event.TYPE
        tries = (redrives,) if redrives else ()
        event_id = derive_output_id(cause, span.stage, kind, index, *tries)
        key = event.key.encode("utf-8", "replace")
        headers = [("ce_id", event_id), ("ce_type", kind.encode()), ("ce_subject", key), *passed]
        own_tenant, expires_at = event.tenant_id, event.expires_at
        if tenant := own_tenant.encode("utf-8", "replace") if own_tenant else raw.get("ragline_tenant"):
            headers.append(("ragline_tenant", tenant))
        # After a redrive the header's deadline alone counts, for it was written then.
        if expires_at and not redrives:
            headers.append(("ragline_deadline", expires_at.isoformat().encode()))
        elif deadline := raw.get("ragline_deadline"):
            headers.append(("ragline_deadline", deadline))
        made.append(Outgoing(names.topic(TOPIC_OF_EVENT[type(event)]), key, codec.encode(event), headers))
    return made


def _passed_on(record: Incoming, span: Span, redrives: int) -> list[tuple[str, bytes]]:
    """Headers that all outputs of a record have in common."""
    raw = record.headers.raw
    topic, partition, offset = record.origin
    headers = [
        *_of_stage(span.stage, topic, partition, span.attempt),
        _time_header(span.finished_ms),
        ("ragline_source_offset", b"%d" % offset),
        (TIMELINE, with_stage_time(raw.get(TIMELINE), span.stage, span.started_ms, span.finished_ms, span.attempt)),
    ]
    if traceparent := span.traceparent.encode("utf-8", "replace") if span.traceparent else raw.get("traceparent"):
        headers.append(("traceparent", traceparent))
    if tracestate := raw.get("tracestate"):
        headers.append(("tracestate", tracestate))
    if redrives:
        headers.append((REDRIVES, b"%d" % redrives))
    if run := raw.get(REPLAY):
        headers.append((REPLAY, run))
    return headers


@lru_cache(maxsize=256)
def _of_stage(stage: str, topic: str, partition: int, attempt: int) -> tuple[tuple[str, bytes], ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", f"ragline/{stage}".encode()),
        ("content-type", CONTENT_TYPE.encode()),
        ("ragline_attempt", b"%d" % attempt),
        ("ragline_source_topic", topic.encode()),
        ("ragline_source_partition", b"%d" % partition),
    )


# Many records are finished in the same millisecond.
@lru_cache(maxsize=16)
def _time_header(ms: int) -> tuple[str, bytes]:
    return "ce_time", datetime.fromtimestamp(ms / 1000, UTC).isoformat().encode()


def dead_letter(
    record: Incoming, spec: TopicSpec, stage: str, error: StageError, attempts: int, names: Namespace
) -> Outgoing:
    """The record as it came, with why and where from as headers."""
    cause = {
        "ragline_dead_letter_stage": stage,
        "ragline_dead_letter_code": error.code,
        "ragline_dead_letter_message": str(error)[:2000],
        "ragline_dead_letter_attempts": str(attempts),
        "ragline_dead_letter_topic": record.origin.topic,
        "ragline_dead_letter_partition": str(record.origin.partition),
        "ragline_dead_letter_offset": str(record.origin.offset),
        "ragline_dead_letter_time": datetime.now(UTC).isoformat(),
    }
    headers = [*record.headers.encode(), *((name, value.encode("utf-8", "replace")) for name, value in cause.items())]
    # An empty value stays one: null would be a deletion on a compacted topic, and these topics are not.
    return Outgoing(names.topic(dead_letters(spec)), record.key or request_key(record).encode(), record.value, headers)


def failure(
    record: Incoming,
    event: Event | None,
    subject: Literal["request", "document"] | None,
    stage: str,
    error: StageError,
) -> tuple[Event, ...]:
    """The terminal event of what failed: ``event`` is None when it could not be decoded."""
    key = request_key(record)
    tenant = (event.tenant_id if event else None) or record.headers.tenant
    if subject == "request":
        request_id = key[:MAX_REQUEST_ID_CHARS]
        return (RequestFailed(request_id=request_id, tenant=tenant, stage=stage, code=error.code, message=str(error)),)
    if subject == "document":
        revision = ""
        if isinstance(event, DocumentStageEvent):
            revision = event.revision
        elif isinstance(event, DocumentSubmitted) and not record.headers.dataref:
            revision = document_revision(event)
        failed = DocumentFailed(
            document_id=key, revision=revision, tenant=tenant or "", stage=stage, code=error.code, message=str(error)
        )
        return (failed,)
    return ()


def expired(delivery: Delivery[Event], stage: str, deadline_at: datetime) -> tuple[Event, ...]:
    """The terminal event of a request whose deadline has passed."""
    tenant = delivery.event.tenant_id or delivery.headers.tenant
    return (RequestExpired(request_id=delivery.key, tenant=tenant, stage=stage, deadline_at=deadline_at),)


def cancelled(delivery: Delivery[Event], stage: str, reason: str | None) -> tuple[Event, ...]:
    """The terminal event of a request that somebody cancelled."""
    tenant = delivery.event.tenant_id or delivery.headers.tenant
    return (RequestCancelled(request_id=delivery.key, tenant=tenant, stage=stage, reason=reason),)
