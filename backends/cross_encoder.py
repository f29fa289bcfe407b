"""The reranker by a cross-encoder, which reads question and passage as one text."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backends import sentence_models
from backends.errors import BackendRejectedError
from backends.reranker import CrossEncoderSettings


class CrossEncoderReranker:
    """Runs the model in a thread of its own, one call after the other."""

    def __init__(self, settings: CrossEncoderSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cross-encoder")
        self._loaded: Any = None

    async def start(self) -> None:
        self._loaded = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        if not passages:
            return []
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._score, question, list(passages))

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._loaded = None

    def _load(self) -> Any:
        settings = self._settings
        loaded = sentence_models.load(
            "CrossEncoder", settings.path, settings.device, settings.threads, "cross_encoder.path"
        )
        if loaded.num_labels != 1:
            msg = f"the model at {settings.path!r} gives {loaded.num_labels} scores per pair; a reranker gives one"
            raise BackendRejectedError(msg)
        return loaded

    def _score(self, question: str, passages: list[str]) -> list[float]:
        with sentence_models.translated(f"the model at {self._settings.path!r}"):
            scores = self._loaded.predict(
                [(question, passage) for passage in passages],
                batch_size=self._settings.batch_size,
                show_progress_bar=False,
            )
        return [float(score) for score in scores]
