"""Every event, one class each. The class knows its CloudEvents type; its topic is in ``topics.specs``.

Published versions decode for ever: a change that an old reader or writer would notice is a new class with
the next version number. A new field is optional, and left out of the JSON where it is not set.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from schemas.values import (
    ChatMessage,
    Chunk,
    Count,
    Embedding,
    ExpandedText,
    Integer,
    JsonObject,
    Lane,
    MetadataValue,
    Moment,
    Passage,
    Positive,
    QueryOptions,
    ResponseFormat,
    Sampling,
    Source,
    Usage,
    Value,
    is_empty,
    is_unset,
)

MAX_REQUEST_ID_CHARS = 128


class Event(Value):
    """Base of all events. ``STEP`` is what handling it is called in timelines, where that is not its stage's name."""

    TYPE: ClassVar[str]
    STEP: ClassVar[str | None] = None

    @property
    def key(self) -> str:
        """The record key: the request ID, or the document ID for events of ingest.

        Raises:
            TypeError: the event comes from outside, where only the record says the key.
        """
        msg = f"{type(self).__name__} does not know its key; the record does"
        raise TypeError(msg)

    @property
    def tenant_id(self) -> str | None:
        """The tenant this event belongs to, if the event says so."""
        return None

    @property
    def expires_at(self) -> datetime | None:
        """When the request's answer stops being wanted, if the event says so."""
        return None


# --- a request --------------------------------------------------------------------------------------------


class QueryAsked(Event):
    """A question from upstream. Only ``question`` is required; the record key is the request ID.

    ``timeout_ms`` counts from the record's timestamp; ``deadline_at`` is absolute; the earlier one holds. ``history``
    is what was said before in the same conversation, oldest first; its system messages are further instructions.
    ``mode`` to ``variants`` are as in ``RetrievalOptions``.
    """

    TYPE = "ragline.query.asked.v1"

    question: str
    tenant: str | None = None
    model: str | None = None
    lane: Lane | None = None
    top_k: Integer | None = None
    min_score: float | None = None
    template: str | None = None
    max_tokens: Integer | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: Integer | None = None
    stop: tuple[str, ...] | None = None
    timeout_ms: Integer | None = None
    deadline_at: Moment | None = None
    history: Annotated[tuple[ChatMessage, ...] | None, Field(exclude_if=is_unset)] = None
    response_format: Annotated[ResponseFormat | None, Field(exclude_if=is_unset)] = None
    mode: Annotated[str | None, Field(exclude_if=is_unset)] = None
    rerank: Annotated[str | None, Field(exclude_if=is_unset)] = None
    diversity: Annotated[float | None, Field(exclude_if=is_unset)] = None
    neighbours: Annotated[Integer | None, Field(exclude_if=is_unset)] = None
    filter: Annotated[str | None, Field(exclude_if=is_unset)] = None
    expansion: Annotated[str | None, Field(exclude_if=is_unset)] = None
    variants: Annotated[Integer | None, Field(exclude_if=is_unset)] = None


class QueryAccepted(Event):
    """A valid question with every default filled in. Later events carry it whole as ``query``."""

    TYPE = "ragline.query.accepted.v1"

    request_id: Annotated[str, Field(min_length=1, max_length=MAX_REQUEST_ID_CHARS)]
    tenant: str
    question: str
    lane: Lane
    asked_at: Moment
    deadline_at: Moment | None
    options: QueryOptions
    history: Annotated[tuple[ChatMessage, ...], Field(exclude_if=is_empty)] = ()

    @property
    def key(self) -> str:
        return self.request_id

    @property
    def tenant_id(self) -> str:
        return self.tenant

    @property
    def expires_at(self) -> datetime | None:
        return self.deadline_at


class QueryStageEvent(Event):
    """Base of what the stages after the query stage say: it carries the accepted query whole."""

    query: QueryAccepted

    @property
    def key(self) -> str:
        return self.query.request_id

    @property
    def tenant_id(self) -> str:
        return self.query.tenant

    @property
    def expires_at(self) -> datetime | None:
        return self.query.deadline_at


class ExpansionPromptBuilt(QueryStageEvent):
    """What the engine is asked so that more than the question's own words can be searched for: the prompt, and how to
    sample each of the texts that it makes of it.
    """

    TYPE = "ragline.expansion_prompt.built.v1"
    STEP = "expansion"

    messages: tuple[ChatMessage, ...]
    samplings: tuple[Sampling, ...]


class QueryExpanded(QueryStageEvent):
    """The question with what the engine wrote to be searched for beside it.

    ``fallback`` says in one sentence why there is nothing: the question is then searched for alone.
    """

    TYPE = "ragline.query.expanded.v1"

    texts: tuple[str, ...]
    usage: Usage
    fallback: Annotated[str | None, Field(exclude_if=is_unset)] = None


class QueryEmbedded(QueryStageEvent):
    """The question as a vector, with what is searched for beside it."""

    TYPE = "ragline.query.embedded.v1"

    embedding: Embedding
    expansions: Annotated[tuple[ExpandedText, ...], Field(exclude_if=is_empty)] = ()


class PassagesRetrieved(QueryStageEvent):
    """The passages found, best first; empty when nothing reached the minimum score."""

    TYPE = "ragline.passages.retrieved.v1"

    collection: str
    embedding_model: str
    passages: tuple[Passage, ...]


class PromptBuilt(QueryStageEvent):
    """The prompt as chat messages, with the passages that fitted as numbered sources."""

    TYPE = "ragline.prompt.built.v1"

    template: str
    template_hash: str
    messages: tuple[ChatMessage, ...]
    prompt_tokens: Count
    sources: tuple[Source, ...]
    sampling: Sampling


class Terminal(Event):
    """Base of the events that end a request; ``rag.answers`` holds exactly one per request."""

    request_id: str
    tenant: str | None = None

    @property
    def key(self) -> str:
        return self.request_id

    @property
    def tenant_id(self) -> str | None:
        return self.tenant


class Answered(Terminal):
    """The whole answer.

    ``finish_reason`` is the engine's (``stop``, ``length``), or ``nothing_found`` when no
    passage was found and no engine was asked. ``attempt`` is the generation attempt whose tokens it repeats.
    """

    TYPE = "ragline.answered.v1"

    question: str
    answer: str
    finish_reason: Literal["stop", "length", "nothing_found"]
    sources: tuple[Source, ...]
    model: str
    usage: Usage
    attempt: Positive = 1


class RequestFailed(Terminal):
    """The request ended without an answer. ``code`` is for programs, ``message`` is one sentence for people."""

    TYPE = "ragline.request.failed.v1"

    stage: str
    code: str
    message: str


class RequestExpired(Terminal):
    """The deadline passed before ``stage`` had finished."""

    TYPE = "ragline.request.expired.v1"

    stage: str
    deadline_at: Moment


class RequestCancelled(Terminal):
    """Someone cancelled the request while ``stage`` had it."""

    TYPE = "ragline.request.cancelled.v1"

    stage: str
    reason: str | None = None


class CancellationRequested(Event):
    """Asks every worker to stop work on a request."""

    TYPE = "ragline.cancellation.requested.v1"

    request_id: str
    reason: str | None = None

    @property
    def key(self) -> str:
        return self.request_id


# --- a document -------------------------------------------------------------------------------------------


class DocumentSubmitted(Event):
    """A document to make searchable; the record key is the document ID. ``text`` is empty where the header
    ``ce_dataref`` says where it is.

    ``metadata`` are texts, numbers, true and false by name, which its passages carry and questions may filter by.
    ``page_starts`` says of each page at which character of the text it begins, of a document that has pages.
    """

    TYPE = "ragline.document.submitted.v1"

    text: str
    title: str = ""
    source: str = ""
    tenant: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=is_empty)
    page_starts: Annotated[tuple[Count, ...], Field(exclude_if=is_empty)] = ()

    @property
    def tenant_id(self) -> str | None:
        return self.tenant


class DocumentWithdrawn(Event):
    """What a null value in ``rag.documents`` says: the document named by the record key is to be removed."""

    TYPE = "ragline.document.withdrawn.v1"


class DocumentStageEvent(Event):
    """Base of what the ingest stages say. ``revision`` is a hash of the document's content."""

    document_id: str
    revision: str
    tenant: str

    @property
    def key(self) -> str:
        return self.document_id

    @property
    def tenant_id(self) -> str:
        return self.tenant


class DocumentChunked(DocumentStageEvent):
    """All chunks of one revision of a document, in order; none when the document is to be removed."""

    TYPE = "ragline.document.chunked.v1"

    title: str
    source: str
    chunks: tuple[Chunk, ...]
    metadata: dict[str, MetadataValue] = Field(default_factory=dict, exclude_if=is_empty)


class ChunksEmbedded(DocumentStageEvent):
    """The same chunks with one embedding each, in the same order."""

    TYPE = "ragline.chunks.embedded.v1"

    title: str
    source: str
    chunks: tuple[Chunk, ...]
    embeddings: tuple[Embedding, ...]
    metadata: dict[str, MetadataValue] = Field(default_factory=dict, exclude_if=is_empty)


class DocumentIndexed(DocumentStageEvent):
    """The revision is searchable, and no chunk of an older one is. ``chunks`` 0 says the document is gone; ``updated``
    are chunks that stayed, at another place in the document or with other metadata.
    """

    TYPE = "ragline.document.indexed.v1"

    chunks: Count
    added: Count
    removed: Count
    updated: Annotated[Count, Field(exclude_if=is_empty)] = 0


class DocumentFailed(DocumentStageEvent):
    """The document could not be made searchable; what was searchable before still is."""

    TYPE = "ragline.document.failed.v1"

    stage: str
    code: str
    message: str


# --- a dead letter ----------------------------------------------------------------------------------------


class DeadLetterEvent(Event):
    """Base of what is said of a dead letter. ``letter_id`` is the same for the same failure of the same record.

    ``topic``, ``partition`` and ``offset`` are the dead letter's place; ``record_key`` is the request or document ID.
    """

    letter_id: str
    topic: str
    partition: Count
    offset: Count
    record_key: str
    by: str
    at: Moment

    @property
    def key(self) -> str:
        return self.letter_id


class DeadLetterRedriven(DeadLetterEvent):
    """The dead letter was put back into its topic, the ``redrives``-th time for its request or document."""

    TYPE = "ragline.dead_letter.redriven.v1"

    redrives: Positive


class DeadLetterDropped(DeadLetterEvent):
    """Nobody will do anything about the dead letter."""

    TYPE = "ragline.dead_letter.dropped.v1"

    reason: str | None = None


# --- an API key -------------------------------------------------------------------------------------------


class ApiKeyEvent(Event):
    """Base of what is said of an API key. ``by`` is who did it."""

    key_id: str
    tenant: str
    label: str
    by: str
    at: Moment

    @property
    def key(self) -> str:
        return self.key_id

    @property
    def tenant_id(self) -> str:
        return self.tenant


class ApiKeyCreated(ApiKeyEvent):
    """The key is valid, until ``valid_until`` if that is set. ``digest`` is its SHA-256 in hexadecimal.

    ``scopes`` are of ``ask``, ``ingest`` and ``admin``.
    """

    TYPE = "ragline.api_key.created.v1"

    digest: str
    scopes: tuple[str, ...]
    valid_until: Moment | None = None


class ApiKeyRevoked(ApiKeyEvent):
    """The key is valid no longer, and never again."""

    TYPE = "ragline.api_key.revoked.v1"


# --- an index ---------------------------------------------------------------------------------------------


class IndexVersion(Value):
    """A collection of chunks and the settings that it is made with. ``settings`` are by section and name, as in the
    settings file; one that is not there is the file's.
    """

    version: Positive
    collection: str
    embedding_model: str
    settings: JsonObject
    made_at: Moment


class IndexChanged(Event):
    """Which collections stand behind the name ``alias`` from now on; a pipeline has one such name.

    Questions are answered from ``live``; ``previous`` is what was live before, kept for a way back; ``building`` is
    being filled to be live next. ``last`` is the highest number that a version ever had: none is given twice.
    """

    TYPE = "ragline.index.changed.v1"

    alias: str
    live: IndexVersion
    previous: Annotated[IndexVersion | None, Field(exclude_if=is_unset)] = None
    building: Annotated[IndexVersion | None, Field(exclude_if=is_unset)] = None
    last: Positive
    by: str
    at: Moment

    @property
    def key(self) -> str:
        return self.alias

    @property
    def versions(self) -> tuple[IndexVersion, ...]:
        """All that there are, the live one first."""
        return tuple(version for version in (self.live, self.previous, self.building) if version)


EVENTS: tuple[type[Event], ...] = (
    QueryAsked,
    QueryAccepted,
    ExpansionPromptBuilt,
    QueryExpanded,
    QueryEmbedded,
    PassagesRetrieved,
    PromptBuilt,
    Answered,
    RequestFailed,
    RequestExpired,
    RequestCancelled,
    CancellationRequested,
    DocumentSubmitted,
    DocumentWithdrawn,
    DocumentChunked,
    ChunksEmbedded,
    DocumentIndexed,
    DocumentFailed,
    DeadLetterRedriven,
    DeadLetterDropped,
    ApiKeyCreated,
    ApiKeyRevoked,
    IndexChanged,
)
EVENT_BY_TYPE: dict[str, type[Event]] = {event.TYPE: event for event in EVENTS}
