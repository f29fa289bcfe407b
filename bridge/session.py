"""One websocket from its handshake to its end."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import aclosing

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect
from uuid_utils import uuid7

from backends.errors import BackendUnavailableError
from backends.live_view import LiveView, position
from bridge.asking import ask
from bridge.messages import Accepted, Ask, Delta, Problem, Resume, ServerMessage, traceparent_or_none
from bridge.metrics import BridgeMetrics
from bridge.protocol import TRY_AGAIN_LATER, Connection, Followed, State
from bridge.publisher import QueryPublisher
from bridge.settings import BridgeSettings

log = structlog.get_logger(__name__)


class _SocketGoneError(Exception):
    """The connection is over; what was done for it stops."""


class Session:
    """Serves one websocket: reads what the client wants, follows its requests, and sends in one place.

    What waits to be sent is bounded: a follower waits for room, and a client that takes nothing for
    ``send_timeout_ms`` is closed with code 1013 and may resume.
    """

    def __init__(
        self,
        socket: WebSocket,
        settings: BridgeSettings,
        publisher: QueryPublisher,
        live_view: LiveView,
        metrics: BridgeMetrics,
    ) -> None:
        self._socket = socket
        self._settings = settings
        self._publisher = publisher
        self._live_view = live_view
        self._metrics = metrics
        self._connection = Connection(settings.max_requests_per_socket, lambda: str(uuid7()))
        self._outbox: asyncio.Queue[ServerMessage] = asyncio.Queue(settings.send_queue)

    async def run(self) -> None:
        """Accept the websocket; returns when it is closed. Its requests go on without it."""
        await self._socket.accept()
        self._connection.state = State.OPEN
        self._metrics.sockets.inc()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_all())
                await self._receive_all(tasks)
        except* _SocketGoneError:
            pass
        finally:
            self._connection.state = State.CLOSED
            self._metrics.sockets.dec()

    async def _receive_all(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            frame = await self._socket.receive()
            if frame["type"] == "websocket.disconnect":
                raise _SocketGoneError
            message = self._connection.receive(frame.get("text"))
            if isinstance(message, Problem):
                await self._put(message)
            elif isinstance(message, Ask):
                request_id = str(message.id)
                tasks.create_task(self._serve(request_id, self._ask(request_id, message)))
            else:
                tasks.create_task(self._serve(message.request_id, self._resume(message)))

    async def _serve(self, request_id: str, work: Coroutine[None, None, Problem | None]) -> None:
        try:
            with self._metrics.following.track_inprogress():
                problem = await work
        except BackendUnavailableError as error:
            log.warning("request not served", request_id=request_id, error=str(error))
            problem = Problem(request_id=request_id, code="unavailable", message=f"{error} Try again in a moment.")
        finally:
            # Before the client hears of it, for it may ask or resume again at once.
            self._connection.finish(request_id)
        if problem is not None:
            await self._put(problem)

    async def _ask(self, request_id: str, message: Ask) -> None:
        started = time.monotonic()
        traceparent = message.traceparent or traceparent_or_none(self._socket.headers.get("traceparent"))
        try:
            await ask(request_id, message, self._publisher, self._live_view, traceparent)
        except BackendUnavailableError:
            self._metrics.questions.labels("websocket", "unavailable").inc()
            raise
        self._metrics.questions.labels("websocket", "accepted").inc()
        await self._put(Accepted(request_id=request_id))
        await self._follow(self._connection.following[request_id], after="0", started=started)

    async def _resume(self, message: Resume) -> Problem | None:
        request = self._connection.following[message.request_id]
        # Read from the beginning: only the whole stream says which attempt stands and whether the request has ended.
        history = await self._live_view.read(message.request_id)
        if not history:
            text = f"Request {message.request_id} is not known here, or no longer: ask again."
            return Problem(request_id=message.request_id, code="unknown_request", message=text)
        for stored in history:
            shown = request.take(stored)
            if shown is not None and (request.done or position(stored.id) > position(message.after)):
                await self._put(shown)
            if request.done:
                return None
        await self._follow(request, after=history[-1].id)
        return None

    async def _follow(self, request: Followed, after: str, started: float | None = None) -> None:
        async with aclosing(self._live_view.follow(request.request_id, after)) as entries:
            async for stored in entries:
                message = request.take(stored)
                if message is not None:
                    await self._put(message)
                if started is not None and isinstance(message, Delta):
                    self._metrics.first_delta.observe(time.monotonic() - started)
                    started = None
                if request.done:
                    return
        msg = "The live view has stopped."
        raise BackendUnavailableError(msg)

    async def _put(self, message: ServerMessage) -> None:
        if self._connection.state is not State.OPEN:
            raise _SocketGoneError
        if isinstance(message, Problem):
            self._metrics.problems.labels(message.code).inc()
        await self._outbox.put(message)

    async def _send_all(self) -> None:
        while True:
            message = await self._outbox.get()
            try:
                async with asyncio.timeout(self._settings.send_timeout_ms / 1000):
                    await self._socket.send_text(message.model_dump_json())
            except WebSocketDisconnect:
                raise _SocketGoneError from None
            except TimeoutError:
                self._metrics.slow_readers.inc()
                self._connection.state = State.CLOSING
                await self._socket.close(TRY_AGAIN_LATER, "too slow: resume when you can read on")
                raise _SocketGoneError from None
            self._metrics.sent.labels(message.kind).inc()
