"""An evaluation as lines on the terminal."""

from collections.abc import Iterator

from replay.evaluation.comparison import Comparison
from replay.evaluation.outcome import Outcome, shown

_NAME = 28


def lines(outcome: Outcome) -> Iterator[str]:
    """Figures, warnings and gates, one a line."""
    counts = outcome.run.counts
    yield f"{outcome.run.name}: {counts['requests']} requests, {counts['answered']} answered"
    yield f"support of sentences is {outcome.run.support}"
    if outcome.comparison is None:
        for name, summary in outcome.summaries.items():
            measure = outcome.run.of(name)
            interval = ""
            if summary.low is not None:
                interval = f"  [{shown(summary.low, measure.unit)}, {shown(summary.high, measure.unit)}]"
            yield f"  {name:<{_NAME}} {shown(summary.value, measure.unit):>12}{interval}"
    else:
        yield from _compared(outcome.comparison)
    yield from outcome.warnings
    for result in outcome.gates:
        yield f"gate {result.gate.text}: {'holds' if result.holds else 'does not hold'} ({result.value:+.4g})"


def _compared(comparison: Comparison) -> Iterator[str]:
    run, against = comparison.run, comparison.against
    yield (
        f"against {against.name}: {comparison.shared} requests in both, {comparison.same_answers} answers and "
        f"{comparison.same_passages} rankings are the same"
    )
    yield f"  {'':<{_NAME}} {run.name[:12]:>12} {against.name[:12]:>12} {'difference':>12}  95%, p, better/worse/same"
    for name, row in comparison.differences.items():
        unit = row.measure.unit
        line = f"  {name:<{_NAME}} {shown(row.value, unit):>12} {shown(row.against, unit):>12}"
        line += f" {shown(row.difference, unit, signed=True):>12}"
        if row.low is not None and row.p is not None:
            bounds = f"[{shown(row.low, unit, signed=True)}, {shown(row.high, unit, signed=True)}]"
            line += f"  {bounds}, p {row.p:.4f}, {row.wins}/{row.losses}/{row.ties}"
        yield line
