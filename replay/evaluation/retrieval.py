"""How good rankings are, by ir-measures."""

from collections.abc import Mapping, Sequence

import ir_measures
from ir_measures.measures import Measure

from replay.evaluation.errors import EvaluationError
from replay.evaluation.gold import Qrels

RETRIEVAL_MEASURES: dict[str, Measure] = {
    "ndcg10": ir_measures.nDCG @ 10,
    "recall5": ir_measures.R @ 5,
    "recall10": ir_measures.R @ 10,
    "recall100": ir_measures.R @ 100,
    "rr": ir_measures.RR,
    "ap": ir_measures.AP,
}


def retrieval_scores(rankings: Mapping[str, Sequence[str]], qrels: Qrels) -> dict[str, dict[str, float]]:
    """Each measure by query ID, for the queries that have a ranking and a relevant document; 0 where none was found.

    ``rankings`` are document IDs, best first; of a document that is there twice the better place counts.

    Raises:
        EvaluationError: the qrels name none of the queries, or none of the documents in any ranking.
    """
    judged = {query: qrels[query] for query in rankings if any(value > 0 for value in qrels.get(query, {}).values())}
    if not judged:
        raise EvaluationError(_no_match("requests", qrels, rankings))
    known = {document for judgements in qrels.values() for document in judgements}
    ranked = {document for ranking in rankings.values() for document in ranking}
    if known.isdisjoint(ranked):
        documents = (document for judgements in qrels.values() for document in judgements)
        raise EvaluationError(_no_match("documents", documents, ranked))
    run = {query: {doc: 1.0 / place for doc, place in _places(rankings[query]).items()} for query in judged}
    names = {measure: name for name, measure in RETRIEVAL_MEASURES.items()}
    scores: dict[str, dict[str, float]] = {name: dict.fromkeys(judged, 0.0) for name in RETRIEVAL_MEASURES}
    for metric in ir_measures.iter_calc(list(names), judged, run):
        scores[names[metric.measure]][metric.query_id] = float(metric.value)
    return scores


def _places(ranking: Sequence[str]) -> dict[str, int]:
    return {document: place for place, document in enumerate(dict.fromkeys(ranking), start=1)}


def _no_match(what: str, expected: object, found: object) -> str:
    first, other = (next(iter(ids), None) for ids in (expected, found))  # type: ignore[call-overload]
    return (
        f"the qrels' {what} are none of the run's: the qrels have IDs such as {first!r}, the run such as {other!r}; "
        "are these qrels of another data set?"
    )
