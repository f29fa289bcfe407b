"""The websocket: its handshake, which is HTTP, and then its session."""

import asyncio
import time

from fastapi import APIRouter
from starlette.websockets import WebSocket

from bridge.access import websocket_credential
from bridge.core import Core
from bridge.errors import BridgeError, OverloadedError, response_to
from bridge.session import Session

_RETRY_AFTER_S = 5
_LOOK_S = 1.0


class Sockets:
    """The open websockets of one bridge. One task looks after all: a timer for each message would cost more than it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sessions: set[Session] = set()
        self._looking: asyncio.Task[None] | None = None

    async def serve(self, socket: WebSocket) -> None:
        """Answer a handshake; returns when the websocket is closed."""
        try:
            if self._core.draining.is_set() or len(self._sessions) >= self._core.settings.max_sockets:
                raise OverloadedError("This bridge has as many websockets as it takes.", retry_after_s=_RETRY_AFTER_S)
            principal = await self._core.access.principal(websocket_credential(socket), "ask")
        except BridgeError as error:
            await socket.send_denial_response(response_to(error))
            return
        session = Session(socket, self._core, principal)
        self._sessions.add(session)
        self._core.metrics.sockets.set(len(self._sessions))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="sockets")
        try:
            await session.run()
        finally:
            self._sessions.remove(session)
            self._core.metrics.sockets.set(len(self._sessions))
            if not self._sessions:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        wait_s = min(_LOOK_S, self._core.settings.send_timeout_ms / 4000)
        while True:
            await asyncio.sleep(wait_s)
            now_s = time.monotonic()
            for session in list(self._sessions):
                session.look(now_s)


def socket_routes(core: Core) -> APIRouter:
    """``/v1/ws``."""
    router = APIRouter()
    sockets = Sockets(core)

    @router.websocket("/v1/ws")
    async def serve_socket(socket: WebSocket) -> None:
        await sockets.serve(socket)

    return router
