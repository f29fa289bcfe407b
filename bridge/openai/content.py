"""Messages as OpenAI's clients write them, to a question and what was said before it."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from bridge.openai.errors import OpenAIError
from schemas.values import ChatMessage, ResponseFormat

MAX_MESSAGES = 2_000
MAX_TEXT_CHARS = 500_000


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is an integer there."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
Text: TypeAlias = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


class Lenient(BaseModel):
    """Base of what OpenAI's clients send: fields that the pipeline has no use for are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


def example(**fields: JsonValue) -> ConfigDict:
    """The configuration of a request with an example of it."""
    return ConfigDict(extra="ignore", frozen=True, strict=True, json_schema_extra={"examples": [fields]})


class TextPart(Lenient):
    """A piece of a message. Images, sound and files cannot be asked about."""

    type: Literal["text", "input_text", "output_text"]
    text: Text


class Message(Lenient):
    """One message; ``developer`` is another word for ``system``. An assistant's may be empty."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=MAX_MESSAGES)] | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""

    def said(self) -> ChatMessage:
        """The message as events carry it."""
        return ChatMessage(role="system" if self.role == "developer" else self.role, content=self.text)


class JsonSchema(Lenient):
    """A JSON Schema with its name."""

    name: Annotated[str, Field(max_length=64)] = "answer"
    # Its name in the API, where a model's own attribute has it.
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]


def split(messages: Sequence[Message], param: str) -> tuple[str, list[ChatMessage]]:
    """The question, which is the last message that is no instruction, and all others.

    Raises:
        OpenAIError: that message is not the user's, or it is empty.
    """
    last = max((at for at, message in enumerate(messages) if message.role not in {"system", "developer"}), default=-1)
    if last < 0 or messages[last].role != "user" or not messages[last].text.strip():
        raise OpenAIError(400, "invalid_value", "The last message must be the user's question, as text.", param=param)
    others = [message.said() for at, message in enumerate(messages) if at != last]
    return messages[last].text, [message for message in others if message.content.strip()]


def response_format(kind: str, schema: dict[str, JsonValue] | None, param: str) -> ResponseFormat | None:
    """The form of the answer; None where it is free.

    Raises:
        OpenAIError: the schema is one that no engine follows.
    """
    if kind == "text":
        return None
    try:
        return ResponseFormat.model_validate({"type": kind, "json_schema": schema})
    except ValueError as error:
        why = str(error).split("Value error, ")[-1].split(" [type=")[0]
        raise OpenAIError(400, "invalid_value", f"The response format cannot be used: {why}.", param=param) from error
