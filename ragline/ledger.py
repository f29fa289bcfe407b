"""What is known of an ingest while it runs: pure, without I/O."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import uuid_utils

from backends.metadata import MetadataError, checked
from ragline.corpus import Document, Item, Skipped, Withdrawal
from schemas import codec
from schemas.events import DocumentFailed, DocumentIndexed, DocumentSubmitted, DocumentWithdrawn
from schemas.headers import Headers
from schemas.revision import document_revision
from topics.specs import DOCUMENTS, MIB

# A record's and its batch's own fields.
_RECORD_OVERHEAD_BYTES = 1024
# A control character in JSON.
_MOST_BYTES_PER_CHAR = 6
_OTHER_FIELDS_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that a stage could not make searchable."""

    document_id: str
    stage: str
    reason: str


@dataclass(slots=True)
class IngestSummary:
    """What has become of the documents. While the ingest runs, ``pending`` of those ``submitted`` are under way."""

    submitted: int = 0
    indexed: int = 0
    unchanged: int = 0
    chunks_added: int = 0
    chunks_removed: int = 0
    chunks_updated: int = 0
    failed: list[Failure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def pending(self) -> int:
        """Documents submitted and neither indexed nor failed."""
        return self.submitted - self.indexed - self.unchanged - len(self.failed)

    @property
    def ok(self) -> bool:
        """Whether everything that should be searchable is."""
        return self.pending == 0 and not self.failed and not any(item.is_failure for item in self.skipped)


@dataclass(frozen=True, slots=True)
class Submission:
    """A document as a record; of one that is to be taken away ``value`` is None."""

    document_id: str
    revision: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @property
    def size(self) -> int:
        """Bytes that the record takes of its topic's limit."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.key) + len(self.value or b"") + headers + _RECORD_OVERHEAD_BYTES


class Ledger:
    """Knows which documents are under way, and counts how they end."""

    def __init__(self) -> None:
        self.summary = IngestSummary()
        self._revisions: dict[str, str] = {}
        self._pending: set[str] = set()

    def admit(self, item: Item, tenant: str | None, dataref: str | None = None) -> Submission | None:
        """Give back the record to send for a document, or note why there is none.

        With a ``dataref``, which says where its text is, the record goes without the text.
        """
        if isinstance(item, Document):
            try:
                checked(item.metadata)
            except MetadataError as error:
                item = Skipped(item.id, str(error))
        if isinstance(item, Skipped):
            self.summary.skipped.append(item)
            return None
        record = submission(item, tenant, dataref)
        revision = record.revision
        reason = None
        if record.size > DOCUMENTS.max_message_bytes:
            limit = DOCUMENTS.max_message_bytes / MIB
            reason = (
                f"its record has {record.size / MIB:.1f} MiB, more than the {limit:.0f} MiB allowed; split it, or set "
            )
            reason += "references.write_to, and it travels beside its record"
        elif self._revisions.get(item.id, revision) != revision:
            reason = "another document with this ID came before it in this ingest"
        if reason:
            self.summary.skipped.append(Skipped(item.id, reason))
            return None
        if item.id in self._revisions:
            self.summary.skipped.append(Skipped(item.id, "the same document came before it", is_failure=False))
            return None
        self._revisions[item.id] = revision
        self._pending.add(item.id)
        self.summary.submitted += 1
        return record

    def conclude(self, event: DocumentIndexed | DocumentFailed) -> bool:
        """Take note of how a document ended; False if it is none of ours, or an older revision."""
        # A stage that could not read the document does not know its revision.
        of_ours = event.revision in {"", self._revisions.get(event.document_id)}
        if event.document_id not in self._pending or not of_ours:
            return False
        self._pending.remove(event.document_id)
        match event:
            case DocumentFailed():
                self.summary.failed.append(Failure(event.document_id, event.stage, event.message))
            case DocumentIndexed(added=0, removed=0, updated=0):
                self.summary.unchanged += 1
            case DocumentIndexed():
                self.summary.indexed += 1
                self.summary.chunks_added += event.added
                self.summary.chunks_removed += event.removed
                self.summary.chunks_updated += event.updated
        return True


def may_be_too_large(item: Document) -> bool:
    """Whether the document's record might be over the limit; a quick look, which errs on this side."""
    return len(item.text) * _MOST_BYTES_PER_CHAR + _OTHER_FIELDS_BYTES > DOCUMENTS.max_message_bytes


def submission(item: Document | Withdrawal, tenant: str | None, dataref: str | None = None) -> Submission:
    """Make the record for a document. Each has an ID of its own: sent again, a document is looked at again."""
    event: DocumentSubmitted | DocumentWithdrawn = DocumentWithdrawn()
    # What the chunking stage makes of a withdrawal.
    content = DocumentSubmitted(text="")
    if isinstance(item, Document):
        event = content = DocumentSubmitted(
            text=item.text,
            title=item.title,
            source=item.source,
            tenant=tenant,
            metadata=dict(item.metadata),
            page_starts=item.page_starts,
        )
        if dataref:
            event = content.model_copy(update={"text": ""})
    else:
        tenant = item.tenant
    headers = Headers(
        id=str(uuid_utils.uuid7()),
        type=event.TYPE,
        source="ragline/ingest",
        time=datetime.now(UTC),
        subject=item.id,
        tenant=tenant,
        dataref=dataref,
    )
    return Submission(item.id, document_revision(content), item.id.encode(), codec.encode(event), headers.encode())
