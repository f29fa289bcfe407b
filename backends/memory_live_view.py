"""The live view in this process's memory: the twin of the one in Redis."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

import orjson

from backends.live_view import Entry, LiveViewSettings, StoredEntry, position


@dataclass
class _Stream:
    entries: list[StoredEntry] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    attempts: int = 0
    expires_s: float = 0.0


class MemoryLiveView:
    """Streams in a dictionary. ``clock`` gives seconds and decides what has expired."""

    def __init__(self, settings: LiveViewSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._streams: dict[str, _Stream] = {}
        self._last_id = (0, 0)
        self._changed = asyncio.Condition()
        self._closed = False

    async def append(self, request_id: str, entries: Sequence[Entry], *, once: str | None = None) -> bool:
        stream = self._touch(request_id)
        if once is not None:
            if once in stream.marks:
                return False
            stream.marks.add(once)
        # The bodies are copied by way of JSON, so that nothing passes here that Redis could not carry.
        stream.entries += [
            StoredEntry(self._next_id(), Entry(entry.kind, orjson.loads(orjson.dumps(entry.body)))) for entry in entries
        ]
        del stream.entries[: -self._settings.max_entries]
        async with self._changed:
            self._changed.notify_all()
        return True

    async def begin_attempt(self, request_id: str) -> int:
        stream = self._touch(request_id)
        stream.attempts += 1
        return stream.attempts

    async def read(self, request_id: str, after: str = "0") -> list[StoredEntry]:
        start = position(after)
        self._expire()
        stream = self._streams.get(request_id, _Stream())
        return [stored for stored in stream.entries if position(stored.id) > start]

    async def follow(self, request_id: str, after: str = "0") -> AsyncGenerator[StoredEntry, None]:
        while not self._closed:
            for stored in await self.read(request_id, after):
                after = stored.id
                yield stored
            async with self._changed:
                if not self._closed and not await self.read(request_id, after):
                    await self._changed.wait()

    async def close(self) -> None:
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    def _touch(self, request_id: str) -> _Stream:
        self._expire()
        stream = self._streams.setdefault(request_id, _Stream())
        stream.expires_s = self._clock() + self._settings.ttl_s
        return stream

    def _expire(self) -> None:
        now = self._clock()
        for request_id in [key for key, stream in self._streams.items() if stream.expires_s <= now]:
            del self._streams[request_id]

    def _next_id(self) -> str:
        milliseconds, sequence = max((int(self._clock() * 1000), 0), (self._last_id[0], self._last_id[1] + 1))
        self._last_id = (milliseconds, sequence)
        return f"{milliseconds}-{sequence}"
