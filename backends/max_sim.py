"""How near two texts are, token by token: a pure function."""

import numpy as np

from schemas.values import FloatArray


def max_sim(question: FloatArray, passage: FloatArray) -> float:
    """Mean, over the question's tokens, of the greatest cosine similarity to a token of the passage (ColBERT's MaxSim,
    Khattab and Zaharia 2020, divided by the number of tokens): -1 to 1.

    ``question`` is (n, d), ``passage`` (m, d), a row per token; without tokens on either side it is 0.
    """
    if not len(question) or not len(passage):
        return 0.0
    similarity = of_unit_length(question) @ of_unit_length(passage).T
    return float(similarity.max(axis=1).mean())


def of_unit_length(vectors: FloatArray) -> FloatArray:
    """The rows, each divided by its length; one without a length stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
