"""How sure a mean is, and whether it differs from 0 by chance. Seeded: the same values and seed, the same figures.

Equal values are drawn together (multinomial and binomial counts), which is the same as one by one and much faster.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[np.float64]

RESAMPLES = 10_000
_FEWEST_RESAMPLES = 1_000
# Numbers drawn for one interval; with very many distinct values fewer resamples are drawn, and the mean needs no more.
_MOST_DRAWN = 4_000_000
_BLOCK = 2_000_000


def mean_interval(values: Values, seed: int, resamples: int = RESAMPLES, level: float = 0.95) -> tuple[float, float]:
    """The interval of the mean by the bootstrap: percentiles of the means of samples drawn with replacement.

    Of the negated values it is the negated interval. Source: Efron and Tibshirani, "An Introduction to the Bootstrap"
    (1993), chapter 13.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("no interval of no values")
    if _is_mirrored(values):
        low, high = mean_interval(-values, seed, resamples, level)
        return -high, -low
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) == 1:
        return float(distinct[0]), float(distinct[0])
    random = np.random.default_rng(seed)
    shares = counts / len(values)
    means = np.concatenate(
        [
            random.multinomial(len(values), shares, size=block) @ distinct / len(values)
            for block in _blocks(_bearable(resamples, len(distinct)), len(distinct))
        ]
    )
    tail = 50 * (1 - level)
    if np.array_equal(distinct, -distinct[::-1]) and np.array_equal(counts, counts[::-1]):
        # Neither way round is the one to draw from: each mean is as likely as its negative.
        high = float(np.percentile(np.concatenate([means, -means]), 100 - tail))
        return -high, high
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def randomisation_p(differences: Values, seed: int, resamples: int = RESAMPLES) -> float:
    """The two-sided p-value that paired differences have mean 0, by the randomisation test: signs are drawn at random.

    Source: Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation" (CIKM 2007). The observed signs count as one of the drawn ones, so that p is never 0.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    observed = abs(float(differences.sum()))
    # Sums of the same numbers in another order differ in their last digits.
    reached = observed - 1e-9 * float(sizes @ counts)
    random = np.random.default_rng(seed)
    drawn = _bearable(resamples, len(sizes))
    extreme = 0
    for block in _blocks(drawn, len(sizes)):
        positive = random.binomial(counts, 0.5, size=(block, len(sizes)))
        extreme += int(np.count_nonzero(np.abs((2 * positive - counts) @ sizes) >= reached))
    return (extreme + 1) / (drawn + 1)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, adjusted such that one wrong rejection among all is as unlikely as p says.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    found = [0.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, p_values[at] * (len(p_values) - rank)))
        found[at] = highest
    return found


def _is_mirrored(values: Values) -> bool:
    """Of the two ways round, which one is not drawn from."""
    forward, backward = np.sort(values), np.sort(-values)
    differs = np.flatnonzero(forward != backward)
    return bool(len(differs)) and bool(forward[differs[0]] < backward[differs[0]])


def _bearable(resamples: int, distinct: int) -> int:
    return min(resamples, max(_FEWEST_RESAMPLES, _MOST_DRAWN // distinct))


def _blocks(resamples: int, distinct: int) -> list[int]:
    size = max(1, _BLOCK // distinct)
    return [min(size, resamples - start) for start in range(0, resamples, size)]
