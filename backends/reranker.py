"""Judges passages by reading them together with the question, which is slower than a search and sees more."""

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field


class CrossEncoderSettings(BaseModel):
    """Which cross-encoder, and where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field("", description="Folder or hub name of a sentence-transformers CrossEncoder.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    batch_size: int = Field(32, gt=0, description="Passages per forward pass.")
    threads: int = Field(1, ge=0, description="CPU threads of a forward pass; 0 leaves the number to torch.")


class Reranker(Protocol):
    """Scores passages for a question; what a score means is the model's own, greater is better."""

    async def start(self) -> None:
        """Load the model; returns when it can score.

        Raises:
            BackendRejectedError: there is no such model, or it does not score pairs of texts.
        """
        ...

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """One finite score per passage, which does not depend on the other passages. Never blocks the event loop; of a
        passage longer than the model reads, only the beginning counts.

        Raises:
            BackendUnavailableError: the device has no memory left for it now.
            BackendRejectedError: the model cannot read one of the texts.
        """
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...
