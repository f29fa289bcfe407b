"""Turns text into vectors."""

from collections.abc import Sequence
from typing import Literal, Protocol, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.values import FloatArray

EmbedderBackend: TypeAlias = Literal["torch", "onnx", "openvino"]
EmbedderPrecision: TypeAlias = Literal["float32", "bfloat16", "int8"]
# What each backend computes in.
PRECISIONS: dict[EmbedderBackend, tuple[EmbedderPrecision, ...]] = {
    "torch": ("float32", "bfloat16"),
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "bfloat16"),
}


class EmbedderSettings(BaseModel):
    """Which embedding model, and where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("all-MiniLM-L6-v2", description="Name that events and the collection carry.")
    path: str = Field("", description="Folder or hub name of the model; empty takes the one of the local stack.")
    dimensions: int = Field(384, gt=0, description="Length of the model's vectors, as the collection holds them.")
    query_prompt: str | None = Field(
        None, description="What the model reads before a question; unset takes the model's own prompt, if it has one."
    )
    passage_prompt: str | None = Field(
        None, description="What it reads before a passage; likewise. Another one makes other chunk IDs and vectors."
    )
    backend: EmbedderBackend = Field(
        "torch", description="What computes: torch, onnx (ONNX Runtime) or openvino; the latter two on the CPU."
    )
    precision: EmbedderPrecision = Field(
        "float32",
        description="What it computes in: float32; bfloat16 (torch, openvino), quicker where the processor has it; "
        "int8 (onnx), with weights quantised once.",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    batch_size: int = Field(32, gt=0, description="Most texts per forward pass.")
    threads: int = Field(
        1,
        ge=0,
        description="CPU threads of a forward pass; on shared cores more workers gain more than more threads. "
        "0 leaves the number to the backend.",
    )

    @model_validator(mode="after")
    def _check_backend(self) -> Self:
        if self.precision not in PRECISIONS[self.backend]:
            msg = f"{self.backend} computes in {' or '.join(PRECISIONS[self.backend])}, not in {self.precision}"
            raise ValueError(msg)
        if self.backend != "torch" and self.device not in {"auto", "cpu"}:
            msg = f"{self.backend} computes on the CPU; leave device, or take the backend torch"
            raise ValueError(msg)
        return self


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

    async def start(self) -> None:
        """Load the model; returns when it can embed.

        Raises:
            BackendRejectedError: there is no such model, or its vectors have another length than the settings say.
        """
        ...

    async def embed(self, texts: Sequence[str], prompt: str = "") -> FloatArray:
        """Embed ``n`` texts, ``n`` may be 0: (n, d) float32, rows of unit length. Never blocks the event loop; of a
        text longer than the model reads, only the beginning counts. ``prompt`` is read before each text, and no other
        prompt is.

        Raises:
            BackendUnavailableError: the device has no memory left for it now.
            BackendRejectedError: the model cannot read one of the texts.
        """
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...
