"""From a question to searches, and from what they find to what is given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.vector_store import StoredChunk
from workers.fusion import best_first
from workers.neighbourhood import widened
from workers.ranking import Candidate, Ranking, reranked


def chunk(name: str, document: str = "d", ordinal: int = 0) -> StoredChunk:
    return StoredChunk(name, document, "t", "", "", ordinal, "", np.ones(2, dtype=np.float32))


def ids(ranking: Ranking) -> list[str]:
    return [candidate.chunk.chunk_id for candidate in ranking]


rankings = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-50, 50).map(float)).map(
    lambda scores: [Candidate(chunk(key), scores[key]) for key in best_first(scores)]
)


@given(rankings, st.lists(st.integers(-9, 9).map(float), max_size=8), st.floats(0, 1))
def test_what_was_not_read_stays_behind_in_its_order(ranking: Ranking, scores: list[float], weight: float) -> None:
    scores = scores[: len(ranking)]
    again = reranked(ranking, scores, weight)
    assert sorted(ids(again)) == sorted(ids(ranking))
    assert sorted(ids(again[: len(scores)])) == sorted(ids(ranking[: len(scores)]))
    assert ids(again[len(scores) :]) == ids(ranking[len(scores) :])
    values = [candidate.score for candidate in again]
    assert values == sorted(values, reverse=True)


@given(rankings, st.data())
def test_a_weight_of_1_is_the_rerankers_order_and_0_the_searchs(ranking: Ranking, data: st.DataObject) -> None:
    scores = data.draw(st.permutations([float(n) for n in range(len(ranking))]))
    by_score = [key for _, key in sorted(zip(scores, ids(ranking), strict=True), reverse=True)]
    assert ids(reranked(ranking, scores, 1)) == by_score
    assert ids(reranked(ranking, scores, 0)) == ids(ranking)


def test_half_and_half() -> None:
    ranking = [Candidate(chunk("a"), 9.0), Candidate(chunk("b"), 6.0), Candidate(chunk("c"), 3.0)]
    again = reranked(ranking, [0.1, 0.3, 0.3], 0.5)
    assert [(candidate.chunk.chunk_id, candidate.score) for candidate in again] == [
        ("b", pytest.approx(1.75)),
        ("a", pytest.approx(1.5)),
        ("c", pytest.approx(1.5)),
    ]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 9)), unique=True), st.integers(0, 3))
def test_neighbours_keep_the_order_of_what_was_found(places: list[tuple[str, int]], reach: int) -> None:
    everything = {(d, n): chunk(f"{d}{n}", d, n) for d in "xyz" for n in range(10)}
    found = [everything[place] for place in places]
    wide = widened(found, everything.values(), reach)
    names = [each.chunk_id for each in wide]
    assert len(set(names)) == len(names)
    assert {each.chunk_id for each in found} <= set(names)
    for each in wide:
        assert any(f.document_id == each.document_id and abs(f.ordinal - each.ordinal) <= reach for f in found)
    if not reach:
        assert names == [each.chunk_id for each in found]


def test_a_chunk_that_is_gone_meanwhile_still_counts() -> None:
    wide = widened([chunk("a", ordinal=1)], [chunk("b", ordinal=2)], 1)
    assert [each.chunk_id for each in wide] == ["a", "b"]
