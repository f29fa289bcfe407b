"""Chat completions as they go out, whole or in pieces.

Source: OpenAI API reference, "The chat completion object" and "The chat completion chunk object". ``sources``, the
passages that the answer cites as [n], is ragline's own.
"""

from typing import Annotated, Literal

from pydantic import Field

from bridge.summary import QuerySummary
from schemas.values import Source, Usage, Value, is_unset

Finish = Literal["stop", "length"]


class TokenUsage(Value):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage | None) -> "TokenUsage":
        """The engine's count."""
        counted = usage or Usage()
        return cls(
            prompt_tokens=counted.prompt_tokens,
            completion_tokens=counted.completion_tokens,
            total_tokens=counted.prompt_tokens + counted.completion_tokens,
        )


class AnswerMessage(Value):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(Value):
    """The one answer."""

    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Finish


class ChatCompletion(Value):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: TokenUsage
    sources: tuple[Source, ...]


class DeltaMessage(Value):
    """What a piece adds."""

    role: Annotated[Literal["assistant"] | None, Field(exclude_if=is_unset)] = None
    content: Annotated[str | None, Field(exclude_if=is_unset)] = None


class ChunkChoice(Value):
    """The one answer's next piece; the last one has the reason why it ends."""

    index: Literal[0] = 0
    delta: DeltaMessage
    logprobs: None = None
    finish_reason: Finish | None = None


class ChatCompletionChunk(Value):
    """A piece of an answer. ``sources`` come once, before the text."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    usage: TokenUsage | None = None
    sources: Annotated[tuple[Source, ...] | None, Field(exclude_if=is_unset)] = None


def finish_reason(summary: QuerySummary) -> Finish:
    """Why the answer ends, in the API's words: nothing found is an answer like any other."""
    return "length" if summary.finish_reason == "length" else "stop"
