import io

from rich.console import Console

from infra.local.lag import GroupLag
from infra.local.state import Phase, ProcessState
from infra.local.status import ProcessStatus, Row, render, rows


def process(name: str, stage: str, phase: Phase = "ready", **page: object) -> ProcessStatus:
    return ProcessStatus(ProcessState(name, stage, 1, 0.0, 1, phase, 1, "ended with status 1"), page)


def row_of(shown: list[Row], stage: str) -> Row:
    return next(row for row in shown if row.stage == stage)


def test_processes_of_a_stage_are_summed_up() -> None:
    found = [
        process("generation", "generation", in_flight=2, last_error=""),
        process("generation-2", "generation", "restarting"),
        process("kafka", "kafka"),
    ]
    shown = rows(found, {"generation": GroupLag(members=1, partitions=6, lag=17)})
    assert row_of(shown, "generation") == Row("generation", 2, 1, 1, 6, 17, 2, 2, "ended with status 1")
    assert row_of(shown, "kafka").lag is None
    assert row_of(shown, "prompt").processes == 0


def test_without_a_local_stack_the_groups_tell() -> None:
    shown = rows(None, {"prompt": GroupLag(members=3, partitions=6, lag=0)})
    assert row_of(shown, "prompt") == Row("prompt", None, None, 3, 6, 0, None, None, "")


def test_the_table_shows_errors_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=140)
    shown = [Row("query", 2, 1, 2, 6, 5, 0, 1, "[bold] is no markup")]
    console.print(render(shown))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 (1 ready)" in text
    assert "[bold] is no markup" in text
