"""Turns text into vectors."""

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from schemas.values import FloatArray


class EmbedderSettings(BaseModel):
    """Which embedding model, and where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("all-MiniLM-L6-v2", description="Name that events and the collection carry.")
    path: str = Field("", description="Folder or hub name of the model; empty takes the one of the local stack.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    batch_size: int = Field(32, gt=0, description="Texts per forward pass.")


class Embedder(Protocol):
    """A sentence embedder. Vectors are unit length, so that a dot product is the cosine similarity."""

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        """Embed ``n`` texts, ``n`` may be 0: (n, d) float32, rows of unit length. Never blocks the event loop."""
        ...
