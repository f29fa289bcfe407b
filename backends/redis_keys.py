"""Removes keys from Redis or Valkey by the beginning of their names."""

import re

from backends.live_view import LiveViewSettings
from backends.redis_calls import calling, connect

_PAGE = 1_000
_SPECIAL = re.compile(r"([\\*?\[\]^-])")


async def remove_keys(settings: LiveViewSettings, beginning: str) -> int:
    """Remove every key whose name begins so; gives how many. Goes through all keys, in pages.

    Raises:
        BackendUnavailableError: Redis does not answer.
    """
    client = connect(settings.url, max_connections=1, timeout_ms=settings.timeout_ms)
    pattern = _SPECIAL.sub(r"\\\1", beginning) + "*"
    removed, cursor = 0, 0
    try:
        while True:
            with calling():
                cursor, keys = await client.scan(cursor, match=pattern, count=_PAGE)
                if keys:
                    removed += await client.unlink(*keys)
            if not cursor:
                return removed
    finally:
        await client.aclose()
