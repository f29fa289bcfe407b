"""What the supervisor runs: one process of the local stack, described."""

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

# Tells whether the process is ready now. An OSError or a TimeoutError means not yet.
Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process.

    ``env`` is added to the supervisor's own environment. ``stop_grace_s`` is the time between ``stop_signal`` and
    SIGKILL. ``view`` says which of its log lines the terminal shows; the file has them all.
    """

    name: str
    stage: str
    argv: tuple[str, ...]
    ready: Probe
    env: Mapping[str, str] = field(default_factory=dict)
    http_port: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 10.0
    view: Literal["all", "warnings", "errors"] = "all"
