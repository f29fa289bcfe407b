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

    async def append(self, stream: str, entries: Sequence[Entry], *, once: str | None = None) -> bool:
        self._expire()
        before = self._streams.get(stream, _Stream()).entries
        if before and before[-1].entry.kind == "terminal" and all(entry.kind != "terminal" for entry in entries):
            return False
        kept = self._touch(stream)
        if once is not None:
            if once in kept.marks:
                return False
            kept.marks.add(once)
        # The bodies are copied by way of JSON, so that nothing passes here that Redis could not carry.
        kept.entries += [
            StoredEntry(self._next_id(), Entry(entry.kind, orjson.loads(orjson.dumps(entry.body)))) for entry in entries
        ]
        del kept.entries[: -self._settings.max_entries]
        async with self._changed:
            self._changed.notify_all()
        return True

    async def begin_attempt(self, stream: str) -> int:
        kept = self._touch(stream)
        kept.attempts += 1
        return kept.attempts

    async def read(self, stream: str, after: str = "0") -> list[StoredEntry]:
        start = position(after)
        self._expire()
        kept = self._streams.get(stream, _Stream())
        return [stored for stored in kept.entries if position(stored.id) > start]

    async def last(self, stream: str, until: str = "") -> StoredEntry | None:
        end = position(until) if until else None
        entries = await self.read(stream)
        return next((stored for stored in reversed(entries) if end is None or position(stored.id) <= end), None)

    async def follow(self, stream: str, after: str = "0") -> AsyncGenerator[StoredEntry, None]:
        while not self._closed:
            for stored in await self.read(stream, after):
                after = stored.id
                yield stored
            async with self._changed:
                if not self._closed and not await self.read(stream, after):
                    await self._changed.wait()

    async def close(self) -> None:
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    def _touch(self, stream: str) -> _Stream:
        self._expire()
        kept = self._streams.setdefault(stream, _Stream())
        kept.expires_s = self._clock() + self._settings.ttl_s
        return kept

    def _expire(self) -> None:
        now = self._clock()
        for stream in [key for key, kept in self._streams.items() if kept.expires_s <= now]:
            del self._streams[stream]

    def _next_id(self) -> str:
        milliseconds, sequence = max((int(self._clock() * 1000), 0), (self._last_id[0], self._last_id[1] + 1))
        self._last_id = (milliseconds, sequence)
        return f"{milliseconds}-{sequence}"
