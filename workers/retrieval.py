"""The retrieval stage: vectors of questions to passages."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
import structlog

from backends.errors import BackendUnavailableError
from backends.filter_parser import FilterError, parse_filter
from backends.reranker import Reranker
from backends.vector_store import StoredChunk, VectorStore
from schemas.events import PassagesRetrieved, QueryEmbedded
from schemas.stamps import Stamp
from schemas.values import ExpandedText, FloatArray, Passage, RetrievalOptions
from topics.specs import QUERIES_EMBEDDED, TopicSpec
from workers.isolation import as_stage_errors, call_isolated
from workers.neighbourhood import around, widened
from workers.places import Place, Places
from workers.ranking import (
    Probe,
    Question,
    Ranking,
    chosen,
    fused,
    passage_text,
    reranked,
    searches,
    similarity,
)
from workers.row_counts import RowCounts
from workers.runtime.stage import (
    Delivery,
    Outcome,
    PoisonError,
    Produce,
    RejectedError,
    StageError,
    UnavailableError,
)
from workers.settings import RetrievalSettings

log = structlog.get_logger(__name__)


class RetrievalStage:
    """QueryEmbedded → PassagesRetrieved. ``rerankers`` are those that a question may ask for, by name.

    It creates no collection: one that is missing holds no passages. A question for whose embedding model there is no
    collection is held back.
    """

    name = "retrieval"
    consumes: tuple[TopicSpec, ...] = (QUERIES_EMBEDDED,)
    subject: Literal["request"] = "request"

    def __init__(
        self,
        settings: RetrievalSettings,
        places: Places,
        rerankers: Mapping[str, Reranker],
    ) -> None:
        self._settings = settings
        self._places = places
        self._rerankers = rerankers
        self._rows = RowCounts()

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
            await self._places.verify()
        except BackendUnavailableError as error:
            log.warning("the vector store does not answer yet", error=str(error))
        for reranker in self._rerankers.values():
            await reranker.start()

    async def stop(self) -> None:
        for reranker in self._rerankers.values():
            await reranker.close()
        await self._rows.close()
        await self._places.close()

    async def handle(self, deliveries: Sequence[Delivery[QueryEmbedded]]) -> list[Outcome]:
        placed = [self._placed(delivery.event) for delivery in deliveries]
        rankings = iter(await self._rankings([item for item in placed if not isinstance(item, StageError)]))
        results = [item if isinstance(item, StageError) else (*item, next(rankings)) for item in placed]
        return await asyncio.gather(
            *(self._outcome(delivery.event, result) for delivery, result in zip(deliveries, results, strict=True))
        )

    def _placed(self, event: QueryEmbedded) -> tuple[Place, Question] | StageError:
        try:
            place = self._places.of(event.embedding.model)
        except BackendUnavailableError as error:
            return UnavailableError("collection_unavailable", str(error))
        try:
            return place, self._question(event, place)
        except StageError as error:
            return error

    def _question(self, event: QueryEmbedded, place: Place) -> Question:
        options = event.query.options
        self._check(options.retrieval, place)
        try:
            vector = event.embedding.unpack()
            condition = parse_filter(options.retrieval.filter) if options.retrieval.filter else None
        except FilterError as error:
            raise RejectedError("invalid_filter", str(error)) from error
        except ValueError as error:
            raise PoisonError("bad_embedding", f"The embedding of the question cannot be read: {error}.") from error
        if len(vector) != place.dimensions:
            message = f"The embedding of the question has length {len(vector)}, not {place.dimensions}."
            raise PoisonError("bad_embedding", message)
        if not np.isfinite(vector).all():
            raise PoisonError("bad_embedding", "The embedding of the question holds values that are not finite.")
        expansions = tuple(_probes(event.expansions, place.dimensions))
        return Question(event.query.question, vector, event.query.tenant, options, condition, expansions)

    def _check(self, options: RetrievalOptions, place: Place) -> None:
        if options.mode != "dense" and not place.store.keyword_search:
            message = f"mode must be dense, not {options.mode}: the collection is not searched by words."
            raise RejectedError("invalid_option", message)
        if options.rerank not in {"none", *self._rerankers}:
            known = ", ".join(["none", *self._rerankers])
            raise RejectedError("invalid_option", f"rerank must be of {known}, not {options.rerank!r}.")

    async def _rankings(self, placed: Sequence[tuple[Place, Question]]) -> list[Ranking | StageError]:
        rankings: dict[int, Ranking | StageError] = {}

        async def search(place: Place) -> None:
            numbers = [number for number, (of, _) in enumerate(placed) if of == place]
            questions = [placed[number][1] for number in numbers]
            found = await call_isolated(questions, partial(self._search, place.store), "vector_store")
            rankings.update(zip(numbers, found, strict=True))

        await asyncio.gather(*(search(place) for place in dict.fromkeys(place for place, _ in placed)))
        return [rankings[number] for number in range(len(placed))]

    async def _search(self, store: VectorStore, questions: Sequence[Question]) -> list[Ranking]:
        asked = [searches(question, self._settings) for question in questions]
        hits = iter(await store.search([search for some in asked for search in some]))
        return [
            fused(question, [next(hits) for _ in some], self._settings)
            for question, some in zip(questions, asked, strict=True)
        ]

    async def _outcome(
        self, event: QueryEmbedded, result: StageError | tuple[Place, Question, Ranking | StageError]
    ) -> Outcome:
        if isinstance(result, StageError):
            return result
        place, question, ranking = result
        if isinstance(ranking, StageError):
            return ranking
        try:
            with as_stage_errors("reranker"):
                ranking = await self._reranked(question, ranking)
            with as_stage_errors("vector_store"):
                chunks = await self._widened(place.store, question, chosen(question, ranking))
        except StageError as error:
            return error
        retrieved = PassagesRetrieved(
            query=event.query,
            collection=place.name,
            embedding_model=event.embedding.model,
            passages=tuple(_passage(chunk, question.vector) for chunk in chunks),
        )
        stamp = Stamp(
            collection=place.name,
            index_version=place.version,
            collection_rows=await self._rows.of(place.name, place.store),
        )
        return Produce((retrieved,), stamp)

    async def _reranked(self, question: Question, ranking: Ranking) -> Ranking:
        name = question.options.retrieval.rerank
        if name == "none":
            return ranking
        settings = self._settings
        weight = settings.cross_encoder_weight if name == "cross_encoder" else settings.late_interaction_weight
        best = ranking[: settings.rerank_candidates]
        scores = await self._rerankers[name].score(question.text, [passage_text(candidate.chunk) for candidate in best])
        return reranked(ranking, scores, weight)

    async def _widened(self, store: VectorStore, question: Question, chunks: list[StoredChunk]) -> list[StoredChunk]:
        reach = question.options.retrieval.neighbours
        if not reach or not chunks:
            return chunks
        near = await store.select(question.tenant, around(chunks, reach), len(chunks) * (2 * reach + 1))
        return widened(chunks, near, reach)


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


def _probes(texts: Sequence[ExpandedText], dimensions: int) -> Iterator[Probe]:
    """What can be searched for: none of these may fail the question."""
    for expanded in texts:
        try:
            vector = expanded.embedding.unpack()
        except ValueError:
            continue
        if len(vector) == dimensions and np.isfinite(vector).all():
            yield Probe(expanded.text, vector)
