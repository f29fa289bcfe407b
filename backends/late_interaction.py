"""The reranker by late interaction: the embedding model's own token vectors, no further weights."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from backends import sentence_models
from backends.embedder import EmbedderSettings
from backends.max_sim import max_sim


class LateInteractionReranker:
    """Runs the embedding model in a thread of its own, one call after the other."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="late-interaction")
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
        return sentence_models.load(
            "SentenceTransformer", settings.path, settings.device, settings.threads, "embedder.path"
        )

    def _score(self, question: str, passages: list[str]) -> list[float]:
        settings = self._settings
        before_passage = settings.passage_prompt or ""
        with sentence_models.translated(settings.model):
            tokens = self._loaded.encode(
                [(settings.query_prompt or "") + question, *(before_passage + passage for passage in passages)],
                # Its own default would come before both.
                prompt="",
                batch_size=settings.batch_size,
                output_value="token_embeddings",
                show_progress_bar=False,
            )
        asked, *read = (np.asarray(vectors.float().cpu(), dtype=np.float32) for vectors in tokens)
        return [max_sim(asked, passage) for passage in read]
