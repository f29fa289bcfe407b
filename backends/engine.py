"""Generates text from a prompt, token by token."""

from collections.abc import AsyncGenerator, Sequence
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
    frequency_penalty: float = Field(
        0.5, ge=0, le=2, description="How much a token loses per time it was written; small models repeat themselves."
    )
    echo_delay_ms: int = Field(0, ge=0, description="Time the echo engine takes for a word.")


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

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Generate; ends after the delta with a ``finish_reason``. Closing the generator or cancelling the task that
        awaits it aborts the request in the engine. A stop string ends the answer and is not part of it.

        Raises:
            BackendUnavailableError: the engine does not answer now.
            BackendRejectedError: the engine refuses this prompt (too long, a bad parameter, a response format that it
                cannot follow).
            EngineDeadError: the engine is gone; only a new process helps.
        """
        ...

    async def close(self) -> None:
        """Stop the engine and free what it holds."""
        ...


class EngineDeadError(Exception):
    """The engine has died and will not answer again in this process."""


def create_engine(settings: EngineSettings) -> Engine:
    """Make the engine that the settings name; nothing is loaded before ``start``."""
    # Each engine brings its own libraries: a worker imports those of the one it runs.
    if settings.kind == "vllm":
        from backends.vllm_engine import VllmEngine  # noqa: PLC0415

        return VllmEngine(settings)
    if settings.kind == "transformers":
        from backends.transformers_engine import TransformersEngine  # noqa: PLC0415

        return TransformersEngine(settings)
    if settings.kind == "openai":
        from backends.openai_engine import OpenAIEngine  # noqa: PLC0415

        return OpenAIEngine(settings)
    from backends.echo_engine import EchoEngine  # noqa: PLC0415

    return EchoEngine(settings)
