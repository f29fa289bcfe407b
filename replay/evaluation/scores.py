"""Scores of each request, from its case alone: what measures are made of."""

import re
from collections.abc import Mapping
from typing import TypeAlias

from replay.evaluation.answer_text import contains, exact_match, token_f1
from replay.evaluation.cases import Case, Cases
from replay.evaluation.citations import citation_scores, relevant_citations
from replay.evaluation.gold import GoldAnswer, Qrels
from replay.evaluation.refusal import refuses
from replay.evaluation.retrieval import retrieval_scores
from replay.evaluation.sentences import sentences
from replay.evaluation.support import Support

# By measure and query ID; a request without a value is left out.
Scores: TypeAlias = dict[str, dict[str, float]]
Refusal: TypeAlias = re.Pattern[str]


def retrieval(cases: Cases, qrels: Qrels, counts: dict[str, int]) -> Scores:
    """Rankings of documents against qrels; of chunks, where it is chunks that the qrels name. Adds to ``counts``.

    Raises:
        EvaluationError: the qrels' IDs match nothing of the run.
    """
    known = {document for judgements in qrels.values() for document in judgements}
    of_chunks = not any(chunk.document_id in known for chunk in cases.chunks.values()) and any(
        chunk in known for chunk in cases.chunks
    )
    # A request that has not ended has no ranking yet; one that failed has found nothing.
    ended = {query: case for query, case in cases.cases.items() if cases.counts(case) or case.passages}
    rankings = {
        query: case.passages if of_chunks else [cases.chunks[chunk].document_id for chunk in case.passages]
        for query, case in ended.items()
    }
    scores = retrieval_scores(rankings, qrels)
    counts |= {"with_qrels": len(scores["ndcg10"]), "qrels_without_request": len(qrels.keys() - cases.cases.keys())}
    precision: dict[str, float] = {}
    recall: dict[str, float] = {}
    for query in scores["ndcg10"]:
        relevant = {document for document, value in qrels[query].items() if value > 0}
        shown = cases.cases[query].sources
        name = {
            chunk: chunk if of_chunks else cases.chunks[chunk].document_id
            for chunk in shown.values()
            if chunk in cases.chunks
        }
        cited = {name[shown[number]] for number in _cited(cases.cases[query]) if shown.get(number) in name}
        found = relevant_citations(cited, relevant, set(name.values()))
        _put(precision, query, found[0])
        _put(recall, query, found[1])
    return scores | {"relevant_citation_precision": precision, "relevant_citation_recall": recall}


def gold_answers(cases: Cases, gold: Mapping[str, GoldAnswer], refusal: Refusal) -> Scores:
    """Answers against the gold answers of these requests; what is not answered says nothing right."""
    names = ("exact_match", "f1", "contains", "refused_unanswerable", "refused_answerable")
    scores: Scores = {name: {} for name in names}
    for query, right in gold.items():
        case = cases.cases[query]
        if not cases.counts(case):
            continue
        answer = case.answer
        refused = float(case.is_answered and refuses(case.text, answer and answer.finish_reason, refusal))
        if not right.answers:
            scores["refused_unanswerable"][query] = refused
            continue
        scores["refused_answerable"][query] = refused
        scores["exact_match"][query] = exact_match(case.text, right.answers)
        scores["f1"][query] = token_f1(case.text, right.answers)
        scores["contains"][query] = contains(case.text, right.answers)
    return scores


def grounding(cases: Cases, support: Support, refusal: Refusal) -> Scores:
    """What answers cite and whether it supports them; a refusal states nothing."""
    scores: Scores = {name: {} for name in ("citation_precision", "citation_recall", "unsupported", "refused")}
    for query, case in cases.cases.items():
        if not case.is_answered:
            continue
        refused = refuses(case.text, case.answer and case.answer.finish_reason, refusal)
        scores["refused"][query] = float(refused)
        if refused:
            continue
        found = citation_scores(sentences(case.text), cases.source_texts(case), support)
        _put(scores["citation_precision"], query, found.precision)
        _put(scores["citation_recall"], query, found.recall)
        _put(scores["unsupported"], query, found.unsupported)
    return scores


def costs(cases: Cases) -> Scores:
    """Which requests were answered, with how many tokens, and how long each stage took for it."""
    scores: Scores = {name: {} for name in ("answered", "prompt_tokens", "completion_tokens", "total_ms")}
    for query, case in cases.cases.items():
        if cases.counts(case):
            scores["answered"][query] = float(case.is_answered)
        if case.answer is not None and case.answer.state == "answered":
            scores["prompt_tokens"][query] = case.answer.prompt_tokens
            scores["completion_tokens"][query] = case.answer.completion_tokens
            _put(scores["total_ms"], query, case.total_ms)
            for stage, taken in case.stage_ms.items():
                scores.setdefault(f"{stage.replace('-', '_')}_ms", {})[query] = taken
    return scores


def _cited(case: Case) -> set[int]:
    return {number for sentence in sentences(case.text) for number in sentence.cited}


def _put(scores: dict[str, float], query: str, value: float | None) -> None:
    if value is not None:
        scores[query] = value
