"""Makes the page of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from replay.evaluation.cases import Case, Cases
from replay.evaluation.comparison import Change, Comparison
from replay.evaluation.errors import EvaluationError
from replay.evaluation.evaluation import Evaluation
from replay.evaluation.gold import Gold
from replay.evaluation.outcome import NONE, Outcome, changed_most, shown
from replay.report import plots, tables
from replay.report.texts import side_by_side
from replay.report.whole_file import write_whole
from replay.run_folder.manifest import Manifest

_FOLDER = Path(__file__).parent
_SHOWN_PASSAGES = 10


@dataclass(frozen=True)
class Shown:
    """What the page is made of, beside the outcome: the manifests, the truth, and how many changes it shows."""

    manifest: Manifest
    against: Manifest | None
    gold: Gold
    changes: int = 20


def write_page(path: Path, outcome: Outcome, show: Shown) -> None:
    """Put the page at ``path``, all of it or nothing.

    Raises:
        EvaluationError: it cannot be written there.
    """
    page = render(outcome, show)
    try:
        write_whole(path, page)
    except OSError as error:
        raise EvaluationError(f"the report cannot be written to {path}: {error.strerror}") from None


def render(outcome: Outcome, show: Shown) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    comparison = outcome.comparison
    return environment.get_template("report.html.j2").render(
        style=Markup((_FOLDER / "report.css").read_text()),  # noqa: S704 - our own file
        outcome=outcome,
        run=outcome.run,
        comparison=comparison,
        manifest=show.manifest,
        against=show.against,
        moment=_moment,
        shown=shown,
        rows=tables.difference_rows(comparison) if comparison else tables.summary_rows(outcome),
        plots=_plots(outcome),
        settings=tables.settings_rows(show.manifest, show.against),
        stamps=tables.stamp_rows(outcome.run.cases, comparison.against.cases if comparison else None),
        changes=[_change(change, comparison, show.gold) for change in changed_most(comparison, show.changes)]
        if comparison
        else [],
    )


def _plots(outcome: Outcome) -> list[dict[str, Any]]:
    comparison = outcome.comparison
    found = []
    if comparison:
        rows = [
            plots.Interval(
                row.measure.label,
                row.difference,
                row.low,
                row.high,
                tables.tone(row),
                shown(row.difference, signed=True),
            )
            for row in comparison.differences.values()
            if not row.measure.unit and row.low is not None and row.high is not None
        ]
        if rows:
            title = f"Differences from {comparison.against.name}, with 95% intervals"
            found.append({"title": title, "svg": plots.intervals(rows, title, around_zero=True)})
        if comparison.main:
            differences = [change.by for change in comparison.changes if change.by is not None]
            title = f"{comparison.main.label}: the difference of each request, sorted"
            found.append({"title": title, "svg": plots.sorted_differences(differences, title)})
    else:
        rows = [
            plots.Interval(
                outcome.run.of(name).label, summary.value, summary.low, summary.high, "even", shown(summary.value)
            )
            for name, summary in outcome.summaries.items()
            if not outcome.run.of(name).unit and summary.low is not None and summary.high is not None
        ]
        if rows:
            title = "Measures, with 95% intervals"
            found.append({"title": title, "svg": plots.intervals(rows, title, around_zero=False)})
    spans = _spans(outcome.run, comparison.against if comparison else None)
    if spans:
        title = "Time per stage: p50 (circle) to p95 (square)"
        found.append({"title": title, "svg": plots.spans(spans, title)})
    return found


def _spans(run: Evaluation, against: Evaluation | None) -> list[plots.Span]:
    found = []
    for measure in run.measures:
        if measure.unit == "ms" and measure.percent is None:
            ours = _quantiles(run, measure.name)
            theirs = _quantiles(against, measure.name) if against else None
            if ours:
                found.append(plots.Span(measure.label, ours, theirs))
    return found


def _quantiles(evaluation: Evaluation, name: str) -> tuple[float, float] | None:
    values = evaluation.values.get(name)
    there = values[~np.isnan(values)] if values is not None else ()
    if not len(there):
        return None
    p50, p95 = np.percentile(there, [50, 95])
    return float(p50), float(p95)


def _change(change: Change, comparison: Comparison | None, gold: Gold) -> dict[str, Any]:
    assert comparison is not None  # noqa: S101 - changes come of comparisons
    ours, theirs = side_by_side(_ending(change.ours), _ending(change.theirs))
    answers = gold.answers.get(change.query_id) if gold.answers else None
    relevant = (gold.qrels or {}).get(change.query_id, {})
    return {
        "id": change.query_id,
        "question": change.ours.request.question,
        "by": shown(change.by, signed=True) if change.by is not None else "",
        "tone": "even" if not change.by else _sign(change.by, comparison),
        "answers": (ours, theirs),
        "gold": answers.answers if answers else None,
        "passages": (
            _passages(change.ours, change.theirs, comparison.run.cases, relevant),
            _passages(change.theirs, change.ours, comparison.against.cases, relevant),
        ),
        "same_passages": change.ours.passages == change.theirs.passages,
    }


def _sign(by: float, comparison: Comparison) -> str:
    higher = comparison.main is None or comparison.main.better != "lower"
    return "good" if (by > 0) == higher else "bad"


def _ending(case: Case) -> str:
    if case.answer is None:
        return "(has not ended)"
    if case.answer.state != "answered":
        return f"({case.answer.state} in stage {case.answer.stage}: {case.answer.message or case.answer.code})"
    return case.text


def _passages(case: Case, other: Case, cases: Cases, relevant: Mapping[str, int]) -> Sequence[dict[str, Any]]:
    there = set(other.passages)
    found = []
    for chunk_id in case.passages[:_SHOWN_PASSAGES]:
        chunk = cases.chunks[chunk_id]
        is_relevant = max(relevant.get(chunk.document_id, 0), relevant.get(chunk_id, 0)) > 0
        found.append(
            {
                "title": chunk.title or chunk.document_id,
                "document": chunk.document_id,
                "is_new": chunk_id not in there,
                "is_relevant": is_relevant,
            }
        )
    return found


def _moment(value: datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M UTC") if value else NONE
