"""Plots as inline SVG. Colours are the page's, so that they suit light and dark; what matters is also in figures."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

_WIDTH = 860
_LABELS = 250
_FIGURES = 140
_ROW = 26
_AXIS = 34
_MS_PER_S = 1_000
_LONG_MS = 10_000


class Interval(NamedTuple):
    """A row of ``intervals``: a value with its bounds; ``tone`` is good, bad or even; ``figure`` stands beside it."""

    label: str
    value: float
    low: float
    high: float
    tone: str
    figure: str


class Span(NamedTuple):
    """A row of ``spans``: p50 and p95 of this run, and of the other, if there is one; in milliseconds."""

    label: str
    run: tuple[float, float]
    against: tuple[float, float] | None


def intervals(rows: Sequence[Interval], title: str, *, around_zero: bool) -> Markup:
    """Values with their 95% intervals, one below the other, on one axis: around 0, or from 0 to 1."""
    reach = max([0.02, *(max(abs(row.low), abs(row.high)) for row in rows)]) * 1.05
    first, last = (-reach, reach) if around_zero else (0.0, 1.0)
    x = _linear(first, last)
    marks = [
        _grid(x, _ticks(first, last), len(rows), lambda tick: f"{tick:+.2g}" if around_zero and tick else f"{tick:.2g}")
    ]
    if around_zero:
        marks.append(_line(x(0), 0, x(0), len(rows) * _ROW, "zero"))
    for at, row in enumerate(rows):
        y = at * _ROW + _ROW / 2
        marks += [
            _text(_LABELS - 12, y, row.label, "label"),
            _line(x(row.low), y, x(row.high), y, f"bar {row.tone}"),
            f'<circle class="dot {row.tone}" cx="{x(row.value):.1f}" cy="{y:.1f}" r="4.5"/>',
            _text(_WIDTH - _FIGURES + 14, y, row.figure, "figure"),
        ]
    return _svg(marks, len(rows), title)


def sorted_differences(differences: Sequence[float], title: str) -> Markup:
    """The difference of each request, from the largest gain to the largest loss."""
    ordered = sorted(differences, reverse=True)
    height, left, right = 170, 46, 12
    reach = max([1e-9, *(abs(value) for value in ordered)])
    middle = height / 2
    scale = (height / 2 - 8) / reach
    step = (_WIDTH - left - right) / max(1, len(ordered))
    marks = [
        _text(left - 8, 8, f"{reach:+.2g}", "tick end"),
        _text(left - 8, middle, "0", "tick end"),
        _text(left - 8, height - 8, f"{-reach:+.2g}", "tick end"),
        _line(left, middle, _WIDTH - right, middle, "zero"),
    ]
    for tone, sign in (("good", 1), ("bad", -1)):
        heights = [max(0.0, sign * value) * scale for value in ordered]
        marks.append(f'<path class="area {tone}" d="{_steps(heights, left, step, middle, sign)}"/>')
    return Markup(  # noqa: S704 - made of numbers and escaped texts
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(marks)}</svg>'
    )


def spans(rows: Sequence[Span], title: str) -> Markup:
    """From p50 to p95 of each stage's time, on a logarithmic axis."""
    both = any(row.against for row in rows)
    values = [max(1.0, value) for row in rows for pair in (row.run, row.against) if pair for value in pair]
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values) * 1.05)) + 1)
    lines = len(rows) * (2 if both else 1)
    low, high = 10.0 ** powers[0], 10.0 ** powers[-1]
    x = _logarithmic(low, high)
    marks = [_grid(x, [10.0**power for power in powers], lines, _duration)]
    line = 0
    for row in rows:
        start = line
        for pair, tone in ((row.run, "ours"), (row.against, "theirs")):
            if pair is None:
                continue
            y = line * _ROW + _ROW / 2
            p50, p95 = (max(1.0, value) for value in pair)
            marks += [
                _line(x(p50), y, x(p95), y, f"bar {tone}"),
                f'<circle class="dot {tone}" cx="{x(p50):.1f}" cy="{y:.1f}" r="4.5"/>',
                f'<rect class="dot {tone}" x="{x(p95) - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
                _text(_WIDTH - _FIGURES + 14, y, f"{_duration(pair[0])} / {_duration(pair[1])}", "figure"),
            ]
            line += 1
        marks.append(_text(_LABELS - 12, (start + line) * _ROW / 2, row.label, "label"))
    return _svg(marks, lines, title)


def _duration(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms < _LONG_MS else f"{ms / _MS_PER_S:,.0f} s"


def _svg(marks: Sequence[str], rows: int, title: str) -> Markup:
    height = rows * _ROW + _AXIS
    return Markup(  # noqa: S704 - made of numbers and escaped texts
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(marks)}</svg>'
    )


class _Scale:
    """Maps values to places between the labels and the figures."""

    def __init__(self, first: float, last: float, *, logarithmic: bool) -> None:
        self._log = logarithmic
        self._first, self._last = (math.log10(first), math.log10(last)) if logarithmic else (first, last)
        if self._first == self._last:
            self._last += 1

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self._log else value
        share = (at - self._first) / (self._last - self._first)
        return _LABELS + share * (_WIDTH - _LABELS - _FIGURES)


def _linear(first: float, last: float) -> _Scale:
    return _Scale(first, last, logarithmic=False)


def _logarithmic(first: float, last: float) -> _Scale:
    return _Scale(first, last, logarithmic=True)


def _ticks(first: float, last: float) -> list[float]:
    """Round values, about six, between two bounds."""
    rough = (last - first) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [at * step for at in range(math.ceil(first / step), math.floor(last / step) + 1)]


def _grid(x: _Scale, ticks: Sequence[float], rows: int, name: object) -> str:
    assert callable(name)  # noqa: S101 - for the type checker
    height = rows * _ROW
    return "".join(
        _line(x(tick), 0, x(tick), height, "grid") + _text(x(tick), height + 16, name(tick), "tick") for tick in ticks
    )


def _steps(heights: Sequence[float], left: float, step: float, middle: float, sign: int) -> str:
    """An area made of one column for each value; neighbours of the same height are one."""
    path = [f"M{left:.1f} {middle:.1f}"]
    before = 0.0
    for at, height in enumerate(heights):
        if height != before:
            path.append(f"H{left + at * step:.2f}V{middle - sign * height:.2f}")
            before = height
    path.append(f"H{left + len(heights) * step:.2f}V{middle:.1f}Z")
    return "".join(path)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" dy="0.35em">{escape(text)}</text>'
