"""Generates text from a prompt, token by token."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.values import ChatMessage, Lane, Sampling, Usage


class EngineSettings(BaseModel):
    """Which engine generates, and with which model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["vllm", "transformers", "openai", "echo"] = Field(
        "vllm",
        description="vllm runs in the worker; transformers is a slow, simple one; openai is any compatible endpoint; "
        "echo repeats the prompt, for tests.",
    )
    model: str = Field("SmolLM2-135M-Instruct", description="Name under which the model is served.")
    path: str = Field("", description="Folder or hub name of the model; empty takes the one of the local stack.")
    max_model_len: int = Field(4096, gt=0, description="Longest prompt plus answer, in tokens.")
    max_num_seqs: int = Field(16, gt=0, description="Sequences generated at once.")
    gpu_memory_utilization: float = Field(0.85, gt=0, le=1, description="Share of the GPU's memory for vLLM.")
    kv_cache_gib: int = Field(1, gt=0, description="Key-value cache of vLLM on a CPU, in GiB.")
    base_url: str = Field("http://127.0.0.1:8000/v1", description="Address of the OpenAI-compatible endpoint.")
    api_key: SecretStr | None = Field(None, description="Key of the OpenAI-compatible endpoint.")
    timeout_ms: int = Field(
        120_000, gt=0, description="Longest wait for the next token before the engine counts as hung."
    )


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt. ``id`` is unique among running requests of the engine."""

    id: str
    messages: Sequence[ChatMessage]
    sampling: Sampling
    lane: Lane = "interactive"


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer. The last one has a ``finish_reason`` and the ``usage``, and may have no text."""

    text: str
    finish_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None


class Engine(Protocol):
    """A text generation engine."""

    @property
    def model(self) -> str:
        """Name of the model it serves."""
        ...

    async def start(self) -> None:
        """Load the model; returns when it can generate."""
        ...

    def generate(self, request: GenerationRequest) -> AsyncIterator[Delta]:
        """Generate; ends after the delta with a ``finish_reason``. Closing the iterator or cancelling the task that
        awaits it aborts the request in the engine.

        Raises:
            BackendUnavailableError: the engine does not answer now.
            BackendRejectedError: the engine refuses this prompt (too long, a bad parameter).
            EngineDeadError: the engine is gone; only a new process helps.
        """
        ...

    async def close(self) -> None:
        """Stop the engine and free what it holds."""
        ...


class EngineDeadError(Exception):
    """The engine has died and will not answer again in this process."""
