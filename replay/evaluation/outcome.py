"""All that an evaluation came to, for people and programs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replay.evaluation.cases import Case, Chunk
from replay.evaluation.comparison import Change, Comparison, compare
from replay.evaluation.evaluation import Evaluation, Summary, summaries
from replay.evaluation.gates import Gate, GateResult, check

# What stands where there is no number.
NONE = "\u2013"


@dataclass(frozen=True)
class Outcome:
    """A run's evaluation, what its measures come to, how it compares, and which gates hold."""

    run: Evaluation
    summaries: Mapping[str, Summary]
    comparison: Comparison | None
    gates: tuple[GateResult, ...]
    warnings: tuple[str, ...]
    seed: int

    @property
    def ok(self) -> bool:
        """Whether every gate holds."""
        return all(result.holds for result in self.gates)


def conclude(run: Evaluation, against: Evaluation | None, gates: Sequence[Gate], seed: int) -> Outcome:
    """Sum up a run, compare it with another, if there is one, and hold it to its gates.

    Raises:
        EvaluationError: the runs have no request in common, or a gate has no value.
    """
    summed = summaries(run, seed)
    comparison = compare(run, against, seed) if against else None
    return Outcome(
        run=run,
        summaries=summed,
        comparison=comparison,
        gates=tuple(check(gates, run, summed, comparison)),
        warnings=tuple(
            sentence for evaluation in (run, against) if evaluation is not None for sentence in _warnings(evaluation)
        ),
        seed=seed,
    )


def as_json(outcome: Outcome, shown_changes: int) -> dict[str, Any]:
    """The outcome as one JSON object; of the requests, the ones that changed most."""
    document: dict[str, Any] = {
        "run": outcome.run.name,
        "ok": outcome.ok,
        "seed": outcome.seed,
        "support": outcome.run.support,
        "counts": dict(outcome.run.counts),
        "measures": {name: vars(summary) for name, summary in outcome.summaries.items()},
        "warnings": list(outcome.warnings),
    }
    if outcome.comparison is not None:
        document |= _comparison_as_json(outcome.comparison, shown_changes)
    document["gates"] = [
        {"gate": result.gate.text, "value": result.value, "holds": result.holds} for result in outcome.gates
    ]
    return document


def _comparison_as_json(comparison: Comparison, shown_changes: int) -> dict[str, Any]:
    differences = {
        name: {"difference": difference.difference}
        | {key: value for key, value in vars(difference).items() if key != "measure"}
        for name, difference in comparison.differences.items()
    }
    return {
        "against": comparison.against.name,
        "against_counts": dict(comparison.against.counts),
        "shared_requests": comparison.shared,
        "same_answers": comparison.same_answers,
        "same_passages": comparison.same_passages,
        "differences": differences,
        "changes_by": comparison.main.name if comparison.main else "answer_change",
        "changes": [_change_as_json(change, comparison) for change in changed_most(comparison, shown_changes)],
    }


def changed_most(comparison: Comparison, count: int) -> list[Change]:
    """The requests that changed most, without those that did not change."""
    return [change for change in comparison.changes[:count] if any(change.size)]


def _change_as_json(change: Change, comparison: Comparison) -> dict[str, Any]:
    return {
        "id": change.query_id,
        "question": change.ours.request.question,
        "by": change.by,
        "answer_change": change.answer_change,
        "passages_change": change.passages_change,
        "run": _case_as_json(change.ours, comparison.run.cases.chunks),
        "against": _case_as_json(change.theirs, comparison.against.cases.chunks),
    }


def _case_as_json(case: Case, chunks: Mapping[str, Chunk]) -> dict[str, Any]:
    return {
        "state": case.answer.state if case.answer else None,
        "answer": case.text,
        "documents": [chunks[chunk].document_id for chunk in case.passages],
    }


def _warnings(evaluation: Evaluation) -> list[str]:
    counts, name = evaluation.counts, evaluation.name
    open_requests = counts["requests"] - counts["ended"]
    found = []
    if not evaluation.cases.is_complete:
        found.append(f"The run {name} is not complete: {counts['ended']} of {counts['requests']} requests have ended.")
    elif open_requests:
        found.append(f"Of the run {name} {open_requests} requests have no end; they count as not answered.")
    if counts["repeated"]:
        found.append(f"The run {name} holds {counts['repeated']} requests or endings again; the first ones count.")
    if evaluation.cases.is_replay:
        found.append(f"Times of the run {name} hold waits in the replay's own queues, unless it had a low --rate.")
    for key, what in (
        ("qrels_without_request", "queries of the qrels"),
        ("gold_answers_without_request", "gold answers"),
    ):
        if counts.get(key):
            found.append(f"{counts[key]} {what} are for no request of the run {name}.")
    if counts.get("judge_unparsable"):
        total = counts["judge_unparsable"] + counts["judged"]
        found.append(
            f"Of {total} verdicts on the run {name}, {counts['judge_unparsable']} could not be read and do not count."
        )
    return found


def shown(value: float | None, unit: str = "", *, signed: bool = False) -> str:
    """A number as people read it; a label says what tokens are, so that only times have their unit."""
    if value is None or math.isnan(value):
        return NONE
    sign = "+" if signed else ""
    if unit:
        digits = 0 if abs(value) >= 10 or value == 0 else 1  # noqa: PLR2004 - two figures are enough
        return f"{value:{sign},.{digits}f}" + (" ms" if unit == "ms" else "")
    return f"{value:{sign}.3f}"
