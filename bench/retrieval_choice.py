"""Chooses how rankings are made, on the queries of one split: ``python -m bench.retrieval --choose --split train``.

The rankings are made by the retrieval stage's own functions: dense and sparse become one, of which the best are read
again by late interaction.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from statistics import mean, stdev

from backends.vector_store import Hit, Search
from bench import retrieval_measures as measures
from bench.retrieval_system import TENANT, System, batches
from infra.local.report import Report
from replay.evaluation.gold import Qrels
from schemas.values import QueryOptions
from workers.fusion import Scores
from workers.ranking import Question, Ranking, fused, passage_text, reranked
from workers.settings import RetrievalSettings

_BATCH = 32
_BEST = 10
_CANDIDATES = (15, 20, 30, 50, 100)
_WEIGHTS = (0.45, 0.5, 0.55, 0.6, 0.65)
_READ = (15, 20, 30)
_LATE_WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings of the retrieval stage; ``read`` 0 is without late interaction."""

    candidates: int
    fusion: str
    dense_weight: float
    read: int = 0
    late_weight: float = 0.0


async def choose(
    system: System,
    questions: Mapping[str, str],
    qrels: Qrels,
    options: QueryOptions,
    settings: RetrievalSettings,
    report: Report,
) -> dict[str, object]:
    """The cheapest settings whose mean nDCG@10 with late interaction is as good as the greatest: less than one standard
    error of the difference below it (Breiman et al. 1984). Passages cost, first of searches, then read; weights do not.
    """
    runs: dict[Choice, dict[str, Scores]] = defaultdict(dict)
    done = 0
    async for key, question, hits in _searched(system, questions, options):
        rankings = dict(_rankings(question, hits, settings))
        scores = await _late_scores(system, question, rankings.values())
        for choice, ranking in rankings.items():
            runs[choice][key] = _documents(ranking)
            for read, weight in product(_READ, _LATE_WEIGHTS):
                best = [scores[candidate.chunk.chunk_id] for candidate in ranking[:read]]
                late = Choice(choice.candidates, choice.fusion, choice.dense_weight, read, weight)
                runs[late][key] = _documents(reranked(ranking, best, weight))
        done += 1
        if done % 100 == 0:
            report(f"{done} of {len(questions)} queries")
    values = {choice: measures.per_query(measures.NDCG_AT_10, qrels, run) for choice, run in runs.items()}
    means = {choice: mean(each) for choice, each in values.items()}
    for choice, value in sorted(means.items(), key=lambda item: item[1]):
        report(f"{choice}: nDCG@10 {value:.4f}")
    tried = [choice for choice in means if choice.read]
    greatest = max(tried, key=means.__getitem__)
    chosen = next(
        choice
        for choice in sorted(tried, key=lambda choice: (choice.candidates, choice.read, -means[choice]))
        if _is_as_good(values[choice], values[greatest])
    )
    hybrid = Choice(chosen.candidates, chosen.fusion, chosen.dense_weight)
    return {
        "candidates": chosen.candidates,
        "fusion": chosen.fusion,
        "dense_weight": chosen.dense_weight,
        "rerank_candidates": chosen.read,
        "late_interaction_weight": chosen.late_weight,
        "ndcg10_hybrid": round(means[hybrid], 4),
        "ndcg10_hybrid_late_interaction": round(means[chosen], 4),
    }


def _is_as_good(values: Sequence[float], best: Sequence[float]) -> bool:
    """Whether the mean of the differences, query by query, is within its standard error."""
    lost = [more - less for more, less in zip(best, values, strict=True)]
    return mean(lost) <= stdev(lost) / sqrt(len(lost))


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


def _rankings(
    question: Question, hits: Sequence[Sequence[Hit]], settings: RetrievalSettings
) -> Iterator[tuple[Choice, Ranking]]:
    for candidates in _CANDIDATES:
        nearest = [some[:candidates] for some in hits]
        for fusion, weight in (*(("weighted", weight) for weight in _WEIGHTS), ("rrf", settings.dense_weight)):
            tried = settings.model_copy(update={"fusion": fusion, "dense_weight": weight})
            yield Choice(candidates, fusion, weight), fused(question, nearest, tried)


async def _late_scores(system: System, question: Question, rankings: Iterable[Ranking]) -> dict[str, float]:
    """Of all chunks that late interaction would read in any of the rankings, by ID."""
    chunks = {candidate.chunk.chunk_id: candidate.chunk for ranking in rankings for candidate in ranking[: max(_READ)]}
    scores = await system.late_interaction.score(question.text, [passage_text(chunk) for chunk in chunks.values()])
    return dict(zip(chunks, scores, strict=True))


def _documents(ranking: Ranking) -> dict[str, float]:
    documents = dict.fromkeys(candidate.chunk.document_id for candidate in ranking)
    return {document: 1 / rank for rank, document in zip(range(1, _BEST + 1), documents, strict=False)}
