"""Measures a run: values by request, and what they come to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from replay.evaluation import scores as scoring
from replay.evaluation.cases import Cases
from replay.evaluation.errors import EvaluationError
from replay.evaluation.gold import Gold
from replay.evaluation.measures import FIXED, STAGES, Measure, time_measures
from replay.evaluation.refusal import refusal_pattern
from replay.evaluation.statistics import Values, mean_interval
from replay.evaluation.support import LexicalSupport, Support


@dataclass(frozen=True)
class Options:
    """How a run is measured: what supports a sentence, and what a refusal looks like."""

    support: Support = field(default_factory=LexicalSupport)
    refusal: re.Pattern[str] = field(default_factory=refusal_pattern)


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
    """Measure a run. ``verdicts`` are a judge's, by query ID; one that could not be read is None, and counts
    for nothing.

    Raises:
        EvaluationError: the IDs of qrels or gold answers match nothing of the run.
    """
    counts = {
        "requests": len(cases.cases),
        "ended": cases.ended,
        "answered": sum(case.is_answered for case in cases.cases.values()),
        "repeated": cases.repeated,
    }
    scores: scoring.Scores = {}
    if gold.qrels is not None:
        scores |= scoring.retrieval(cases, gold.qrels, counts)
    if gold.answers is not None:
        known = {query: answer for query, answer in gold.answers.items() if query in cases.cases}
        if not known:
            ours, theirs = next(iter(cases.cases)), next(iter(gold.answers))
            raise EvaluationError(
                f"no gold answer is for a request of the run {cases.name}: they have IDs such as {theirs!r}, "
                f"the run such as {ours!r}"
            )
        counts |= {"with_gold_answer": len(known), "gold_answers_without_request": len(gold.answers) - len(known)}
        scores |= scoring.gold_answers(cases, known, options.refusal)
    if verdicts is not None:
        scores["judge"] = {query: verdict for query, verdict in verdicts.items() if verdict is not None}
        counts |= {"judged": len(scores["judge"]), "judge_unparsable": len(verdicts) - len(scores["judge"])}
    scores |= scoring.grounding(cases, options.support, options.refusal)
    scores |= scoring.costs(cases)
    given = {"qrels": gold.qrels, "answers": gold.answers, "judge": verdicts}
    return Evaluation(
        name=cases.name,
        cases=cases,
        query_ids=tuple(cases.cases),
        measures=tuple(measure for measure in _measures(cases) if scores.get(measure.values_of)),
        values={name: _aligned(by_query, cases) for name, by_query in scores.items()},
        counts=counts,
        support=options.support.label,
        given=frozenset(name for name, there in given.items() if there is not None),
    )


def _measures(cases: Cases) -> tuple[Measure, ...]:
    """All that could be measured, the stages in the order in which requests pass them."""
    found = dict.fromkeys(stage for case in cases.cases.values() for stage in case.stage_ms)
    known = [stage for stage in STAGES if stage in found]
    return (*FIXED, *time_measures([*known, *(stage for stage in found if stage not in STAGES)]))


def _aligned(by_query: Mapping[str, float], cases: Cases) -> Values:
    return np.array([by_query.get(query, np.nan) for query in cases.cases], dtype=np.float64)
