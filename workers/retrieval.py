"""The retrieval stage: vectors of questions to passages."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from backends.vector_store import Search, VectorStore
from schemas.events import PassagesRetrieved, QueryEmbedded
from schemas.values import Passage
from topics.specs import QUERIES_EMBEDDED, TopicSpec
from workers.isolation import call_isolated
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, StageError
from workers.settings import RetrievalSettings


class RetrievalStage:
    """QueryEmbedded → PassagesRetrieved. ``collection`` is the store's, as the events name it.

    It creates no collection: one that is missing holds no passages.
    """

    name = "retrieval"
    consumes: tuple[TopicSpec, ...] = (QUERIES_EMBEDDED,)
    subject: Literal["request"] = "request"

    def __init__(self, settings: RetrievalSettings, store: VectorStore, collection: str) -> None:
        self._settings = settings
        self._store = store
        self._collection = collection

    @property
    def max_batch(self) -> int:
        return self._settings.max_batch

    @property
    def linger_ms(self) -> int:
        return self._settings.linger_ms

    async def start(self) -> None:
        """Nothing to load; a store that is away holds back the questions."""

    async def stop(self) -> None:
        await self._store.close()

    async def handle(self, deliveries: Sequence[Delivery[QueryEmbedded]]) -> list[Outcome]:
        read = [_search(delivery.event) for delivery in deliveries]
        searches = [search for search in read if isinstance(search, Search)]
        results = iter(await call_isolated(searches, self._store.search, "vector_store"))
        return [
            search if isinstance(search, StageError) else self._outcome(delivery.event, next(results))
            for delivery, search in zip(deliveries, read, strict=True)
        ]

    def _outcome(self, event: QueryEmbedded, result: list[Passage] | StageError) -> Outcome:
        if isinstance(result, StageError):
            return result
        retrieved = PassagesRetrieved(
            query=event.query,
            collection=self._collection,
            embedding_model=event.embedding.model,
            passages=tuple(result),
        )
        return Produce((retrieved,))


def _search(event: QueryEmbedded) -> Search | PoisonError:
    try:
        vector = event.embedding.unpack()
    except ValueError as error:
        return PoisonError("bad_embedding", f"The embedding of the question cannot be read: {error}.")
    if not np.isfinite(vector).all():
        return PoisonError("bad_embedding", "The embedding of the question holds values that are not finite.")
    options = event.query.options
    return Search(vector=vector, tenant=event.query.tenant, top_k=options.top_k, min_score=options.min_score)
