import orjson
import pytest
from rich.console import Console

from ragline import terminal
from ragline.corpus import CorpusError, Skipped
from ragline.ledger import Failure, IngestSummary
from ragline.terminal import IngestProgress, error_as_json, print_summary


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


def test_a_program_gets_one_json_object(console: Console) -> None:
    failed = [Failure("d[4]", "chunking", "it is [red]too long")]
    print_summary(IngestSummary(submitted=2, unchanged=1, failed=failed), as_json=True)
    assert orjson.loads(console.export_text()) == {
        "ok": False,
        "pending": 0,
        "submitted": 2,
        "indexed": 0,
        "unchanged": 1,
        "chunks_added": 0,
        "chunks_removed": 0,
        "chunks_updated": 0,
        "failed": [{"document_id": "d[4]", "stage": "chunking", "reason": "it is [red]too long"}],
        "skipped": [],
    }


@pytest.mark.parametrize("wanted", [False, True])
def test_a_program_gets_one_json_object_of_an_error_too(console: Console, *, wanted: bool) -> None:
    with pytest.raises(CorpusError), error_as_json(wanted):
        raise CorpusError("there is no file x")
    said = console.export_text()
    assert (orjson.loads(said) if wanted else said) == ({"ok": False, "error": "there is no file x"} if wanted else "")
