import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import paired_ratio, percentile, rounded, spread

positive = st.floats(min_value=0.001, max_value=1e6)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(20, 0, -1)]
    assert percentile(values, 0.5) == 10
    assert percentile(values, 0.95) == 19
    assert percentile(values, 0) == 1
    assert percentile(values, 1) == 20
    assert percentile([3.0], 0.95) == 3


@given(st.lists(positive, min_size=1), st.floats(min_value=0, max_value=1))
def test_at_least_the_share_lies_at_or_below_the_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= (share - 1e-6) * len(values)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_no_percentile_of_nothing_or_beyond_everything(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_a_ratio_pairs_what_was_measured_at_the_same_time() -> None:
    # All at half speed in the second round, and one outlier: the ratio is still that of the two.
    assert paired_ratio([60, 30, 60], [100, 50, 1000]) == 0.6


@given(st.lists(positive, min_size=1), st.floats(min_value=0.1, max_value=10))
def test_a_constant_ratio_is_found_whatever_the_noise(denominators: list[float], ratio: float) -> None:
    assert paired_ratio([ratio * value for value in denominators], denominators) == pytest.approx(ratio)


@pytest.mark.parametrize(("numerators", "denominators"), [([], []), ([1.0], [0.0]), ([1.0], [1.0, 2.0])])
def test_a_ratio_needs_pairs_and_positive_denominators(numerators: list[float], denominators: list[float]) -> None:
    with pytest.raises(ValueError, match=r"ratio|longer|shorter"):
        paired_ratio(numerators, denominators)


def test_spread_and_rounding() -> None:
    assert spread([3, 1, 2]) == (2, 1, 3)
    assert rounded({"a": 0.12345, "b": 12.345}) == {"a": 0.123, "b": 12.35}
