"""The embedder on sentence-transformers, in this process."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from backends import sentence_models
from backends.embedder import EmbedderSettings
from backends.errors import BackendRejectedError
from backends.exported_model import check_installed, open_graph, run_instead
from backends.length_batches import length_batches
from backends.model_files import fingerprint, model_folder
from schemas.values import FloatArray

# On a CPU padding costs as much as text, from some texts a pass on; a GPU rather has many texts a pass.
_CPU_LEAST_TEXTS = 16
_CPU_PADDING = 0.2


class SentenceTransformersEmbedder:
    """Runs the model in a thread of its own, one call after the other.

    ``export`` gives the file of the model's exported graph for the model in a folder, or raises a
    BackendRejectedError; it is asked in that thread, where the settings name another backend than torch.
    """

    def __init__(self, settings: EmbedderSettings, export: Callable[[Path], Path] | None = None) -> None:
        if export is None and settings.backend != "torch":
            msg = f"the backend {settings.backend} runs exported models only"
            raise ValueError(msg)
        self._settings = settings
        self._export = export
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._loaded: Any = None

    @property
    def model(self) -> str:
        return self._settings.model

    @property
    def dimensions(self) -> int:
        return self._settings.dimensions

    def revision(self) -> str:
        """What vectors depend on besides model name, prompt and text: the model's files, and what computes. Asked of a
        started embedder.

        Raises:
            OSError: the model's files cannot be read.
        """
        settings = self._settings
        return f"{fingerprint(model_folder(settings.path))} {settings.backend} {settings.precision}"

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
        check_installed(settings.backend)
        device = settings.device if settings.backend == "torch" else "cpu"
        loaded = sentence_models.load("SentenceTransformer", settings.path, device, settings.threads, "embedder.path")
        found = loaded.get_embedding_dimension()
        if found != settings.dimensions:
            msg = f"{settings.model} makes vectors of length {found}; set embedder.dimensions to it"
            raise BackendRejectedError(msg)
        if settings.backend == "torch":
            if settings.precision == "bfloat16":
                sentence_models.halve(loaded)
        elif self._export:
            graph = self._export(model_folder(settings.path))
            run_instead(loaded, open_graph(graph, settings), settings.model)
        return loaded

    def _encode(self, texts: list[str], prompt: str) -> FloatArray:
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        with sentence_models.translated(self.model):
            for batch in self._batches(texts):
                vectors[batch] = self._loaded.encode(
                    [texts[position] for position in batch],
                    # Empty, and not None, which would take the model's default. Told apart from the text, for some
                    # models leave it out when they make one vector of all tokens'.
                    prompt=prompt,
                    batch_size=len(batch),
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
        return vectors

    def _batches(self, texts: list[str]) -> list[list[int]]:
        size = self._settings.batch_size
        lengths = sentence_models.token_counts(self._loaded, texts) if len(texts) > 1 else [1]
        if self._loaded.device.type == "cpu":
            return length_batches(lengths, size, _CPU_LEAST_TEXTS, _CPU_PADDING)
        return length_batches(lengths, size)
