"""How far a version of the index is, told from its documents and how they ended. Pure."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas.events import DocumentFailed, DocumentIndexed


@dataclass(frozen=True, slots=True)
class Submitted:
    """The last record of a document. ``revision`` None: its text travels by reference, and only its stage knows."""

    partition: int
    offset: int
    revision: str | None
    is_withdrawal: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a document ended last; ``failure`` is the reason if it did not become searchable."""

    revision: str
    tenant: str
    chunks: int
    failure: str | None = None

    @classmethod
    def of(cls, event: DocumentIndexed | DocumentFailed) -> "Ended":
        """What an event says."""
        if isinstance(event, DocumentIndexed):
            return cls(event.revision, event.tenant, event.chunks)
        return cls(event.revision, event.tenant, 0, f"{event.stage}: {event.message}")


class Tally:
    """Documents by ID: what was submitted last, and how it ended in this version.

    ``endings`` counts what was ever told of an end; ``chunks`` are those that should be there, by tenant.
    """

    def __init__(self) -> None:
        self._submitted: dict[str, Submitted] = {}
        # Of a document that failed, what was searchable before still is.
        self._searchable: dict[str, Ended] = {}
        self._ended: dict[str, Ended] = {}
        self._pending: dict[str, Submitted] = {}
        self._withdrawn = 0
        self.endings = 0
        self.chunks: Counter[str] = Counter()

    @property
    def records(self) -> int:
        """Documents that were submitted, those that were taken away again included."""
        return len(self._submitted)

    @property
    def pending(self) -> int:
        """Those of them whose last record has not ended."""
        return len(self._pending)

    @property
    def documents(self) -> int:
        """Documents that there should be."""
        return len(self._submitted) - self._withdrawn

    @property
    def searchable(self) -> int:
        """Documents with chunks."""
        return len(self._searchable)

    @property
    def failures(self) -> dict[str, str]:
        """Documents whose last revision failed, and why."""
        return {
            document: ended.failure
            for document, ended in self._ended.items()
            if ended.failure is not None and document in self._submitted and document not in self._pending
        }

    def submit(self, document: str, submitted: Submitted) -> None:
        """Note a record of ``rag.documents``."""
        before = self._submitted.get(document)
        self._withdrawn += submitted.is_withdrawal - (before is not None and before.is_withdrawal)
        self._submitted[document] = submitted
        self._settle(document)

    def end(self, document: str, ended: Ended) -> None:
        """Note how a document ended."""
        self.endings += 1
        self._ended[document] = ended
        if ended.failure is None:
            before = self._searchable.pop(document, None)
            if before:
                self.chunks[before.tenant] -= before.chunks
            if ended.chunks:
                self._searchable[document] = ended
                self.chunks[ended.tenant] += ended.chunks
        self._settle(document)

    def behind(self, ends: Mapping[int, int]) -> int:
        """How many documents before these offsets of ``rag.documents``, by partition, have not ended."""
        return sum(submitted.offset < ends.get(submitted.partition, 0) for submitted in self._pending.values())

    def orphans(self) -> Iterator[tuple[str, Ended]]:
        """Documents with chunks of which ``rag.documents`` knows nothing: they were deleted so long ago that it has
        forgotten that too.
        """
        for document, ended in self._searchable.items():
            if document not in self._submitted:
                yield document, ended

    def sample(self, count: int, rng: random.Random) -> list[tuple[str, Ended]]:
        """Some documents with chunks, each once."""
        documents = list(self._searchable)
        return [
            (document, self._searchable[document]) for document in rng.sample(documents, min(count, len(documents)))
        ]

    def is_searchable(self, document: str) -> bool:
        """Whether the document has chunks."""
        return document in self._searchable

    def is_still(self, document: str, ended: Ended) -> bool:
        """Whether the document has not ended anew, and is not about to."""
        return self._searchable.get(document) == ended and document not in self._pending

    def _settle(self, document: str) -> None:
        submitted, ended = self._submitted.get(document), self._ended.get(document)
        # A stage that could not read the document does not know its revision.
        if submitted and ended and (submitted.revision is None or ended.revision in {"", submitted.revision}):
            self._pending.pop(document, None)
        elif submitted:
            self._pending[document] = submitted
