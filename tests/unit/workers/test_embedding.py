"""The embedding stage."""

from datetime import UTC, datetime

import numpy as np

from backends.cached_embedder import CachedEmbedder
from backends.memory_embedder import HashedEmbedder
from backends.memory_embedding_cache import MemoryEmbeddingCache
from schemas.events import QueryAccepted, QueryEmbedded
from schemas.headers import Headers, Origin
from schemas.values import QueryOptions, Sampling
from workers.embedding import EmbeddingStage
from workers.runtime.metrics import Metrics
from workers.runtime.stage import Delivery, Measured, PoisonError, Produce
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
