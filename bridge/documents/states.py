"""What has become of a document, told from what was noted when it was submitted and from how stages ended it. Pure."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from bridge.summary import Failure
from schemas.events import DocumentFailed, DocumentIndexed, DocumentSubmitted
from schemas.revision import document_revision
from schemas.values import Count, Value

DocumentStatus: TypeAlias = Literal["processing", "searchable", "failed", "removing"]

# What the chunking stage makes of a withdrawal.
WITHDRAWN_REVISION = document_revision(DocumentSubmitted(text=""))
# The clocks of bridge and workers differ by less than this.
_SKEW_MS = 5_000


class DocumentBody(Value):
    """A document as it stands; ``chunks`` is how many of it are searchable. An older revision stays searchable until
    the new one is.
    """

    document_id: str
    status: DocumentStatus
    chunks: Count = 0
    failure: Failure | None = None


class Submission(Value):
    """A note that a revision was submitted, at a Unix time in milliseconds."""

    revision: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a document ended last, at a Unix time in milliseconds."""

    revision: str
    at_ms: int
    chunks: int
    failure: Failure | None

    @classmethod
    def of(cls, event: DocumentIndexed | DocumentFailed, at_ms: int) -> "Ending":
        """What an event says."""
        if isinstance(event, DocumentIndexed):
            return cls(event.revision, at_ms, event.chunks, None)
        return cls(event.revision, at_ms, 0, Failure(stage=event.stage, code=event.code, message=event.message))

    def ends(self, submission: Submission) -> bool:
        """Whether it is the end of what was submitted; a stage that could not read a document knew no revision."""
        if self.failure is None:
            return self.revision == submission.revision
        return self.revision in {"", submission.revision} and self.at_ms >= submission.at_ms - _SKEW_MS


def state(document_id: str, submission: Submission | None, ending: Ending | None) -> DocumentBody | None:
    """The document as it stands; None if there is none, or no longer."""
    if ending is not None and (submission is None or ending.ends(submission)):
        if ending.failure is not None:
            return DocumentBody(document_id=document_id, status="failed", failure=ending.failure)
        if not ending.chunks:
            return None
        return DocumentBody(document_id=document_id, status="searchable", chunks=ending.chunks)
    if submission is None:
        return None
    withdrawn = submission.revision == WITHDRAWN_REVISION
    return DocumentBody(document_id=document_id, status="removing" if withdrawn else "processing")
