"""A chat request, and the question in it.

Source: OpenAI API reference, "Create chat completion".
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue, field_validator

from backends.filter_parser import MAX_FILTER_CHARS
from bridge.messages import MAX_STOPS, Name, Question, Stop
from bridge.openai.content import MAX_MESSAGES, JsonSchema, Lenient, Message, Whole, example, response_format, split
from bridge.openai.errors import OpenAIError
from schemas.values import MAX_INTEGER, MAX_NEIGHBOURS, MAX_VARIANTS, Expansion, Lane, Reranking, RetrievalMode

EXAMPLE_MODEL = "SmolLM2-135M-Instruct"

Tokens: TypeAlias = Annotated[Whole, Field(gt=0, le=MAX_INTEGER)]
StopText: TypeAlias = Annotated[Stop, Field(min_length=1)]


class RaglineOptions(Lenient):
    """What OpenAI's API has no word for; the same as in `POST /v1/queries`."""

    top_k: Annotated[Whole, Field(gt=0, le=100)] | None = None
    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    mode: RetrievalMode | None = None
    rerank: Reranking | None = None
    diversity: Annotated[float, Field(ge=0, le=1)] | None = None
    neighbours: Annotated[Whole, Field(ge=0, le=MAX_NEIGHBOURS)] | None = None
    filter: Annotated[str, Field(max_length=MAX_FILTER_CHARS)] | None = None
    expansion: Expansion | None = None
    variants: Annotated[Whole, Field(gt=0, le=MAX_VARIANTS)] | None = None
    template: Name | None = None
    lane: Lane | None = None
    timeout_ms: Tokens | None = None


class StreamOptions(Lenient):
    """With ``include_usage`` the last piece of a stream has the tokens counted."""

    include_usage: bool = False


class ChatResponseFormat(Lenient):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class SamplingFields(Lenient):
    """How the engine samples; unset takes the pipeline's default."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    ragline: RaglineOptions = RaglineOptions()

    def options(self) -> dict[str, object]:
        """The fields as a ``Question`` has them."""
        return self.ragline.model_dump() | {"temperature": self.temperature, "top_p": self.top_p}


class ChatRequest(SamplingFields):
    """The last message is the question, those before it are the conversation so far.

    Tools may be offered, for a model need not call any; but none is called, so none may be required.
    """

    model_config = example(
        model=EXAMPLE_MODEL,
        messages=[{"role": "user", "content": "What does the yield expression do?"}],
        max_tokens=100,
    )

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    seed: Annotated[Whole, Field(ge=0, le=MAX_INTEGER)] | None = None
    n: Annotated[Whole, Field(ge=1, le=1)] | None = None
    logprobs: bool | None = None
    tool_choice: Literal["none", "auto"] | None = None
    response_format: ChatResponseFormat | None = None

    @field_validator("logprobs")
    @classmethod
    def _without_logprobs(cls, asked: bool | None) -> bool | None:  # noqa: FBT001 - as validators are called
        if asked:
            raise ValueError("the probabilities of tokens are not told here")
        return asked

    def question(self) -> Question:
        """What is asked of the pipeline.

        Raises:
            OpenAIError: there is no question in it, or the form of the answer cannot be used.
        """
        text, history = split(self.messages, "messages")
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return ask(
            text,
            self.options()
            | {
                "model": self.model,
                "max_tokens": self.max_completion_tokens or self.max_tokens,
                "seed": self.seed,
                "stop": tuple(stop) if stop else None,
                "history": tuple(history) or None,
                "response_format": self._form(),
            },
            "messages",
        )

    def _form(self) -> object:
        asked = self.response_format
        if asked is None:
            return None
        schema: dict[str, JsonValue] | None = asked.json_schema.schema_ if asked.json_schema else None
        return response_format(asked.type, schema, "response_format")


def ask(text: str, fields: dict[str, object], param: str) -> Question:
    """The question with its options.

    Raises:
        OpenAIError: it is too long.
    """
    try:
        return Question.model_validate({"question": text} | fields)
    except ValueError:
        message = f"The question has {len(text)} characters, which is more than any model here reads."
        raise OpenAIError(400, "context_length_exceeded", message, param=param) from None
