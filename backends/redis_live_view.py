"""The live view in Redis or Valkey."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import chain
from typing import cast

import orjson

from backends.live_view import Entry, EntryKind, LiveViewSettings, StoredEntry, position
from backends.redis_calls import calling, connect
from backends.redis_scripts import SharedScript
from backends.redis_stream_reader import BLOCK_MS, RawEntry, StreamReader, as_it_comes
from topics.names import Namespace

MAX_CONNECTIONS = 32
PAGE = 1_000

# KEYS: stream, marks. ARGV: ttl in seconds, longest stream, "1" and the mark or "0" and nothing, then kind and body of
# each entry. The mark and what it guards are written together and expire together.
_APPEND = """
if ARGV[#ARGV - 1] ~= 'terminal' then
  local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  if last and last[2][2] == 'terminal' then
    return 0
  end
end
if ARGV[3] == '1' and redis.call('HSETNX', KEYS[2], 'once:' .. ARGV[4], '') == 0 then
  return 0
end
for i = 5, #ARGV, 2 do
  redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'kind', ARGV[i], 'body', ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1
"""


class RedisLiveView:
    """One Redis stream per request, and one hash beside it for its marks and its attempts."""

    def __init__(self, settings: LiveViewSettings, names: Namespace) -> None:
        self._settings = settings
        self._names = names
        self._client = connect(settings.url, max_connections=MAX_CONNECTIONS, timeout_ms=settings.timeout_ms)
        as_it_comes(self._client)
        self._append = SharedScript(self._client, _APPEND)
        self._reader = StreamReader(
            connect(settings.url, max_connections=1, timeout_ms=settings.timeout_ms, block_ms=BLOCK_MS),
            self._client,
            wake_key=names.of(f"ragline.wake.{uuid.uuid4().hex}"),
        )

    async def append(self, stream: str, entries: Sequence[Entry], *, once: str | None = None) -> bool:
        bodies = chain.from_iterable((entry.kind, orjson.dumps(entry.body)) for entry in entries)
        guard = ("0", "") if once is None else ("1", once)
        arguments = [self._settings.ttl_s, self._settings.max_entries, *guard, *bodies]
        return bool(await self._append.call([self._entries(stream), self._marks(stream)], arguments))

    async def begin_attempt(self, stream: str) -> int:
        with calling():
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hincrby(self._marks(stream), "attempt", 1)
                pipeline.expire(self._marks(stream), self._settings.ttl_s)
                pipeline.expire(self._entries(stream), self._settings.ttl_s)
                attempt, *_ = await pipeline.execute()
        return int(attempt)

    async def read(self, stream: str, after: str = "0") -> list[StoredEntry]:
        position(after)
        entries: list[StoredEntry] = []
        while True:
            with calling():
                reply = await self._client.xrange(self._entries(stream), min=f"({after}", max="+", count=PAGE)
            page = cast("list[RawEntry]", reply)
            entries += [_stored(entry_id, fields) for entry_id, fields in page]
            if len(page) < PAGE:
                return entries
            after = entries[-1].id

    async def last(self, stream: str, until: str = "") -> StoredEntry | None:
        if until:
            position(until)
        with calling():
            reply = await self._client.xrevrange(self._entries(stream), max=until or "+", count=1)
        page = cast("list[RawEntry]", reply)
        return _stored(*page[0]) if page else None

    async def follow(self, stream: str, after: str = "0") -> AsyncGenerator[StoredEntry, None]:
        async with aclosing(self._reader.follow(self._entries(stream), after)) as raw:
            async for entry_id, fields in raw:
                yield _stored(entry_id, fields)

    async def close(self) -> None:
        await self._reader.close()
        await self._append.close()
        await self._client.aclose()

    # The braces make both keys of a stream live on one node of a Redis cluster.
    def _entries(self, name: str) -> str:
        return self._names.of(f"ragline.live.{{{name}}}.entries")

    def _marks(self, name: str) -> str:
        return self._names.of(f"ragline.live.{{{name}}}.marks")


def _stored(entry_id: bytes, fields: Sequence[bytes]) -> StoredEntry:
    # In the order of _APPEND.
    _, kind, _, body = fields
    return StoredEntry(entry_id.decode(), Entry(cast("EntryKind", kind.decode()), orjson.loads(body)))
