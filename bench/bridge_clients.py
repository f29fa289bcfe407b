"""Websocket clients by the thousand, with as little as RFC 6455 asks of them: the machine is for the bridge."""

import asyncio
import time
from dataclasses import dataclass, field

import orjson

_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_MASK = bytes(4)
_TWO_BYTES, _EIGHT_BYTES = 126, 127
_RETRY_S = 0.05


@dataclass
class Seen:
    """What has come of one request, over all its connections."""

    last: str = "0"
    next_token: int = 0
    lost: int = 0
    repeated: int = 0
    ended: bool = False
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    lags_ms: list[float] = field(default_factory=list)

    def take(self, message: dict[str, str]) -> None:
        """Count the tokens of a message, and how old each is."""
        kind = message["kind"]
        self.last = message.get("id", self.last)
        self.begun.set()
        if kind == "terminal":
            self.ended = True
        if kind != "delta":
            return
        now = time.time_ns()
        for token in message["text"].split():
            number, _, written = token.partition(":")
            place = int(number)
            self.repeated += place < self.next_token
            self.lost += max(0, place - self.next_token)
            self.next_token = max(self.next_token, place + 1)
            self.lags_ms.append((now - int(written)) / 1e6)


class Client(asyncio.Protocol):
    """One websocket. ``request_id`` None is an idle one; ``closed`` is set when it is gone."""

    def __init__(self, host: str, request_id: str | None = None, seen: Seen | None = None) -> None:
        self._host = host
        self._request_id = request_id
        self._seen = seen or Seen()
        self._buffer = bytearray()
        self._open = False
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # it is TCP
        self.transport = transport
        transport.write(
            f"GET /v1/ws HTTP/1.1\r\nHost: {self._host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.opened.set()
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open and not self._accepted():
            return
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == _TEXT:
                message = orjson.loads(payload)
                self._seen.take(message)
                if message["kind"] == "error":
                    # Not followed any longer: come again.
                    self.transport.close()
            elif opcode == _PING:
                self._send(_PONG, payload)
            elif opcode == _CLOSE:
                self.transport.close()

    def cut(self) -> None:
        """Break the connection, without a word."""
        self.transport.abort()

    def _accepted(self) -> bool:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            self.transport.abort()
            return False
        self._buffer = rest
        self._open = True
        self.opened.set()
        if self._request_id is not None:
            resume = {"kind": "resume", "request_id": self._request_id, "after": self._seen.last}
            self._send(_TEXT, orjson.dumps(resume))
        return True

    def _frame(self) -> tuple[int, bytes] | None:
        """The next whole frame; the bridge does not fragment, and a server does not mask."""
        buffer = self._buffer
        if len(buffer) < 2:  # noqa: PLR2004 - the shortest header
            return None
        length, start = buffer[1], 2
        if length == _TWO_BYTES:
            start = 4
        elif length == _EIGHT_BYTES:
            start = 10
        if start > 2:  # noqa: PLR2004
            if len(buffer) < start:
                return None
            length = int.from_bytes(buffer[2:start])
        end = start + length
        if len(buffer) < end:
            return None
        frame = buffer[0] & 0x0F, bytes(buffer[start:end])
        del buffer[:end]
        return frame

    def _send(self, opcode: int, payload: bytes) -> None:
        # Masked with zeros: as good as any to a server that only has to undo it.
        size = len(payload)
        length = bytes([0x80 | size]) if size < _TWO_BYTES else bytes([0x80 | _TWO_BYTES]) + size.to_bytes(2)
        self.transport.write(bytes([0x80 | opcode]) + length + _MASK + payload)


async def connect(address: str, request_id: str | None = None, seen: Seen | None = None) -> Client:
    """An open websocket; tries until it has one."""
    host, _, port = address.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    while True:
        try:
            _, client = await loop.create_connection(
                lambda: Client(f"{host}:{port}", request_id, seen), host, int(port)
            )
        except OSError:
            await asyncio.sleep(_RETRY_S)
            continue
        await client.opened.wait()
        if not client.closed.is_set():
            return client
        await asyncio.sleep(_RETRY_S)
