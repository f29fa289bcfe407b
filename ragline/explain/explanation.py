"""What happened to a request: what is told of it."""

from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from schemas.values import ChatMessage, Lane, Moment, Passage, QueryOptions, Usage

State: TypeAlias = Literal["answered", "failed", "expired", "cancelled", "open"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Step(_Part):
    """A stage's share of the request. It waited since the step before, or since the question; ``attempt`` is the one
    that succeeded, or gave up. ``stamp`` is what decided it, empty where that was not said.
    """

    stage: str
    attempt: int
    started_at: datetime
    waited_ms: int
    took_ms: int
    stamp: dict[str, JsonValue]


class FoundPassage(_Part):
    """A passage by its rank from 1; ``number`` is what the prompt calls it, None if it is not in the prompt."""

    rank: int
    number: int | None
    passage: Passage


class Ending(_Part):
    """How the request ended; what does not go with the state is None."""

    at: datetime
    answer: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    attempt: int | None = None
    stage: str | None = None
    code: str | None = None
    message: str | None = None


class DeadLetter(_Part):
    """A record of the request that could not be handled; ``place`` is topic, partition and offset."""

    id: str
    stage: str
    code: str
    message: str
    attempts: str
    failed_at: datetime
    place: str


class SeenRecord(_Part):
    """A record of the request; ``problem`` says why it could not be read."""

    place: str
    type: str
    written_at: datetime
    redrives: int
    problem: str | None = None


class Explanation(_Part):
    """All that the records say of a request. ``total_ms`` is from question to end; ``state`` is open while there is
    none. Of what was said twice, after a redrive say, the later counts.
    """

    request_id: str
    state: State
    tenant: str | None
    question: str | None
    asked_at: datetime | None
    deadline_at: Moment | None
    total_ms: int | None
    lane: Lane | None
    options: QueryOptions | None
    history: tuple[ChatMessage, ...]
    steps: tuple[Step, ...]
    expansions: tuple[str, ...]
    notes: tuple[str, ...]
    passages: tuple[FoundPassage, ...]
    prompt: tuple[ChatMessage, ...]
    prompt_tokens: int | None
    ending: Ending | None
    dead_letters: tuple[DeadLetter, ...]
    records: tuple[SeenRecord, ...]
