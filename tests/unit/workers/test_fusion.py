"""What becomes of several rankings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.fusion import best_first, min_max, reciprocal_ranks, weighted_sum

# Whole numbers: that a sum rounds is not the point.
scores = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-1_000, 1_000).map(float))
weights = st.floats(0.01, 1)


@given(scores)
def test_stretched_scores_keep_their_order_between_0_and_1(given: dict[str, float]) -> None:
    stretched = min_max(given)
    assert stretched.keys() == given.keys()
    assert all(0 <= score <= 1 for score in stretched.values())
    assert best_first(stretched) == best_first(given)
    if given:
        assert max(stretched.values()) == 1


@given(scores, scores, weights)
def test_fusion_holds_what_any_ranking_holds(first: dict[str, float], second: dict[str, float], weight: float) -> None:
    union = first.keys() | second.keys()
    assert weighted_sum([(weight, first), (1 - weight, second)]).keys() == union
    assert reciprocal_ranks([first, second], 60).keys() == union


@given(scores, scores, weights, st.integers(1, 9), st.integers(-99, 99))
def test_another_scale_of_one_ranking_changes_nothing(
    first: dict[str, float], second: dict[str, float], weight: float, factor: int, shift: int
) -> None:
    scaled = {key: score * factor + shift for key, score in first.items()}
    assert weighted_sum([(weight, scaled), (1 - weight, second)]) == pytest.approx(
        weighted_sum([(weight, first), (1 - weight, second)])
    )
    assert reciprocal_ranks([scaled, second], 60) == reciprocal_ranks([first, second], 60)


@given(scores, weights)
def test_one_ranking_fused_with_nothing_stays_as_it_is(ranking: dict[str, float], weight: float) -> None:
    assert best_first(weighted_sum([(weight, ranking), (1 - weight, {})])) == best_first(ranking)
    assert best_first(reciprocal_ranks([ranking, {}], 60)) == best_first(ranking)


@given(scores, scores)
def test_what_is_first_in_both_is_first(first: dict[str, float], second: dict[str, float]) -> None:
    top = {"top": 2_000.0}
    for fused in (
        weighted_sum([(0.5, first | top), (0.5, second | top)]),
        reciprocal_ranks([first | top, second | top], 1),
    ):
        assert best_first(fused)[0] == "top"


def test_known_values() -> None:
    dense, sparse = {"a": 0.9, "b": 0.5, "c": 0.1}, {"c": 12.0, "b": 4.0}
    assert weighted_sum([(0.6, dense), (0.4, sparse)]) == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.4})
    assert reciprocal_ranks([dense, sparse], 60) == pytest.approx({"a": 1 / 61, "b": 2 / 62, "c": 1 / 63 + 1 / 61})
