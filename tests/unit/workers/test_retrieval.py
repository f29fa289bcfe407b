"""The retrieval stage."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from backends.errors import BackendRejectedError
from backends.memory_vector_store import MemoryVectorStore
from backends.vector_store import Hit, Search, StoredChunk
from schemas.events import PassagesRetrieved, QueryAccepted, QueryEmbedded
from schemas.headers import Headers, Origin
from schemas.values import Embedding, FloatArray, QueryOptions, RetrievalOptions, Sampling
from workers.retrieval import RetrievalStage
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, UnavailableError
from workers.settings import RetrievalSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EAST = np.array([1, 0], dtype=np.float32)
NORTH = np.array([0, 1], dtype=np.float32)
NORTH_EAST = np.array([1, 1], dtype=np.float32) / np.float32(2**0.5)


def deliver(
    embedding: Embedding | FloatArray = EAST,
    *,
    question: str = "Where?",
    tenant: str = "t",
    top_k: int = 5,
    min_score: float = 0.5,
    **retrieval: Any,
) -> Delivery[QueryEmbedded]:
    query = QueryAccepted(
        request_id="r1",
        tenant=tenant,
        question=question,
        lane="interactive",
        asked_at=NOW,
        deadline_at=None,
        options=QueryOptions(
            model="m",
            top_k=top_k,
            min_score=min_score,
            template="default",
            sampling=Sampling(),
            retrieval=RetrievalOptions(**retrieval),
        ),
    )
    packed = embedding if isinstance(embedding, Embedding) else Embedding.pack("e", embedding)
    event = QueryEmbedded(query=query, embedding=packed)
    return Delivery("r1", event, Headers(), Origin("rag.queries.embedded", 0, 0), NOW)


@pytest.fixture
async def store() -> MemoryVectorStore:
    store = MemoryVectorStore()
    chunks = [
        StoredChunk(name, "d", "t", "Title", "s", ordinal, name, vector)
        for ordinal, (name, vector) in enumerate({"east": EAST, "north": NORTH, "between": NORTH_EAST}.items())
    ]
    await store.replace("t", "d", chunks)
    return store


def make_stage(store: MemoryVectorStore, **settings: Any) -> RetrievalStage:
    return RetrievalStage(RetrievalSettings(**settings), store, "kept")


def found(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, Produce)
    [event] = outcome.events
    assert isinstance(event, PassagesRetrieved)
    assert (event.collection, event.embedding_model) == ("kept", "e")
    return [passage.chunk_id for passage in event.passages]


def scores(outcome: Outcome) -> dict[str, float]:
    assert isinstance(outcome, Produce)
    [event] = outcome.events
    assert isinstance(event, PassagesRetrieved)
    return {passage.chunk_id: passage.score for passage in event.passages}


async def test_each_question_gets_its_passages_by_its_own_options(store: MemoryVectorStore) -> None:
    outcomes = await make_stage(store).handle(
        [deliver(), deliver(NORTH, top_k=1), deliver(tenant="nobody"), deliver(NORTH, min_score=0.9)]
    )
    assert [found(outcome) for outcome in outcomes] == [["east", "between"], ["north"], [], ["north"]]


async def test_words_find_what_vectors_do_not(store: MemoryVectorStore) -> None:
    outcomes = await make_stage(store).handle(
        [
            deliver(question="north", min_score=-1, mode="sparse"),
            deliver(question="north", min_score=-1, mode="hybrid"),
            deliver(question="north", min_score=-1, top_k=1, mode="hybrid"),
            deliver(question="nowhere", min_score=-1, mode="sparse"),
            deliver(question="nowhere", mode="hybrid"),
        ]
    )
    assert [found(outcome) for outcome in outcomes] == [
        ["north"],
        ["east", "north", "between"],
        ["east"],
        [],
        ["east", "between"],
    ]


async def test_however_it_was_found_a_passage_has_its_cosine_similarity(store: MemoryVectorStore) -> None:
    [sparse, hybrid, cut] = await make_stage(store).handle(
        [
            deliver(question="between", min_score=-1, mode="sparse"),
            deliver(question="between", min_score=-1, mode="hybrid"),
            deliver(question="north", min_score=0.5, mode="sparse"),
        ]
    )
    assert scores(sparse) == pytest.approx({"between": 0.5**0.5})
    assert scores(hybrid) == pytest.approx({"between": 0.5**0.5, "east": 1, "north": 0})
    assert found(cut) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"fusion": "rrf"}, ["north", "east", "between"]),
        ({"dense_weight": 0.9}, ["east", "between", "north"]),
        ({"dense_weight": 0.1}, ["north", "east", "between"]),
    ],
)
async def test_the_settings_say_how_two_rankings_become_one(
    store: MemoryVectorStore, settings: dict[str, Any], expected: list[str]
) -> None:
    [outcome] = await make_stage(store, **settings).handle([deliver(question="north", min_score=-1, mode="hybrid")])
    assert found(outcome) == expected


@pytest.mark.parametrize(
    "bad",
    [
        Embedding(model="e", dimensions=2, data="not base64!"),
        Embedding(model="e", dimensions=2, data="AAAA"),
        Embedding(model="e", dimensions=3, data=Embedding.pack("e", EAST).data),
        Embedding.pack("e", np.ones(5, dtype=np.float32)),
        Embedding.pack("e", np.array([np.nan, 0], dtype=np.float32)),
        Embedding.pack("e", np.array([np.inf, 0], dtype=np.float32)),
    ],
)
async def test_a_bad_embedding_fails_alone(store: MemoryVectorStore, bad: Embedding) -> None:
    first, second, third = await make_stage(store).handle([deliver(), deliver(bad), deliver(NORTH)])
    assert found(first) == ["east", "between"]
    assert isinstance(second, PoisonError)
    assert found(third) == ["north", "between"]


async def test_a_search_that_the_store_refuses_fails_alone() -> None:
    class Picky(MemoryVectorStore):
        async def search(self, searches: Sequence[Search]) -> list[list[Hit]]:
            if any(search.tenant == "refused" for search in searches):
                msg = "this tenant is refused"
                raise BackendRejectedError(msg)
            return await super().search(searches)

    outcomes = await make_stage(Picky()).handle([deliver(), deliver(tenant="refused"), deliver()])
    assert [type(outcome) for outcome in outcomes] == [Produce, PoisonError, Produce]


async def test_questions_wait_for_a_store_that_is_away(store: MemoryVectorStore) -> None:
    stage = make_stage(store)
    store.away = True
    await stage.start()
    outcomes = await stage.handle([deliver(), deliver()])
    assert [type(outcome) for outcome in outcomes] == [UnavailableError, UnavailableError]
    store.away = False
    assert found((await stage.handle([deliver()]))[0]) == ["east", "between"]


async def test_a_missing_collection_holds_nothing() -> None:
    assert found((await make_stage(MemoryVectorStore()).handle([deliver()]))[0]) == []
