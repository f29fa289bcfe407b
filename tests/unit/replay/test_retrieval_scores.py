import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.errors import EvaluationError
from replay.evaluation.retrieval import retrieval_scores


def test_rankings_scored_by_hand() -> None:
    # Relevant: a at place 2, b at 3 (twice in the ranking: its better place counts), c not found.
    scores = retrieval_scores({"q": ["x", "a", "b", "b", "y"], "other": ["a"]}, {"q": {"a": 1, "b": 1, "c": 1, "x": 0}})
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert scores["ndcg10"] == {"q": pytest.approx((1 / math.log2(3) + 1 / math.log2(4)) / ideal)}
    assert scores["recall5"] == scores["recall10"] == scores["recall100"] == {"q": pytest.approx(2 / 3)}
    assert scores["rr"] == {"q": pytest.approx(1 / 2)}
    assert scores["ap"] == {"q": pytest.approx((1 / 2 + 2 / 3) / 3)}


def test_a_request_that_found_nothing_counts_as_zero() -> None:
    scores = retrieval_scores({"q": [], "r": ["a"]}, {"q": {"a": 1}, "r": {"a": 1}})
    assert scores["ndcg10"] == {"q": 0, "r": 1}


def test_a_query_without_a_relevant_document_says_nothing() -> None:
    assert retrieval_scores({"q": ["a"], "r": ["a"]}, {"q": {"a": 1}, "r": {"a": 0}})["rr"] == {"q": 1}


def test_ids_that_match_nothing_are_an_error_and_no_zero() -> None:
    with pytest.raises(EvaluationError, match=r"requests are none of the run's: .* 'z', the run such as 'q'"):
        retrieval_scores({"q": ["a"]}, {"z": {"a": 1}})
    with pytest.raises(EvaluationError, match=r"documents are none of the run's: .* 'd1', the run such as 'a'"):
        retrieval_scores({"q": ["a"]}, {"q": {"d1": 1}})


DOCUMENTS = st.sampled_from("abcdefgh")


@given(
    st.lists(DOCUMENTS, min_size=1, unique=True), st.dictionaries(DOCUMENTS, st.integers(0, 3), min_size=1), st.data()
)
def test_scores_lie_between_0_and_1_and_a_better_place_never_hurts(
    ranking: list[str], judged: dict[str, int], data: st.DataObject
) -> None:
    judged = {**judged, ranking[-1]: 1}
    scores = retrieval_scores({"q": ranking}, {"q": judged})
    assert all(0 <= score["q"] <= 1 + 1e-9 for score in scores.values())
    relevant = data.draw(st.sampled_from([document for document in ranking if judged.get(document, 0) > 0]))
    better = [relevant, *(document for document in ranking if document != relevant)]
    for name, score in retrieval_scores({"q": better}, {"q": {relevant: 1}}).items():
        assert score["q"] >= retrieval_scores({"q": ranking}, {"q": {relevant: 1}})[name]["q"] - 1e-9
