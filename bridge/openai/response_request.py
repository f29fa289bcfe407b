"""A request for a response, and the question in it.

Source: OpenAI API reference, "Create a model response".
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, model_validator

from bridge.messages import Question
from bridge.openai.chat_request import EXAMPLE_MODEL, SamplingFields, Tokens, ask
from bridge.openai.content import MAX_MESSAGES, Lenient, Message, Text, example, response_format, split
from schemas.values import ChatMessage, Value
from workers.conversation import latest

_MAX_KEPT_CHARS = 64_000

MetadataKey: TypeAlias = Annotated[str, Field(max_length=64)]
MetadataText: TypeAlias = Annotated[str, Field(max_length=512)]
Metadata: TypeAlias = Annotated[dict[MetadataKey, MetadataText], Field(max_length=16)]


class TextFormat(Lenient):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Annotated[str, Field(max_length=64)] | None = None
    schema_: Annotated[dict[str, JsonValue] | None, Field(alias="schema")] = None


class TextOptions(Lenient):
    """How the answer is to be written."""

    format: TextFormat = TextFormat()


class ResponseRequest(SamplingFields):
    """``input`` is the question, or a conversation that ends with it; ``previous_response_id`` goes on from another.

    Instructions hold for this response alone. One that is not stored (``store`` false) cannot be had again.
    """

    model_config = example(model=EXAMPLE_MODEL, input="What does the yield expression do?", max_output_tokens=100)

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: Text | Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: Text | None = None
    previous_response_id: Annotated[str, Field(max_length=200)] | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    max_output_tokens: Tokens | None = None
    metadata: Metadata | None = None
    text: TextOptions = TextOptions()
    tool_choice: Literal["none", "auto"] | None = None
    conversation: None = None

    @model_validator(mode="after")
    def _background_is_stored(self) -> Self:
        if self.background and self.store is False:
            msg = "a response in the background must be stored, or nobody could get it"
            raise ValueError(msg)
        return self

    def question(self, before: list[ChatMessage]) -> Question:
        """What is asked of the pipeline, after the messages of earlier responses.

        Raises:
            OpenAIError: there is no question in it, or the form of the answer cannot be used.
        """
        given = [Message(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        text, history = split(given, "input")
        instructions = [ChatMessage(role="system", content=self.instructions)] if self.instructions else []
        form = self.text.format
        return ask(
            text,
            self.options()
            | {
                "model": self.model,
                "max_tokens": self.max_output_tokens,
                "history": (*instructions, *before, *history) or None,
                "response_format": response_format(form.type, form.schema_, "text.format"),
            },
            "input",
        )


class AskedResponse(Value):
    """What is kept of a request: what the response repeats, and the conversation up to its question."""

    model: str
    instructions: str | None = None
    previous_response_id: str | None = None
    background: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    format: dict[str, JsonValue] = Field(default_factory=lambda: dict[str, JsonValue](type="text"))
    conversation: tuple[ChatMessage, ...] = ()

    @classmethod
    def of(cls, request: ResponseRequest, question: Question) -> Self:
        """What to keep of ``request``."""
        history = [message for message in question.history or () if message.role != "system"]
        said = [*history, ChatMessage(role="user", content=question.question)]
        return cls(
            model=request.model,
            instructions=request.instructions,
            previous_response_id=request.previous_response_id,
            background=bool(request.background),
            max_output_tokens=request.max_output_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            metadata=request.metadata or {},
            format=request.text.format.model_dump(by_alias=True, exclude_none=True),
            conversation=latest(said, lambda some: sum(len(message.content) for message in some) <= _MAX_KEPT_CHARS),
        )
