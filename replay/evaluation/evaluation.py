"""Measures a run: values by request, and what they come to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from replay.evaluation.answer_text import contains, exact_match, token_f1
from replay.evaluation.cases import Case, Cases
from replay.evaluation.citations import citation_scores, relevant_citations
from replay.evaluation.errors import EvaluationError
from replay.evaluation.gold import Gold, GoldAnswer, Qrels
from replay.evaluation.measures import FIXED, STAGES, Measure, time_measures
from replay.evaluation.refusal import refusal_pattern, refuses
from replay.evaluation.retrieval import retrieval_scores
from replay.evaluation.sentences import sentences
from replay.evaluation.statistics import Values, mean_interval
from replay.evaluation.support import LexicalSupport, Support


@dataclass(frozen=True)
class Options:
    """How a run is measured. ``refusal`` is a regular expression, None takes the one that comes along."""

    support: Support = field(default_factory=LexicalSupport)
    refusal: str | None = None
    seed: int = 7


@dataclass(frozen=True)
class Evaluation:
    """A run, measured. ``values`` has by measure a number for each of ``query_ids``, NaN where there is nothing to say.

    ``counts`` says what the measures stand on: requests, ended, failed, judged by qrels, by gold answers and so on;
    ``given`` what it was measured with, of ``qrels``, ``answers`` and ``judge``.
    """

    name: str
    cases: Cases
    query_ids: tuple[str, ...]
    measures: tuple[Measure, ...]
    values: Mapping[str, Values]
    counts: Mapping[str, int]
    support: str
    given: frozenset[str] = frozenset()

    def of(self, name: str) -> Measure:
        """The measure of that name.

        Raises:
            EvaluationError: the run has no such measure.
        """
        for measure in self.measures:
            if measure.name == name:
                return measure
        fixed = next((measure for measure in FIXED if measure.name == name), None)
        if fixed and fixed.needs and fixed.needs not in self.given:
            raise EvaluationError(f"{name} cannot be measured without --{fixed.needs}")
        if fixed:
            raise EvaluationError(f"{name} has no value: no request of the run {self.name} has one")
        known = ", ".join(measure.name for measure in self.measures)
        raise EvaluationError(f"there is no measure {name}; there are: {known}")

    def value(self, measure: Measure) -> float:
        """What the measure comes to for the run; NaN where no request has a value."""
        values = self.values[measure.values_of]
        return summed_up(values[~np.isnan(values)], measure)


@dataclass(frozen=True)
class Summary:
    """What a measure comes to: ``low`` and ``high`` bound the mean with 95%, None for a percentile."""

    value: float
    low: float | None
    high: float | None
    requests: int


def summed_up(values: Values, measure: Measure) -> float:
    """The mean of the values, or the measure's percentile; NaN of no values."""
    if not len(values):
        return float("nan")
    return float(np.mean(values) if measure.percent is None else np.percentile(values, measure.percent))


def summaries(evaluation: Evaluation, seed: int) -> dict[str, Summary]:
    """Each measure that has a value, summed up, by name."""
    found = {}
    for measure in evaluation.measures:
        values = evaluation.values[measure.values_of]
        there = values[~np.isnan(values)]
        if len(there):
            low, high = mean_interval(there, seed) if measure.percent is None else (None, None)
            found[measure.name] = Summary(summed_up(there, measure), low, high, len(there))
    return found


def evaluate(
    cases: Cases, gold: Gold, options: Options, verdicts: Mapping[str, float | None] | None = None
) -> Evaluation:
    """Measure a run. ``verdicts`` are a judge's, by query ID; None is one that could not be read, and counts for nothing.

    Raises:
        EvaluationError: the IDs of qrels or gold answers match nothing of the run.
    """
    query_ids = tuple(cases.cases)
    scores: dict[str, dict[str, float]] = {}
    counts = {
        "requests": len(query_ids),
        "ended": cases.ended,
        "answered": sum(map(_is_answered, cases.cases.values())),
        "repeated": cases.repeated,
    }
    if gold.qrels is not None:
        scores |= _retrieval(cases, gold.qrels, counts)
    if gold.answers is not None:
        known = {query: answer for query, answer in gold.answers.items() if query in cases.cases}
        if not known:
            ours, theirs = next(iter(query_ids)), next(iter(gold.answers))
            raise EvaluationError(
                f"no gold answer is for a request of the run {cases.name}: they have IDs such as {theirs!r}, "
                f"the run such as {ours!r}"
            )
        counts |= {"with_gold_answer": len(known), "gold_answers_without_request": len(gold.answers) - len(known)}
        scores |= _gold_answers(cases, known, options)
    if verdicts is not None:
        read = {query: verdict for query, verdict in verdicts.items() if verdict is not None}
        scores["judge"] = read
        counts |= {"judged": len(read), "judge_unparsable": len(verdicts) - len(read)}
    scores |= _grounding(cases, options)
    scores |= _costs(cases)
    stages = [stage for stage in _stages(cases) if stage not in STAGES]
    present = [stage for stage in STAGES if f"{stage}_ms" in scores]
    return Evaluation(
        name=cases.name,
        cases=cases,
        query_ids=query_ids,
        measures=tuple(
            measure for measure in (*FIXED, *time_measures([*present, *stages])) if scores.get(measure.values_of)
        ),
        values={
            name: np.array([by_query.get(query, np.nan) for query in query_ids], dtype=np.float64)
            for name, by_query in scores.items()
        },
        counts=counts,
        support=options.support.label,
        given=frozenset(
            name
            for name, there in {"qrels": gold.qrels, "answers": gold.answers, "judge": verdicts}.items()
            if there is not None
        ),
    )


def _retrieval(cases: Cases, qrels: Qrels, counts: dict[str, int]) -> dict[str, dict[str, float]]:
    """Rankings of documents against qrels; of chunks, where it is chunks that the qrels name."""
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
        shown = _sources(cases.cases[query])
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


def _gold_answers(cases: Cases, gold: Mapping[str, GoldAnswer], options: Options) -> dict[str, dict[str, float]]:
    pattern = refusal_pattern(options.refusal) if options.refusal is not None else refusal_pattern()
    names = ("exact_match", "f1", "contains", "refused_unanswerable", "refused_answerable")
    scores: dict[str, dict[str, float]] = {name: {} for name in names}
    for query, right in gold.items():
        case = cases.cases[query]
        if not cases.counts(case):
            continue
        answer = case.answer
        refused = float(_is_answered(case) and refuses(case.text, answer and answer.finish_reason, pattern))
        if not right.answers:
            scores["refused_unanswerable"][query] = refused
            continue
        scores["refused_answerable"][query] = refused
        scores["exact_match"][query] = exact_match(case.text, right.answers)
        scores["f1"][query] = token_f1(case.text, right.answers)
        scores["contains"][query] = contains(case.text, right.answers)
    return scores


def _grounding(cases: Cases, options: Options) -> dict[str, dict[str, float]]:
    """What answers cite and whether it supports them; a refusal states nothing."""
    pattern = refusal_pattern(options.refusal) if options.refusal is not None else refusal_pattern()
    scores: dict[str, dict[str, float]] = {
        name: {} for name in ("citation_precision", "citation_recall", "unsupported", "refused")
    }
    for query, case in _answers(cases):
        refused = refuses(case.text, case.answer and case.answer.finish_reason, pattern)
        scores["refused"][query] = float(refused)
        if refused:
            continue
        found = citation_scores(sentences(case.text), source_texts(cases, case), options.support)
        _put(scores["citation_precision"], query, found.precision)
        _put(scores["citation_recall"], query, found.recall)
        _put(scores["unsupported"], query, found.unsupported)
    return scores


def _costs(cases: Cases) -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, float]] = {
        name: {} for name in ("answered", "prompt_tokens", "completion_tokens", "total_ms")
    }
    for query, case in cases.cases.items():
        if cases.counts(case):
            scores["answered"][query] = float(_is_answered(case))
        if case.answer is not None and case.answer.state == "answered":
            scores["prompt_tokens"][query] = case.answer.prompt_tokens
            scores["completion_tokens"][query] = case.answer.completion_tokens
            _put(scores["total_ms"], query, case.total_ms)
            for stage, taken in case.stage_ms.items():
                scores.setdefault(f"{stage.replace('-', '_')}_ms", {})[query] = taken
    return scores


def source_texts(cases: Cases, case: Case) -> dict[int, str]:
    """The texts that were in a case's prompt, by number."""
    return {number: cases.chunks[chunk].text for number, chunk in _sources(case).items() if chunk in cases.chunks}


def _answers(cases: Cases) -> Iterator[tuple[str, Case]]:
    for query, case in cases.cases.items():
        if _is_answered(case):
            yield query, case


def _is_answered(case: Case) -> bool:
    return case.answer is not None and case.answer.state == "answered"


def _stages(cases: Cases) -> list[str]:
    return list(dict.fromkeys(stage for case in cases.cases.values() for stage in case.stage_ms))


def _sources(case: Case) -> dict[int, str]:
    """The chunk IDs of the prompt's sources by number."""
    return {source.number: source.chunk_id for source in case.answer.sources} if case.answer else {}


def _cited(case: Case) -> set[int]:
    return {number for sentence in sentences(case.text) for number in sentence.cited}


def _put(scores: dict[str, float], query: str, value: float | None) -> None:
    if value is not None:
        scores[query] = value
