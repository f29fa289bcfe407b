"""The reranker by late interaction: the embedding model's own token vectors, no further weights."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from cachetools import LRUCache

from backends import sentence_models
from backends.embedder import EmbedderSettings
from backends.max_sim import max_sim, of_unit_length
from schemas.values import FloatArray

_MIB = 1024 * 1024


class LateInteractionReranker:
    """Runs the embedding model in a thread of its own, one call after the other.

    Of each text it reads ``max_tokens`` tokens at most, or as many as the model has positions for. A passage's token
    vectors are kept, as half-precision numbers, until ``cache_mb`` MiB are full and others were read since: a question
    then costs a forward pass of itself and of the passages that no recent question found.
    """

    def __init__(self, settings: EmbedderSettings, cache_mb: int, max_tokens: int) -> None:
        self._settings = settings
        self._max_tokens = max_tokens
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="late-interaction")
        self._loaded: Any = None
        # Touched by that thread alone.
        self._read: LRUCache[bytes, Any] = LRUCache(cache_mb * _MIB, getsizeof=lambda vectors: int(vectors.nbytes))

    async def start(self) -> None:
        self._loaded = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        if not passages:
            return []
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._score, question, list(passages))

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._loaded = None
        self._read.clear()

    def _load(self) -> Any:
        settings = self._settings
        loaded = sentence_models.load(
            "SentenceTransformer", settings.path, settings.device, settings.threads, "embedder.path"
        )
        sentence_models.read_up_to(loaded, self._max_tokens)
        # On torch, whatever computes the embeddings; int8 is ONNX Runtime's alone.
        if settings.precision == "bfloat16":
            sentence_models.halve(loaded)
        return loaded

    def _score(self, question: str, passages: list[str]) -> list[float]:
        settings = self._settings
        keys = [hashlib.blake2b(passage.encode(), digest_size=16).digest() for passage in passages]
        found = {key: vectors for key in keys if (vectors := self._read.get(key)) is not None}
        new = {key: passage for key, passage in zip(keys, passages, strict=True) if key not in found}
        before_passage = settings.passage_prompt or ""
        asked, *read = self._token_vectors(
            [(settings.query_prompt or "") + question, *(before_passage + passage for passage in new.values())]
        )
        for key, vectors in zip(new, read, strict=True):
            found[key] = of_unit_length(vectors).astype(np.float16)
            if found[key].nbytes <= self._read.maxsize:
                self._read[key] = found[key]
        return [max_sim(asked, found[key].astype(np.float32)) for key in keys]

    def _token_vectors(self, texts: list[str]) -> list[FloatArray]:
        with sentence_models.translated(self._settings.model):
            tokens = self._loaded.encode(
                texts,
                # Its own default would come before questions and passages alike.
                prompt="",
                batch_size=self._settings.batch_size,
                output_value="token_embeddings",
                show_progress_bar=False,
            )
        return [np.asarray(vectors.float().cpu(), dtype=np.float32) for vectors in tokens]
