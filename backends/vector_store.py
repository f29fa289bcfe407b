"""Holds chunks with their vectors and words, and finds those nearest to a question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from backends import metadata
from backends.errors import BackendRejectedError
from backends.filters import METADATA_PREFIX, Filter, Scalar
from schemas.values import FloatArray

# Longest values of the collection's fields, in bytes of UTF-8; Milvus allows a field 65,535.
MAX_CHUNK_ID_BYTES = 128
MAX_DOCUMENT_ID_BYTES = 1_024
MAX_TENANT_BYTES = 256
MAX_TITLE_BYTES = 4_096
MAX_SOURCE_BYTES = 4_096
MAX_TEXT_BYTES = 65_535
MAX_HEADING_BYTES = 1_024

NO_KEYWORD_SEARCH = "the collection is not searched by words"


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the store keeps it. ``vector`` has shape (d,) and unit length.

    ``page`` and ``last_page`` are where it begins and ends, if its document has pages, from 1; ``heading`` is what it
    stands under; ``metadata`` is its document's.
    """

    chunk_id: str
    document_id: str
    tenant: str
    title: str
    source: str
    ordinal: int
    text: str
    vector: FloatArray
    page: int | None = None
    last_page: int | None = None
    heading: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def details(self) -> dict[str, Scalar]:
        """What not every chunk has, by the names that filters have for it."""
        given = {"page": self.page, "last_page": self.last_page, "heading": self.heading or None}
        own = {METADATA_PREFIX + name: value for name, value in self.metadata.items()}
        return {name: value for name, value in given.items() if value is not None} | own

    def is_placed_as(self, other: "StoredChunk") -> bool:
        """Whether another chunk with the same ID has the same ordinal and details."""
        # Written out, for Python takes True and 1 for equal.
        return self.ordinal == other.ordinal and repr(self.details) == repr(other.details)


@dataclass(frozen=True, slots=True)
class Search:
    """One search within one tenant, for at most ``limit`` chunks.

    ``query`` is a vector of shape (d,) and unit length, or text: a vector finds the chunks whose vectors have the
    greatest cosine similarity, text those that share its rarest words (BM25 of the stems in title and text). Only
    chunks for which ``filter`` holds are looked at.
    """

    query: FloatArray | str
    tenant: str
    limit: int
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found; ``score`` is the cosine similarity (-1 to 1), or the BM25 score (above 0)."""

    chunk: StoredChunk
    score: float


@dataclass(frozen=True, slots=True)
class Replacement:
    """The chunks that a tenant's document consists of from now on."""

    tenant: str
    document_id: str
    chunks: Sequence[StoredChunk]


@dataclass(frozen=True, slots=True)
class Replaced:
    """What replacing a document's chunks changed. ``updated`` are those that stayed, at another place in the document
    or with other details.
    """

    added: int
    removed: int
    updated: int = 0


class VectorStore(Protocol):
    """A collection of chunks. One that is missing (never prepared, or dropped by somebody) counts as empty: a search
    finds nothing, and ``replace`` creates it.

    All methods raise ``BackendUnavailableError`` while the store does not answer and
    ``BackendRejectedError`` when it refuses the request (a vector of another length, say).
    """

    @property
    def keyword_search(self) -> bool:
        """Whether it searches by words; if not, such a search is refused."""
        ...

    async def prepare(self, dimensions: int) -> None:
        """Create the collection if it is missing; several callers may do so at once.

        Raises:
            BackendRejectedError: it exists with another vector length, or cannot be searched by words.
        """
        ...

    async def verify(self, dimensions: int) -> None:
        """See that the collection, if it is there, is one that ``prepare`` would take; changes nothing.

        Raises:
            BackendRejectedError: it is not.
        """
        ...

    async def search(self, searches: Sequence[Search]) -> list[list[Hit]]:
        """Run many searches at once; one list per search, best first, equal scores by chunk ID."""
        ...

    async def select(self, tenant: str, condition: Filter, limit: int) -> list[StoredChunk]:
        """At most ``limit`` of the tenant's chunks for which the condition holds, by document ID and ordinal.

        Which ones where there are more is not said.
        """
        ...

    async def replace(self, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        """Make ``chunks`` the tenant's only chunks of the document; the next search sees it so, and none in between
        sees neither the old nor the new ones. A chunk that is there with the same ordinal and details is left as it is;
        repeating the call changes nothing; no chunks removes the document.
        """
        ...

    async def replace_many(self, replacements: Sequence[Replacement]) -> list[Replaced]:
        """``replace`` for many documents in a few calls; no document may come twice. What each changed.

        If it raises, any of them may have been replaced; repeating the call makes up for the rest.
        """
        ...

    async def vectors(self, tenant: str, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        """The vectors, shape (d,), of those of the chunks that the tenant has in the collection, by ID."""
        ...

    async def flush(self) -> None:
        """Bring what was written into the index, which makes searches fast. It takes time: call it when a load goes
        quiet.
        """
        ...

    async def count(self, tenant: str | None = None) -> int:
        """Number of chunks in the collection, or of the tenant's in it."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def fields_of(details: Mapping[str, Scalar]) -> dict[str, Any]:
    """The fields of a chunk that has these ``details``."""
    own = {name: value for name, value in details.items() if name.startswith(METADATA_PREFIX)}
    placed = {name: value for name, value in details.items() if name not in own}
    return placed | {"metadata": {name.removeprefix(METADATA_PREFIX): value for name, value in own.items()}}


def check(chunks: Sequence[StoredChunk], dimensions: int) -> None:
    """See that a collection of vectors of this length can hold the chunks.

    Raises:
        BackendRejectedError: a vector has another length, or a field is too long.
    """
    for chunk in chunks:
        if chunk.vector.shape != (dimensions,):
            msg = f"chunk {chunk.chunk_id} has a vector of shape {chunk.vector.shape}, not ({dimensions},)"
            raise BackendRejectedError(msg)
        for name, limit in _LIMITS.items():
            size = len(getattr(chunk, name).encode())
            if size > limit:
                msg = f"{name} of chunk {chunk.chunk_id[:40]!r} has {size} bytes, over the limit of {limit}"
                raise BackendRejectedError(msg)
        try:
            metadata.checked(chunk.metadata)
        except metadata.MetadataError as error:
            msg = f"chunk {chunk.chunk_id[:40]!r} cannot be stored: {error}"
            raise BackendRejectedError(msg) from error


_LIMITS = {
    "chunk_id": MAX_CHUNK_ID_BYTES,
    "document_id": MAX_DOCUMENT_ID_BYTES,
    "tenant": MAX_TENANT_BYTES,
    "title": MAX_TITLE_BYTES,
    "source": MAX_SOURCE_BYTES,
    "text": MAX_TEXT_BYTES,
    "heading": MAX_HEADING_BYTES,
}
