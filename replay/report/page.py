"""Makes the page of an evaluation."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import orjson
from markupsafe import Markup

from replay.evaluation.cases import Case, Cases
from replay.evaluation.comparison import Change, Comparison, Difference
from replay.evaluation.errors import EvaluationError
from replay.evaluation.evaluation import Evaluation
from replay.evaluation.gold import Gold
from replay.evaluation.outcome import NONE, Outcome, changed_most, shown
from replay.report import plots
from replay.report.texts import side_by_side
from replay.run_folder.manifest import Manifest

_FOLDER = Path(__file__).parent
_SHOWN_PASSAGES = 10
_SHOWN_STAMPS = 5
_SURE = 0.05


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
    page = render(outcome, show).encode()
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(page)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
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
        rows=_difference_rows(comparison) if comparison else _summary_rows(outcome),
        plots=_plots(outcome),
        settings=_settings_rows(show.manifest, show.against),
        stamps=_stamp_rows(outcome.run.cases, comparison.against.cases if comparison else None),
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
                row.measure.label, row.difference, row.low, row.high, _tone(row), shown(row.difference, signed=True)
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


def _tone(row: Difference) -> str:
    """Good or bad where the interval leaves 0 out, and one way is better."""
    if row.low is None or row.high is None or row.low <= 0 <= row.high or row.measure.better == "neither":
        return "even"
    return "good" if (row.difference > 0) == (row.measure.better == "higher") else "bad"


def _difference_rows(comparison: Comparison) -> list[dict[str, Any]]:
    found = []
    for name, row in comparison.differences.items():
        unit = row.measure.unit
        interval = f"{shown(row.low, signed=True)} … {shown(row.high, signed=True)}"
        if unit:
            interval = f"{shown(row.low, unit, signed=True)} … {shown(row.high, unit, signed=True)}"
        found.append(
            {
                "name": name,
                "label": row.measure.label,
                "value": shown(row.value, unit),
                "against": shown(row.against, unit),
                "difference": shown(row.difference, unit, signed=True),
                "interval": interval if row.low is not None else "",
                "p": _p(row.p),
                "p_adjusted": _p(row.p_adjusted),
                "is_sure": row.p_adjusted is not None and row.p_adjusted < _SURE,
                "tone": _tone(row),
                "outcome": f"{row.wins} / {row.losses} / {row.ties}" if row.wins is not None else "",
                "pairs": row.pairs,
            }
        )
    return found


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - three digits


def _summary_rows(outcome: Outcome) -> list[dict[str, Any]]:
    found = []
    for name, summary in outcome.summaries.items():
        measure = outcome.run.of(name)
        interval = f"{shown(summary.low, measure.unit)} … {shown(summary.high, measure.unit)}"
        found.append(
            {
                "name": name,
                "label": measure.label,
                "value": shown(summary.value, measure.unit),
                "interval": interval if summary.low is not None else "",
                "requests": summary.requests,
            }
        )
    return found


def _settings_rows(manifest: Manifest, against: Manifest | None) -> list[tuple[str, str, str]]:
    """Settings of the runs: where there are two, those that differ."""
    ours = _flat(manifest.settings)
    theirs = _flat(against.settings) if against else {}
    names = sorted(ours.keys() | theirs.keys())
    return [
        (name, ours.get(name, NONE), theirs.get(name, NONE))
        for name in names
        if against is None or ours.get(name) != theirs.get(name)
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            found |= _flat(item, f"{prefix}{name}.")
        else:
            found[prefix + name] = item if isinstance(item, str) else orjson.dumps(item).decode()
    return found


def _stamp_rows(run: Cases, against: Cases | None) -> list[dict[str, Any]]:
    """What decided the answers, by stage: every field of the stamps with its values, most frequent first."""
    ours = {stage: _fields(counts) for stage, counts in run.stamps.items()}
    theirs = {stage: _fields(counts) for stage, counts in against.stamps.items()} if against else {}
    found = []
    for stage in dict.fromkeys([*ours, *theirs]):
        left, right = ours.get(stage, {}), theirs.get(stage, {})
        for name in dict.fromkeys([*left, *right]):
            values = (_most(left.get(name, {})), _most(right.get(name, {})))
            found.append(
                {
                    "stage": stage,
                    "name": name,
                    "values": values,
                    "differs": against is not None and values[0] != values[1],
                }
            )
    return found


def _fields(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for stamp, count in counts.items():
        try:
            value = orjson.loads(stamp)
        except orjson.JSONDecodeError:
            continue
        for name, text in _flat(value).items() if isinstance(value, dict) else ():
            values = found.setdefault(name, {})
            values[text] = values.get(text, 0) + count
    return found


def _most(values: Mapping[str, int]) -> str:
    ordered = sorted(values, key=values.__getitem__, reverse=True)
    more = f" and {len(ordered) - _SHOWN_STAMPS} more" if len(ordered) > _SHOWN_STAMPS else ""
    return ", ".join(ordered[:_SHOWN_STAMPS]) + more


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
