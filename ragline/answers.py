"""What a client gets to see of a request, and the pure step from the live view's entries to it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from backends.live_view import Entry
from schemas.events import EVENT_BY_TYPE, Answered, RequestCancelled, RequestExpired, RequestFailed, Terminal
from schemas.headers import StageTime
from schemas.values import Source, Usage


class RequestError(Exception):
    """The request ended without an answer. ``code`` is for programs; the message is one sentence for people."""

    def __init__(self, request_id: str, code: str, message: str) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.code = code


@dataclass(frozen=True, slots=True)
class Progress:
    """A stage has done its part. ``note`` says what it had to do without."""

    time: StageTime
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """The passages the answer is made from, as it numbers them."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Restart:
    """The answer is generated anew: whatever tokens came before are void."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer. ``timeline`` has one entry per stage, in order."""

    request_id: str
    text: str
    sources: tuple[Source, ...]
    finish_reason: str
    model: str
    usage: Usage
    timeline: tuple[StageTime, ...]


Update: TypeAlias = Progress | Sources | Token | Restart | Answer


def conclude(event: Terminal, timeline: tuple[StageTime, ...]) -> Answer:
    """Turn a terminal event into the answer.

    Raises:
        RequestError: it is not an answer.
    """
    match event:
        case Answered():
            return Answer(
                event.request_id,
                event.answer,
                event.sources,
                event.finish_reason,
                event.model,
                event.usage,
                timeline,
            )
        case RequestFailed():
            raise RequestError(event.request_id, event.code, event.message)
        case RequestExpired():
            message = f"the deadline {event.deadline_at.isoformat()} passed in stage {event.stage}"
            raise RequestError(event.request_id, "expired", message)
        case RequestCancelled():
            raise RequestError(event.request_id, "cancelled", event.reason or "the request was cancelled")
        case _:
            raise RequestError(event.request_id, "unknown_ending", f"unknown terminal event {event.TYPE}")


class Reader:
    """Follows one request through its entries: drops what older attempts said, and never gives a token twice."""

    def __init__(self) -> None:
        self.text = ""
        self._attempt = 0
        self._sequence = -1
        self._stages: set[tuple[str, int]] = set()

    def read(self, entry: Entry) -> Iterator[Update]:
        """The updates that follow from an entry; the terminal entry gives none, see ``terminal``."""
        body: Mapping[str, Any] = entry.body
        if entry.kind == "progress":
            time = StageTime(body["stage"], body["started_ms"], body["finished_ms"], body["attempt"])
            if (time.stage, time.attempt) not in self._stages:
                self._stages.add((time.stage, time.attempt))
                yield Progress(time, body.get("note"))
        elif entry.kind == "sources":
            yield Sources(tuple(Source.model_validate(source) for source in body["sources"]))
        elif entry.kind == "delta":
            yield from self._delta(body["attempt"], body["sequence"], body["text"])

    def finish(self, text: str) -> Iterator[Update]:
        """What is missing of the final text, when its end did not come as tokens."""
        if not text.startswith(self.text):
            self.text = ""
            yield Restart()
        if rest := text[len(self.text) :]:
            self.text = text
            yield Token(rest)

    def _delta(self, attempt: int, sequence: int, text: str) -> Iterator[Update]:
        if attempt < self._attempt or (attempt == self._attempt and sequence <= self._sequence):
            return
        if attempt > self._attempt:
            if self.text:
                self.text = ""
                yield Restart()
            self._attempt, self._sequence = attempt, -1
        self._sequence = sequence
        self.text += text
        yield Token(text)


def terminal(entry: Entry) -> tuple[Terminal, tuple[StageTime, ...]]:
    """The terminal event in a ``terminal`` entry, with its timeline."""
    body: Mapping[str, Any] = entry.body
    event = EVENT_BY_TYPE[body["type"]].model_validate(body["event"])
    assert isinstance(event, Terminal)  # noqa: S101 - only terminal events are written as such
    return event, tuple(
        StageTime(t["stage"], t["started_ms"], t["finished_ms"], t["attempt"]) for t in body["timeline"]
    )
