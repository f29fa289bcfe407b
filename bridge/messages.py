"""What clients and the bridge say to each other: websocket messages and HTTP bodies.

Every message about a request carries its ``request_id``. Those that come from the request's stream also carry the
``id`` of their entry there: a client that resumes after that ID gets exactly what follows.
"""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter, field_validator

from schemas.events import MAX_REQUEST_ID_CHARS, QueryAsked
from schemas.values import Source, Value, is_unset

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

# A request made here is also an address, so its ID needs no escaping there. One made upstream may be any text.
NewRequestId: TypeAlias = Annotated[str, Field(pattern=rf"^[A-Za-z0-9._~:-]{{1,{MAX_REQUEST_ID_CHARS}}}$")]
RequestId: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_REQUEST_ID_CHARS)]
EntryId: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{1,19}(-[0-9]{1,19})?$")]
Reason: TypeAlias = Annotated[str, Field(max_length=500)]

# What a stage refuses anyway need not travel there.
MAX_QUESTION_CHARS = 32_000
MAX_STOPS = 8
Stop: TypeAlias = Annotated[str, Field(max_length=100)]
Name: TypeAlias = Annotated[str, Field(max_length=200)]

ErrorCode: TypeAlias = Literal[
    "invalid_json",
    "invalid_message",
    "unknown_kind",
    "too_many_requests",
    "already_followed",
    "unknown_request",
    "rate_limited",
    "forbidden",
    "overloaded",
    "unavailable",
]


def traceparent_or_none(text: str | None) -> str | None:
    """``text`` if it is a W3C ``traceparent``; a wrong one counts as missing, as the specification asks."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


# --- from the client --------------------------------------------------------------------------------------


class Question(QueryAsked):
    """A question with its options. ``id`` is the request ID; asking again with the same one is answered once.

    ``tenant`` need not be said: it is who asks.
    """

    id: NewRequestId | None = None
    question: Annotated[str, Field(max_length=MAX_QUESTION_CHARS)]
    tenant: Name | None = None
    model: Name | None = None
    template: Name | None = None
    stop: Annotated[tuple[Stop, ...], Field(max_length=MAX_STOPS)] | None = None

    def event(self, tenant: str) -> QueryAsked:
        """What goes to the topic."""
        asked = self.model_copy(update={"tenant": tenant})
        return QueryAsked.model_validate(asked.model_dump(include=set(QueryAsked.model_fields)))


class Ask(Question):
    """Asks a question and follows it. ``traceparent`` goes on to the stages; the handshake's is the default."""

    kind: Literal["ask"]
    traceparent: str | None = None

    @field_validator("traceparent")
    @classmethod
    def _or_none(cls, text: str | None) -> str | None:
        return traceparent_or_none(text)


class Resume(Value):
    """Follows a request again, after the entry ``after`` (by default from the beginning): exactly the rest comes."""

    kind: Literal["resume"]
    request_id: RequestId
    after: EntryId = "0"


class Cancel(Value):
    """Stops a request. Whoever follows it gets its terminal event; one that has ended stays as it ended."""

    kind: Literal["cancel"]
    request_id: RequestId
    reason: Reason | None = None


ClientMessage: TypeAlias = Ask | Resume | Cancel
CLIENT_MESSAGE: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="kind")])


# --- from the bridge --------------------------------------------------------------------------------------


class StageTiming(Value):
    """One stage's share of a request; Unix time in milliseconds. ``note`` says what it had to do without."""

    stage: str
    started_ms: int
    finished_ms: int
    attempt: int = 1
    note: Annotated[str | None, Field(exclude_if=is_unset)] = None


class Accepted(Value):
    """The question is in Kafka and will be answered, whatever becomes of this connection."""

    kind: Literal["accepted"] = "accepted"
    request_id: str


class Cancelling(Value):
    """The cancellation is in Kafka; the request ends as cancelled unless it has ended already."""

    kind: Literal["cancelling"] = "cancelling"
    request_id: str


class Progress(Value):
    """A stage has done its part; Unix time in milliseconds. ``note`` says what it had to do without."""

    kind: Literal["progress"] = "progress"
    request_id: str
    id: str
    stage: str
    started_ms: int
    finished_ms: int
    attempt: int = 1
    note: Annotated[str | None, Field(exclude_if=is_unset)] = None


class Sources(Value):
    """The passages the answer may cite."""

    kind: Literal["sources"] = "sources"
    request_id: str
    id: str
    sources: tuple[Source, ...]


class Delta(Value):
    """The next piece of the answer. A higher ``attempt`` than before starts the answer anew: drop what there was.

    A slow reader gets several pieces in one message; ``sequence`` and ``id`` are those of the last.
    """

    kind: Literal["delta"] = "delta"
    request_id: str
    id: str
    attempt: int
    sequence: int
    text: str


class TerminalReached(Value):
    """The end of the request: the terminal event, whole. Its answer is the truth, whatever the deltas said."""

    kind: Literal["terminal"] = "terminal"
    request_id: str
    id: str
    type: str
    event: dict[str, object]
    timeline: tuple[StageTiming, ...]


class Problem(Value):
    """Something went wrong. With a ``request_id`` that request is not followed here, or no longer; without one it is
    about the message alone. The connection lives.
    """

    kind: Literal["error"] = "error"
    request_id: str | None = None
    code: ErrorCode
    message: str
    retry_after_s: int | None = None


# What a request's stream tells.
Message: TypeAlias = Progress | Sources | Delta | TerminalReached
ServerMessage: TypeAlias = Accepted | Cancelling | Message | Problem

# --- over HTTP --------------------------------------------------------------------------------------------


class QueryAcceptedBody(Value):
    """The question is in Kafka."""

    request_id: str


class CancelBody(Value):
    """The cancellation is in Kafka, or the request has ended before."""

    request_id: str


class ErrorDetail(Value):
    """``code`` is for programs, ``message`` is one sentence for people."""

    code: str
    message: str


class ErrorBody(Value):
    """Body of every HTTP error."""

    error: ErrorDetail
