import pytest
from rich.console import Console

from ragline import terminal
from ragline.corpus import Skipped
from ragline.ledger import Failure, IngestSummary
from ragline.terminal import IngestProgress, print_summary


@pytest.fixture(params=[False, True], ids=["log file", "terminal"])
def console(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Console:
    console = Console(force_terminal=request.param, record=True, width=120)
    monkeypatch.setattr(terminal, "ERR", console)
    monkeypatch.setattr(terminal, "OUT", console)
    monkeypatch.setattr(terminal, "_LOG_INTERVAL_S", 0)
    return console


def test_an_ingest_shows_how_far_it_is(console: Console) -> None:
    with IngestProgress(total=3) as progress:
        progress(IngestSummary(submitted=2, indexed=1))
        if not console.is_terminal:
            assert console.export_text() == "ingest: 1 of 3 documents searchable\n"


def test_a_summary_names_what_is_not_searchable(console: Console) -> None:
    summary = IngestSummary(
        submitted=4,
        indexed=2,
        unchanged=1,
        chunks_added=7,
        failed=[Failure("d[4]", "chunking", "it is too long")],
        skipped=[Skipped("photo.png", "no text", is_failure=False)],
    )
    print_summary(summary)
    assert console.export_text().splitlines() == [
        "skipped photo.png: no text",
        "failed d[4] in chunking: it is too long",
        "2 indexed, 1 unchanged, 1 failed, 1 skipped (7 chunks added, 0 removed)",
    ]
