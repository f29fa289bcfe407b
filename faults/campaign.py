"""Runs faults one after the other against live workers, and has the oracle judge each round."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

from aiokafka import AIOKafkaProducer

from faults.arena import Arena, recovery_s
from faults.chain import STAGES, ask, has_wish
from faults.cluster import Cluster
from faults.fault import Fault
from faults.fleet import Fleet, FleetOptions
from faults.inspection import count_records, read_committed_offsets, read_ends, wait_until_settled
from faults.journal import Journal
from faults.load import Asked, Load
from faults.mutants import Mutant
from faults.oracle import Finding, Verdict, judge
from faults.real import REAL_STAGES
from faults.small_disk import SmallDisk
from faults.streams import judge_streams, read_streams
from faults.systems import Systems
from faults.traps import TrapFolder
from infra.local.report import Report
from topics.admin import apply_topics
from topics.names import Namespace
from topics.settings import TopicSettings
from workers.projector import ProjectorStage
from workers.runtime.settings import RuntimeSettings
from workers.settings import QuerySettings

Guarantee: TypeAlias = Literal["exactly_once", "at_least_once"]

PARTITIONS = 4
WORKERS_PER_STAGE = 2
SESSION_TIMEOUT_MS = 5_000
_END_TIMEOUT_S = 60
_SETTLE_TIMEOUT_S = 30
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Round:
    """One fault under one guarantee, and what came of it. ``recovery_s`` has one entry per injection.

    ``asked_for`` is how many questions asked for the fault, or were asked twice. ``deaths`` are workers that ended
    without having been killed by the harness; ``later_attempts`` answers that were not given at the first attempt;
    ``streams`` the token streams that were judged.
    """

    fault: Fault
    guarantee: Guarantee
    verdict: Verdict
    recovery_s: tuple[float | None, ...]
    asked_for: int
    deaths: int
    later_attempts: int = 0
    streams: int = 0

    @property
    def kept(self) -> bool:
        """Whether the guarantee held, and no worker ended of what must not end it."""
        strict = _is_strict(self.guarantee, self.fault)
        survived = not (self.fault.clean and self.deaths)
        return self.verdict.keeps(exactly_once=strict) and None not in self.recovery_s and survived


@dataclass(frozen=True, slots=True)
class Plan:
    """How a round is run: so many requests, at so many a second, with choices drawn from the seed."""

    requests: int
    rate: float
    seed: int


def questions(fault: Fault, prefix: str, count: int, rng: Random) -> list[Asked]:
    """The questions of a round. What is asked twice comes again soon after."""
    wanted = frozenset(rng.sample(range(count), min(fault.wishes, count)))
    asked = [
        Asked(
            f"{prefix}-{n:05d}",
            ask(f"question {n}", fault.wish, rng.choice(fault.wish_stages)) if n in wanted else f"question {n}",
        )
        for n in range(count)
    ]
    return [again for one in asked for again in (one, one)] if fault.repeated else asked


@contextlib.asynccontextmanager
async def running_cluster(data_dir: Path, small_disk: SmallDisk | None, report: Report) -> AsyncIterator[Cluster]:
    """Three brokers in a folder of their own, gone at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="ragline-faults-") as folder:
        cluster = Cluster(Path(folder), data_dir, small_disk, report)
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.close()


class Campaign:
    """The workers and topics of one guarantee, in a namespace of their own. With ``systems`` the stages are real."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        guarantee: Guarantee,
        plan: Plan,
        folder: Path,
        report: Report,
        *,
        systems: Systems | None = None,
        mutant: Mutant | None = None,
    ) -> None:
        self._cluster = cluster
        self._names = Namespace(namespace)
        self._guarantee = guarantee
        self._plan = plan
        self._report = report
        self._systems = systems
        self._stages = REAL_STAGES if systems else STAGES
        self._traps = TrapFolder(folder / namespace / "traps")
        logs = folder / namespace / "logs"
        logs.mkdir(parents=True)
        self._fleet = Fleet(
            FleetOptions(
                bootstrap_servers=cluster.kafka.bootstrap_servers,
                namespace=namespace,
                traps=self._traps.folder,
                logs=logs,
                runtime=_runtime(guarantee),
                systems=systems.addresses if systems else None,
                mutant=mutant,
            )
        )
        self._journal = Journal(cluster.kafka, self._names)

    async def run(self, faults: Sequence[Fault]) -> list[Round]:
        """Run the faults in turn."""
        topics = TopicSettings(partitions=PARTITIONS, replication_factor=3)
        await apply_topics(self._cluster.kafka, topics, self._names)
        producer = AIOKafkaProducer(**self._cluster.kafka.client_options(), enable_idempotence=True)
        await producer.start()
        self._report(f"{self._guarantee}: topics are there, starting workers")
        reading = asyncio.create_task(self._journal.run())
        try:
            for stage in self._stages:
                for _ in range(WORKERS_PER_STAGE):
                    self._fleet.add(stage)
            for worker in self._fleet.workers():
                await self._fleet.wait_until_ready(worker)
            return [await self._round(fault, producer) for fault in faults]
        finally:
            await self._fleet.close()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await producer.stop()

    async def count_aborted(self) -> int:
        """Records that were produced and never committed: evidence that attempts were cut off."""
        ends = await read_ends(self._cluster, self._names, _SETTLE_TIMEOUT_S)
        counts = await count_records(self._cluster, self._names, ends)
        return counts.total() - len(self._journal.records)

    async def _round(self, fault: Fault, producer: AIOKafkaProducer) -> Round:
        started = time.monotonic()
        if fault.clean:
            # What a rebalance of the round before has done twice must not be laid to this fault.
            members = {self._names.group(stage): len(self._fleet.workers(stage)) for stage in self._stages}
            await wait_until_settled(self._cluster, members)
        rng = Random(f"{self._plan.seed}/{self._guarantee}/{fault.name}")  # noqa: S311 - repeatable, not secret
        asked = questions(fault, fault.name.replace(" ", "-"), self._plan.requests, rng)
        load = Load(producer, self._names, asked, self._plan.rate)
        arena = Arena(
            self._cluster, self._fleet, self._traps, self._names, load, rng, SESSION_TIMEOUT_MS / 1000, self._systems
        )
        self._fleet.deaths.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run())
            group.create_task(fault.script(arena))
        self._traps.clear()
        await self._journal.wait_until_ended(load.asked, _END_TIMEOUT_S)
        verdict = await self._judge(frozenset(load.asked))
        watched: frozenset[str] = frozenset()
        if self._systems is not None:
            blind_until = max((made.over for made in arena.injections), default=0.0) if fault.blinding else 0.0
            watched = frozenset(key for key, at in load.asked.items() if at > blind_until)
            strict = _is_strict(self._guarantee, fault)
            found = await self._judge_streams(self._systems, watched, exactly_once=strict, waking=fault.waking)
            verdict = replace(verdict, findings=(*verdict.findings, *found))
        made = Round(
            fault,
            self._guarantee,
            verdict,
            tuple(recovery_s(injection, load.asked, self._journal.ended) for injection in arena.injections),
            len(asked) - len(load.asked) or sum(has_wish(one.question) for one in asked),
            sum(death.status > 0 for death in self._fleet.deaths),
            sum(record.attempt > 1 for record in self._journal.of(load.asked)),
            len(watched),
        )
        self._say(made, time.monotonic() - started)
        return made

    async def _judge(self, keys: frozenset[str]) -> Verdict:
        """Judge once everything is committed, or at the latest when there was time enough for that."""
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while True:
            ends = await read_ends(self._cluster, self._names, max(0.0, deadline - time.monotonic()))
            await self._journal.wait_until_read(ends.stable, _SETTLE_TIMEOUT_S)
            committed = await read_committed_offsets(self._cluster, self._names, self._stages)
            watchers = {ProjectorStage.name: ProjectorStage.consumes} if self._systems else {}
            verdict = judge(self._journal.of(keys), committed, ends.open, watchers)
            if not any(verdict.behind.values()) or time.monotonic() > deadline:
                return verdict
            await asyncio.sleep(_LOOK_S)

    async def _judge_streams(
        self, systems: Systems, keys: frozenset[str], *, exactly_once: bool, waking: bool
    ) -> list[Finding]:
        """Everything is committed by now, so the projector has shown everything."""
        tenant = QuerySettings().default_tenant
        streams = await read_streams(systems.addresses.live_view, self._names, tenant, keys)
        return judge_streams(self._journal.of(keys), streams, exactly_once=exactly_once, waking=waking)

    def _say(self, made: Round, took_s: float) -> None:
        verdict = made.verdict
        recovered = [seconds for seconds in made.recovery_s if seconds is not None]
        worst = f", recovered in {max(recovered):.1f} s at most" if recovered else ""
        self._report(
            f"{made.guarantee}, {made.fault.name}: {verdict.requests} requests, {len(made.recovery_s)} injected, "
            f"{verdict.count('lost')} lost, {verdict.count('duplicated')} duplicated{worst} "
            f"({took_s:.0f} s){'' if made.kept else ' NOT KEPT'}"
        )
        if not made.kept:
            for finding in verdict.findings[:10]:
                self._report(f"  {finding}")
            for stage, behind in verdict.behind.items():
                if behind:
                    self._report(f"  {stage} is {behind} records behind")
            if made.fault.clean and made.deaths:
                self._report(f"  {made.deaths} workers ended by themselves")
            for partition in verdict.open:
                self._report(f"  a transaction on {partition} is still open")


def _is_strict(guarantee: Guarantee, fault: Fault) -> bool:
    """Whether nothing may be done twice."""
    return guarantee == "exactly_once" or fault.clean


def _runtime(guarantee: Guarantee) -> RuntimeSettings:
    """Everything quicker than usual, so that a fault is noticed and over within seconds."""
    return RuntimeSettings.model_validate(
        {
            "guarantee": guarantee,
            "session_timeout_ms": SESSION_TIMEOUT_MS,
            "heartbeat_interval_ms": 1_000,
            "max_attempts": 3,
            "backoff_initial_ms": 50,
            "backoff_max_ms": 2_000,
            # What a worker that is killed has begun: a record is suspected only of deaths close to each other.
            "max_outstanding": 16,
            "drain_timeout_ms": 10_000,
        }
        | ({"transaction_timeout_ms": SESSION_TIMEOUT_MS - 1_000} if guarantee == "exactly_once" else {})
    )
