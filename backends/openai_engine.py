"""Any server with an OpenAI-compatible ``/v1/chat/completions``, streamed."""

from collections.abc import AsyncGenerator, AsyncIterator
from http import HTTPStatus
from typing import Any, Literal

import httpx
import orjson

from backends.engine import Delta, EngineSettings, GenerationRequest
from backends.errors import BackendRejectedError, BackendUnavailableError
from schemas.values import ResponseFormat, Usage

_CONNECT_TIMEOUT_S = 5.0
_DONE = "[DONE]"
_MAX_ERROR_CHARS = 300


class OpenAIEngine:
    """Generates on a server elsewhere. The server may be down when the worker starts: then requests are held back."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None

    @property
    def model(self) -> str:
        return self._settings.model

    async def start(self) -> None:
        key = self._settings.api_key
        self._client = httpx.AsyncClient(
            base_url=self._settings.base_url.rstrip("/") + "/",
            headers={"authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=httpx.Timeout(self._settings.timeout_ms / 1000, connect=_CONNECT_TIMEOUT_S),
            # The stage bounds what is in flight; a request must not wait here for a connection.
            limits=httpx.Limits(max_connections=None),
        )

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        if self._client is None:
            msg = f"engine {self.model} has not started"
            raise BackendUnavailableError(msg)
        try:
            async with self._client.stream("POST", "chat/completions", json=self._body(request)) as response:
                if response.status_code != HTTPStatus.OK:
                    raise _refusal(response.status_code, await response.aread())
                async for delta in read_deltas(_events(response)):
                    yield delta
        except httpx.HTTPError as error:
            msg = f"the engine at {self._settings.base_url} does not answer: {error or type(error).__name__}"
            raise BackendUnavailableError(msg) from error

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [message.model_dump() for message in request.messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "frequency_penalty": self._settings.frequency_penalty,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.response_format is not None:
            body["response_format"] = _response_format(sampling.response_format)
        return body

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _response_format(form: ResponseFormat) -> dict[str, Any]:
    if form.json_schema is None:
        return {"type": form.type}
    return {"type": form.type, "json_schema": {"name": "answer", "schema": dict(form.json_schema)}}


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """Data of server-sent events, one line each, as the chat completions API writes them."""
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield line.removeprefix("data:").strip()


async def read_deltas(events: AsyncIterator[str]) -> AsyncGenerator[Delta, None]:
    """Read the chunks of a streamed chat completion (OpenAI API reference, "The chat completion chunk object").

    The usage comes in a chunk after the one with the finish reason, or not at all, so the last delta waits for the end.

    Raises:
        BackendUnavailableError: the stream ends before the answer does, reports an error, or is not of this API.
        BackendRejectedError: the server withholds the answer (a content filter).
    """
    finish_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None
    async for data in events:
        if data == _DONE:
            break
        text, reason, counted = _read_chunk(data)
        usage = counted or usage
        finish_reason = _finish_reason(reason) or finish_reason
        if text:
            yield Delta(text)
    if finish_reason is None:
        msg = "the engine's stream ended in the middle of the answer"
        raise BackendUnavailableError(msg)
    yield Delta("", finish_reason, usage)


def _read_chunk(data: str) -> tuple[str, str | None, Usage | None]:
    try:
        chunk = orjson.loads(data)
        if "error" in chunk:
            msg = f"the engine reports an error: {_sentence(chunk)}"
            raise BackendUnavailableError(msg)
        counted = chunk.get("usage")
        usage = Usage.model_validate(counted) if counted else None
        if not chunk["choices"]:
            return "", None, usage
        choice = chunk["choices"][0]
        return choice["delta"].get("content") or "", choice.get("finish_reason"), usage
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        msg = f"the engine's stream is not a chat completion: {data[:_MAX_ERROR_CHARS]!r}"
        raise BackendUnavailableError(msg) from error


def _finish_reason(reason: str | None) -> Literal["stop", "length"] | None:
    if reason == "content_filter":
        msg = "the engine withholds the answer (content filter)"
        raise BackendRejectedError(msg)
    if reason == "length":
        return "length"
    return "stop" if reason else None


def _refusal(status: int, body: bytes) -> BackendUnavailableError | BackendRejectedError:
    """What a response other than 200 means."""
    try:
        detail = _sentence(orjson.loads(body))
    except ValueError:
        detail = body.decode("utf-8", "replace")
    message = f"the engine answers {status}: {detail[:_MAX_ERROR_CHARS]}"
    is_temporary = status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and not is_temporary:
        return BackendRejectedError(message)
    return BackendUnavailableError(message)


def _sentence(document: Any) -> str:
    """The message of an error as the API or vLLM's server writes it."""
    error = document.get("error", document) if isinstance(document, dict) else document
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or document)
