"""What every cache of embeddings keeps to: run on the twin in memory and on a real Valkey."""

import uuid
from collections.abc import AsyncIterator

import numpy as np
import pytest

from backends.cached_embedder import CachedEmbedder
from backends.embedding_cache import EmbeddingCache, EmbeddingCacheSettings
from backends.memory_embedder import HashedEmbedder
from backends.memory_embedding_cache import MemoryEmbeddingCache
from backends.redis_embedding_cache import RedisEmbeddingCache
from topics.names import Namespace


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.servers)])
def cache_url(request: pytest.FixtureRequest) -> str:
    """Address of the server; empty for the twin."""
    return "" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
async def cache(cache_url: str) -> AsyncIterator[EmbeddingCache]:
    settings = EmbeddingCacheSettings(url=cache_url, timeout_ms=5_000)
    opened: EmbeddingCache = (
        RedisEmbeddingCache(settings, Namespace(uuid.uuid4().hex)) if cache_url else MemoryEmbeddingCache()
    )
    yield opened
    await opened.close()


async def test_nothing_is_kept_at_first(cache: EmbeddingCache) -> None:
    assert await cache.get(["a", "b"]) == [None, None]
    assert await cache.get([]) == []
    await cache.put({})


async def test_what_was_put_comes_back_in_the_order_asked_for(cache: EmbeddingCache) -> None:
    await cache.put({"a": b"\x00\xff\r\n", "b": b""})
    await cache.put({"a": b"2"})
    assert await cache.get(["b", "x", "a", "b"]) == [b"", None, b"2", b""]


async def test_takes_more_than_fits_in_one_call(cache: EmbeddingCache) -> None:
    values = {f"key {number}": bytes(1536) + str(number).encode() for number in range(1_100)}
    await cache.put(values)
    assert await cache.get(list(values)) == list(values.values())


async def test_an_embedder_gives_the_same_vectors_from_it(cache: EmbeddingCache) -> None:
    embedder = CachedEmbedder(HashedEmbedder(), cache, lambda: "1", "embedding")
    await embedder.start()
    texts = ["one", "two", "one", "", "three"]
    first = await embedder.embed(texts[:2])
    again = await embedder.embed(texts)
    assert np.array_equal(again, await HashedEmbedder().embed(texts))
    assert np.array_equal(again[:2], first)


@pytest.mark.servers
async def test_redis_forgets_after_the_time_set(redis_url: str) -> None:
    cache = RedisEmbeddingCache(EmbeddingCacheSettings(url=redis_url, ttl_s=77), Namespace("brief"))
    await cache.put({"a": b"1"})
    [name] = await cache._client.keys("brief*")
    assert 70 < await cache._client.ttl(name) <= 77
    await cache.close()
