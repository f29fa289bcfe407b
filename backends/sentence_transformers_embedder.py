"""The embedder on sentence-transformers, in this process."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from backends.embedder import EmbedderSettings
from backends.errors import BackendRejectedError, BackendUnavailableError
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

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._encode, list(texts))

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._loaded = None

    def _load(self) -> Any:
        # Importing these takes seconds, which only a process that embeds should spend.
        import torch  # noqa: PLC0415
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
        from transformers.utils import logging  # noqa: PLC0415

        logging.disable_progress_bar()
        settings = self._settings
        if settings.threads:
            torch.set_num_threads(settings.threads)
        device = settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            loaded = SentenceTransformer(settings.path, device=device, local_files_only=Path(settings.path).is_dir())
        except (OSError, ValueError) as error:
            msg = f"no embedding model at {settings.path!r} (setting embedder.path): {error}"
            raise BackendRejectedError(msg) from error
        found = loaded.get_embedding_dimension()
        if found != settings.dimensions:
            msg = f"{settings.model} makes vectors of length {found}; set embedder.dimensions to it"
            raise BackendRejectedError(msg)
        return loaded

    def _encode(self, texts: list[str]) -> FloatArray:
        import torch  # noqa: PLC0415 - loaded by now

        try:
            vectors = self._loaded.encode(
                texts,
                batch_size=self._settings.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        except torch.OutOfMemoryError as error:
            msg = f"{self.model} has no memory left on its device"
            raise BackendUnavailableError(msg) from error
        except (TypeError, ValueError) as error:
            msg = f"{self.model} cannot read the text: {error}"
            raise BackendRejectedError(msg) from error
        return np.asarray(vectors, dtype=np.float32)
