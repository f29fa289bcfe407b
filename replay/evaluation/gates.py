"""Limits that an evaluation is held to: ``ndcg10 >= -0.01``.

A plain name is how the measure differs from the other run, ``NAME.low`` and ``NAME.high`` are the bounds of that
difference with 95%, ``NAME.p`` is its p-value, and ``run.NAME`` is the run's own value. A limit with % is a share of
the other run's value.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from replay.evaluation.comparison import Comparison
from replay.evaluation.errors import EvaluationError
from replay.evaluation.evaluation import Evaluation, Summary
from replay.evaluation.measures import FIXED, could_be_measured

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_GATE = re.compile(
    r"\s*(?P<run>run\.)?(?P<name>[A-Za-z]\w*)(?:\.(?P<part>low|high|p))?\s*(?P<comparison>>=|<=|>|<)"
    r"\s*(?P<limit>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<percent>%)?\s*"
)


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit. ``part`` is "" for the value itself; ``percent``: ``limit`` is a share of the other run's value."""

    text: str
    name: str
    of_run: bool
    part: str
    comparison: str
    limit: float
    percent: bool


@dataclass(frozen=True, slots=True)
class GateResult:
    """What was found, and whether the gate holds."""

    gate: Gate
    value: float
    holds: bool


def parse_gate(text: str, *, is_compared: bool) -> Gate:
    """Read a gate; ``is_compared`` says whether there is another run.

    Raises:
        EvaluationError: it is no gate, of no known measure, or of a difference where there is nothing to compare with.
    """
    match = _GATE.fullmatch(text)
    if match is None:
        raise EvaluationError(f"{text!r} is no gate; write one as 'ndcg10 >= -0.01' or 'run.f1 > 0.5'")
    gate = Gate(
        text=text.strip(),
        name=match["name"],
        of_run=match["run"] is not None,
        part=match["part"] or "",
        comparison=match["comparison"],
        limit=float(match["limit"]),
        percent=match["percent"] is not None,
    )
    if not could_be_measured(gate.name):
        known = ", ".join(measure.name for measure in FIXED)
        raise EvaluationError(
            f"the gate {gate.text!r} is of an unknown measure; there are: {known}, and STAGE_ms, STAGE_ms_p50, "
            "STAGE_ms_p95 with a stage's name or total"
        )
    if gate.of_run and gate.percent:
        raise EvaluationError(f"the gate {gate.text!r} has a share of the other run's value; that is for differences")
    if gate.of_run and gate.part == "p":
        raise EvaluationError(f"the gate {gate.text!r} asks for a p-value, which only a difference has")
    if gate.percent and gate.part == "p":
        raise EvaluationError(f"the gate {gate.text!r} has a p-value as a share, which it is not")
    if not gate.of_run and not is_compared:
        raise EvaluationError(
            f"the gate {gate.text!r} is of a difference and needs --against; the run's own value is run.{gate.name}"
        )
    return gate


def check(
    gates: Sequence[Gate], evaluation: Evaluation, found: Mapping[str, Summary], comparison: Comparison | None
) -> list[GateResult]:
    """Hold an evaluation, with what its measures come to, to its gates.

    Raises:
        EvaluationError: a gate's measure has no value here; the message says why, if that is known.
    """
    return [_check(gate, evaluation, found, comparison) for gate in gates]


def _check(
    gate: Gate, evaluation: Evaluation, found: Mapping[str, Summary], comparison: Comparison | None
) -> GateResult:
    measure = evaluation.of(gate.name)
    if gate.of_run:
        summary = found[gate.name]
        return _result(gate, {"": summary.value, "low": summary.low, "high": summary.high}[gate.part], 1.0)
    assert comparison is not None  # noqa: S101 - parse_gate let no other through
    comparison.against.of(gate.name)
    difference = comparison.differences.get(gate.name)
    if difference is None:
        raise EvaluationError(f"the gate {gate.text!r} has no value: no request has {measure.label} in both runs")
    parts = {"": difference.difference, "low": difference.low, "high": difference.high, "p": difference.p}
    return _result(gate, parts[gate.part], abs(difference.against))


def _result(gate: Gate, found: float | None, whole: float) -> GateResult:
    if found is None or math.isnan(found):
        raise EvaluationError(f"the gate {gate.text!r} has no value: {gate.name} has no {gate.part or 'value'} here")
    limit = gate.limit / 100 * whole if gate.percent else gate.limit
    return GateResult(gate, found, _COMPARE[gate.comparison](found, limit))
