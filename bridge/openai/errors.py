"""Errors as OpenAI's API words them: a type, a code, the parameter, and one sentence.

Source: OpenAI API reference, "Error codes"; ``x-should-retry`` is read by OpenAI's own clients, which otherwise repeat
a request after any 5xx.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from backends.errors import BackendRejectedError, BackendUnavailableError
from bridge.errors import RETRY_AFTER_S, BridgeError
from bridge.messages import ErrorBody
from bridge.protocol import sentence
from bridge.summary import Failure
from schemas.values import Value

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
_SERVER_ERROR = 500
_BEFORE_ROUTES = {403, 408, 413}

# What the stages say of a request that its author can mend, as a status and OpenAI's code.
_FAILURES = {
    "unknown_model": (404, "model_not_found"),
    "unknown_tenant": (403, "unknown_tenant"),
    "question_too_long": (400, "context_length_exceeded"),
    "prompt_too_long": (400, "context_length_exceeded"),
    "instructions_too_long": (400, "context_length_exceeded"),
    "cancelled": (400, "request_cancelled"),
    "expired": (504, "timeout"),
}
_INVALID = frozenset(
    {
        "binary_history",
        "binary_question",
        "empty_question",
        "engine_rejected",
        "invalid_filter",
        "invalid_option",
        "response_format_refused",
        "undecodable",
        "unknown_template",
    }
)

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]

log = structlog.get_logger(__name__)


class OpenAIErrorDetail(Value):
    """``type`` is the kind of error, ``code`` is for programs, ``param`` names the field, ``message`` is for people."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIErrorBody(Value):
    """Body of every error."""

    error: OpenAIErrorDetail


class OpenAIError(Exception):
    """What is answered instead of what was asked for.

    ``retry`` False keeps OpenAI's clients from trying the same again.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = OpenAIErrorDetail(message=message, type=error_type(status), param=param, code=code)
        self.headers = dict(headers or {})
        if retry is not None:
            self.headers["x-should-retry"] = str(retry).lower()

    def response(self) -> JSONResponse:
        """The response that says so."""
        return JSONResponse(
            OpenAIErrorBody(error=self.detail).model_dump(), status_code=self.status, headers=self.headers
        )


def error_type(status: int) -> str:
    """OpenAI's kind of error for a status."""
    return _TYPES.get(status, "server_error" if status >= _SERVER_ERROR else "invalid_request_error")


def failed(failure: Failure) -> OpenAIError:
    """A request that ended without an answer."""
    status, code = _FAILURES.get(failure.code, (400 if failure.code in _INVALID else _SERVER_ERROR, failure.code))
    return OpenAIError(status, code, failure.message, retry=False)


def unknown_model(model: str) -> OpenAIError:
    """A model that is not served."""
    message = f"The model {model[:100]!r} does not exist; GET /v1/models lists those that do."
    return OpenAIError(404, "model_not_found", message, param="model")


def in_openai_words(error: Exception) -> OpenAIError:
    """Any error of the bridge; what is none of them is raised again."""
    match error:
        case OpenAIError():
            return error
        case BridgeError():
            code = _CODES.get(error.status, error.code)
            return OpenAIError(error.status, code, str(error), headers=error.headers)
        case BackendUnavailableError():
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return OpenAIError(503, "unavailable", f"{error} Try again in a moment.", headers=headers)
        case BackendRejectedError():
            return OpenAIError(413, "too_large", str(error))
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return OpenAIError(error.status_code, None, str(error.detail), headers=dict(error.headers or {}))
        case _:
            raise error


def _invalid(error: RequestValidationError) -> OpenAIError:
    first, *_ = error.errors()
    if first["type"] == "json_invalid":
        return OpenAIError(400, "invalid_json", "The body is not JSON.")
    if first["type"] == "model_attributes_type" and len(first["loc"]) == 1:
        return OpenAIError(400, "invalid_body", "Send a JSON object, with content-type application/json.")
    where = tuple(part for part in first["loc"] if part not in {"body", "query", "path", "header"})
    message = first["msg"].removeprefix("Value error, ")
    return OpenAIError(400, "invalid_value", sentence(where, message), param=".".join(map(str, where)) or None)


class OpenAIRoute(APIRoute):
    """A route whose errors, those of its dependencies too, have OpenAI's shape."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # noqa: BLE001 - what is not the bridge's own is raised again
                refusal = in_openai_words(error)
                if refusal.status >= _SERVER_ERROR:
                    log.warning("request not served", path=request.url.path, error=str(error))
                return refusal.response()

        return answer


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors that any route may answer, and ``statuses``, as the OpenAPI document shows them.

    What is refused before there is a route (a foreign origin, a body too large or too slow) has the common body.
    """
    return {
        status: {"model": OpenAIErrorBody | ErrorBody if status in _BEFORE_ROUTES else OpenAIErrorBody}
        for status in (400, 401, 403, 429, 503, *statuses)
    }
