"""Compares two runs, request by request."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from replay.evaluation.answer_text import tokens
from replay.evaluation.cases import Case
from replay.evaluation.errors import EvaluationError
from replay.evaluation.evaluation import Evaluation, summed_up
from replay.evaluation.measures import Measure
from replay.evaluation.statistics import Values, adjusted, mean_interval, randomisation_p

# What a change is judged by, the first that both runs have.
_MAIN = ("judge", "f1", "ndcg10", "unsupported")
# Differences below are rounding.
_TIE = 1e-9


@dataclass(frozen=True)
class Difference:
    """How a measure differs, over the ``pairs`` of requests that have a value in both runs: the run minus the other.

    For a percentile only the values and their difference are known: the rest is None.
    ``p_adjusted`` is ``p`` adjusted for all the measures that are compared.
    """

    measure: Measure
    value: float
    against: float
    pairs: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    wins: int | None = None
    losses: int | None = None
    ties: int | None = None

    @property
    def difference(self) -> float:
        return self.value - self.against


@dataclass(frozen=True)
class Change:
    """How one request changed. ``by`` is the difference of the main measure, None where it has none.

    ``answer_change`` and ``passages_change`` are 0 where nothing changed, 1 where nothing is shared.
    """

    query_id: str
    by: float | None
    answer_change: float
    passages_change: float
    ours: Case
    theirs: Case

    @property
    def size(self) -> tuple[float, float, float]:
        """What changes are ordered by."""
        return abs(self.by or 0.0), self.answer_change, self.passages_change


@dataclass(frozen=True)
class Comparison:
    """Two runs, compared over the requests that are in both. ``main`` is the measure that changes are ordered by."""

    run: Evaluation
    against: Evaluation
    shared: int
    differences: dict[str, Difference]
    main: Measure | None
    changes: list[Change]
    same_answers: int
    same_passages: int


def compare(run: Evaluation, against: Evaluation, seed: int) -> Comparison:
    """Compare a run with another, which both have been measured in the same way.

    Raises:
        EvaluationError: they have no request in common.
    """
    places = {query: at for at, query in enumerate(against.query_ids)}
    shared = [(at, places[query]) for at, query in enumerate(run.query_ids) if query in places]
    if not shared:
        raise EvaluationError(
            f"the runs {run.name} and {against.name} have no request in common: the one has IDs such as "
            f"{run.query_ids[0]!r}, the other such as {against.query_ids[0]!r}"
        )
    ours, theirs = (np.array(indexes) for indexes in zip(*shared, strict=True))
    names = {measure.name for measure in against.measures}
    differences = {}
    for measure in run.measures:
        if measure.name in names:
            values, others = run.values[measure.values_of][ours], against.values[measure.values_of][theirs]
            both = ~(np.isnan(values) | np.isnan(others))
            if both.any():
                differences[measure.name] = _difference(measure, values[both], others[both], seed)
    main = next((differences[name].measure for name in _MAIN if name in differences), None)
    changes = [_change(run, against, main, at, other) for at, other in shared]
    changes.sort(key=lambda change: change.size, reverse=True)
    return Comparison(
        run=run,
        against=against,
        shared=len(shared),
        differences=_with_adjusted(differences),
        main=main,
        changes=changes,
        same_answers=sum(_ending(change.ours) == _ending(change.theirs) for change in changes),
        same_passages=sum(change.ours.passages == change.theirs.passages for change in changes),
    )


def _difference(measure: Measure, values: Values, others: Values, seed: int) -> Difference:
    value, against = summed_up(values, measure), summed_up(others, measure)
    if measure.percent is not None:
        return Difference(measure, value, against, len(values))
    differences = values - others
    differences[np.abs(differences) <= _TIE] = 0.0
    low, high = mean_interval(differences, seed)
    better = differences if measure.better != "lower" else -differences
    wins, losses = int(np.count_nonzero(better > 0)), int(np.count_nonzero(better < 0))
    return Difference(
        measure=measure,
        value=value,
        against=against,
        pairs=len(values),
        low=low,
        high=high,
        p=randomisation_p(differences, seed),
        wins=wins,
        losses=losses,
        ties=len(values) - wins - losses,
    )


def _with_adjusted(differences: dict[str, Difference]) -> dict[str, Difference]:
    tested = [name for name, difference in differences.items() if difference.p is not None]
    p_values = adjusted([differences[name].p or 0.0 for name in tested])
    return differences | {
        name: Difference(**{**vars(differences[name]), "p_adjusted": p})
        for name, p in zip(tested, p_values, strict=True)
    }


def _change(run: Evaluation, against: Evaluation, main: Measure | None, at: int, other: int) -> Change:
    query = run.query_ids[at]
    ours, theirs = run.cases.cases[query], against.cases.cases[query]
    by = None
    if main is not None:
        difference = float(run.values[main.values_of][at] - against.values[main.values_of][other])
        by = None if np.isnan(difference) else difference
    answer_change = 0.0 if _ending(ours) == _ending(theirs) else 1 - _shared_words(ours.text, theirs.text)
    either = set(ours.passages) | set(theirs.passages)
    passages_change = 1 - len(set(ours.passages) & set(theirs.passages)) / len(either) if either else 0.0
    return Change(query, by, answer_change, passages_change, ours, theirs)


def _ending(case: Case) -> tuple[str, str]:
    return (case.answer.state if case.answer else "", case.text)


def _shared_words(one: str, other: str) -> float:
    """F1 of the words of two texts."""
    left, right = tokens(one), tokens(other)
    if not left or not right:
        return 0.0
    return 2 * (Counter(left) & Counter(right)).total() / (len(left) + len(right))
