"""The embedding stage."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from backends.cached_embedder import CachedEmbedder
from backends.errors import BackendUnavailableError
from backends.memory_embedder import HashedEmbedder
from backends.memory_embedding_cache import MemoryEmbeddingCache
from schemas.events import QueryAccepted, QueryEmbedded, QueryExpanded
from schemas.headers import Headers, Origin
from schemas.values import FloatArray, QueryOptions, RetrievalOptions, Sampling, Usage
from workers.embedding import EmbeddingStage
from workers.runtime.metrics import Metrics
from workers.runtime.stage import Delivery, Measured, Outcome, PoisonError, Produce, UnavailableError
from workers.settings import EmbeddingSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def deliver(question: str) -> Delivery[QueryAccepted]:
    query = QueryAccepted(
        request_id="r1",
        tenant="default",
        question=question,
        lane="interactive",
        asked_at=NOW,
        deadline_at=None,
        options=QueryOptions(model="m", top_k=3, min_score=0, template="default", sampling=Sampling()),
    )
    return Delivery("r1", query, Headers(), Origin("rag.queries.accepted", 0, 0), NOW)


def make_stage() -> EmbeddingStage:
    return EmbeddingStage(EmbeddingSettings(max_batch=7, linger_ms=3), HashedEmbedder(16))


async def test_each_question_gets_its_vector() -> None:
    stage = make_stage()
    await stage.start()
    deliveries = [deliver("What is it?"), deliver("Who was it?")]
    outcomes = await stage.handle(deliveries)
    vectors = await HashedEmbedder(16).embed(["What is it?", "Who was it?"])
    for delivery, outcome, vector in zip(deliveries, outcomes, vectors, strict=True):
        assert isinstance(outcome, Produce)
        [event] = outcome.events
        assert isinstance(event, QueryEmbedded)
        assert event.query == delivery.event
        assert event.embedding.model == "hashed-bag-of-words"
        assert np.array_equal(event.embedding.unpack(), vector)
    await stage.stop()


async def test_the_same_delivery_gives_the_same_event() -> None:
    stage = make_stage()
    assert await stage.handle([deliver("Why?")]) == await stage.handle([deliver("Why?")])


async def test_a_cache_has_its_metrics_with_those_of_the_worker() -> None:
    assert not make_stage().collectors
    assert isinstance(make_stage(), Measured)
    embedder = CachedEmbedder(HashedEmbedder(16), MemoryEmbeddingCache(), lambda: "1", "embedding")
    stage = EmbeddingStage(EmbeddingSettings(), embedder)
    metrics = Metrics(stage.name, stage.collectors)
    await stage.handle([deliver("What?"), deliver("What?")])
    labels = {"stage": "embedding", "result": "miss"}
    assert metrics.registry.get_sample_value("ragline_embedding_cache_texts_total", labels) == 2


async def test_a_question_that_cannot_be_read_fails_alone() -> None:
    fine, bad = await make_stage().handle([deliver("What?"), deliver("\ud800")])
    assert isinstance(fine, Produce)
    assert isinstance(bad, PoisonError)
    assert bad.code == "embedder_rejected"


def test_batches_as_its_settings_say() -> None:
    stage = make_stage()
    assert (stage.max_batch, stage.linger_ms) == (7, 3)


def expanded(expansion: str, *texts: str) -> Delivery[QueryExpanded]:
    asked = deliver("What is it?")
    retrieval = RetrievalOptions.model_validate({"expansion": expansion, "variants": 3})
    options = asked.event.options.model_copy(update={"retrieval": retrieval})
    query = asked.event.model_copy(update={"options": options})
    event = QueryExpanded(query=query, texts=texts, usage=Usage())
    return Delivery("r1", event, Headers(), Origin("rag.queries.accepted", 0, 1), NOW)


def embedded(outcome: Outcome) -> QueryEmbedded:
    assert isinstance(outcome, Produce), outcome
    [event] = outcome.events
    assert isinstance(event, QueryEmbedded)
    return event


async def test_what_a_question_was_expanded_with_gets_vectors_too_after_its_own_prompt() -> None:
    stage = EmbeddingStage(EmbeddingSettings(), HashedEmbedder(16), "query: ", "passage: ")
    plain, wordings, passages = map(
        embedded, await stage.handle([deliver("What is it?"), expanded("multi_query", "a b"), expanded("hyde", "a b")])
    )
    texts = ["query: What is it?", "query: a b", "passage: a b"]
    vectors = dict(zip(texts, await HashedEmbedder(16).embed(texts), strict=True))
    for event, text in ((wordings, "query: a b"), (passages, "passage: a b")):
        assert event.embedding == plain.embedding
        [beside] = event.expansions
        assert (beside.text, f"{beside.embedding.prompt}a b") == ("a b", text)
        assert np.array_equal(beside.embedding.unpack(), vectors[text])
    assert plain.expansions == ()
    assert np.array_equal(plain.embedding.unpack(), vectors["query: What is it?"])


async def test_a_text_beside_the_question_that_cannot_be_read_is_left_out() -> None:
    [outcome] = await make_stage().handle([expanded("multi_query", "one", "\ud800", "two")])
    assert [beside.text for beside in embedded(outcome).expansions] == ["one", "two"]


async def test_an_embedder_that_goes_away_in_between_is_waited_for() -> None:
    class Away(HashedEmbedder):
        async def embed(self, texts: Sequence[str], prompt: str = "") -> FloatArray:
            if prompt:
                raise BackendUnavailableError("away")
            return await super().embed(texts)

    stage = EmbeddingStage(EmbeddingSettings(), Away(16), "", "passage: ")
    [outcome] = await stage.handle([expanded("hyde", "one")])
    assert isinstance(outcome, UnavailableError)
