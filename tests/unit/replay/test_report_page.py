import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.evaluation.cases import read_cases
from replay.evaluation.errors import EvaluationError
from replay.evaluation.evaluation import Options, evaluate
from replay.evaluation.gates import parse_gate
from replay.evaluation.gold import Gold, GoldAnswer
from replay.evaluation.outcome import Outcome, conclude
from replay.report.page import Shown, render, write_page
from replay.report.plots import Interval, Span, intervals, sorted_differences, spans
from replay.report.texts import side_by_side
from replay.run_folder.reader import Run
from tests.fixtures.run_folders import asked, write_run

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'too'"
GOLD = Gold({"q1": {"d1": 1}, "q2": {"d2": 1}}, {"q1": GoldAnswer((HOSTILE,)), "q2": GoldAnswer(())})


class Tags(HTMLParser):
    """Checks that every tag is closed, and keeps what a page would load or run."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not {name for name, _ in attrs if name.startswith("on") or name in {"src", "href", "style"}}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outcome(tmp_path: Path, *, compared: bool = True) -> tuple[Outcome, Shown]:
    folders = [
        write_run(
            tmp_path / name,
            [
                asked("q1", f"{name} says {HOSTILE} [1].", [("d1", HOSTILE)], question=HOSTILE, stamp='{"top_k":5}'),
                asked("q2", "I do not know." if name == "new" else "It rains [1].", [("d2", "Rain.")]),
                asked("q3", "The same."),
            ],
            settings={"prompt": {"template": name}, HOSTILE: HOSTILE},
        )
        for name in ("new", "old")
    ]
    runs = [Run(folder) for folder in folders]
    new, old = (evaluate(read_cases(run), GOLD, Options()) for run in runs)
    gates = [parse_gate("run.answered >= 1", is_compared=compared), parse_gate("run.f1 > 1", is_compared=compared)]
    shown = Shown(runs[0].manifest, runs[1].manifest if compared else None, GOLD)
    return conclude(new, old if compared else None, gates, 7), shown


@pytest.mark.parametrize("compared", [True, False])
def test_the_page_is_whole_and_loads_and_runs_nothing(tmp_path: Path, *, compared: bool) -> None:
    page = render(*outcome(tmp_path, compared=compared))
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert "script" not in tags.seen
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'" in page
    assert "A gate does not hold" in page
    assert page.count("<svg") == (3 if compared else 2)


def test_the_page_shows_what_changed_and_leaves_out_what_did_not(tmp_path: Path) -> None:
    page = render(*outcome(tmp_path))
    assert "Settings that differ" in page
    assert "prompt.template" in page
    assert page.count('class="change"') == 2
    assert "<mark>new</mark>" in page
    assert "<mark>old</mark>" in page
    assert "no answer is possible" in page


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, *outcome(tmp_path))
    assert path.read_text().endswith("</html>\n") or path.read_text().endswith("</html>")
    assert path.stat().st_mode & 0o777 == 0o644
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "folder.html" / "x").touch()
    with pytest.raises(EvaluationError, match="the report cannot be written to"):
        write_page(tmp_path / "folder.html", *outcome(tmp_path / "again"))
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@given(st.text(max_size=60), st.text(max_size=60))
def test_side_by_side_both_texts_are_there_and_only_differences_marked(one: str, other: str) -> None:
    for text, shown in zip((one, other), side_by_side(one, other), strict=True):
        assert (
            shown.striptags() == " ".join(text.split())
            or shown.unescape().replace("<mark>", "").replace("</mark>", "") == text
        )
    assert "<mark>" not in "".join(side_by_side(one, one))


NUMBER = st.floats(-5, 5)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=1, max_size=5), around_zero=st.booleans())
def test_marks_stay_within_the_plot(rows: list[tuple[float, float, float]], *, around_zero: bool) -> None:
    made = [Interval("label", value, low, high, "even", "1") for low, value, high in map(sorted, rows)]
    if not around_zero:
        made = [row._replace(low=0.1, value=0.5, high=0.9) for row in made]
    check_svg(intervals(made, "title", around_zero=around_zero))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(NUMBER, min_size=1, max_size=50),
    st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 1e7)), min_size=1, max_size=6),
)
def test_other_plots_do_so_too(differences: list[float], times: list[tuple[float, float]]) -> None:
    check_svg(sorted_differences(differences, "title"))
    rows = [Span("label", (min(pair), max(pair)), (1, 2) if at % 2 else None) for at, pair in enumerate(times)]
    check_svg(spans(rows, "title"))


def check_svg(svg: str) -> None:
    tags = Tags()
    tags.feed(svg)
    assert not tags.open
    width = float(svg.partition('viewBox="0 0 ')[2].split()[0])
    for place in re.findall(r' (?:x|x1|x2|cx)="([^"]+)"', svg):
        assert 0 <= float(place) <= width
    assert "nan" not in svg
    assert "inf" not in svg
