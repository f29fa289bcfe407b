from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.evaluation.statistics import adjusted, mean_interval, randomisation_p

NUMBERS = st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=30).map(np.array)
SEEDS = st.integers(0, 2**32)


@given(NUMBERS, SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_same_seed_gives_the_same_interval_and_negated_values_the_negated_one(
    values: np.ndarray, seed: int
) -> None:
    low, high = mean_interval(values, seed, resamples=200)
    assert (low, high) == mean_interval(np.sort(values)[::-1], seed, resamples=200)
    assert mean_interval(-values, seed, resamples=200) == (-high, -low)
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9


@given(NUMBERS, SEEDS)
@settings(max_examples=25, deadline=None)
def test_as_many_wins_as_losses_of_each_size_are_nobodys(values: np.ndarray, seed: int) -> None:
    low, high = mean_interval(np.concatenate([values, -values]), seed, resamples=200)
    assert low == -high
    assert 0 <= high <= np.abs(values).max() + 1e-9


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = np.array([0.0, 1.0] * 50)
    low, high = mean_interval(values, 7)
    # Normal approximation: 0.5 ± 1.96 · 0.5 / √100.
    assert (low, high) == pytest.approx((0.402, 0.598), abs=0.01)
    assert mean_interval(np.full(5, 0.1), 7) == (0.1, 0.1)
    with pytest.raises(ValueError, match="no values"):
        mean_interval(np.array([]), 7)


def test_very_many_values_are_quick_and_bounded_in_memory() -> None:
    values = np.random.default_rng(1).normal(size=5_000)
    low, high = mean_interval(values, 7)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(5_000), rel=0.15)


@given(NUMBERS, SEEDS)
@settings(max_examples=25, deadline=None)
def test_p_is_the_same_whichever_run_comes_first(values: np.ndarray, seed: int) -> None:
    p = randomisation_p(values, seed, resamples=200)
    assert 0 < p <= 1
    assert p == randomisation_p(-values, seed, resamples=200)
    assert p == randomisation_p(np.append(values, [0.0, 0.0]), seed, resamples=200)


def test_p_is_near_the_one_of_all_signs() -> None:
    values = np.array([0.5, 0.4, 0.3, -0.1, 0.2, 0.2, 0.6, 0.1])
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True)))
        for signs in product((1, -1), repeat=8)
    ]
    exact = sum(total >= abs(values.sum()) - 1e-12 for total in sums) / len(sums)
    assert randomisation_p(values, 7, resamples=20_000) == pytest.approx(exact, abs=0.005)


def test_no_difference_is_no_evidence_and_a_plain_one_is() -> None:
    assert randomisation_p(np.zeros(10), 7) == 1
    assert randomisation_p(np.full(20, 0.1), 7) < 0.001


def test_adjusted_by_hand() -> None:
    # Holm: 0.01·3, 0.03·2, then no less than the one before.
    assert adjusted([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert adjusted([]) == []


@given(st.lists(st.floats(0, 1), max_size=10))
def test_adjusted_p_values_are_no_smaller_keep_their_order_and_stay_below_1(p_values: list[float]) -> None:
    found = adjusted(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, found, strict=True))
    pairs = sorted(zip(p_values, found, strict=True))
    assert [q for _, q in pairs] == sorted(q for _, q in pairs)
