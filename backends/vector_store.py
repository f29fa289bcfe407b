"""Holds chunks with their vectors and finds the nearest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.values import FloatArray, Passage


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
    """A collection of chunks.

    All methods raise ``BackendUnavailableError`` while the store does not answer and
    ``BackendRejectedError`` when it refuses the request (a vector of another length, say).
    """

    async def prepare(self, dimensions: int) -> None:
        """Create the collection if it is missing.

        Raises:
            BackendRejectedError: it exists with another vector length.
        """
        ...

    async def search(self, searches: Sequence[Search]) -> list[list[Passage]]:
        """Run many searches at once; one list per search, best first, scores are cosine similarities."""
        ...

    async def replace(self, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        """Make ``chunks`` the document's only chunks; the next search sees it so. Chunks whose ID is already there are
        left as they are; repeating the call changes nothing; no chunks removes the document.
        """
        ...

    async def count(self) -> int:
        """Number of chunks in the collection."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
