from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import structlog
from prometheus_client import CollectorRegistry

from backends import cached_embedder
from backends.cached_embedder import CachedEmbedder
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.memory_embedder import HashedEmbedder
from backends.memory_embedding_cache import MemoryEmbeddingCache
from schemas.values import FloatArray


class Recorder(HashedEmbedder):
    def __init__(self, model: str = "hashed") -> None:
        super().__init__(16, model)
        self.asked: list[tuple[str, ...]] = []

    async def embed(self, texts: Sequence[str], prompt: str = "") -> FloatArray:
        self.asked.append(tuple(prompt + text for text in texts))
        return await super().embed(texts, prompt)


class Away(MemoryEmbeddingCache):
    """Does not answer while it is ``away``."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.calls = 0

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        self._answer()
        return await super().get(keys)

    async def put(self, values: Mapping[str, bytes]) -> None:
        self._answer()
        await super().put(values)

    def _answer(self) -> None:
        self.calls += 1
        if self.away:
            raise BackendUnavailableError("Redis does not answer")


async def started(
    embedder: HashedEmbedder, cache: MemoryEmbeddingCache | None = None, revision: str = "1"
) -> CachedEmbedder:
    cached = CachedEmbedder(embedder, cache or MemoryEmbeddingCache(), lambda: revision, "embedding")
    await cached.start()
    return cached


def counted(embedder: CachedEmbedder) -> dict[str, float | None]:
    registry = CollectorRegistry()
    registry.register(embedder)
    texts = {
        result: registry.get_sample_value(
            "ragline_embedding_cache_texts_total", {"stage": "embedding", "result": result}
        )
        for result in ("hit", "miss")
    }
    failures = registry.get_sample_value("ragline_embedding_cache_failures_total", {"stage": "embedding"})
    return texts | {"failures": failures}


async def test_only_what_is_not_kept_is_embedded_and_once() -> None:
    inner = Recorder()
    embedder = await started(inner)
    await embedder.embed(["a", "b", "a"])
    vectors = await embedder.embed(["b", "c", "a"])
    assert inner.asked == [("a", "b"), ("c",)]
    assert np.array_equal(vectors, await HashedEmbedder(16).embed(["b", "c", "a"]))
    assert counted(embedder) == {"hit": 2, "miss": 4, "failures": 0}


async def test_all_that_vectors_depend_on_is_in_the_key() -> None:
    cache, asked = MemoryEmbeddingCache(), 0
    for model in ("a", "b"):
        for revision in ("1", "2"):
            for prompt in ("", "query: "):
                inner = Recorder(model)
                await (await started(inner, cache, revision)).embed(["text"], prompt)
                asked += len(inner.asked)
    assert asked == 8


@pytest.mark.parametrize(
    "value", [b"", b"x" * 64, b"\0" * 64, np.full(16, np.nan, np.float32).tobytes(), np.ones(15, np.float32).tobytes()]
)
async def test_bytes_that_are_no_vector_are_as_if_they_were_not_there(value: bytes) -> None:
    class Broken(MemoryEmbeddingCache):
        async def get(self, keys: Sequence[str]) -> list[bytes | None]:
            return [value] * len(keys)

    inner = Recorder()
    vectors = await (await started(inner, Broken())).embed(["a"])
    assert inner.asked == [("a",)]
    assert np.array_equal(vectors, await HashedEmbedder(16).embed(["a"]))


async def test_without_the_cache_texts_are_embedded_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(cached_embedder.time, "monotonic", lambda: now_s)
    cache, inner = Away(), Recorder()
    embedder = await started(inner, cache)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert (await embedder.embed(["a"])).shape == (1, 16)
        assert cache.calls == 1, "nobody waits for it again at once"
        now_s = 100
        await embedder.embed(["a"])
        assert cache.calls == 2
        now_s, cache.away = 200, False
        await embedder.embed(["a"])
        await embedder.embed(["a"])
    assert [entry["event"] for entry in logs] == ["embeddings are not cached for now", "embeddings are cached again"]
    assert len(inner.asked) == 5
    assert counted(embedder) == {"hit": 1, "miss": 5, "failures": 2}


async def test_a_text_that_is_refused_is_not_kept() -> None:
    embedder = await started(HashedEmbedder(16))
    for _ in range(2):
        with pytest.raises(BackendRejectedError):
            await embedder.embed(["\ud800"])


async def test_a_model_whose_files_cannot_be_read_is_refused() -> None:
    def revision() -> str:
        raise OSError("no such file")

    embedder = CachedEmbedder(HashedEmbedder(), MemoryEmbeddingCache(), revision, "embedding")
    with pytest.raises(BackendRejectedError, match="no such file"):
        await embedder.start()
