"""The retrieval stage."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.memory_reranker import SharedWordsReranker
from backends.memory_vector_store import MemoryVectorStore
from backends.reranker import Reranker
from backends.vector_store import Hit, Search, StoredChunk
from schemas.events import PassagesRetrieved, QueryAccepted, QueryEmbedded
from schemas.headers import Headers, Origin
from schemas.stamps import Stamp
from schemas.values import Embedding, ExpandedText, FloatArray, QueryOptions, RetrievalOptions, Sampling
from workers.places import OnePlace, Place
from workers.retrieval import RetrievalStage
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, RejectedError, StageError, UnavailableError
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
    expansions: Sequence[tuple[str, Embedding | FloatArray]] = (),
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
    beside = tuple(ExpandedText(text=text, embedding=_packed(vector)) for text, vector in expansions)
    event = QueryEmbedded(query=query, embedding=_packed(embedding), expansions=beside)
    return Delivery("r1", event, Headers(), Origin("rag.queries.embedded", 0, 0), NOW)


def _packed(embedding: Embedding | FloatArray) -> Embedding:
    return embedding if isinstance(embedding, Embedding) else Embedding.pack("e", embedding)


@pytest.fixture
async def store() -> MemoryVectorStore:
    store = MemoryVectorStore()
    chunks = [
        StoredChunk(name, "d", "t", "Title", "s", ordinal, name, vector)
        for ordinal, (name, vector) in enumerate({"east": EAST, "north": NORTH, "between": NORTH_EAST}.items())
    ]
    await store.replace("t", "d", chunks)
    return store


def make_stage(store: MemoryVectorStore, reranker: Reranker | None = None, **settings: Any) -> RetrievalStage:
    rerankers = {"late_interaction": reranker} if reranker else {}
    return RetrievalStage(RetrievalSettings(**settings), OnePlace(store, "kept", 2), rerankers)


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
    assert {outcome.stamp for outcome in outcomes if isinstance(outcome, Produce)} == {
        Stamp(collection="kept", collection_rows=3)
    }


async def test_a_passage_says_where_it_is_and_what_its_document_says(store: MemoryVectorStore) -> None:
    chunk = StoredChunk("c", "e", "t", "Title", "s", 0, "x", EAST, 3, 4, "Guide > Use", {"year": 2021})
    await store.replace("t", "e", [chunk])
    [outcome] = await make_stage(store).handle([deliver(filter="metadata.year >= 2020 and page == 3")])
    assert isinstance(outcome, Produce)
    [event] = outcome.events
    assert isinstance(event, PassagesRetrieved)
    [passage] = event.passages
    assert (passage.page, passage.last_page, passage.heading) == (3, 4, "Guide > Use")
    assert passage.metadata == {"year": 2021}


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


async def test_a_filter_says_which_chunks_count(store: MemoryVectorStore) -> None:
    outcomes = await make_stage(store).handle(
        [
            deliver(min_score=-1, filter="ordinal >= 1"),
            deliver(min_score=-1, filter="document_id != 'd'"),
            deliver(min_score=-1, filter="colour == 'red'"),
            deliver(question="north east", min_score=-1, mode="hybrid", filter="not ordinal == 1"),
        ]
    )
    assert [found(outcome) for outcome in outcomes if isinstance(outcome, Produce)] == [
        ["between", "north"],
        [],
        ["east", "between"],
    ]
    assert isinstance(outcomes[2], RejectedError)
    assert outcomes[2].code == "invalid_filter"
    assert "colour" in str(outcomes[2])


async def test_a_reranker_orders_the_best_again(store: MemoryVectorStore) -> None:
    stage = make_stage(store, SharedWordsReranker(), late_interaction_weight=1, rerank_candidates=2)
    by_words = deliver(question="north between", min_score=-1, rerank="late_interaction")
    plain = deliver(question="north between", min_score=-1)
    await stage.start()
    again, before = await stage.handle([by_words, plain])
    assert found(before) == ["east", "between", "north"]
    assert found(again) == ["between", "east", "north"]
    await stage.stop()


async def test_a_reranker_that_is_not_loaded_is_refused_in_one_sentence(store: MemoryVectorStore) -> None:
    refused, served = await make_stage(store, SharedWordsReranker()).handle(
        [deliver(rerank="cross_encoder"), deliver()]
    )
    assert isinstance(refused, RejectedError)
    assert str(refused) == "rerank must be of none, late_interaction, not 'cross_encoder'."
    assert found(served) == ["east", "between"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(BackendUnavailableError("away"), UnavailableError), (BackendRejectedError("no"), PoisonError)],
)
async def test_a_reranker_that_fails_fails_its_question_alone(
    store: MemoryVectorStore, error: Exception, expected: type[StageError]
) -> None:
    class Failing(SharedWordsReranker):
        async def score(self, question: str, passages: Sequence[str]) -> list[float]:  # noqa: ARG002 - as every reranker
            raise error

    failed, served = await make_stage(store, Failing()).handle([deliver(rerank="late_interaction"), deliver()])
    assert type(failed) is expected
    assert found(served) == ["east", "between"]


async def test_diversity_prefers_what_is_not_said_yet(store: MemoryVectorStore) -> None:
    near = np.array([0.999, 0.0447], dtype=np.float32)
    await store.replace("t", "e", [StoredChunk("twin", "e", "t", "", "", 0, "twin", near / np.linalg.norm(near))])
    plain, diverse = await make_stage(store).handle([deliver(top_k=2), deliver(top_k=2, diversity=0.8)])
    assert found(plain) == ["east", "twin"]
    assert found(diverse) == ["east", "between"]


async def test_each_other_wording_is_searched_for_and_ranks_are_fused(store: MemoryVectorStore) -> None:
    wordings = [("north", NORTH), ("north too", NORTH)]
    plain, several, by_words, both = await make_stage(store).handle(
        [
            deliver(min_score=-1),
            deliver(min_score=-1, expansion="multi_query", variants=2, expansions=wordings),
            deliver(min_score=-1, mode="sparse", expansion="multi_query", variants=2, expansions=wordings),
            deliver(min_score=-1, mode="hybrid", expansion="multi_query", variants=2, expansions=wordings),
        ]
    )
    assert found(plain) == ["east", "between", "north"]
    # First twice and last once, last twice and first once, second each time.
    assert found(several) == ["north", "between", "east"]
    assert scores(several) == scores(plain)
    assert found(by_words) == ["north"]
    assert found(both) == ["north", "between", "east"]


async def test_passages_that_might_answer_move_the_question_and_not_its_scores(store: MemoryVectorStore) -> None:
    moved, by_words, cut = await make_stage(store).handle(
        [
            deliver(min_score=-1, expansion="hyde", variants=1, expansions=[("p", NORTH)]),
            deliver(min_score=-1, question="east", mode="hybrid", expansion="hyde", expansions=[("north", NORTH)]),
            deliver(min_score=0.5, expansion="hyde", variants=1, expansions=[("p", NORTH)]),
        ]
    )
    assert found(moved) == ["between", "east", "north"]
    assert scores(moved) == pytest.approx({"between": 0.5**0.5, "east": 1, "north": 0})
    assert found(by_words) == ["between", "east", "north"]
    assert found(cut) == ["between", "east"]


@pytest.mark.parametrize(
    ("expansion", "bad"),
    [
        ("hyde", Embedding(model="e", dimensions=2, data="not base64!")),
        ("multi_query", Embedding(model="e", dimensions=2, data="not base64!")),
        ("hyde", np.ones(5, dtype=np.float32)),
        ("multi_query", np.ones(5, dtype=np.float32)),
        ("hyde", np.array([np.nan, 0], dtype=np.float32)),
        ("multi_query", np.array([np.nan, 0], dtype=np.float32)),
        ("hyde", -EAST),
    ],
)
async def test_no_text_beside_the_question_fails_it(
    store: MemoryVectorStore, expansion: str, bad: Embedding | FloatArray
) -> None:
    [outcome] = await make_stage(store).handle([deliver(expansion=expansion, variants=1, expansions=[("x", bad)])])
    assert found(outcome) == ["east", "between"]


async def test_neighbours_come_with_what_was_found_in_reading_order() -> None:
    store = MemoryVectorStore()
    chunks = [StoredChunk(f"c{n}", "d", "t", "", "", n, "", EAST if n in {1, 4} else NORTH) for n in range(7)]
    await store.replace("t", "d", chunks)
    await store.replace("u", "d", [StoredChunk("other", "d", "u", "", "", 2, "", NORTH)])
    none, one, two = await make_stage(store).handle([deliver(), deliver(neighbours=1), deliver(neighbours=2)])
    assert found(none) == ["c1", "c4"]
    assert found(one) == ["c0", "c1", "c2", "c3", "c4", "c5"]
    assert found(two) == ["c0", "c1", "c2", "c3", "c4", "c5", "c6"]
    assert found((await make_stage(store).handle([deliver(tenant="nobody", neighbours=1)]))[0]) == []


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
@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
async def test_a_bad_embedding_fails_alone(store: MemoryVectorStore, bad: Embedding, mode: str) -> None:
    deliveries = [deliver(), deliver(bad, question="north", mode=mode), deliver(NORTH)]
    first, second, third = await make_stage(store).handle(deliveries)
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


async def test_a_collection_of_another_model_is_refused_at_start() -> None:
    store = MemoryVectorStore()
    await store.prepare(3)
    with pytest.raises(BackendRejectedError, match="vectors of length 3, not 2; use another one"):
        await make_stage(store).start()


async def test_a_missing_collection_holds_nothing() -> None:
    assert found((await make_stage(MemoryVectorStore()).handle([deliver()]))[0]) == []


@pytest.mark.parametrize("mode", ["sparse", "hybrid"])
async def test_without_keyword_search_only_dense_is_answered(mode: str) -> None:
    stage = make_stage(MemoryVectorStore(keyword_search=False))
    by_words, dense = await stage.handle([deliver(mode=mode), deliver(mode="dense")])
    assert isinstance(by_words, RejectedError)
    assert by_words.code == "invalid_option"
    assert str(by_words) == f"mode must be dense, not {mode}: the collection is not searched by words."
    assert found(dense) == []


class TwoPlaces:
    """One collection per model."""

    def __init__(self, places: dict[str, Place]) -> None:
        self._places = places

    def of(self, model: str) -> Place:
        if model not in self._places:
            raise BackendUnavailableError(f"nothing for {model}")
        return self._places[model]

    async def verify(self) -> None: ...

    async def close(self) -> None: ...


async def test_questions_of_one_batch_are_searched_where_their_model_is(store: MemoryVectorStore) -> None:
    other = MemoryVectorStore()
    await other.replace("t", "d", [StoredChunk("far", "d", "t", "", "s", 0, "far", np.eye(3, dtype=np.float32)[2])])
    stage = RetrievalStage(
        RetrievalSettings(), TwoPlaces({"e": Place(store, "kept", 2), "f": Place(other, "new", 3)}), {}
    )
    embeddings = [Embedding.pack("f", np.eye(3, dtype=np.float32)[2]), EAST, Embedding.pack("g", EAST)]
    first, second, third = await stage.handle([deliver(embedding) for embedding in embeddings])
    assert isinstance(first, Produce)
    [event] = first.events
    assert isinstance(event, PassagesRetrieved)
    assert (event.collection, event.embedding_model) == ("new", "f")
    assert [passage.chunk_id for passage in event.passages] == ["far"]
    assert found(second) == ["east", "between"]
    assert isinstance(third, UnavailableError)
    assert (third.code, str(third)) == ("collection_unavailable", "nothing for g")
