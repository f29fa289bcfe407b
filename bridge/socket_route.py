"""The websocket: its handshake, which is HTTP, and then its session."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from bridge.access import websocket_credential
from bridge.core import Core
from bridge.errors import BridgeError, OverloadedError, response_to
from bridge.session import Session

_RETRY_AFTER_S = 5


def socket_routes() -> APIRouter:
    """``/v1/ws``."""
    router = APIRouter()
    open_sockets = 0

    @router.websocket("/v1/ws")
    async def serve_socket(socket: WebSocket) -> None:
        nonlocal open_sockets
        core: Core = socket.app.state.core
        try:
            if core.draining.is_set() or open_sockets >= core.settings.max_sockets:
                raise OverloadedError("This bridge has as many websockets as it takes.", retry_after_s=_RETRY_AFTER_S)
            principal = await core.access.principal(websocket_credential(socket), "ask")
        except BridgeError as error:
            await socket.send_denial_response(response_to(error))
            return
        open_sockets += 1
        core.metrics.sockets.set(open_sockets)
        try:
            await Session(socket, core, principal).run()
        finally:
            open_sockets -= 1
            core.metrics.sockets.set(open_sockets)

    return router
