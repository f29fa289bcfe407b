"""Every fault of the campaign: what is done to the workers, the brokers and the questions."""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaProducer

from faults.arena import Arena
from faults.chain import STAGES
from faults.cluster import BROKERS
from faults.echo import BATCHED
from faults.fault import TIMES, Fault, suspended, trapped
from faults.outages import REAL

_CONCURRENT = tuple(stage for stage in STAGES if stage not in BATCHED)
_BROKER_AWAY_S = 6.0
_STAY_S = 0.7


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
    """Workers come and go, each with two rebalances, faster than their groups settle."""
    plan = [arena.rng.choice(STAGES) for _ in range(2 * TIMES)]

    async def come_and_go(number: int, stage: str) -> None:
        await arena.load.reached(0.8 * number / len(plan))
        async with arena.injection():
            name = arena.fleet.add(stage, static=False)
            await arena.fleet.wait_until_ready(name)
            await asyncio.sleep(_STAY_S)
            await arena.fleet.remove(name)

    async with asyncio.TaskGroup() as group:
        for number, stage in enumerate(plan):
            group.create_task(come_and_go(number, stage))


async def _slow(arena: Arena) -> None:
    worker = arena.rng.choice(arena.fleet.workers("generation"))
    await arena.load.reached(0.1)
    async with arena.injection():
        arena.traps.slow(worker, slow=True)
        await arena.load.reached(1)
        arena.traps.slow(worker, slow=False)


async def _duplicate_transactional_id(arena: Arena) -> None:
    """Somebody else starts a producer under a worker's transactional ID, which shuts the worker's out."""
    plan = arena.rng.sample(arena.traps.transactional_ids(), TIMES)
    for number, name in enumerate(plan):
        await arena.load.reached((number + 0.5) / TIMES)
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


ECHO = (
    Fault("calm", "no fault", clean=True),
    Fault("kill before send", "SIGKILL of a worker when its outputs are ready", trapped("before_send")),
    Fault("kill after send", "SIGKILL when an output has just been acknowledged", trapped("after_send")),
    Fault("kill after offsets", "SIGKILL when the offsets have just been taken", trapped("after_offsets")),
    Fault("kill in mid commit", "SIGKILL 0 to 6 ms after a commit was sent", trapped("mid_commit")),
    Fault(
        "kill out of order",
        "SIGKILL after a commit, when later records are done and slow ones before them are not",
        # No stage twice: with a slow record at its head a partition would seem to kill its owners.
        trapped("after_offsets", stages=_CONCURRENT, times=len(_CONCURRENT)),
        wish="slow",
        wishes=60,
        wish_stages=_CONCURRENT,
    ),
    Fault(
        "zombie",
        "SIGSTOP with work in hand, past the session timeout; SIGCONT",
        suspended(["before_send", "mid_commit", "after_send"]),
    ),
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
    Fault("rebalance storm", "workers join and leave, several at a time", _storm),
    Fault("slow consumer", "one of the generation workers takes 100 times as long", _slow),
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
ALL = (*ECHO, *REAL)
BY_NAME: Mapping[str, Fault] = {fault.name: fault for fault in ALL}

# What four minutes have room for.
SHORT: Mapping[str, Sequence[str]] = {
    "exactly_once": (
        "kill before send",
        "kill after offsets",
        "kill in mid commit",
        "kill out of order",
        "zombie",
        "group coordinator killed",
        "redis gone",
        "milvus gone",
        "engine hung",
    ),
    "at_least_once": ("kill after send", "zombie", "oversized"),
}
