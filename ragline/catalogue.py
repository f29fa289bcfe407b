"""Which documents there are and what has become of each, told from the topics alone."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord
from pydantic import Field, JsonValue

from backends.kafka import KafkaSettings
from bridge.documents.states import WITHDRAWN_REVISION, DocumentBody, Ending, Submission, state
from ragline.endings import ending_of, live_names
from ragline.topic_records import Report, records_of
from schemas import codec
from schemas.events import DocumentSubmitted
from schemas.headers import Headers
from schemas.revision import document_revision
from schemas.values import Count, Value
from topics.names import Namespace
from topics.specs import DOCUMENTS, DOCUMENTS_INDEXED


class Entry(DocumentBody):
    """A document as it stands. ``characters`` is the length of its text, 0 where that travels by reference;
    ``submitted_ms`` is Unix time, and None where the document's own record is gone. ``pages`` is 0 where it has none.
    """

    tenant: str
    title: str = ""
    source: str = ""
    characters: Count = 0
    pages: Count = 0
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    submitted_ms: Count | None = None


class Totals(Value):
    """Sums over documents."""

    documents: Count
    by_status: dict[str, Count]
    by_tenant: dict[str, Count]
    characters: Count
    chunks: Count


@dataclass(frozen=True, slots=True)
class _Note:
    """Of what was submitted. Without the text, of a document that travels by reference, nobody knows its revision."""

    submission: Submission | None
    at_ms: int
    tenant: str
    document: DocumentSubmitted
    characters: int = 0


class Catalogue:
    """Documents by ID. Records of a document are to come in the order of their topic.

    Of the document ``with_text_of`` the text is kept, too.
    """

    def __init__(self, default_tenant: str, with_text_of: str | None = None) -> None:
        self._default_tenant = default_tenant
        self._with_text_of = with_text_of
        self._notes: dict[str, _Note] = {}
        self._endings: dict[str, tuple[str, Ending]] = {}
        self.text: str | None = None

    def take_submission(self, record: ConsumerRecord) -> None:
        """Note a record of ``rag.documents``; one that is no document there is passed over."""
        headers = Headers.decode(record.headers)
        try:
            document_id = (record.key or b"").decode()
            event = codec.decode(record.value, headers.type, DOCUMENTS.events)
        except (UnicodeDecodeError, codec.UndecodableError):
            return
        tenant = event.tenant_id or headers.tenant or self._default_tenant
        text: str | None = None
        if isinstance(event, DocumentSubmitted):
            text = event.text
            by_reference = headers.dataref and not text
            revision = None if by_reference else document_revision(event)
            submission = Submission(revision=revision, at_ms=record.timestamp) if revision else None
            # Not the texts: there may be more of them than fits in memory.
            said = event.model_copy(update={"text": ""})
            note = _Note(submission, record.timestamp, tenant, said, len(text))
        else:
            submission = Submission(revision=WITHDRAWN_REVISION, at_ms=record.timestamp)
            note = _Note(submission, record.timestamp, tenant, DocumentSubmitted(text=""))
        self._notes[document_id] = note
        if document_id == self._with_text_of:
            self.text = text

    def take_ending(self, record: ConsumerRecord) -> None:
        """Note a record of ``rag.documents.indexed``."""
        event = ending_of(record)
        if event is not None:
            self._endings[event.document_id] = event.tenant, Ending.of(event, record.timestamp)

    def find(self, document_id: str) -> Entry | None:
        """The document; None if there is none, or no longer."""
        note = self._notes.get(document_id)
        tenant, ending = self._endings.get(document_id, (self._default_tenant, None))
        body = state(document_id, note.submission if note else None, ending)
        if body is None and note and note.submission is None:
            body = DocumentBody(document_id=document_id, status="processing")
        if body is None:
            return None
        if note is None:
            return Entry(**dict(body), tenant=tenant)
        return Entry(
            **dict(body),
            tenant=note.tenant,
            title=note.document.title,
            source=note.document.source,
            characters=note.characters,
            pages=len(note.document.page_starts),
            metadata=note.document.metadata,
            submitted_ms=note.at_ms,
        )

    def __iter__(self) -> Iterator[Entry]:
        for document_id in sorted(self._notes.keys() | self._endings.keys()):
            entry = self.find(document_id)
            if entry is not None:
                yield entry


def totals(entries: Iterable[Entry]) -> Totals:
    """Sum up documents."""
    entries = list(entries)
    return Totals(
        documents=len(entries),
        by_status=dict(Counter(entry.status for entry in entries)),
        by_tenant=dict(Counter(entry.tenant for entry in entries)),
        characters=sum(entry.characters for entry in entries),
        chunks=sum(entry.chunks for entry in entries),
    )


async def read_catalogue(
    kafka: KafkaSettings,
    names: Namespace,
    default_tenant: str,
    with_text_of: str | None = None,
    report: Report | None = None,
) -> Catalogue:
    """Read both topics of documents whole, one record at a time; ``report`` is told how far that has come.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: the topic of the versions of the index is missing.
    """
    catalogue = Catalogue(default_tenant, with_text_of)
    names = await live_names(kafka, names)
    # Endings first: one that comes meanwhile is of a submission that is then read, too.
    async for record in records_of(kafka, names.topic(DOCUMENTS_INDEXED), report):
        catalogue.take_ending(record)
    async for record in records_of(kafka, names.topic(DOCUMENTS), report):
        catalogue.take_submission(record)
    return catalogue
