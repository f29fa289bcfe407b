"""Holds chunks with their vectors and finds the nearest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from backends.errors import BackendRejectedError
from schemas.values import FloatArray, Passage

# Longest values of the collection's fields, in bytes of UTF-8; Milvus allows a field 65,535.
MAX_CHUNK_ID_BYTES = 128
MAX_DOCUMENT_ID_BYTES = 1_024
MAX_TENANT_BYTES = 256
MAX_TITLE_BYTES = 4_096
MAX_SOURCE_BYTES = 4_096
MAX_TEXT_BYTES = 65_535


class VectorStoreSettings(BaseModel):
    """Where Milvus is and how the collection is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field("", description="Address of Milvus; empty takes the local stack's.")
    token: SecretStr | None = Field(None, description="user:password or API key, where Milvus asks for one.")
    collection: str = Field("ragline", description="Collection that holds the chunks.")
    index_type: str = Field("HNSW", description="Milvus index type: HNSW, IVF_FLAT, FLAT or AUTOINDEX.")
    timeout_ms: int = Field(10_000, gt=0, description="Longest wait for one call.")


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the store keeps it. ``vector`` has shape (d,) and unit length."""

    chunk_id: str
    document_id: str
    tenant: str
    title: str
    source: str
    ordinal: int
    text: str
    vector: FloatArray


@dataclass(frozen=True, slots=True)
class Search:
    """One nearest-neighbour search within one tenant. ``vector`` has shape (d,) and unit length."""

    vector: FloatArray
    tenant: str
    top_k: int
    min_score: float


@dataclass(frozen=True, slots=True)
class Replaced:
    """What replacing a document's chunks changed."""

    added: int
    removed: int


class VectorStore(Protocol):
    """A collection of chunks. One that is missing (never prepared, or dropped by somebody) counts as empty: a search
    finds nothing, and ``replace`` creates it.

    All methods raise ``BackendUnavailableError`` while the store does not answer and
    ``BackendRejectedError`` when it refuses the request (a vector of another length, say).
    """

    async def prepare(self, dimensions: int) -> None:
        """Create the collection if it is missing; several callers may do so at once.

        Raises:
            BackendRejectedError: it exists with another vector length.
        """
        ...

    async def search(self, searches: Sequence[Search]) -> list[list[Passage]]:
        """Run many searches at once; one list per search, best first, scores are cosine similarities."""
        ...

    async def replace(self, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        """Make ``chunks`` the tenant's only chunks of the document; the next search sees it so, and none in between
        sees neither the old nor the new ones. A chunk that is there with the same ordinal is left as it is; repeating
        the call changes nothing; no chunks removes the document.
        """
        ...

    async def vectors(self, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        """The vectors, shape (d,), of those of the chunks that are in the collection, by ID."""
        ...

    async def flush(self) -> None:
        """Bring what was written into the index, which makes searches fast. It takes time: call it when a load goes
        quiet.
        """
        ...

    async def count(self) -> int:
        """Number of chunks in the collection."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def check(chunks: Sequence[StoredChunk], dimensions: int) -> None:
    """See that a collection of vectors of this length can hold the chunks.

    Raises:
        BackendRejectedError: a vector has another length, or a field is too long.
    """
    for chunk in chunks:
        if chunk.vector.shape != (dimensions,):
            msg = f"chunk {chunk.chunk_id} has a vector of shape {chunk.vector.shape}, not ({dimensions},)"
            raise BackendRejectedError(msg)
        for field, limit in _LIMITS.items():
            size = len(getattr(chunk, field).encode())
            if size > limit:
                msg = f"{field} of chunk {chunk.chunk_id[:40]!r} has {size} bytes, over the limit of {limit}"
                raise BackendRejectedError(msg)


_LIMITS = {
    "chunk_id": MAX_CHUNK_ID_BYTES,
    "document_id": MAX_DOCUMENT_ID_BYTES,
    "tenant": MAX_TENANT_BYTES,
    "title": MAX_TITLE_BYTES,
    "source": MAX_SOURCE_BYTES,
    "text": MAX_TEXT_BYTES,
}
