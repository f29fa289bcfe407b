"""uvicorn's two protocols, which do not wait for clients that say or take nothing."""

import asyncio
import contextlib
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from bridge.protocol import CloseCode


class HttpProtocol(H11Protocol):
    """HTTP whose connections are cut where no request comes in time, or the client takes nothing of the response."""

    receive_timeout_s: float
    send_timeout_s: float

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._silent: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    @classmethod
    def within(cls, *, receive_timeout_s: float, send_timeout_s: float) -> type["HttpProtocol"]:
        """The protocol with these limits; uvicorn makes its objects itself."""
        return type(cls.__name__, (cls,), {"receive_timeout_s": receive_timeout_s, "send_timeout_s": send_timeout_s})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._silent = self.loop.call_later(self.receive_timeout_s, self._cut_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._silent, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Headers that come drop by drop do not put it off.
        if self._silent is not None and self.cycle is not None:
            self._silent.cancel()
            self._silent = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(self.send_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _cut_if_silent(self) -> None:
        # A websocket's connection has another protocol by now.
        if self.cycle is None and self.transport.get_protocol() is self:
            self.transport.abort()


class SocketProtocol(WebSocketsSansIOProtocol):
    """Websockets whose close does not wait for a client that has stopped reading, and says what to do."""

    async def send(self, message: ASGISendEvent) -> None:
        if self.handshake_complete and self.close_sent:
            # uvicorn has closed by itself, at a frame that is none; to the application the client has gone.
            raise ClientDisconnected
        if message["type"] == "websocket.close":
            self.writable.set()
            self.loop.call_later(self.close_timeout, self.transport.abort)
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # Refused, and told so; uvicorn would log an error for it.
            self.handshake_complete = True

    def send_receive_event_to_app(self) -> None:
        # uvicorn would close as well, and log a traceback for each.
        if self.curr_msg_data_type == "text" and not self.close_sent and not _is_utf8(b"".join(self.frames)):
            self.conn.send_close(CloseCode.INVALID_TEXT)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.RESTART})
            self.conn.send_close(CloseCode.RESTART, "the bridge stops: connect again and resume")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            # Not at once: what is on its way to the client would be lost with what is on its way from it.
            # A client that has gone already takes no end either.
            with contextlib.suppress(OSError):
                self.transport.write_eof() if self.transport.can_write_eof() else self.transport.close()
            self.loop.call_later(self.close_timeout, self.transport.abort)
            return
        super().shutdown()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
