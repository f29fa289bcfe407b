"""How documents stand, as the topics tell it."""

from types import SimpleNamespace
from typing import Any

from ragline.catalogue import Catalogue, totals
from schemas import codec
from schemas.events import DocumentFailed, DocumentIndexed, DocumentSubmitted, DocumentWithdrawn, Event
from schemas.headers import Headers
from schemas.revision import document_revision

NOW_MS = 1_700_000_000_000


def record(event: Event, key: str, *, at_ms: int = NOW_MS, tenant: str | None = None) -> Any:
    headers = Headers(type=event.TYPE, tenant=tenant).encode()
    return SimpleNamespace(key=key.encode(), value=codec.encode(event), headers=headers, timestamp=at_ms)


class Topics:
    """Both topics of documents."""

    def __init__(self, with_text_of: str | None = None) -> None:
        self.catalogue = Catalogue("default", with_text_of)

    def submit(self, key: str, text: str, tenant: str | None = None) -> DocumentSubmitted:
        event = DocumentSubmitted(text=text, title=f"Title of {key}", source="s", tenant=tenant)
        self.catalogue.take_submission(record(event, key))
        return event

    def withdraw(self, key: str) -> None:
        self.catalogue.take_submission(record(DocumentWithdrawn(), key, tenant="t"))

    def index(self, key: str, event: DocumentSubmitted, chunks: int = 2) -> None:
        indexed = DocumentIndexed(
            document_id=key,
            revision=document_revision(event),
            tenant=event.tenant or "default",
            chunks=chunks,
            added=0,
            removed=0,
        )
        self.catalogue.take_ending(record(indexed, key))

    @property
    def stands(self) -> list[tuple[str, str, int]]:
        return [(entry.document_id, entry.status, entry.chunks) for entry in self.catalogue]


def test_a_document_is_under_way_until_its_revision_is_searchable() -> None:
    topics = Topics()
    first = topics.submit("d", "One.", "t")
    assert topics.stands == [("d", "processing", 0)]
    topics.index("d", first)
    assert topics.stands == [("d", "searchable", 2)]
    topics.submit("d", "Other.", "t")
    assert topics.stands == [("d", "processing", 0)]
    [entry] = topics.catalogue
    assert (entry.tenant, entry.title, entry.source, entry.characters) == ("t", "Title of d", "s", 6)


def test_a_document_that_failed_says_why() -> None:
    topics = Topics()
    event = topics.submit("d", "One.")
    failed = DocumentFailed(
        document_id="d",
        revision=document_revision(event),
        tenant="default",
        stage="chunking",
        code="c",
        message="It is.",
    )
    topics.catalogue.take_ending(record(failed, "d"))
    [entry] = topics.catalogue
    assert entry.status == "failed"
    assert entry.failure
    assert (entry.failure.stage, entry.failure.message) == ("chunking", "It is.")


def test_a_document_that_is_taken_away_goes_once_it_is_found_no_more() -> None:
    topics = Topics()
    topics.index("d", topics.submit("d", "One."))
    topics.withdraw("d")
    assert topics.stands == [("d", "removing", 0)]
    topics.index("d", DocumentSubmitted(text=""), chunks=0)
    assert topics.stands == []
    topics.index("d", topics.submit("d", "One."))
    assert topics.stands == [("d", "searchable", 2)]


def test_what_is_no_document_is_passed_over() -> None:
    topics = Topics()
    good = record(DocumentSubmitted(text="x"), "d")
    for bad in ({"value": b"{"}, {"key": b"\xff"}, {"value": b"{}"}):
        topics.catalogue.take_submission(SimpleNamespace(**(vars(good) | bad)))
    topics.catalogue.take_ending(SimpleNamespace(**(vars(good) | {"value": b"{"})))
    assert topics.stands == []


def test_the_text_of_one_is_kept_where_it_is_wanted() -> None:
    topics = Topics("d")
    topics.submit("d", "One.")
    topics.submit("e", "Two.")
    assert topics.catalogue.text == "One."
    topics.withdraw("d")
    assert topics.catalogue.text is None


def test_of_a_text_beside_its_record_only_the_ending_tells() -> None:
    topics = Topics()
    sent = record(DocumentSubmitted(text="", title="Title"), "d")
    sent.headers = Headers(type=DocumentSubmitted.TYPE, dataref="file:///texts/d").encode()
    topics.catalogue.take_submission(sent)
    assert topics.stands == [("d", "processing", 0)]
    topics.index("d", DocumentSubmitted(text="What is there.", title="Title"))
    assert topics.stands == [("d", "searchable", 2)]


def test_what_a_document_says_of_itself_is_told() -> None:
    topics = Topics()
    event = DocumentSubmitted(text="One. Two.", metadata={"year": 2021}, page_starts=(0, 5))
    topics.catalogue.take_submission(record(event, "d"))
    [entry] = topics.catalogue
    assert (entry.pages, entry.metadata, entry.characters) == (2, {"year": 2021}, 9)


def test_totals_are_by_status_and_tenant() -> None:
    topics = Topics()
    topics.index("a", topics.submit("a", "One.", "t"))
    topics.submit("b", "Two more.")
    assert totals(topics.catalogue).model_dump() == {
        "documents": 2,
        "by_status": {"searchable": 1, "processing": 1},
        "by_tenant": {"t": 1, "default": 1},
        "characters": 13,
        "chunks": 2,
    }
