"""A response as it stands.

Source: OpenAI API reference, "The response object". ``sources``, the passages that the answer cites as [n], is
ragline's own; a citation of one is a ``file_citation`` at its place in the text.
"""

import re
from typing import Literal, TypeAlias

from pydantic import JsonValue

from bridge.openai.errors import failed
from bridge.openai.ids import MESSAGE, RESPONSE, created_s
from bridge.openai.response_request import AskedResponse
from bridge.summary import QuerySummary
from schemas.values import Source, Usage, Value

Status: TypeAlias = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

_CITATION = re.compile(r"\[([0-9]{1,4})\]")
_SERVER_ERROR = 500


class Citation(Value):
    """The passage that the text cites up to ``index``, which counts characters."""

    type: Literal["file_citation"] = "file_citation"
    file_id: str
    filename: str
    index: int


class OutputText(Value):
    """The answer's text."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: tuple[Citation, ...] = ()
    logprobs: tuple[()] = ()


class OutputMessage(Value):
    """The answer."""

    type: Literal["message"] = "message"
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"] = "assistant"
    content: tuple[OutputText, ...] = ()


class InputDetails(Value):
    """Of the tokens read."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(Value):
    """Of the tokens written."""

    reasoning_tokens: int = 0


class ResponseUsage(Value):
    """Tokens read and written."""

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class ResponseFailure(Value):
    """Why there is no answer; what the pipeline calls it begins the message."""

    code: Literal["server_error", "invalid_prompt"]
    message: str


class IncompleteDetails(Value):
    """Why the answer ends early."""

    reason: Literal["max_output_tokens"]


class ResponseText(Value):
    """The form of the answer."""

    format: dict[str, JsonValue]


class ResponseObject(Value):
    """A response."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    background: bool
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: tuple[OutputMessage, ...] = ()
    parallel_tool_calls: bool = True
    previous_response_id: str | None
    temperature: float | None
    text: ResponseText
    tool_choice: Literal["auto"] = "auto"
    tools: tuple[()] = ()
    top_p: float | None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    sources: tuple[Source, ...] = ()


def begun(request_id: str, asked: AskedResponse, status: Literal["queued", "in_progress"]) -> ResponseObject:
    """A response of which nothing is known but what was asked."""
    return ResponseObject(
        id=RESPONSE.of(request_id),
        created_at=created_s(request_id),
        status=status,
        background=asked.background,
        instructions=asked.instructions,
        max_output_tokens=asked.max_output_tokens,
        metadata=asked.metadata,
        model=asked.model,
        previous_response_id=asked.previous_response_id,
        temperature=asked.temperature,
        text=ResponseText(format=asked.format),
        top_p=asked.top_p,
    )


def response(asked: AskedResponse, summary: QuerySummary) -> ResponseObject:
    """The response as ``summary`` says."""
    status = _status(summary)
    base = begun(summary.request_id, asked, "queued")
    if summary.stages:
        base = base.model_copy(update={"created_at": base.created_at or summary.stages[0].started_ms // 1000})
    ended_early = status == "incomplete"
    has_ended = status not in {"queued", "in_progress"}
    return base.model_copy(
        update={
            "status": status,
            "model": summary.model or asked.model,
            "error": _failure(summary),
            "incomplete_details": IncompleteDetails(reason="max_output_tokens") if ended_early else None,
            "output": (message(summary, "completed" if status == "completed" else "incomplete"),)
            if has_ended and summary.answer
            else (),
            "usage": usage(summary.usage) if summary.usage else None,
            "sources": summary.sources,
        }
    )


def message(summary: QuerySummary, status: Literal["completed", "incomplete"]) -> OutputMessage:
    """The answer with its citations."""
    text = OutputText(text=summary.answer, annotations=citations(summary.answer, summary.sources))
    return OutputMessage(id=MESSAGE.of(summary.request_id), status=status, content=(text,))


def citations(text: str, sources: tuple[Source, ...]) -> tuple[Citation, ...]:
    """What the text cites as [n], in the order of the text; numbers that no source has are mere text."""
    by_number = {source.number: source.passage for source in sources}
    found = ((mark.end(), by_number.get(int(mark[1]))) for mark in _CITATION.finditer(text))
    return tuple(
        Citation(file_id=passage.document_id, filename=passage.title or passage.source, index=end)
        for end, passage in found
        if passage is not None
    )


def usage(counted: Usage) -> ResponseUsage:
    """The engine's count."""
    total = counted.prompt_tokens + counted.completion_tokens
    return ResponseUsage(
        input_tokens=counted.prompt_tokens, output_tokens=counted.completion_tokens, total_tokens=total
    )


def _status(summary: QuerySummary) -> Status:
    match summary.state:
        case "queued":
            return "queued"
        case "running":
            return "in_progress"
        case "answered":
            return "incomplete" if summary.finish_reason == "length" else "completed"
        case "cancelled":
            return "cancelled"
        case _:
            return "failed"


def _failure(summary: QuerySummary) -> ResponseFailure | None:
    if summary.failure is None or summary.state == "cancelled":
        return None
    refusal = failed(summary.failure)
    return ResponseFailure(
        code="server_error" if refusal.status >= _SERVER_ERROR else "invalid_prompt",
        message=f"{summary.failure.code}: {summary.failure.message}",
    )
