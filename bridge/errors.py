"""HTTP errors, all with the same body."""

from typing import ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from backends.errors import BackendUnavailableError
from bridge.messages import ErrorBody, ErrorDetail
from bridge.protocol import sentence

RETRY_AFTER_S = 2
_METHOD_NOT_ALLOWED = 405
_CODES = {404: "not_found", 405: "method_not_allowed", 408: "too_slow", 413: "too_large"}

log = structlog.get_logger(__name__)


class BridgeError(Exception):
    """Base of what the bridge refuses: a status and a code for programs, one sentence for people.

    ``retry_after_s`` says when the same may be tried again, where that helps.
    """

    status: ClassVar[int]
    code: str

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class UnauthorizedError(BridgeError):
    """There is no credential, or none that is valid."""

    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="ragline"'}


class ForbiddenError(BridgeError):
    """Who asks is known, but may not do this."""

    status = 403
    code = "forbidden"


class NotFoundError(BridgeError):
    """There is nothing by that name for this tenant; the message says what was looked for."""

    status = 404
    code = "not_found"


class ConflictError(BridgeError):
    """What is asked contradicts what was asked before."""

    status = 409
    code = "conflict"


class IdempotencyError(BridgeError):
    """An ``Idempotency-Key`` was used before, for something else."""

    status = 422
    code = "idempotency_key_reused"


class TooManyRequestsError(BridgeError):
    """The tenant asks more than it may."""

    status = 429
    code = "rate_limited"


class OverloadedError(BridgeError):
    """The pipeline or this bridge has as much as it can do."""

    status = 503
    code = "overloaded"


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as every client sees it."""
    body = ErrorBody(error=ErrorDetail(code=code, message=message))
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


def documented(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Errors that any route may answer, and ``statuses``, as the OpenAPI document shows them."""
    return {status: {"model": ErrorBody} for status in (401, 403, 422, 429, 503, *statuses)}


def response_to(error: BridgeError) -> JSONResponse:
    """What a client is told of ``error``."""
    return error_response(error.status, error.code, str(error), error.headers)


def _methods(app: FastAPI, request: Request) -> set[str]:
    """The methods that the request's path knows."""
    routes = (route for route in app.routes if isinstance(route, Route))
    return {
        method
        for route in routes
        if route.methods and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods
    }


def install(app: FastAPI) -> None:
    """Give every error of ``app`` the common body."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first, *_others = error.errors()
        if first["type"] == "json_invalid":
            return error_response(400, "invalid_json", "The body is not JSON.")
        if first["type"] == "model_attributes_type":
            return error_response(422, "invalid_message", "Send a JSON object, with content-type application/json.")
        where = tuple(part for part in first["loc"] if part != "body")
        return error_response(422, "invalid_message", sentence(where, first["msg"]))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        code = _CODES.get(error.status_code, "bad_request")
        headers = dict(error.headers or {})
        if error.status_code == _METHOD_NOT_ALLOWED:
            # Starlette names the methods of the first route with this path; there may be others.
            headers["Allow"] = ", ".join(sorted(_methods(app, request)))
        return error_response(error.status_code, code, str(error.detail), headers)

    @app.exception_handler(BridgeError)
    async def told(_: Request, error: BridgeError) -> JSONResponse:
        return response_to(error)

    @app.exception_handler(BackendUnavailableError)
    async def unavailable(request: Request, error: BackendUnavailableError) -> JSONResponse:
        log.warning("request not served", path=request.url.path, error=str(error))
        message = f"{error} Try again in a moment."
        return error_response(503, "unavailable", message, {"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> JSONResponse:
        return error_response(500, "internal", "The bridge failed at this request; its log says why.")
