"""Makes one ranking of several: pure functions on scored lists."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

# Scores by chunk ID; greater is better.
Scores: TypeAlias = Mapping[str, float]


def min_max(scores: Scores) -> dict[str, float]:
    """The scores stretched to 0 for the least and 1 for the greatest; 1 where all are the same."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {key: (score - low) / (high - low) for key, score in scores.items()}


def weighted_sum(rankings: Sequence[tuple[float, Scores]]) -> dict[str, float]:
    """Sum of weight times score, each ranking's scores stretched to 0 to 1; one that lacks a chunk counts as 0."""
    fused: dict[str, float] = defaultdict(float)
    for weight, scores in rankings:
        for key, score in min_max(scores).items():
            fused[key] += weight * score
    return dict(fused)


def reciprocal_ranks(rankings: Sequence[Scores], k: int) -> dict[str, float]:
    """Sum of 1 / (k + rank), the best of a ranking having rank 1 (Cormack, Clarke and Büttcher 2009)."""
    fused: dict[str, float] = defaultdict(float)
    for scores in rankings:
        for rank, key in enumerate(best_first(scores), 1):
            fused[key] += 1 / (k + rank)
    return dict(fused)


def best_first(scores: Scores) -> list[str]:
    """The chunk IDs by falling score, equal ones by ID."""
    return sorted(scores, key=lambda key: (-scores[key], key))
