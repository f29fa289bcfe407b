"""The cache of embeddings in Redis or Valkey."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import cast

from backends.embedding_cache import EmbeddingCacheSettings
from backends.redis_calls import calling, connect
from topics.names import Namespace

# A megabyte or two in one call.
_SLICE = 512
_MAX_CONNECTIONS = 2


class RedisEmbeddingCache:
    """One plain key for each value."""

    def __init__(self, settings: EmbeddingCacheSettings, names: Namespace) -> None:
        self._names = names
        self._ttl_s = settings.ttl_s
        self._client = connect(settings.url, max_connections=_MAX_CONNECTIONS, timeout_ms=settings.timeout_ms)

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        values: list[bytes | None] = []
        for start in range(0, len(keys), _SLICE):
            with calling():
                found = await self._client.mget([self._name(key) for key in keys[start : start + _SLICE]])
            values += cast("list[bytes | None]", found)
        return values

    async def put(self, values: Mapping[str, bytes]) -> None:
        rest = iter(values.items())
        while some := list(islice(rest, _SLICE)):
            with calling():
                async with self._client.pipeline(transaction=False) as pipeline:
                    for key, value in some:
                        pipeline.set(self._name(key), value, ex=self._ttl_s)
                    await pipeline.execute()

    async def close(self) -> None:
        await self._client.aclose()

    def _name(self, key: str) -> str:
        return self._names.of(f"ragline.embedding.{key}")
