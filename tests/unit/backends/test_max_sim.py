"""Texts compared token by token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.max_sim import max_sim
from schemas.values import FloatArray


def matrix(rows: list[tuple[int, int]]) -> FloatArray:
    return np.array(rows, dtype=np.float32).reshape(-1, 2)


tokens = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=6)


@given(tokens, tokens)
def test_it_is_a_mean_of_cosines(question: list[tuple[int, int]], passage: list[tuple[int, int]]) -> None:
    score = max_sim(matrix(question), matrix(passage))
    assert -1.0001 <= score <= 1.0001
    assert max_sim(matrix(question * 2), matrix(passage)) == pytest.approx(score, abs=1e-5)
    assert max_sim(matrix(question), matrix(passage[::-1] * 2)) == pytest.approx(score, abs=1e-5)


@given(tokens.filter(bool), tokens, tokens)
def test_more_text_never_takes_away(
    question: list[tuple[int, int]], passage: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    if passage:
        assert max_sim(matrix(question), matrix(passage + more)) >= max_sim(matrix(question), matrix(passage)) - 1e-5


def test_known_values() -> None:
    question = matrix([(1, 0), (0, 2)])
    assert max_sim(question, question) == pytest.approx(1)
    assert max_sim(question, matrix([(3, 0)])) == pytest.approx(0.5)
    assert max_sim(question, matrix([])) == 0
    assert max_sim(matrix([]), question) == 0
