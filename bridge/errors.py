"""HTTP errors, all with the same body."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from backends.errors import BackendUnavailableError
from bridge.messages import ErrorBody, ErrorDetail
from bridge.protocol import sentence

RETRY_AFTER_S = 2
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

log = structlog.get_logger(__name__)


class NotFoundError(Exception):
    """There is nothing by that name; the message says what was looked for."""


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as every client sees it."""
    body = ErrorBody(error=ErrorDetail(code=code, message=message))
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


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
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        code = _CODES.get(error.status_code, "bad_request")
        return error_response(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(NotFoundError)
    async def not_found(_: Request, error: NotFoundError) -> JSONResponse:
        return error_response(404, "not_found", str(error))

    @app.exception_handler(BackendUnavailableError)
    async def unavailable(request: Request, error: BackendUnavailableError) -> JSONResponse:
        log.warning("request not served", path=request.url.path, error=str(error))
        message = f"{error} Try again in a moment."
        return error_response(503, "unavailable", message, {"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> JSONResponse:
        return error_response(500, "internal", "The bridge failed at this request; its log says why.")
