"""Rows of the page's tables, as text."""

from collections.abc import Mapping
from typing import Any

import orjson

from replay.evaluation.cases import Cases
from replay.evaluation.comparison import Comparison, Difference
from replay.evaluation.outcome import NONE, Outcome, shown
from replay.run_folder.manifest import Manifest

_SHOWN_STAMPS = 5
_SURE = 0.05


def tone(row: Difference) -> str:
    """Good or bad where the interval leaves 0 out, and one way is better."""
    if row.low is None or row.high is None or row.low <= 0 <= row.high or row.measure.better == "neither":
        return "even"
    return "good" if (row.difference > 0) == (row.measure.better == "higher") else "bad"


def difference_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each measure that both runs have."""
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
                "tone": tone(row),
                "outcome": f"{row.wins} / {row.losses} / {row.ties}" if row.wins is not None else "",
                "pairs": row.pairs,
            }
        )
    return found


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"  # noqa: PLR2004 - three digits


def summary_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """A row for each measure of a run by itself."""
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


def settings_rows(manifest: Manifest, against: Manifest | None) -> list[tuple[str, str, str]]:
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


def stamp_rows(run: Cases, against: Cases | None) -> list[dict[str, Any]]:
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
