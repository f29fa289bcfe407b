"""Chooses passages that are near the question and not near each other: a pure function."""

from collections.abc import Sequence

import numpy as np

from schemas.values import FloatArray


def diversified(relevance: Sequence[float], vectors: FloatArray, count: int, diversity: float) -> list[int]:
    """Positions of at most ``count`` passages by maximal marginal relevance (Carbonell and Goldstein 1998).

    Each next one has the greatest (1 - ``diversity``) times its relevance, less ``diversity`` times its greatest
    similarity to one that was chosen. ``relevance`` is stretched to 0 to 1; ``vectors`` are (n, d) of unit length, for
    the n passages. Among equals the first is taken: ``diversity`` 0 leaves passages that come best first as they come.
    """
    values = np.asarray(relevance, dtype=np.float64)
    if not len(values):
        return []
    spread = values.max() - values.min()
    values = (values - values.min()) / spread if spread else np.ones_like(values)
    similarity = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    nearest = np.zeros(len(values))
    open_ = np.ones(len(values), dtype=bool)
    chosen: list[int] = []
    while open_.any() and len(chosen) < count:
        worth = np.where(open_, (1 - diversity) * values - diversity * nearest, -np.inf)
        best = int(worth.argmax())
        nearest = similarity[best] if not chosen else np.maximum(nearest, similarity[best])
        open_[best] = False
        chosen.append(best)
    return chosen
