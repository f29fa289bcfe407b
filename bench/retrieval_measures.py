"""How good rankings are, by ir-measures, and how sure that is."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import ir_measures
import numpy as np
from ir_measures.measures import Measure

from replay.evaluation.gold import Qrels

# Scores by query ID and document ID.
Run: TypeAlias = Mapping[str, Mapping[str, float]]

NDCG_AT_10: Measure = ir_measures.nDCG @ 10
RECALL_AT_100: Measure = ir_measures.R @ 100

_RESAMPLES = 10_000
_SEED = 7


def per_query(measure: Measure, qrels: Qrels, run: Run) -> list[float]:
    """The measure for each query of ``qrels``, in their order; 0 where nothing was found."""
    found = {metric.query_id: float(metric.value) for metric in ir_measures.iter_calc([measure], qrels, dict(run))}
    return [found.get(query_id, 0.0) for query_id in qrels]


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the mean: percentiles of the means of samples drawn with replacement (the bootstrap).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no interval of no values")
    array = np.asarray(values)
    drawn = np.random.default_rng(_SEED).integers(0, len(array), (_RESAMPLES, len(array)))
    low, high = np.percentile(array[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def figures(name: str, values: Sequence[float]) -> dict[str, float | list[float]]:
    """The mean as ``name``, its interval as ``name_95``, both with four digits."""
    return {
        name: round(float(np.mean(values)), 4),
        f"{name}_95": [round(bound, 4) for bound in mean_interval(values)],
    }
