"""Passages that are near the question and not near each other."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from schemas.values import FloatArray
from workers.diversity import diversified


@st.composite
def passages(draw: st.DrawFn) -> tuple[list[float], FloatArray]:
    count = draw(st.integers(0, 8))
    relevance = draw(st.lists(st.integers(0, 20).map(float), min_size=count, max_size=count))
    angles: npt.NDArray[np.float64] = np.array(draw(st.lists(st.integers(0, 60), min_size=count, max_size=count))) / 10
    return sorted(relevance, reverse=True), np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


shares = st.floats(0, 1)


@given(passages(), st.integers(1, 10), shares)
def test_as_many_as_wanted_and_none_twice(given: tuple[list[float], FloatArray], count: int, diversity: float) -> None:
    relevance, vectors = given
    places = diversified(relevance, vectors, count, diversity)
    assert len(places) == min(count, len(relevance))
    assert len(set(places)) == len(places)
    assert all(0 <= place < len(relevance) for place in places)


@given(passages(), st.integers(1, 10))
def test_without_diversity_they_stay_in_their_order(given: tuple[list[float], FloatArray], count: int) -> None:
    relevance, vectors = given
    assert diversified(relevance, vectors, count, 0) == list(range(min(count, len(relevance))))


@given(passages(), shares)
def test_fewer_are_the_beginning_of_more(given: tuple[list[float], FloatArray], diversity: float) -> None:
    relevance, vectors = given
    everything = diversified(relevance, vectors, 10, diversity)
    for count in range(1, len(relevance) + 1):
        assert diversified(relevance, vectors, count, diversity) == everything[:count]


def test_a_copy_loses_to_what_is_new() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert diversified([0.9, 0.9, 0.1], vectors, 2, 0.6) == [0, 2]
    assert diversified([0.9, 0.9, 0.1], vectors, 2, 0.1) == [0, 1]
