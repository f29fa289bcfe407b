"""The retrieval stage: vectors of questions to passages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backends.vector_store import Hit, Search, StoredChunk, VectorStore
from schemas.events import PassagesRetrieved, QueryEmbedded
from schemas.values import FloatArray, Passage, QueryOptions
from topics.specs import QUERIES_EMBEDDED, TopicSpec
from workers.fusion import best_first, reciprocal_ranks, weighted_sum
from workers.isolation import call_isolated
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, StageError
from workers.settings import RetrievalSettings


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched for. ``vector`` has shape (d,)."""

    text: str
    vector: FloatArray
    tenant: str
    options: QueryOptions


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
        read = [_question(delivery.event) for delivery in deliveries]
        questions = [question for question in read if isinstance(question, Question)]
        results = iter(await call_isolated(questions, self._find, "vector_store"))
        return [
            question if isinstance(question, StageError) else self._outcome(delivery.event, next(results))
            for delivery, question in zip(deliveries, read, strict=True)
        ]

    async def _find(self, questions: Sequence[Question]) -> list[list[Passage]]:
        searches = [list(self._searches(question)) for question in questions]
        hits = iter(await self._store.search([search for some in searches for search in some]))
        return [
            self._rank(question, [next(hits) for _ in some]) for question, some in zip(questions, searches, strict=True)
        ]

    def _searches(self, question: Question) -> Iterator[Search]:
        mode, top_k = question.options.retrieval.mode, question.options.top_k
        limit = top_k if mode != "hybrid" else max(top_k, self._settings.candidates)
        if mode != "sparse":
            yield Search(question.vector, question.tenant, limit)
        if mode != "dense":
            yield Search(question.text, question.tenant, limit)

    def _rank(self, question: Question, results: Sequence[Sequence[Hit]]) -> list[Passage]:
        chunks = {hit.chunk.chunk_id: hit.chunk for hits in results for hit in hits}
        ranking = best_first(self._scores([{hit.chunk.chunk_id: hit.score for hit in hits} for hits in results]))
        found = (_passage(chunks[key], question.vector) for key in ranking)
        options = question.options
        return [passage for passage in found if passage.score >= options.min_score][: options.top_k]

    def _scores(self, rankings: Sequence[dict[str, float]]) -> dict[str, float]:
        if len(rankings) == 1:
            return rankings[0]
        if self._settings.fusion == "rrf":
            return reciprocal_ranks(rankings, self._settings.rrf_k)
        dense, sparse = rankings
        weight = self._settings.dense_weight
        return weighted_sum([(weight, dense), (1 - weight, sparse)])

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


def _question(event: QueryEmbedded) -> Question | PoisonError:
    try:
        vector = event.embedding.unpack()
    except ValueError as error:
        return PoisonError("bad_embedding", f"The embedding of the question cannot be read: {error}.")
    if not np.isfinite(vector).all():
        return PoisonError("bad_embedding", "The embedding of the question holds values that are not finite.")
    return Question(event.query.question, vector, event.query.tenant, event.query.options)


def _passage(chunk: StoredChunk, vector: FloatArray) -> Passage:
    """The chunk with its cosine similarity: both vectors have unit length."""
    return Passage(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        title=chunk.title,
        text=chunk.text,
        source=chunk.source,
        ordinal=chunk.ordinal,
        score=float(np.clip(np.dot(chunk.vector, vector), -1, 1)),
    )
