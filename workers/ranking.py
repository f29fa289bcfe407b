"""From a question to searches, and from what they find to the chunks that answer it best: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from backends.filters import Filter
from backends.vector_store import Hit, Search, StoredChunk
from schemas.values import FloatArray, QueryOptions, RetrievalMode
from workers.diversity import diversified
from workers.fusion import Scores, best_first, min_max, reciprocal_ranks, weighted_sum
from workers.settings import RetrievalSettings

_LEAST_LENGTH = 1e-6


class Probe(NamedTuple):
    """One thing that is searched for: its words and its vector, (d,) of unit length."""

    text: str
    vector: FloatArray


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked. ``vector`` has shape (d,) and unit length; ``expansions`` are what the engine wrote, to be
    searched for as well.
    """

    text: str
    vector: FloatArray
    tenant: str
    options: QueryOptions
    condition: Filter | None
    expansions: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk with the score that its ranking orders it by."""

    chunk: StoredChunk
    score: float


# Best first.
Ranking: TypeAlias = list[Candidate]


def probes(question: Question) -> tuple[Probe, ...]:
    """What is searched for: the question itself, each of its other wordings too, or in its place the middle between its
    vector and those of passages that might answer it.
    """
    own = Probe(question.text, question.vector)
    if question.options.retrieval.expansion != "hyde" or not question.expansions:
        return own, *question.expansions
    middle = np.sum([probe.vector for probe in (own, *question.expansions)], axis=0)
    length = float(np.linalg.norm(middle))
    # Opposite vectors have no middle.
    return (Probe(question.text, (middle / length).astype(np.float32)) if length > _LEAST_LENGTH else own,)


def searches(question: Question, settings: RetrievalSettings) -> list[Search]:
    """The searches of the question's mode, for each probe: of its vector first, then of its words."""
    options = question.options.retrieval
    is_plain = (
        options.mode != "hybrid" and options.rerank == "none" and not options.diversity and not question.expansions
    )
    top_k = question.options.top_k
    # By words, more than are wanted: some may be below the minimum score.
    limit = top_k if is_plain and options.mode == "dense" else max(top_k, settings.candidates)
    return [
        Search(query, question.tenant, limit, question.condition)
        for probe in probes(question)
        for query in _queries(probe, options.mode)
    ]


def _queries(probe: Probe, mode: RetrievalMode) -> tuple[FloatArray | str, ...]:
    if mode == "hybrid":
        return probe.vector, probe.text
    return (probe.vector if mode == "dense" else probe.text,)


def fused(question: Question, results: Sequence[Sequence[Hit]], settings: RetrievalSettings) -> Ranking:
    """One ranking of what the question's ``searches`` found; those of several probes by reciprocal ranks."""
    asked = probes(question)
    each = len(results) // len(asked)
    rankings = [
        _fused(probe, results[place * each : (place + 1) * each], settings) for place, probe in enumerate(asked)
    ]
    if len(rankings) == 1:
        return rankings[0]
    chunks = {candidate.chunk.chunk_id: candidate.chunk for ranking in rankings for candidate in ranking}
    scores = reciprocal_ranks([_scores(ranking) for ranking in rankings], settings.rrf_k)
    return [Candidate(chunks[key], scores[key]) for key in best_first(scores)]


def _fused(probe: Probe, results: Sequence[Sequence[Hit]], settings: RetrievalSettings) -> Ranking:
    """One ranking of what one or two searches found, the vector's first."""
    chunks = {hit.chunk.chunk_id: hit.chunk for hits in results for hit in hits}
    rankings = [{hit.chunk.chunk_id: hit.score for hit in hits} for hits in results]
    if len(rankings) == 1:
        scores: Scores = rankings[0]
    elif settings.fusion == "rrf":
        scores = reciprocal_ranks(rankings, settings.rrf_k)
    else:
        # What only its words found has a cosine similarity too, and its vector is here.
        dense = {key: similarity(chunk, probe.vector) for key, chunk in chunks.items()}
        scores = weighted_sum([(settings.dense_weight, dense), (1 - settings.dense_weight, rankings[1])])
    return [Candidate(chunks[key], scores[key]) for key in best_first(scores)]


def passage_text(chunk: StoredChunk) -> str:
    """What a reranker reads of a chunk."""
    return f"{chunk.title}\n\n{chunk.text}" if chunk.title else chunk.text


def reranked(ranking: Ranking, scores: Sequence[float], weight: float) -> Ranking:
    """The first candidates, those that there are scores for, by a weighted sum of these and their own, each stretched
    to 0 to 1; the rest comes after them as it was.
    """
    best, rest = ranking[: len(scores)], ranking[len(scores) :]
    chunks = {candidate.chunk.chunk_id: candidate.chunk for candidate in ranking}
    given = {candidate.chunk.chunk_id: score for candidate, score in zip(best, scores, strict=True)}
    blended = weighted_sum([(weight, given), (1 - weight, _scores(best))])
    # What was read has 1 to 2, what was not 0 to 1: one scale, for whoever weighs scores further.
    behind = min_max(_scores(rest))
    return [
        *(Candidate(chunks[key], 1 + blended[key]) for key in best_first(blended)),
        *(Candidate(candidate.chunk, behind[candidate.chunk.chunk_id]) for candidate in rest),
    ]


def chosen(question: Question, ranking: Ranking) -> list[StoredChunk]:
    """The ``top_k`` best that reach the minimum score; with ``diversity``, those that resemble each other less."""
    options = question.options
    near = [candidate for candidate in ranking if np.dot(candidate.chunk.vector, question.vector) >= options.min_score]
    if not near or not options.retrieval.diversity:
        return [candidate.chunk for candidate in near[: options.top_k]]
    vectors = np.stack([candidate.chunk.vector for candidate in near])
    scores = [candidate.score for candidate in near]
    order = diversified(scores, vectors, options.top_k, options.retrieval.diversity)
    return [near[place].chunk for place in order]


def similarity(chunk: StoredChunk, vector: FloatArray) -> float:
    """Cosine similarity of two vectors of unit length; rounding takes a dot product a little beyond 1."""
    return float(np.clip(np.dot(chunk.vector, vector), -1, 1))


def _scores(ranking: Ranking) -> dict[str, float]:
    return {candidate.chunk.chunk_id: candidate.score for candidate in ranking}
