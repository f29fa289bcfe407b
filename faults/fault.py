"""What a fault is, and the kind of fault that waits in a worker's way."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeAlias

from faults.arena import Arena
from faults.chain import STAGES, Wish
from faults.traps import Action, Point

Script: TypeAlias = Callable[[Arena], Coroutine[None, None, None]]

TIMES = 4
# One of the first to pass a point is caught: early enough that the load is not over, and not always the first.
_MOST_PASSES = 4
# A commit takes about that long: the kill comes before, during and after it.
_MOST_DELAY_MS = 6.0
_LATE_S = 2.0


async def nothing(_: Arena) -> None:
    """No fault: what the others are compared with, or one that lies in the questions alone."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault. ``wishes`` of the questions ask for ``wish``, each at one of ``wish_stages``; with ``repeated``
    everything is asked twice.

    With ``real`` it befalls the real stages, else the echoes. A fault that is not meant for at_least_once has
    ``transactional``; one that must leave no duplicates even there has ``clean``; one that needs a disk to fill up has
    ``needs_disk``; one that empties the live view has ``blinding``; one after which a worker goes on that was taken for
    dead has ``waking``.
    """

    name: str
    about: str
    script: Script = nothing
    wish: Wish | None = None
    wishes: int = 0
    wish_stages: tuple[str, ...] = STAGES
    repeated: bool = False
    real: bool = False
    transactional: bool = False
    clean: bool = False
    needs_disk: bool = False
    blinding: bool = False
    waking: bool = False


def trapped(
    point: Point,
    action: Action = "kill",
    stages: Sequence[str] = STAGES,
    *,
    times: int = TIMES,
    most_passes: int = _MOST_PASSES,
) -> Script:
    """Workers of seeded stages come by a trap, spread over the load.

    The stages take turns: a record must not count as one that kills its workers because the harness did.
    """

    async def script(arena: Arena) -> None:
        rng = arena.rng
        turns = islice(cycle(rng.sample(stages, len(stages))), times)
        plan = [(stage, rng.randrange(most_passes), rng.uniform(0, _MOST_DELAY_MS)) for stage in turns]
        for number, (stage, passes, delay_ms) in enumerate(plan):
            await arena.load.reached((number + 0.5) / times)
            trap = arena.traps.set(stage, point, action, passes=passes, delay_ms=delay_ms)
            if await arena.sprung(trap) is not None:
                async with arena.injection():
                    pass

    return script


def suspended(points: Sequence[Point], stages: Sequence[str] = STAGES, *, most_passes: int = _MOST_PASSES) -> Script:
    """Workers of seeded stages stop with work in hand, at each of the points, lose their partitions, and go on."""

    async def script(arena: Arena) -> None:
        turns = cycle(arena.rng.sample(stages, len(stages)))
        plan = [(point, next(turns), arena.rng.randrange(most_passes)) for point in points]

        async def stop_and_continue(number: int, point: Point, stage: str, passes: int) -> None:
            await arena.load.reached((number + 0.5) / len(plan))
            trap = arena.traps.set(stage, point, "stop", passes=passes, delay_ms=1.0)
            pid = await arena.sprung(trap)
            if pid is None:
                return
            async with arena.injection():
                await asyncio.sleep(arena.session_timeout_s + _LATE_S)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        async with asyncio.TaskGroup() as group:
            for number, (point, stage, passes) in enumerate(plan):
                group.create_task(stop_and_continue(number, point, stage, passes))

    return script
