"""The tally in Redis or Valkey."""

import time
from collections.abc import Mapping, Sequence
from typing import cast

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from backends.live_view import LiveViewSettings
from backends.redis_calls import calling, connect
from topics.names import Namespace

MAX_CONNECTIONS = 8

# KEYS: groups. ARGV: member, lease in seconds, then the limit of each group. Scores are when a lease is over, by the
# server's clock.
_LEASE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  if not redis.call('ZSCORE', key, ARGV[1]) and redis.call('ZCARD', key) >= tonumber(ARGV[i + 2]) then
    return i
  end
end
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + ARGV[2], ARGV[1])
  redis.call('EXPIRE', key, ARGV[2])
end
return 0
"""


class RedisTally:
    """Sliding windows of the library ``limits``, sorted sets, and plain keys."""

    def __init__(self, settings: LiveViewSettings, names: Namespace) -> None:
        self._names = names
        self._client = connect(settings.url, max_connections=MAX_CONNECTIONS, timeout_ms=settings.timeout_ms)
        self._lease = self._client.register_script(_LEASE)
        self._windows = SlidingWindowCounterRateLimiter(
            RedisStorage(
                f"async+{settings.url}",
                implementation="redispy",
                key_prefix=names.of("ragline.rate"),
                connection_pool=self._client.connection_pool,  # type: ignore[arg-type] # handed on as it is
            )
        )

    async def hit(self, name: str, per_minute: int) -> float:
        item = RateLimitItemPerMinute(per_minute)
        with calling():
            if await self._windows.hit(item, name):
                return 0.0
            stats = await self._windows.get_window_stats(item, name)
        return max(stats.reset_time - time.time(), 0.1)

    async def lease(self, member: str, limits: Mapping[str, int], lease_s: int) -> str | None:
        with calling():
            keys = [self._group(group) for group in limits]
            full = int(await self._lease(keys=keys, args=[member, lease_s, *limits.values()]))
        return list(limits)[full - 1] if full else None

    async def oldest(self, group: str, count: int) -> list[str]:
        with calling():
            members = cast("list[bytes]", await self._client.zrange(self._group(group), 0, count - 1))
        return [member.decode() for member in members]

    async def release(self, members: Sequence[str], group: str) -> None:
        if members:
            with calling():
                await self._client.zrem(self._group(group), *members)

    async def remember(self, name: str, value: str, ttl_s: int) -> str:
        with calling():
            kept = await self._client.set(
                self._names.of(f"ragline.remembered.{name}"), value, nx=True, get=True, ex=ttl_s
            )
        return value if kept is None else cast("bytes", kept).decode()

    async def close(self) -> None:
        await self._client.aclose()

    # The braces make all groups live on one node of a Redis cluster: a script may touch them together.
    def _group(self, group: str) -> str:
        return self._names.of(f"ragline.{{leases}}.{group}")
