"""The rows of a run's four tables. Texts are as they travelled; times are Unix time in milliseconds.

A column that a later version adds comes last and has a default: what was written before is read with it, and what an
older version does not know it does not read.
"""

from typing import Literal, NamedTuple, TypeAlias

AnswerState = Literal["answered", "failed", "expired", "cancelled"]


class RequestRow(NamedTuple):
    """A request. ``query_id`` is what qrels, gold answers and other runs know it by; other tables say ``request_id``.

    ``options`` is ``QueryOptions`` as JSON, ``history`` the messages before the question as JSON, "" where there are
    none. ``partition`` and ``offset`` are its record's in the run's source topic.
    """

    request_id: str
    query_id: str
    tenant: str
    question: str
    asked_at_ms: int | None = None
    lane: str | None = None
    options: str = ""
    history: str = ""
    partition: int | None = None
    offset: int | None = None


class PassageRow(NamedTuple):
    """A passage retrieved for a request. ``rank`` counts from 1, the best; ``score`` is its cosine similarity."""

    request_id: str
    rank: int
    chunk_id: str
    document_id: str
    title: str = ""
    text: str = ""
    source: str = ""
    ordinal: int = 0
    score: float = 0.0


class SourceRef(NamedTuple):
    """A passage as the answer cites it: ``number`` is the [n] in the text."""

    number: int
    chunk_id: str


class AnswerRow(NamedTuple):
    """How a request ended: one row each; a request without one has not ended.

    ``text`` is the answer, "" where ``state`` is not ``answered``; then ``stage``, ``code`` and ``message`` say what
    happened where. ``sources`` are the passages that were in the prompt, all of them among the request's passages.
    """

    request_id: str
    state: AnswerState
    text: str = ""
    finish_reason: str | None = None
    stage: str | None = None
    code: str | None = None
    message: str | None = None
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempt: int = 1
    answered_at_ms: int | None = None
    sources: tuple[SourceRef, ...] = ()


class StampRow(NamedTuple):
    """What a stage did for a request, when, and what decided it: ``stamp`` is a JSON object, "" where nothing is known.

    A stage that took more than one attempt has a row for each that finished.
    """

    request_id: str
    stage: str
    started_ms: int | None = None
    finished_ms: int | None = None
    attempt: int = 1
    stamp: str = ""


Row: TypeAlias = RequestRow | PassageRow | AnswerRow | StampRow
TABLE_OF: dict[type[Row], str] = {
    RequestRow: "requests",
    PassageRow: "passages",
    AnswerRow: "answers",
    StampRow: "stamps",
}
