"""Chooses how rankings are made, on the queries of one split: ``python -m bench.retrieval --choose --split train``.

First how dense and sparse become one ranking, then how much late interaction counts in it. The rankings are made by
the retrieval stage's own functions.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import product
from statistics import mean
from typing import Any, TypeAlias

from backends.vector_store import Hit, Search
from bench import retrieval_measures as measures
from bench.beir import Qrels
from bench.retrieval_system import TENANT, System, batches
from infra.local.report import Report
from schemas.values import QueryOptions
from workers.ranking import Question, Ranking, fused, passage_text, reranked
from workers.settings import RetrievalSettings

_BATCH = 32
_BEST = 10
_CANDIDATES = (30, 50, 100)
_WEIGHTS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
_READ = (20, 30, 50)
_LATE_WEIGHTS = (0.2, 0.3, 0.4, 0.5, 0.6)

# Documents of each query by rank, for each way that is tried.
Runs: TypeAlias = dict[tuple[Any, ...], dict[str, dict[str, float]]]


async def choose(
    system: System,
    questions: Mapping[str, str],
    qrels: Qrels,
    options: QueryOptions,
    settings: RetrievalSettings,
    report: Report,
) -> dict[str, object]:
    """The settings with the greatest mean nDCG@10; of equal ones those tried first, which cost less."""
    runs: Runs = defaultdict(dict)
    async for key, question, hits in _searched(system, questions, options):
        for (candidates, fusion, weight), tried in _fusions(settings):
            runs[candidates, fusion, weight][key] = _documents(_fused(question, hits, tried, candidates))
    (candidates, fusion, weight), hybrid = _best(runs, qrels, report)
    settings = settings.model_copy(update={"candidates": candidates, "fusion": fusion, "dense_weight": weight})
    runs = defaultdict(dict)
    async for key, question, hits in _searched(system, questions, options):
        ranking = _fused(question, hits, settings, candidates)
        texts = [passage_text(candidate.chunk) for candidate in ranking[: max(_READ)]]
        scores = await system.late_interaction.score(question.text, texts)
        for read, late_weight in product(_READ, _LATE_WEIGHTS):
            runs[read, late_weight][key] = _documents(reranked(ranking, scores[:read], late_weight))
    (read, late_weight), late = _best(runs, qrels, report)
    return {
        "candidates": candidates,
        "fusion": fusion,
        "dense_weight": weight,
        "rerank_candidates": read,
        "late_interaction_weight": late_weight,
        "ndcg10_hybrid": round(hybrid, 4),
        "ndcg10_hybrid_late_interaction": round(late, 4),
    }


async def _searched(
    system: System, questions: Mapping[str, str], options: QueryOptions
) -> AsyncIterator[tuple[str, Question, list[list[Hit]]]]:
    """Each question with what its vector and its words find."""
    for some in batches(questions.items(), _BATCH):
        vectors = await system.embedder.embed([text for _, text in some])
        asked = [Question(text, vector, TENANT, options, None) for (_, text), vector in zip(some, vectors, strict=True)]
        depth = max(_CANDIDATES)
        found = iter(
            await system.store.search(
                [Search(query, TENANT, depth) for each in asked for query in (each.vector, each.text)]
            )
        )
        for (key, _), question in zip(some, asked, strict=True):
            yield key, question, [next(found), next(found)]


def _fusions(settings: RetrievalSettings) -> Iterator[tuple[tuple[int, str, float], RetrievalSettings]]:
    for candidates in _CANDIDATES:
        for fusion, weight in (*(("weighted", weight) for weight in _WEIGHTS), ("rrf", settings.dense_weight)):
            yield (
                (candidates, fusion, weight),
                settings.model_copy(update={"fusion": fusion, "dense_weight": weight}),
            )


def _fused(question: Question, hits: Sequence[Sequence[Hit]], settings: RetrievalSettings, candidates: int) -> Ranking:
    return fused(question, [some[:candidates] for some in hits], settings)


def _documents(ranking: Ranking) -> dict[str, float]:
    documents = dict.fromkeys(candidate.chunk.document_id for candidate in ranking)
    return {document: 1 / rank for rank, document in zip(range(1, _BEST + 1), documents, strict=False)}


def _best(runs: Runs, qrels: Qrels, report: Report) -> tuple[tuple[Any, ...], float]:
    means = {}
    for tried, run in runs.items():
        means[tried] = mean(measures.per_query(measures.NDCG_AT_10, qrels, run))
        report(f"{tried}: nDCG@10 {means[tried]:.4f}")
    best = max(means, key=means.__getitem__)
    return best, means[best]
