import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.documents.endings import HeldEndings
from bridge.documents.naming import document_id, file_name
from bridge.documents.states import WITHDRAWN_REVISION, DocumentBody, Ending, Submission, state
from bridge.summary import Failure
from schemas.events import DocumentFailed, DocumentIndexed, DocumentSubmitted
from schemas.revision import document_revision

FAILURE = Failure(stage="chunking", code="bad_document", message="It is bad.")
NEW = Submission(revision="new", at_ms=100_000)
GONE = Submission(revision=WITHDRAWN_REVISION, at_ms=100_000)


def ending(revision: str = "new", chunks: int = 3, at_ms: int = 100_001, failure: Failure | None = None) -> Ending:
    return Ending(revision, at_ms, chunks, failure)


@pytest.mark.parametrize(
    ("submission", "ended", "status"),
    [
        (None, None, None),
        (None, ending(), "searchable"),
        (None, ending(chunks=0), None),
        (None, ending(failure=FAILURE), "failed"),
        (NEW, None, "processing"),
        (NEW, ending("old"), "processing"),
        (NEW, ending(), "searchable"),
        (NEW, ending(at_ms=1), "searchable"),
        (NEW, ending(failure=FAILURE), "failed"),
        (NEW, ending("", failure=FAILURE), "failed"),
        (NEW, ending(failure=FAILURE, at_ms=1), "processing"),
        (NEW, ending("old", failure=FAILURE), "processing"),
        (GONE, None, "removing"),
        (GONE, ending(), "removing"),
        (GONE, ending(WITHDRAWN_REVISION, chunks=0), None),
    ],
)
def test_what_has_become_of_a_document(submission: Submission | None, ended: Ending | None, status: str | None) -> None:
    found = state("d", submission, ended)
    assert (found and found.status) == status
    if status == "searchable":
        assert found == DocumentBody(document_id="d", status="searchable", chunks=3)
    if status == "failed":
        assert found
        assert found.failure == FAILURE


def test_a_withdrawal_has_the_revision_that_the_chunking_stage_gives_it() -> None:
    assert document_revision(DocumentSubmitted(text="")) == WITHDRAWN_REVISION


def test_the_last_ending_counts_and_the_oldest_are_forgotten() -> None:
    held = HeldEndings(max_documents=2)
    for name, chunks in (("a", 1), ("b", 1), ("a", 2), ("c", 1)):
        event = DocumentIndexed(document_id=name, revision="r", tenant="t", chunks=chunks, added=0, removed=0)
        held.take(event, at_ms=1)
    assert held.find("t", "b") is None
    assert held.find("other", "a") is None
    assert held.find("t", "a") == ending("r", chunks=2, at_ms=1)
    held.take(DocumentFailed(document_id="a", revision="r", tenant="t", **FAILURE.model_dump()), at_ms=2)
    assert held.find("t", "a") == ending("r", chunks=0, at_ms=2, failure=FAILURE)


@pytest.mark.parametrize(
    ("given_name", "name", "identifier"),
    [
        ("notes.md", "notes.md", "t/notes.md"),
        ("../../etc/passwd", "passwd", "t/passwd"),
        ("C:\\Users\\me\\notes.md", "notes.md", "t/notes.md"),
        ("/", "upload", "t/upload"),
        ("..", "upload", "t/upload"),
        ("", "upload", "t/upload"),
        (None, "upload", "t/upload"),
        ("a\x00b\n\u202egpj.exe", "abgpj.exe", "t/abgpj.exe"),
        ("x" * 500 + ".pdf", "x" * 146 + ".pdf", "t/" + "x" * 146 + ".pdf"),
    ],
)
def test_names_lose_what_is_dangerous(given_name: str | None, name: str, identifier: str) -> None:
    assert file_name(given_name) == name
    assert document_id("t", file_name(given_name)) == identifier


@given(st.text(max_size=300))
def test_any_name_makes_a_name_and_an_id(given_name: str) -> None:
    name = file_name(given_name)
    assert 0 < len(name) <= 150
    assert "/" not in name
    assert "\\" not in name
    assert not any(unicodedata.category(character).startswith("C") for character in name)
    identifier = document_id("t", name)
    assert identifier.isascii()
    assert identifier.removeprefix("t/").strip(".")
    assert identifier.count("/") == 1


def test_names_that_look_alike_in_an_id_are_not_one_document() -> None:
    assert len({document_id("t", name) for name in ("\u00e4.md", "\u00f6.md", "-.md", "a b.md", "a-b.md")}) == 5
