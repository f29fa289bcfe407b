"""The embedding stage: questions to vectors."""

from collections.abc import Sequence
from typing import Literal

from prometheus_client.registry import Collector

from backends.cached_embedder import CachedEmbedder
from backends.embedder import Embedder
from schemas.events import QueryAccepted, QueryEmbedded
from schemas.values import Embedding
from topics.specs import QUERIES_ACCEPTED, TopicSpec
from workers.isolation import call_isolated
from workers.runtime.stage import Delivery, Outcome, Produce, StageError
from workers.settings import EmbeddingSettings


class EmbeddingStage:
    """QueryAccepted → QueryEmbedded."""

    name = "embedding"
    consumes: tuple[TopicSpec, ...] = (QUERIES_ACCEPTED,)
    subject: Literal["request"] = "request"

    def __init__(self, settings: EmbeddingSettings, embedder: Embedder) -> None:
        self._settings = settings
        self._embedder = embedder

    @property
    def max_batch(self) -> int:
        return self._settings.max_batch

    @property
    def linger_ms(self) -> int:
        return self._settings.linger_ms

    @property
    def collectors(self) -> tuple[Collector, ...]:
        """Metrics of the embedder's cache, if it has one."""
        return (self._embedder,) if isinstance(self._embedder, CachedEmbedder) else ()

    async def start(self) -> None:
        await self._embedder.start()

    async def stop(self) -> None:
        await self._embedder.close()

    async def handle(self, deliveries: Sequence[Delivery[QueryAccepted]]) -> list[Outcome]:
        questions = [delivery.event.question for delivery in deliveries]
        embeddings = await call_isolated(questions, self._embed, "embedder")
        return [
            embedding
            if isinstance(embedding, StageError)
            else Produce((QueryEmbedded(query=delivery.event, embedding=embedding),))
            for delivery, embedding in zip(deliveries, embeddings, strict=True)
        ]

    async def _embed(self, texts: Sequence[str]) -> list[Embedding]:
        vectors = await self._embedder.embed(texts)
        return [Embedding.pack(self._embedder.model, vector) for vector in vectors]
