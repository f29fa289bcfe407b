"""One websocket from its handshake to its end."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import aclosing, suppress

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect
from uuid_utils import uuid7

from backends.errors import BackendUnavailableError
from bridge.access import SUBPROTOCOL, Principal
from bridge.core import Core
from bridge.errors import BridgeError, NotFoundError
from bridge.messages import (
    Accepted,
    Ask,
    Cancel,
    Cancelling,
    Delta,
    ErrorCode,
    Problem,
    Resume,
    ServerMessage,
    TerminalReached,
    traceparent_or_none,
)
from bridge.outbox import Outbox
from bridge.protocol import CloseCode, Connection, State

_CODES: dict[str, ErrorCode] = {
    "not_found": "unknown_request",
    "rate_limited": "rate_limited",
    "too_many_requests": "too_many_requests",
    "forbidden": "forbidden",
}

log = structlog.get_logger(__name__)


class _SocketGoneError(Exception):
    """The connection is over; what was done for it stops, but no request does."""


class Session:
    """Serves one websocket: reads what the client wants, follows its requests, and sends in one place.

    What waits to be sent is bounded and merged; who follows waits for room. A client that makes no room for
    ``send_timeout_ms`` is closed and may resume.
    """

    def __init__(self, socket: WebSocket, core: Core, principal: Principal) -> None:
        self._socket = socket
        self._core = core
        self._principal = principal
        self._settings = settings = core.settings
        self._metrics = core.metrics
        self._connection = Connection(settings.max_requests_per_socket, self._new_request_id)
        self._made: set[str] = set()
        self._outbox = Outbox(settings.send_queue, settings.send_queue_bytes)
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ending: tuple[CloseCode, str] | None = None
        self._task: asyncio.Task[None] | None = None
        self._heard_s = time.monotonic()
        # Since when the client has taken nothing of a message.
        self._sending_s: float | None = None

    async def run(self) -> None:
        """Accept the websocket; returns when it is closed. Its requests go on without it."""
        self._task = asyncio.current_task()
        offered = self._socket.scope.get("subprotocols", [])
        await self._socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        self._connection.state = State.OPEN
        try:
            await self._serve_all()
        except asyncio.CancelledError:
            # Ours, unless others want it too.
            if self._ending is None or self._task is None or self._task.uncancel() > 0:
                raise
        finally:
            self._connection.state = State.CLOSED
        if self._ending is not None:
            # The client, or the server that stops, may have been first.
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._socket.close(*self._ending)

    async def _serve_all(self) -> None:
        try:
            with self._core.access.watching(self._principal, self._access_ended):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._send_all())
                    await self._receive_all(tasks)
        except* _SocketGoneError:
            # So most sessions end.
            pass

    # --- what the client says -----------------------------------------------------------------------------

    async def _receive_all(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            frame = await self._socket.receive()
            if frame["type"] == "websocket.disconnect":
                raise _SocketGoneError
            self._heard_s = time.monotonic()
            message = self._connection.receive(frame.get("text"))
            if isinstance(message, Problem):
                if self._connection.unreadable > self._settings.max_unreadable:
                    self._close(CloseCode.UNREADABLE, "too many messages that cannot be used")
                await self._put(message)
            elif isinstance(message, Ask):
                request_id = str(message.id)
                tasks.create_task(self._serve(request_id, self._ask(request_id, message)))
            elif isinstance(message, Resume):
                tasks.create_task(self._serve(message.request_id, self._resume(message)))
            else:
                await self._cancel(message)

    async def _serve(self, request_id: str, work: Coroutine[None, None, None]) -> None:
        """Follow a request; what goes wrong is told once it is no longer followed, for it may be asked again."""
        try:
            with self._metrics.following.track_inprogress():
                problem = await self._problem_of(request_id, work)
        finally:
            self._connection.finish(request_id)
        if problem is not None:
            await self._put(problem)

    async def _problem_of(self, request_id: str, work: Coroutine[None, None, None]) -> Problem | None:
        try:
            await work
        except BackendUnavailableError as error:
            log.warning("request not served", request_id=request_id, error=str(error))
            return Problem(request_id=request_id, code="unavailable", message=f"{error} Try again in a moment.")
        except BridgeError as error:
            code = _CODES.get(error.code, "overloaded")
            return Problem(request_id=request_id, code=code, message=str(error), retry_after_s=error.retry_after_s)
        return None

    async def _ask(self, request_id: str, message: Ask) -> None:
        started = time.monotonic()
        traceparent = message.traceparent or traceparent_or_none(self._socket.headers.get("traceparent"))
        if request_id in self._made:
            self._made.remove(request_id)
            message = message.model_copy(update={"id": None})
        await self._core.ask(self._principal, message, request_id=request_id, traceparent=traceparent, via="websocket")
        await self._put(Accepted(request_id=request_id))
        await self._follow(request_id, "0", started)

    async def _resume(self, message: Resume) -> None:
        if await self._core.is_shown(self._principal, message.request_id):
            await self._follow(message.request_id, message.after)
            return
        ending = await self._core.ending(self._principal, message.request_id)
        if ending is None:
            raise NotFoundError(f"Request {message.request_id} is not known here, or no longer: ask again.")
        await self._put(ending)

    async def _cancel(self, message: Cancel) -> None:
        request_id = message.request_id
        work = self._core.cancel(self._principal, request_id, message.reason)
        await self._put(await self._problem_of(request_id, work) or Cancelling(request_id=request_id))

    async def _follow(self, request_id: str, after: str, started: float | None = None) -> None:
        async with aclosing(self._core.follow(self._principal, request_id, after)) as messages:
            async for message in messages:
                if isinstance(message, TerminalReached):
                    # Before the client hears of it, for it may ask or resume again at once.
                    self._connection.finish(request_id)
                await self._put(message)
                if started is not None and isinstance(message, Delta):
                    self._metrics.first_delta.observe(time.monotonic() - started)
                    started = None

    def _new_request_id(self) -> str:
        request_id = str(uuid7())
        self._made.add(request_id)
        return request_id

    # --- what the client gets -----------------------------------------------------------------------------

    async def _put(self, message: ServerMessage) -> None:
        if isinstance(message, Problem):
            self._metrics.problems.labels(message.code).inc()
        while self._outbox.is_full:
            self._room.clear()
            await self._room.wait()
        if self._connection.state is not State.OPEN:
            raise _SocketGoneError
        self._outbox.put(message)
        self._changed.set()

    async def _send_all(self) -> None:
        while True:
            if not self._outbox:
                self._changed.clear()
                await self._changed.wait()
                continue
            kind, text = self._outbox.take()
            self._room.set()
            self._sending_s = time.monotonic()
            try:
                await self._socket.send_text(text)
            except WebSocketDisconnect:
                raise _SocketGoneError from None
            self._sending_s = None
            self._metrics.sent[kind].inc()

    def _close(self, code: CloseCode, reason: str) -> None:
        """Have the session end and the socket closed; what still waits is not sent."""
        if self._ending is None:
            self._ending = (code, reason)
            self._connection.state = State.CLOSING
            self._metrics.closed.labels(str(int(code))).inc()
            assert self._task  # noqa: S101 - it runs
            self._task.cancel()

    def _access_ended(self) -> None:
        self._close(CloseCode.ACCESS_ENDED, "the key or token is valid no longer")

    def look(self, now_s: float) -> None:
        """Close the socket if its client has taken nothing, or said and followed nothing, for too long by now."""
        if self._connection.following:
            self._heard_s = now_s
        if self._sending_s is not None and now_s - self._sending_s > self._settings.send_timeout_ms / 1000:
            self._close(CloseCode.TOO_SLOW, "too slow: connect again and resume")
        elif now_s - self._heard_s > self._settings.idle_timeout_s:
            self._close(CloseCode.IDLE, "idle: connect again when there is something to say")
