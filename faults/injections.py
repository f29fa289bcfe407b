"""Every fault of the campaign: what is done to the workers, the brokers and the questions."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aiokafka import AIOKafkaProducer

from faults.arena import Arena
from faults.chain import STAGES, Wish
from faults.cluster import BROKERS
from faults.echo import BATCHED
from faults.traps import Action, Point

Script: TypeAlias = Callable[[Arena], Coroutine[None, None, None]]

_TIMES = 4
_CONCURRENT = tuple(stage for stage in STAGES if stage not in BATCHED)
_BROKER_AWAY_S = 6.0
_STORM_WAIT_S = 0.7
# One of the first to pass a point is caught: early enough that the load is not over, and not always the first.
_MOST_PASSES = 4
# A commit takes about that long: the kill comes before, during and after it.
_MOST_DELAY_MS = 6.0


async def nothing(_: Arena) -> None:
    """No fault: what the others are compared with, or one that lies in the questions alone."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault. ``wishes`` of the questions ask for ``wish``, each at some stage; ``repeated`` asks everything twice.

    A fault that is not meant for at_least_once has ``transactional``; one that must leave no duplicates even there has
    ``clean``; one that needs a disk to fill up has ``needs_disk``.
    """

    name: str
    about: str
    script: Script = nothing
    wish: Wish | None = None
    wishes: int = 0
    repeated: bool = False
    transactional: bool = False
    clean: bool = False
    needs_disk: bool = False


def _trapped(point: Point, action: Action = "kill", stages: Sequence[str] = STAGES) -> Script:
    """Workers of seeded stages come by a trap, spread over the load."""

    async def script(arena: Arena) -> None:
        rng = arena.rng
        plan = [
            (rng.choice(stages), rng.randrange(_MOST_PASSES), rng.uniform(0, _MOST_DELAY_MS)) for _ in range(_TIMES)
        ]
        for number, (stage, passes, delay_ms) in enumerate(plan):
            await arena.load.reached((number + 0.5) / _TIMES)
            trap = arena.traps.set(stage, point, action, passes=passes, delay_ms=delay_ms)
            if await arena.sprung(trap) is not None:
                async with arena.injection():
                    pass

    return script


async def _zombie(arena: Arena) -> None:
    """Workers stop with work in hand, lose their partitions, and go on."""
    points: list[Point] = ["before_send", "mid_commit", "after_send"]
    plan = [(point, arena.rng.choice(STAGES), arena.rng.randrange(_MOST_PASSES)) for point in points]

    async def stop_and_continue(number: int, point: Point, stage: str, passes: int) -> None:
        await arena.load.reached((number + 0.5) / len(plan))
        trap = arena.traps.set(stage, point, "stop", passes=passes, delay_ms=1.0)
        pid = await arena.sprung(trap)
        if pid is None:
            return
        async with arena.injection():
            await asyncio.sleep(arena.session_timeout_s + 2)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async with asyncio.TaskGroup() as group:
        for number, (point, stage, passes) in enumerate(plan):
            group.create_task(stop_and_continue(number, point, stage, passes))


async def _broker_kill(arena: Arena) -> None:
    for share, broker in zip((0.2, 0.6), arena.rng.sample(BROKERS, 2), strict=True):
        await arena.load.reached(share)
        await _kill_for_a_while(arena, broker)


async def _coordinator_kill(arena: Arena) -> None:
    stage = arena.rng.choice(STAGES)
    await arena.load.reached(0.3)
    await _kill_for_a_while(arena, await arena.cluster.coordinator(arena.names.group(stage)))


async def _transaction_coordinator_kill(arena: Arena) -> None:
    name = arena.rng.choice(arena.traps.transactional_ids())
    await arena.load.reached(0.3)
    await _kill_for_a_while(arena, await arena.cluster.coordinator(name, transactional=True))


async def _kill_for_a_while(arena: Arena, broker: int) -> None:
    async with arena.injection():
        await arena.cluster.kill_broker(broker)
        await asyncio.sleep(_BROKER_AWAY_S)
        await arena.cluster.start_broker(broker)
    await arena.cluster.wait_until_whole(arena.names)


async def _rolling_brokers(arena: Arena) -> None:
    await arena.load.reached(0.1)
    for broker in BROKERS:
        async with arena.injection():
            await arena.cluster.stop_broker(broker)
            await arena.cluster.start_broker(broker)
        await arena.cluster.wait_until_whole(arena.names)


async def _rolling_workers(arena: Arena) -> None:
    await arena.load.reached(0.05)
    for worker in arena.fleet.workers():
        async with arena.injection():
            await arena.fleet.restart(worker)
            await arena.fleet.wait_until_ready(worker)


async def _storm(arena: Arena) -> None:
    """Workers come and go faster than their groups settle."""
    plan = [arena.rng.choice(STAGES) for _ in range(2 * _TIMES)]
    added = []
    for number, stage in enumerate(plan):
        await arena.load.reached(0.8 * number / len(plan))
        async with arena.injection():
            added.append(arena.fleet.add(stage, static=False))
            await asyncio.sleep(_STORM_WAIT_S)
        if number % 2:
            async with arena.injection():
                await arena.fleet.remove(added.pop(0))
    for name in added:
        async with arena.injection():
            await arena.fleet.remove(name)


async def _slow(arena: Arena) -> None:
    worker = arena.rng.choice(arena.fleet.workers("generation"))
    await arena.load.reached(0.1)
    async with arena.injection():
        arena.traps.slow(worker, slow=True)
        await arena.load.reached(1)
        arena.traps.slow(worker, slow=False)


async def _duplicate_transactional_id(arena: Arena) -> None:
    """Somebody else starts a producer under a worker's transactional ID, which shuts the worker's out."""
    plan = arena.rng.sample(arena.traps.transactional_ids(), _TIMES)
    for number, name in enumerate(plan):
        await arena.load.reached((number + 0.5) / _TIMES)
        async with arena.injection():
            producer = AIOKafkaProducer(**arena.cluster.kafka.client_options(), transactional_id=name)
            await producer.start()
            await producer.begin_transaction()
            await producer.commit_transaction()
            await producer.stop()


async def _full_disk(arena: Arena) -> None:
    await arena.load.reached(0.2)
    async with arena.injection():
        await arena.cluster.fill_disk()
        await asyncio.sleep(_BROKER_AWAY_S)
        await arena.cluster.free_disk()
    await arena.cluster.wait_until_whole(arena.names)


ALL = (
    Fault("calm", "no fault", clean=True),
    Fault("kill before send", "SIGKILL of a worker when its outputs are ready", _trapped("before_send")),
    Fault("kill after send", "SIGKILL when an output has just been acknowledged", _trapped("after_send")),
    Fault("kill after offsets", "SIGKILL when the offsets have just been taken", _trapped("after_offsets")),
    Fault("kill in mid commit", "SIGKILL 0 to 6 ms after a commit was sent", _trapped("mid_commit")),
    Fault(
        "kill out of order",
        "SIGKILL after a commit, when later records are done and slow ones before them are not",
        _trapped("after_offsets", stages=_CONCURRENT),
        wish="slow",
        wishes=60,
    ),
    Fault("zombie", "SIGSTOP with work in hand, past the session timeout; SIGCONT", _zombie),
    Fault("broker killed", "SIGKILL of a broker, back after 6 s", _broker_kill),
    Fault("group coordinator killed", "SIGKILL of the broker that coordinates a group", _coordinator_kill),
    Fault(
        "transaction coordinator killed",
        "SIGKILL of the broker that coordinates a transactional ID",
        _transaction_coordinator_kill,
        transactional=True,
    ),
    Fault("rolling restart of brokers", "SIGTERM and start, one after the other", _rolling_brokers),
    Fault("rolling restart of workers", "SIGTERM and start, one after the other", _rolling_workers, clean=True),
    Fault("rebalance storm", "workers come and go every 0.7 s", _storm),
    Fault("slow consumer", "one of the generation workers takes 100 times as long", _slow),
    Fault("engine dead", "EngineDeadError ends the worker", _trapped("handling", "engine_dead", ["generation"])),
    Fault("full disk", "a broker's disk is full for 6 s, which ends the broker", _full_disk, needs_disk=True),
    Fault(
        "duplicate transactional ID",
        "another producer starts under a worker's transactional ID",
        _duplicate_transactional_id,
        transactional=True,
    ),
    Fault("poison", "records that a stage cannot handle", wish="poison", wishes=10, clean=True),
    Fault("oversized", "outputs larger than their topic takes", wish="huge", wishes=10, clean=True),
    Fault("worker-killing", "records that kill whoever handles them", wish="killing", wishes=2),
    Fault("flaky", "records that fail at the first attempt", wish="flaky", wishes=20, clean=True),
    Fault("asked twice", "every question is produced twice", repeated=True, clean=True),
)
BY_NAME: Mapping[str, Fault] = {fault.name: fault for fault in ALL}

# What four minutes have room for.
SHORT: Mapping[str, Sequence[str]] = {
    "exactly_once": (
        "kill before send",
        "kill after send",
        "kill after offsets",
        "kill in mid commit",
        "kill out of order",
        "zombie",
        "group coordinator killed",
        "oversized",
    ),
    "at_least_once": ("kill before send", "kill in mid commit", "zombie", "broker killed"),
}
