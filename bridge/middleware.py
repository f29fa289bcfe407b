"""What holds for every HTTP request: from where, how large and how slow it may be, and what browsers may do with it."""

import asyncio
import ipaddress
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.errors import error_response
from bridge.protocol import may_connect

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'; "
    # No script can turn a text into markup.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SLOWEST_BYTES_PER_S = 64 * 1024
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class SecurityHeaders:
    """Adds headers that keep a browser from loading, framing or guessing anything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class OriginGuard:
    """Refuses what a page from elsewhere sends by its visitor's browser, and hosts that are not this one's.

    Only pages of the bridge itself and of ``origins`` may open websockets and change anything. With ``hosts``, a bridge
    without access control answers only to these names, localhost and plain addresses: a page whose name is made to
    point here (DNS rebinding) would else be one of the bridge's own. ``hosts`` None checks no names.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...], hosts: tuple[str, ...] | None) -> None:
        self._app = app
        self._origins = origins
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in {"http", "websocket"} else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            # Starlette's responses also answer the handshake of a websocket.
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host")
        if self._hosts is not None and not is_local_name(host or "", self._hosts):
            return error_response(421, "wrong_host", "This bridge is not to be reached by that name.")
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and not may_connect(origin, host, self._origins):
            return error_response(403, "wrong_origin", "Pages of that origin may not use this bridge.")
        return None


def is_local_name(host: str, names: tuple[str, ...]) -> bool:
    """Whether a ``Host`` header is localhost, an address, or one of ``names``."""
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in {"localhost", *names}:
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class BodyLimit:
    """Refuses request bodies over the path's limit with 413, by their declared length or as they arrive, and those
    that come so slowly that they are not there after ``timeout_s``, and a second for each 64 KiB allowed, with 408.
    """

    def __init__(self, app: ASGIApp, max_bytes: Callable[[str], int], timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._max_bytes(scope["path"])
        too_large = f"The body is over the limit of {max_bytes} bytes."
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > max_bytes:
            await error_response(413, "too_large", too_large)(scope, receive, send)
            return
        read = 0
        arrived = False
        timeout_s = self._timeout_s + max_bytes / _SLOWEST_BYTES_PER_S
        deadline = asyncio.get_running_loop().time() + timeout_s

        async def receive_within_limit() -> MutableMapping[str, Any]:
            nonlocal read, arrived
            if arrived:
                # What comes now is the end of the connection, whenever that is.
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The body did not arrive within {timeout_s:.0f} s.") from None
            read += len(message.get("body", b""))
            arrived = not message.get("more_body", False)
            if read > max_bytes:
                raise HTTPException(413, too_large)
            return message

        await self._app(scope, receive_within_limit, send)
