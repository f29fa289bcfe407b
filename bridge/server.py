"""Runs the bridge on uvicorn until it is told to stop."""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from types import FrameType

import structlog
import uvicorn

from backends.kafka import KafkaSettings
from backends.live_view import LiveViewSettings
from backends.redis_live_view import RedisLiveView
from backends.redis_tally import RedisTally
from bridge.access import Access
from bridge.answers import KafkaAnswers
from bridge.app import create_app
from bridge.core import Core
from bridge.documents.endings import KafkaEndings
from bridge.key_topic import KafkaKeys
from bridge.publisher import KafkaPublisher
from bridge.settings import BridgeSettings
from bridge.sockets import HttpProtocol, SocketProtocol
from bridge.tokens import JwtTokens
from topics.names import Namespace
from workers.settings import QuerySettings

# Clients of a bridge that stops come to the next one all at once.
_BACKLOG = 4_096

log = structlog.get_logger(__name__)


def collect_seldom() -> None:
    """Have Python look for unreachable cycles seldom.

    A full collection looks at every object of every socket, during which nobody is served: most of a second with
    thousands of them, and by default some times a minute. What is in no cycle, nearly all, is freed at once anyway.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 200)


async def serve(
    settings: BridgeSettings, kafka: KafkaSettings, redis: LiveViewSettings, names: Namespace, query: QuerySettings
) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    Raises:
        OSError: the address cannot be listened on; the message says what to do.
    """
    async with connected(settings, kafka, redis, names, query) as core:
        server = BridgeServer(core)
        collect_seldom()
        await server.serve()


@asynccontextmanager
async def connected(
    settings: BridgeSettings, kafka: KafkaSettings, redis: LiveViewSettings, names: Namespace, query: QuerySettings
) -> AsyncIterator[Core]:
    """The core on real systems; it connects to each when it first needs it, and lets go of all at the end."""
    async with AsyncExitStack() as stack:
        publisher = KafkaPublisher(kafka, names, settings.publish_timeout_ms)
        stack.push_async_callback(publisher.close)
        live_view = RedisLiveView(redis, names)
        stack.push_async_callback(live_view.close)
        answers = KafkaAnswers(kafka, names, settings.search_timeout_ms, query.default_tenant)
        stack.push_async_callback(answers.close)
        tally = RedisTally(redis, names)
        stack.push_async_callback(tally.close)
        keys = None
        if settings.access.required:
            keys = KafkaKeys(kafka, names)
            stack.push_async_callback(_ended, asyncio.create_task(keys.run(), name="api-keys"))
        tokens = JwtTokens(settings.access.jwt) if settings.access.jwt.issuer else None
        access = Access(keys, tokens, query.default_tenant)
        documents = KafkaEndings(kafka, names)
        stack.push_async_callback(_ended, asyncio.create_task(documents.run(), name="documents"))
        yield Core(settings, access, publisher, live_view, answers, tally, query.models, documents)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class BridgeServer(uvicorn.Server):
    """uvicorn with the bridge's application; ``serve`` returns after a signal instead of raising it again.

    It listens once it is made, at ``address``, and answers once ``ready`` is set. When it stops, streams end and open
    websockets are closed with code 1012: their clients connect again and resume.

    Raises:
        OSError: the address cannot be listened on; the message says what to do.
    """

    def __init__(self, core: Core) -> None:
        settings = core.settings
        config = uvicorn.Config(
            create_app(core),
            http=HttpProtocol.within(
                receive_timeout_s=settings.receive_timeout_ms / 1000, send_timeout_s=settings.send_timeout_ms / 1000
            ),
            ws=SocketProtocol,
            ws_max_size=settings.max_frame_bytes,
            ws_ping_interval=settings.ping_interval_s,
            ws_ping_timeout=settings.ping_interval_s,
            # Deltas are a few words: compressing them costs more memory for each socket than all that waits for it.
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=max(1, settings.shutdown_timeout_ms // 1000),
            backlog=_BACKLOG,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        super().__init__(config)
        self.ready = asyncio.Event()
        self._core = core
        self._listener = _listen(settings.host, settings.port)
        host, port = self._listener.getsockname()[:2]
        self.address = f"http://{host}:{port}"

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets=[self._listener, *(sockets or ())])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            log.info("bridge listens", address=self.address)
            if self._core.access.is_open:
                log.warning("the bridge is open: whoever reaches it may ask; set bridge.access.required for others")
            self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._core.draining.set()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._core.draining.set()
        super().handle_exit(sig, frame)

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
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        msg = f"the bridge cannot listen on {host}:{port}: {error.strerror}; set bridge.port to a free one"
        raise OSError(error.errno, msg) from error
