"""An explanation as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from pathlib import Path

import jinja2
from markupsafe import Markup

import replay.report
from ragline.explain.explanation import Explanation
from ragline.explain.text import ending_lines, facts, said

_FOLDER = Path(__file__).parent
# It looks like the page of an evaluation.
_STYLE = Path(replay.report.__path__[0]) / "report.css"


def render(explanation: Explanation) -> str:
    """The page; whatever the records hold is text on it, never markup."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    first_ms = last_ms = 0.0
    if explanation.steps:
        first_ms = min(step.started_at.timestamp() * 1000 - step.waited_ms for step in explanation.steps)
        last_ms = max(step.started_at.timestamp() * 1000 + step.took_ms for step in explanation.steps)
    return environment.get_template("explanation.html.j2").render(
        style=Markup(_STYLE.read_text()),  # noqa: S704 - our own file
        it=explanation,
        facts=list(facts(explanation)),
        ending=list(ending_lines(explanation.ending)) if explanation.ending else [],
        said=said,
        first_ms=first_ms,
        span_ms=max(1.0, last_ms - first_ms),
    )
