"""An embedder that asks a cache first."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from backends.embedder import Embedder
from backends.embedding_cache import EmbeddingCache
from backends.errors import BackendRejectedError, BackendUnavailableError
from schemas.values import FloatArray

log = structlog.get_logger(__name__)

A = TypeVar("A")
T = TypeVar("T")

# While the cache is away, only every so often a batch waits to find out.
_AWAY_S = 5.0
_KEY_BYTES = 16
_VALUE_TYPE = np.dtype("<f4")
# Of a unit vector's length; anything else is no vector of ours.
_LENGTH_TOLERANCE = 1e-3


class CachedEmbedder(Collector):
    """``embedder``, but for texts whose vector ``cache`` holds; without the cache, ``embedder`` as it is.

    A key is made of the model's name, ``revision`` (whatever else the vectors depend on, asked after the start, in a
    thread), prompt and text. Counts by ``stage``, as Prometheus metrics.
    """

    def __init__(self, embedder: Embedder, cache: EmbeddingCache, revision: Callable[[], str], stage: str) -> None:
        self._embedder = embedder
        self._cache = cache
        self._revision = revision
        self._stage = stage
        self._prefix = b""
        self._away_until_s = 0.0
        self._is_away = False
        self._hits = self._misses = self._failures = 0

    @property
    def model(self) -> str:
        return self._embedder.model

    @property
    def dimensions(self) -> int:
        return self._embedder.dimensions

    async def start(self) -> None:
        await self._embedder.start()
        try:
            revision = await asyncio.to_thread(self._revision)
        except OSError as error:
            msg = f"the files of {self.model} cannot be read: {error}"
            raise BackendRejectedError(msg) from error
        self._prefix = f"{self.model}\0{revision}\0".encode()

    async def embed(self, texts: Sequence[str], prompt: str = "") -> FloatArray:
        if not texts:
            return await self._embedder.embed(texts, prompt)
        keys = [self._key(text, prompt) for text in texts]
        vectors = await self._kept(list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        if missing:
            made = await self._embedder.embed(list(missing.values()), prompt)
            new = dict(zip(missing, made, strict=True))
            vectors |= new
            await self._ask(self._cache.put, {key: _packed(vector) for key, vector in new.items()})
        misses = sum(key in missing for key in keys)
        self._misses += misses
        self._hits += len(keys) - misses
        return np.stack([vectors[key] for key in keys])

    async def close(self) -> None:
        await self._cache.close()
        await self._embedder.close()

    def collect(self) -> Iterator[Metric]:
        texts = CounterMetricFamily(
            "ragline_embedding_cache_texts", "Texts by whether the cache held them.", labels=("stage", "result")
        )
        texts.add_metric([self._stage, "hit"], self._hits)
        texts.add_metric([self._stage, "miss"], self._misses)
        yield texts
        failures = CounterMetricFamily("ragline_embedding_cache_failures", "Calls that failed.", labels=("stage",))
        failures.add_metric([self._stage], self._failures)
        yield failures

    def _key(self, text: str, prompt: str) -> str:
        digest = hashlib.blake2b(self._prefix, digest_size=_KEY_BYTES)
        # What is not Unicode is for the embedder to refuse.
        digest.update(f"{prompt}\0{text}".encode(errors="surrogatepass"))
        return digest.hexdigest()

    async def _kept(self, keys: Sequence[str]) -> dict[str, FloatArray]:
        values = await self._ask(self._cache.get, keys) or [None] * len(keys)
        return {
            key: vector
            for key, value in zip(keys, values, strict=True)
            if value is not None and (vector := _unpacked(value, self.dimensions)) is not None
        }

    async def _ask(self, call: Callable[[A], Awaitable[T]], argument: A) -> T | None:
        """The result of a call to the cache; None while it is away."""
        if time.monotonic() < self._away_until_s:
            return None
        try:
            result = await call(argument)
        except BackendUnavailableError as error:
            self._failures += 1
            self._away_until_s = time.monotonic() + _AWAY_S
            if not self._is_away:
                log.warning("embeddings are not cached for now", reason=str(error))
            self._is_away = True
            return None
        if self._is_away:
            log.info("embeddings are cached again")
        self._is_away = False
        return result


def _packed(vector: FloatArray) -> bytes:
    return vector.astype(_VALUE_TYPE).tobytes()


def _unpacked(value: bytes, dimensions: int) -> FloatArray | None:
    """The vector; None for bytes that are none."""
    if len(value) != dimensions * _VALUE_TYPE.itemsize:
        return None
    vector = np.frombuffer(value, dtype=_VALUE_TYPE).astype(np.float32)
    # Wider, for arbitrary bytes may be too large to square. Not a number is not within the tolerance either.
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return vector if abs(length - 1) < _LENGTH_TOLERANCE else None
