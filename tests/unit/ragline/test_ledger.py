from dataclasses import replace

import pytest

from ragline.corpus import Document, Skipped, Withdrawal
from ragline.ledger import Ledger, submission
from schemas import codec
from schemas.events import DocumentFailed, DocumentIndexed, DocumentSubmitted
from schemas.headers import Headers
from topics.specs import DOCUMENTS, MIB

DOCUMENT = Document("d1", "Text.", "Title", "source")


def revision(document: Document) -> str:
    return submission(document, None).revision


def indexed(
    document: Document, *, chunks: int = 2, added: int = 2, removed: int = 0, updated: int = 0
) -> DocumentIndexed:
    return DocumentIndexed(
        document_id=document.id,
        revision=revision(document),
        tenant="default",
        chunks=chunks,
        added=added,
        removed=removed,
        updated=updated,
    )


def failed(document_id: str, revision: str) -> DocumentFailed:
    return DocumentFailed(
        document_id=document_id,
        revision=revision,
        tenant="",
        stage="chunking",
        code="too_long",
        message="it is too long",
    )


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_a_document_becomes_a_record_that_the_chunking_stage_can_read() -> None:
    record = submission(DOCUMENT, "acme")
    headers = Headers.decode(record.headers)
    assert record.key == b"d1"
    assert headers.subject == "d1"
    assert headers.tenant == "acme"
    event = codec.decode(record.value, headers.type, DOCUMENTS.events)
    assert event == DocumentSubmitted(text="Text.", title="Title", source="source", tenant="acme")


def test_a_document_sent_again_is_a_new_event_of_the_same_revision() -> None:
    one, two = submission(DOCUMENT, None), submission(DOCUMENT, None)
    assert one.headers != two.headers
    assert one.revision == two.revision


def test_what_is_indexed_unchanged_or_failed_is_counted_once(ledger: Ledger) -> None:
    documents = [Document(f"d{number}", "Text.") for number in range(3)]
    assert all(ledger.admit(document, None) for document in documents)
    assert ledger.summary.pending == 3
    assert ledger.conclude(indexed(documents[0], added=2, removed=1))
    assert not ledger.conclude(indexed(documents[0]))
    assert ledger.conclude(indexed(documents[1], added=0, removed=0))
    assert ledger.conclude(failed("d2", ""))
    summary = ledger.summary
    assert (summary.submitted, summary.indexed, summary.unchanged, summary.pending) == (3, 1, 1, 0)
    assert (summary.chunks_added, summary.chunks_removed) == (2, 1)
    assert [(failure.document_id, failure.reason) for failure in summary.failed] == [("d2", "it is too long")]
    assert not summary.ok


def test_new_metadata_is_a_change_and_bad_metadata_a_reason(ledger: Ledger) -> None:
    dated = Document("d1", "Text.", metadata={"year": 2021}, page_starts=(0,))
    assert len({revision(item) for item in (dated, Document("d1", "Text."), replace(dated, page_starts=()))}) == 3
    record = ledger.admit(dated, None)
    assert record
    event = codec.decode(record.value, None, DOCUMENTS.events)
    assert isinstance(event, DocumentSubmitted)
    assert (event.metadata, event.page_starts) == ({"year": 2021}, (0,))
    assert ledger.conclude(indexed(dated, added=0, updated=2))
    assert (ledger.summary.indexed, ledger.summary.unchanged, ledger.summary.chunks_updated) == (1, 0, 2)
    assert ledger.admit(Document("d2", "Text.", metadata={"by": ["a", "b"]}), None) is None
    assert [(item.name, item.is_failure) for item in ledger.summary.skipped] == [("d2", True)]
    assert "field by is a list" in ledger.summary.skipped[0].reason


def test_other_peoples_documents_and_older_revisions_change_nothing(ledger: Ledger) -> None:
    ledger.admit(DOCUMENT, None)
    assert not ledger.conclude(indexed(Document("other", "Text.")))
    assert not ledger.conclude(indexed(Document("d1", "Older text.")))
    assert not ledger.conclude(failed("d1", "an older revision"))
    assert ledger.summary.pending == 1


def test_a_document_too_large_for_its_topic_is_skipped_with_its_size(ledger: Ledger) -> None:
    assert ledger.admit(Document("large", "x" * (4 * MIB)), None) is None
    (skipped,) = ledger.summary.skipped
    assert skipped.is_failure
    assert "4.0 MiB" in skipped.reason


def test_the_largest_record_admitted_fits_the_topic(ledger: Ledger) -> None:
    text = "x" * (DOCUMENTS.max_message_bytes - 2048)
    record = ledger.admit(Document("large", text), None)
    assert record
    assert record.size <= DOCUMENTS.max_message_bytes


def test_an_id_stands_for_one_document_in_an_ingest(ledger: Ledger) -> None:
    assert ledger.admit(DOCUMENT, None)
    assert ledger.admit(DOCUMENT, None) is None
    assert ledger.admit(Document("d1", "Other text."), None) is None
    assert [item.is_failure for item in ledger.summary.skipped] == [False, True]
    assert ledger.conclude(indexed(Document("d1", "Text.", "Title", "source")))


def test_an_ingest_is_fine_if_only_other_kinds_were_skipped(ledger: Ledger) -> None:
    ledger.admit(Skipped("photo.png", "no text", is_failure=False), None)
    assert ledger.summary.ok
    ledger.admit(Skipped("broken.txt", "binary"), None)
    assert not ledger.summary.ok


def test_a_withdrawal_is_a_null_value_and_ends_when_the_document_is_gone() -> None:
    ledger = Ledger()
    record = ledger.admit(Withdrawal("d", "t"), "another")
    assert record is not None
    assert (record.key, record.value, Headers.decode(record.headers).tenant) == (b"d", None, "t")
    gone = DocumentIndexed(document_id="d", revision=record.revision, tenant="t", chunks=0, added=0, removed=3)
    assert not ledger.conclude(gone.model_copy(update={"revision": "older", "chunks": 3}))
    assert ledger.conclude(gone)
    assert ledger.summary.ok
    assert ledger.summary.chunks_removed == 3
