"""The embedder on sentence-transformers, in this process."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from backends import sentence_models
from backends.embedder import EmbedderSettings
from backends.errors import BackendRejectedError
from schemas.values import FloatArray


class SentenceTransformersEmbedder:
    """Runs the model in a thread of its own, one call after the other."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._loaded: Any = None

    @property
    def model(self) -> str:
        return self._settings.model

    @property
    def dimensions(self) -> int:
        return self._settings.dimensions

    async def start(self) -> None:
        self._loaded = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def embed(self, texts: Sequence[str], prompt: str = "") -> FloatArray:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._encode, list(texts), prompt)

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._loaded = None

    def _load(self) -> Any:
        settings = self._settings
        loaded = sentence_models.load(
            "SentenceTransformer", settings.path, settings.device, settings.threads, "embedder.path"
        )
        found = loaded.get_embedding_dimension()
        if found != settings.dimensions:
            msg = f"{settings.model} makes vectors of length {found}; set embedder.dimensions to it"
            raise BackendRejectedError(msg)
        return loaded

    def _encode(self, texts: list[str], prompt: str) -> FloatArray:
        with sentence_models.translated(self.model):
            vectors = self._loaded.encode(
                texts,
                # Empty, and not None, which would take the model's default. Told apart from the text, for some models
                # leave it out when they make one vector of all tokens'.
                prompt=prompt,
                batch_size=self._settings.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.asarray(vectors, dtype=np.float32)
