"""The retrieval stage: vectors of questions to passages."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import structlog

from backends.errors import BackendUnavailableError
from backends.filter_parser import FilterError, parse_filter
from backends.reranker import Reranker
from backends.vector_store import StoredChunk, VectorStore
from schemas.events import PassagesRetrieved, QueryEmbedded
from schemas.values import FloatArray, Passage, RetrievalOptions
from topics.specs import QUERIES_EMBEDDED, TopicSpec
from workers.isolation import as_stage_errors, call_isolated
from workers.neighbourhood import around, widened
from workers.ranking import Question, Ranking, chosen, fused, reranked, searches, similarity
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, RejectedError, StageError
from workers.settings import RetrievalSettings

log = structlog.get_logger(__name__)


class RetrievalStage:
    """QueryEmbedded → PassagesRetrieved. ``collection`` is the store's, as the events name it; ``dimensions`` is the
    length of the embedding model's vectors; ``rerankers`` are those that a question may ask for, by name.

    It creates no collection: one that is missing holds no passages.
    """

    name = "retrieval"
    consumes: tuple[TopicSpec, ...] = (QUERIES_EMBEDDED,)
    subject: Literal["request"] = "request"

    def __init__(
        self,
        settings: RetrievalSettings,
        store: VectorStore,
        collection: str,
        dimensions: int,
        rerankers: Mapping[str, Reranker],
    ) -> None:
        self._settings = settings
        self._store = store
        self._collection = collection
        self._dimensions = dimensions
        self._rerankers = rerankers

    @property
    def max_batch(self) -> int:
        return self._settings.max_batch

    @property
    def linger_ms(self) -> int:
        return self._settings.linger_ms

    async def start(self) -> None:
        """Load the rerankers. A store that is away holds back the questions.

        Raises:
            BackendRejectedError: the collection is of another embedding model or language, or a reranker is not there.
        """
        try:
            await self._store.verify(self._dimensions)
        except BackendUnavailableError as error:
            log.warning("the vector store does not answer yet", error=str(error))
        for reranker in self._rerankers.values():
            await reranker.start()

    async def stop(self) -> None:
        for reranker in self._rerankers.values():
            await reranker.close()
        await self._store.close()

    async def handle(self, deliveries: Sequence[Delivery[QueryEmbedded]]) -> list[Outcome]:
        read = [self._question(delivery.event) for delivery in deliveries]
        questions = [question for question in read if isinstance(question, Question)]
        rankings = iter(await call_isolated(questions, self._search, "vector_store"))
        results = [question if isinstance(question, StageError) else (question, next(rankings)) for question in read]
        return await asyncio.gather(
            *(self._outcome(delivery.event, result) for delivery, result in zip(deliveries, results, strict=True))
        )

    def _question(self, event: QueryEmbedded) -> Question | StageError:
        options = event.query.options
        refusal = self._refusal(options.retrieval)
        if refusal is not None:
            return RejectedError("invalid_option", refusal)
        try:
            vector = event.embedding.unpack()
            condition = parse_filter(options.retrieval.filter) if options.retrieval.filter else None
        except FilterError as error:
            return RejectedError("invalid_filter", str(error))
        except ValueError as error:
            return PoisonError("bad_embedding", f"The embedding of the question cannot be read: {error}.")
        if len(vector) != self._dimensions:
            message = f"The embedding of the question has length {len(vector)}, not {self._dimensions}."
            return PoisonError("bad_embedding", message)
        if not np.isfinite(vector).all():
            return PoisonError("bad_embedding", "The embedding of the question holds values that are not finite.")
        return Question(event.query.question, vector, event.query.tenant, options, condition)

    def _refusal(self, options: RetrievalOptions) -> str | None:
        """Why this worker cannot retrieve so, if it cannot."""
        if options.mode != "dense" and not self._store.keyword_search:
            return f"mode must be dense, not {options.mode}: the collection is not searched by words."
        if options.rerank not in {"none", *self._rerankers}:
            known = ", ".join(["none", *self._rerankers])
            return f"rerank must be of {known}, not {options.rerank!r}."
        return None

    async def _search(self, questions: Sequence[Question]) -> list[Ranking]:
        asked = [searches(question, self._settings) for question in questions]
        hits = iter(await self._store.search([search for some in asked for search in some]))
        return [
            fused(question, [next(hits) for _ in some], self._settings)
            for question, some in zip(questions, asked, strict=True)
        ]

    async def _outcome(
        self, event: QueryEmbedded, result: StageError | tuple[Question, Ranking | StageError]
    ) -> Outcome:
        if isinstance(result, StageError):
            return result
        question, ranking = result
        if isinstance(ranking, StageError):
            return ranking
        try:
            with as_stage_errors("reranker"):
                ranking = await self._reranked(question, ranking)
            with as_stage_errors("vector_store"):
                chunks = await self._widened(question, chosen(question, ranking))
        except StageError as error:
            return error
        retrieved = PassagesRetrieved(
            query=event.query,
            collection=self._collection,
            embedding_model=event.embedding.model,
            passages=tuple(_passage(chunk, question.vector) for chunk in chunks),
        )
        return Produce((retrieved,))

    async def _reranked(self, question: Question, ranking: Ranking) -> Ranking:
        name = question.options.retrieval.rerank
        if name == "none":
            return ranking
        settings = self._settings
        weight = settings.cross_encoder_weight if name == "cross_encoder" else settings.late_interaction_weight
        best = ranking[: settings.rerank_candidates]
        scores = await self._rerankers[name].score(question.text, [_text(candidate.chunk) for candidate in best])
        return reranked(ranking, scores, weight)

    async def _widened(self, question: Question, chunks: list[StoredChunk]) -> list[StoredChunk]:
        reach = question.options.retrieval.neighbours
        if not reach or not chunks:
            return chunks
        near = await self._store.select(question.tenant, around(chunks, reach), len(chunks) * (2 * reach + 1))
        return widened(chunks, near, reach)


def _text(chunk: StoredChunk) -> str:
    return f"{chunk.title}\n\n{chunk.text}" if chunk.title else chunk.text


def _passage(chunk: StoredChunk, vector: FloatArray) -> Passage:
    return Passage(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        title=chunk.title,
        text=chunk.text,
        source=chunk.source,
        ordinal=chunk.ordinal,
        score=similarity(chunk, vector),
        page=chunk.page,
        last_page=chunk.last_page,
        heading=chunk.heading,
        metadata=dict(chunk.metadata),
    )
