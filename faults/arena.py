"""What a fault has to work with during its round."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from random import Random

from faults.cluster import Cluster
from faults.fleet import Fleet
from faults.load import Load
from faults.systems import Systems
from faults.traps import Trap, TrapFolder
from topics.names import Namespace

_SPRING_TIMEOUT_S = 20
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault, from its beginning until whoever made it had undone it (monotonic seconds)."""

    began: float
    over: float


@dataclass(frozen=True, slots=True)
class Arena:
    """The cluster, the workers, the load and the seeded choices of one round; ``systems`` are those of real stages."""

    cluster: Cluster
    fleet: Fleet
    traps: TrapFolder
    names: Namespace
    load: Load
    rng: Random
    session_timeout_s: float
    systems: Systems | None = None
    injections: list[Injection] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def injection(self) -> AsyncIterator[None]:
        """A fault lasts as long as the block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.injections.append(Injection(began, time.monotonic()))

    async def sprung(self, trap: Trap) -> int | None:
        """Wait until a worker has sprung the trap; gives its process ID, or None where none came by."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SPRING_TIMEOUT_S):
                while (pid := self.traps.sprung_by(trap)) is None:  # noqa: ASYNC110 - a file, of another process
                    await asyncio.sleep(_LOOK_S)
                return pid
        return None


def recovery_s(injection: Injection, asked: Mapping[str, float], ended: Mapping[str, float]) -> float | None:
    """From a fault's beginning until its requests had ended; None while one has not.

    Its requests are those that were under way when it began, and those asked before it was over.
    """
    last = injection.began
    for key, at in asked.items():
        if at > injection.over:
            continue
        if key not in ended:
            return None
        last = max(last, ended[key])
    return last - injection.began
