"""Plain values that events are made of."""

import base64
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

FloatArray: TypeAlias = npt.NDArray[np.float32]

Lane = Literal["interactive", "batch"]


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC; one without an offset counts as UTC.

    Raises:
        ValueError: the moment is before year 1 or after year 9999 in UTC.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        msg = f"{moment.isoformat()} is outside the years 1 to 9999 in UTC"
        raise ValueError(msg) from error


Moment: TypeAlias = Annotated[datetime, AfterValidator(in_utc)]

# JSON knows integers of any size; what writes and reads them here, and most other languages, knows 64 bits.
MAX_INTEGER = 2**63 - 1
Integer: TypeAlias = Annotated[int, Field(ge=-(2**63), le=MAX_INTEGER)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
MetadataValue: TypeAlias = bool | Integer | float | str
Positive: TypeAlias = Annotated[int, Field(gt=0, le=MAX_INTEGER)]


class Value(BaseModel):
    """Base of everything that travels: immutable, and blind to fields it does not know. Numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def is_unset(value: object) -> bool:
    """Whether an optional field is left out of the JSON: events written before there was such a field stay the same."""
    return value is None


class Embedding(Value):
    """One vector, as base64 of little-endian float32: a third of the size of JSON numbers.

    ``prompt`` is what the model read before the text, where there was something.
    """

    model: str
    dimensions: Positive
    data: str
    prompt: Annotated[str | None, Field(exclude_if=is_unset)] = None

    @classmethod
    def pack(cls, model: str, vector: FloatArray, prompt: str = "") -> Self:
        """Build from a vector of shape (d,)."""
        little_endian = np.ascontiguousarray(vector, dtype="<f4")
        return cls(
            model=model,
            dimensions=little_endian.shape[0],
            data=base64.b64encode(little_endian.tobytes()).decode("ascii"),
            prompt=prompt or None,
        )

    def unpack(self) -> FloatArray:
        """Give back the vector, shape (d,) float32.

        Raises:
            ValueError: the data is not base64, or its length is not ``dimensions`` floats.
        """
        vector = np.frombuffer(base64.b64decode(self.data, validate=True), dtype="<f4")
        if vector.shape[0] != self.dimensions:
            msg = f"embedding holds {vector.shape[0]} floats, not {self.dimensions}"
            raise ValueError(msg)
        return vector.astype(np.float32, copy=False)


MAX_JSON_SCHEMA_BYTES = 16 * 1024
_MAX_JSON_SCHEMA_DEPTH = 32


def _can_travel(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Hold an object (most are JSON Schemas) to what JSON writers and engines bear.

    Raises:
        ValueError: it is too long or too deep, or holds a number that no JSON writer knows.
    """
    values: list[tuple[JsonValue, int]] = [(schema, 1)]
    while values:
        value, depth = values.pop()
        if depth > _MAX_JSON_SCHEMA_DEPTH:
            msg = f"it is nested deeper than {_MAX_JSON_SCHEMA_DEPTH} levels"
            raise ValueError(msg)
        if isinstance(value, dict):
            values += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            values += [(item, depth + 1) for item in value]
    try:
        size = len(orjson.dumps(schema))
    except orjson.JSONEncodeError as error:
        msg = f"it cannot be written as JSON ({error})"
        raise ValueError(msg) from error
    if size > MAX_JSON_SCHEMA_BYTES:
        msg = f"it has {size} bytes; at most {MAX_JSON_SCHEMA_BYTES} are taken"
        raise ValueError(msg)
    return schema


JsonObject: TypeAlias = Annotated[dict[str, JsonValue], AfterValidator(_can_travel)]


class ResponseFormat(Value):
    """The form that an answer must have: any JSON object, or JSON as ``json_schema``, a JSON Schema, describes it."""

    type: Literal["json_object", "json_schema"]
    json_schema: JsonObject | None = None

    @model_validator(mode="after")
    def _schema_where_it_belongs(self) -> Self:
        if (self.json_schema is None) == (self.type == "json_schema"):
            msg = "json_schema belongs to the type json_schema, and to no other"
            raise ValueError(msg)
        return self


def is_empty(value: object) -> bool:
    """The same for a field that is empty, or zero, where it is not set."""
    return not value


def is_off(value: object) -> bool:
    """The same for what is off by default."""
    return value in {"none", 0}


def is_default_retrieval(options: Value) -> bool:
    """The same for how passages are found."""
    return options == RetrievalOptions()


class Sampling(Value):
    """How the engine samples. ``temperature`` 0 is greedy; ``seed`` makes sampling repeatable.

    ``response_format`` None leaves the form of the answer free.
    """

    max_tokens: Positive = 256
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Integer | None = None
    stop: tuple[str, ...] = ()
    response_format: Annotated[ResponseFormat | None, Field(exclude_if=is_unset)] = None


RetrievalMode = Literal["dense", "sparse", "hybrid"]
Reranking = Literal["none", "late_interaction", "cross_encoder"]
Expansion = Literal["none", "multi_query", "hyde"]
MAX_NEIGHBOURS = 3
MAX_VARIANTS = 5


class RetrievalOptions(Value):
    """How passages are found: by vectors (``dense``), by words (``sparse``) or by both (``hybrid``).

    ``rerank`` says what reads the best again to order them, ``diversity`` (0 to 1) how much passages that resemble
    better ones lose, ``neighbours`` how many chunks before and after each come with it, ``filter`` which chunks count.

    ``expansion`` is what the engine is asked to write before the search, ``variants`` times: other wordings of the
    question (``multi_query``), or passages that might answer it (``hyde``).
    """

    mode: RetrievalMode = "dense"
    rerank: Reranking = "none"
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    neighbours: Annotated[int, Field(ge=0, le=MAX_NEIGHBOURS)] = 0
    filter: str = ""
    expansion: Annotated[Expansion, Field(exclude_if=is_off)] = "none"
    variants: Annotated[int, Field(ge=0, le=MAX_VARIANTS, exclude_if=is_off)] = 0


class QueryOptions(Value):
    """What a query decides once, for all later stages."""

    model: str
    top_k: Annotated[int, Field(gt=0, le=100)]
    min_score: Annotated[float, Field(ge=-1, le=1)]
    template: str
    sampling: Sampling
    retrieval: Annotated[RetrievalOptions, Field(exclude_if=is_default_retrieval)] = RetrievalOptions()


class ExpandedText(Value):
    """A text that is searched for beside the question, and its vector."""

    text: str
    embedding: Embedding


class Passage(Value):
    """A retrieved chunk. ``score`` is its cosine similarity to the question (-1 to 1), however it was found.

    ``page`` and ``last_page`` are where it begins and ends in a document that has pages, ``heading`` what it stands
    under, ``metadata`` the document's own.
    """

    chunk_id: str
    document_id: str
    title: str
    text: str
    source: str
    ordinal: Count
    score: float
    page: Annotated[Positive | None, Field(exclude_if=is_unset)] = None
    last_page: Annotated[Positive | None, Field(exclude_if=is_unset)] = None
    heading: Annotated[str, Field(exclude_if=is_empty)] = ""
    metadata: dict[str, MetadataValue] = Field(default_factory=dict, exclude_if=is_empty)


class Source(Value):
    """A passage as the answer cites it: ``number`` is the [n] in the text, from 1."""

    number: Positive
    passage: Passage


class ChatMessage(Value):
    """One message of a prompt, in the chat roles of the OpenAI API."""

    role: Literal["system", "user", "assistant"]
    content: str


class Usage(Value):
    """Tokens read and written by the engine."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0


class Chunk(Value):
    """A piece of a document. ``chunk_id`` is made from document ID and content; ``start`` and ``end`` are
    character offsets into the document's text.

    ``context`` is what is embedded before the text, and not shown with it: the document's title and the headings over
    the chunk. None, as in records from before there was one, leaves it to the title. ``page`` and ``last_page`` are
    where it begins and ends in a document that has pages, from 1; ``heading`` are the headings over it.
    """

    chunk_id: str
    ordinal: Count
    text: str
    start: Count
    end: Count
    context: Annotated[str | None, Field(exclude_if=is_unset)] = None
    page: Annotated[Positive | None, Field(exclude_if=is_unset)] = None
    last_page: Annotated[Positive | None, Field(exclude_if=is_unset)] = None
    heading: Annotated[str, Field(exclude_if=is_empty)] = ""
