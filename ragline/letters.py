"""Dead letters as people see them: what failed, where and why, and what has become of it. Pure, without I/O."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from schemas import codec
from schemas.events import DeadLetterDropped, DeadLetterEvent, DeadLetterRedriven, DocumentStageEvent, DocumentSubmitted
from schemas.headers import REDRIVEN_FOR, REDRIVES, Headers, Origin, RawHeaders, derive_id
from topics.specs import CONSUMED, DEAD_LETTERS_AUDIT, DEAD_LETTERS_SUFFIX, TopicSpec

State: TypeAlias = Literal["open", "redriven", "dropped"]
STATES: tuple[State, ...] = ("open", "redriven", "dropped")
Marks: TypeAlias = Mapping[str, DeadLetterEvent]

CAUSE_PREFIX = "ragline_dead_letter_"
_REDRIVEN = "ragline_redriven_"
_DEADLINE = "ragline_deadline"
_LEAST_PREFIX_CHARS = 6
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, without its value.

    ``id`` is the same for the same failure of the same record, even if it was written twice. ``spec`` is the topic it
    failed in, ``place`` where the letter is, ``origin`` where the record was, ``key`` its request or document ID,
    ``redrives`` how often it had been redriven when it failed.
    """

    id: str
    spec: TopicSpec
    place: Origin
    origin: Origin | None
    key: str
    stage: str
    code: str
    message: str
    attempts: str
    failed_at: datetime
    redrives: int
    mark: DeadLetterEvent | None

    @property
    def state(self) -> State:
        """What has become of it."""
        if self.mark is None:
            return "open"
        return "redriven" if isinstance(self.mark, DeadLetterRedriven) else "dropped"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; what is empty lets everything through.

    ``topics`` are names of specs, ``ids`` request, document or letter IDs (of the latter the beginning will do);
    ``since`` and ``until`` bound the time of failure; ``limit`` takes the oldest.
    """

    topics: frozenset[str] = field(default=frozenset())
    stages: frozenset[str] = field(default=frozenset())
    codes: frozenset[str] = field(default=frozenset())
    ids: frozenset[str] = field(default=frozenset())
    since: datetime | None = None
    until: datetime | None = None
    state: State | None = None
    limit: int | None = None

    @property
    def specs(self) -> tuple[TopicSpec, ...]:
        """The topics whose dead letters to look at."""
        return tuple(spec for spec in CONSUMED if not self.topics or spec.name in self.topics)

    def lets_through(self, letter: Letter) -> bool:
        """Whether it is one of these, ``limit`` aside."""
        return (
            (not self.stages or letter.stage in self.stages)
            and (not self.codes or letter.code in self.codes)
            and (not self.ids or any(_named(letter, name) for name in self.ids))
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and (self.state is None or letter.state == self.state)
        )

    def cut(self, letters: Iterable[Letter]) -> list[Letter]:
        """In order of failure, no more than ``limit``."""
        ordered = sorted(letters, key=lambda letter: (letter.failed_at, str(letter.place)))
        return ordered[: self.limit]


def topic_name(text: str) -> str:
    """The name of the spec that ``text`` means: its own, or that of its dead letters.

    Raises:
        ValueError: no such topic has dead letters.
    """
    name = text.removesuffix(DEAD_LETTERS_SUFFIX)
    known = [spec.name for spec in CONSUMED]
    if name not in known:
        raise ValueError(f"topic {text!r} has no dead letters; known are {', '.join(known)}")
    return name


def moment(text: str, now: datetime) -> datetime:
    """A time: ISO 8601 (UTC unless it says), or so long ago: ``90s``, ``30m``, ``2h``, ``7d``.

    Raises:
        ValueError: neither.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        when = datetime.fromisoformat(text)
        return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: say 2026-01-31T12:00, or 30m, 2h, 7d for so long ago") from error


def read_letter(
    spec: TopicSpec, place: Origin, key: bytes | None, value: bytes | None, headers: RawHeaders, failed_at: datetime
) -> Letter:
    """What a record of a dead-letters topic says; a header that is missing counts as empty."""
    text = {name: header.decode("utf-8", "replace") for name, header in headers if header is not None}
    cause = {name: text.get(CAUSE_PREFIX + name, "") for name in ("stage", "code", "message", "attempts")}
    origin = _origin(text)
    digest = hashlib.sha256(value or b"").hexdigest()
    where = origin or place
    return Letter(
        id=derive_id(
            "letter", cause["stage"], where.topic, where.partition, where.offset, (key or b"").hex(), str(digest)
        ),
        spec=spec,
        place=place,
        origin=origin,
        key=(key or b"").decode("utf-8", "replace"),
        failed_at=failed_at,
        redrives=Headers.decode(headers).redrives,
        mark=None,
        **cause,
    )


def redriven_headers(
    letter: Letter, headers: RawHeaders, by: str, at: datetime, time_left: timedelta
) -> list[tuple[str, bytes]]:
    """The record's own headers, without those of its dead letter, with those of its redrive.

    The deadline of a request counts anew: it is over for most letters that somebody looks at.
    """
    audit = {
        REDRIVES: str(letter.redrives + 1),
        REDRIVEN_FOR: letter.stage or None,
        _REDRIVEN + "by": by,
        _REDRIVEN + "at": at.isoformat(),
        _REDRIVEN + "from_topic": letter.place.topic,
        _REDRIVEN + "from_partition": str(letter.place.partition),
        _REDRIVEN + "from_offset": str(letter.place.offset),
        _DEADLINE: (at + time_left).isoformat() if is_of_request(letter.spec) else None,
    }
    own = [
        (name, value)
        for name, value in headers
        if not name.startswith((CAUSE_PREFIX, _REDRIVEN)) and (name not in audit or audit[name] is None)
    ]
    return own + [(name, value.encode()) for name, value in audit.items() if value is not None]


def redriven(letter: Letter, by: str, at: datetime) -> DeadLetterRedriven:
    """What is said of a letter that was redriven."""
    return DeadLetterRedriven(**_said(letter, by, at), redrives=letter.redrives + 1)


def dropped(letter: Letter, by: str, at: datetime, reason: str | None) -> DeadLetterDropped:
    """What is said of a letter that was dropped."""
    return DeadLetterDropped(**_said(letter, by, at), reason=reason)


def read_mark(value: bytes | None, headers: RawHeaders) -> DeadLetterEvent | None:
    """What a record of the audit topic says; None where it is none of ours."""
    try:
        event = codec.decode(value, Headers.decode(headers).type, DEAD_LETTERS_AUDIT.events)
    except codec.UndecodableError:
        return None
    return event if isinstance(event, DeadLetterEvent) else None


def is_of_request(spec: TopicSpec) -> bool:
    """Whether the topic's records belong to requests, and not to documents."""
    return not issubclass(spec.events[0], DocumentSubmitted | DocumentStageEvent)


def _named(letter: Letter, name: str) -> bool:
    return letter.key == name or (len(name) >= _LEAST_PREFIX_CHARS and letter.id.startswith(name))


def _said(letter: Letter, by: str, at: datetime) -> dict[str, Any]:
    place = letter.place
    return {
        "letter_id": letter.id,
        "topic": place.topic,
        "partition": place.partition,
        "offset": place.offset,
        "record_key": letter.key,
        "by": by,
        "at": at,
    }


def _origin(text: Mapping[str, str]) -> Origin | None:
    topic, *numbers = (text.get(CAUSE_PREFIX + name, "") for name in ("topic", "partition", "offset"))
    if not topic or not all(number.isascii() and number.isdigit() for number in numbers):
        return None
    partition, offset = map(int, numbers)
    return Origin(topic, partition, offset)
