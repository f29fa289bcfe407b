"""Runs the bridge on uvicorn until it is told to stop."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from backends.kafka import KafkaSettings
from backends.live_view import LiveView, LiveViewSettings
from backends.redis_live_view import RedisLiveView
from bridge.app import create_app
from bridge.publisher import KafkaQueryPublisher, QueryPublisher
from bridge.settings import BridgeSettings
from topics.names import Namespace

log = structlog.get_logger(__name__)


async def serve(settings: BridgeSettings, kafka: KafkaSettings, redis: LiveViewSettings, names: Namespace) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    Raises:
        OSError: the address cannot be listened on; the message says what to do.
    """
    queries = KafkaQueryPublisher(kafka, names, settings.publish_timeout_ms)
    live_view = RedisLiveView(redis, names)
    try:
        await BridgeServer(settings, queries, live_view).serve()
    finally:
        await queries.close()
        await live_view.close()


class BridgeServer(uvicorn.Server):
    """uvicorn with the bridge's application; ``serve`` returns after a signal instead of raising it again.

    It listens once it is made, at ``address``, and answers once ``ready`` is set. When it stops, open websockets are
    closed with code 1012: their clients reconnect and resume.

    Raises:
        OSError: the address cannot be listened on; the message says what to do.
    """

    def __init__(self, settings: BridgeSettings, queries: QueryPublisher, live_view: LiveView) -> None:
        config = uvicorn.Config(
            create_app(settings, queries, live_view),
            ws=_SocketProtocol,
            ws_max_size=settings.max_frame_bytes,
            ws_ping_interval=settings.ping_interval_s,
            ws_ping_timeout=settings.ping_interval_s,
            timeout_graceful_shutdown=max(1, settings.shutdown_timeout_ms // 1000),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        super().__init__(config)
        self.ready = asyncio.Event()
        self._listener = _listen(settings.host, settings.port)
        host, port = self._listener.getsockname()[:2]
        self.address = f"http://{host}:{port}"

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets=[self._listener, *(sockets or ())])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            log.info("bridge listens", address=self.address)
            self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        msg = f"the bridge cannot listen on {host}:{port}: {error.strerror}; set bridge.port to a free one"
        raise OSError(error.errno, msg) from error


class _SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket, whose close does not wait for a client that has stopped reading."""

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close":
            self.writable.set()
            self.loop.call_later(self.close_timeout, self.transport.abort)
        await super().send(message)
