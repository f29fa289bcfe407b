from pathlib import Path

import pytest

from infra.local import logs
from infra.local.logs import LogFile, MergedView, level_of, readable
from infra.local.process import ProcessSpec


async def ready() -> bool:
    return True


def worker(name: str = "query") -> ProcessSpec:
    return ProcessSpec(name=name, stage=name, argv=("x",), ready=ready)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ('{"event": "ready", "level": "info"}', "info"),
        ('{"event": "broken", "level": "critical"}', "error"),
        ("{not json", None),
        ("10:00:00 WARN  Something (NetworkClient)", "warning"),
        ("INFO 11-21 loading", "info"),
        ("Traceback (most recent call last):", "error"),
        ('  File "x.py", line 1', None),
        ("x" * 100 + " ERROR", None),
        ("INFORMATION", None),
    ],
)
def test_level(line: str, level: str | None) -> None:
    assert level_of(line) == level


def test_json_lines_become_readable() -> None:
    line = '{"event": "answered", "level": "info", "timestamp": "t", "request_id": "r1", "tokens": 3}'
    assert readable(line) == "info answered request_id=r1 tokens=3"
    assert readable("plain") == "plain"


def test_quiet_shows_warnings_with_the_lines_that_belong_to_them() -> None:
    shown: list[str] = []
    show = MergedView(shown.append, colour=False, quiet=True).of(worker())
    for line in ["INFO ready", "ERROR broken", "  by this", "INFO again", "  calm"]:
        show(line)
    assert shown == ["query | ERROR broken", "query |   by this"]


def test_without_quiet_all_is_shown_and_names_line_up() -> None:
    shown: list[str] = []
    view = MergedView(shown.append, colour=False, quiet=False)
    show = view.of(worker("query"))
    view.of(worker("generation"))
    show("hello")
    assert shown == ["query      | hello"]


def test_colours_only_where_wanted() -> None:
    shown: list[str] = []
    MergedView(shown.append, colour=True, quiet=False).of(worker())("WARNING hot")
    assert shown == ["\x1b[36mquery |\x1b[0m \x1b[33mWARNING hot\x1b[0m"]


def test_a_log_file_begins_anew_and_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MAX_BYTES", 10)
    path = tmp_path / "logs" / "x.log"
    path.parent.mkdir()
    path.write_text("yesterday\n")
    file = LogFile(path)
    before = path.with_name("x.log.1")
    assert before.read_text() == "yesterday\n"
    for line in (b"first", b"second"):
        file.write(line)
    file.close()
    assert (before.read_text(), path.read_text()) == ("first\n", "second\n")
