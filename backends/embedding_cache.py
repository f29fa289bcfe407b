"""A cache of embeddings: what was embedded once need not be again."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field


class EmbeddingCacheSettings(BaseModel):
    """Whose embeddings are kept in Redis, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: tuple[Literal["embedding", "chunk-embedding"], ...] = Field(
        (), description="Stages that use the cache: embedding (questions), chunk-embedding (chunks); empty for none."
    )
    url: str = Field("", description="Address of Redis or Valkey; empty takes redis.url.")
    ttl_s: int = Field(86_400, gt=0, description="How long an embedding is kept, in seconds.")
    timeout_ms: int = Field(
        100, gt=0, description="Longest wait for one call; then texts are embedded as if there were no cache."
    )


class EmbeddingCache(Protocol):
    """Values of some kilobytes by key, each forgotten after a time."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """What is kept under each key.

        Raises:
            BackendUnavailableError: it does not answer.
        """
        ...

    async def put(self, values: Mapping[str, bytes]) -> None:
        """Keep values; one that was kept under the same key is replaced.

        Raises:
            BackendUnavailableError: it does not answer; some may be kept.
        """
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...
