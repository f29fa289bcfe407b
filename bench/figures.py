"""Medians, percentiles and ratios: pure functions on plain numbers."""

from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of the values do not exceed.

    Raises:
        ValueError: there are no values, or the share is not between 0 and 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"percentile {share} of {len(values)} values")
    ordered = sorted(values)
    # Without floating point: 0.95 * 20 is a little more than 19.
    rank = -(-round(share * 1_000_000) * len(ordered) // 1_000_000)
    return ordered[max(rank, 1) - 1]


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Median of the ratios of two series measured in turn: what slows down both at a time cancels out.

    Raises:
        ValueError: the series are empty or of different lengths, or a denominator is not positive.
    """
    if not numerators or any(value <= 0 for value in denominators):
        raise ValueError("a ratio needs values, and positive denominators")
    return median(a / b for a, b in zip(numerators, denominators, strict=True))


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, smallest and largest."""
    return median(values), min(values), max(values)


def rounded(figures: dict[str, float]) -> dict[str, float]:
    """Three significant digits after the point at most, two from 10 on."""
    return {name: round(value, 3 if abs(value) < 10 else 2) for name, value in figures.items()}  # noqa: PLR2004
