"""One measurement each: topics of its own, a process under measurement, figures out."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from backends.kafka import KafkaSettings
from bench.figures import percentile
from bench.hops_options import WAY, Guarantee, HopsOptions
from bench.hops_process import Peer, Subject, hops_process, peer_process
from bench.hops_records import Sink, first_append_ms, keys, load, pace, reading
from topics.admin import apply_topics
from topics.names import Namespace
from topics.settings import TopicSettings
from topics.specs import CONTROL

_TIMEOUT_S = 300.0
_WATCH_S = 0.5


@dataclass(frozen=True, slots=True)
class Variant:
    """What runs: our stages or the raw loop, and how."""

    kind: str
    guarantee: Guarantee = "at_least_once"
    codec: str = "bytes"


@dataclass(frozen=True, slots=True)
class Speed:
    """``rate`` in requests a second from end to end; ``cpu_us`` of the process under measurement for one hop of one."""

    rate: float
    cpu_us: float
    p50_ms: float
    p95_ms: float
    duplicates: int


@dataclass(frozen=True, slots=True)
class Load:
    """Requests to drain as a backlog, then requests at a steady rate a second, of which the first are not counted."""

    backlog: int
    paced: int
    rate: float
    uncounted: int


class Runs:
    """Measurements on one broker."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def chain(self, variant: Variant, stages: int, partitions: int, work: Load) -> Speed:
        """Drain a backlog through the stages, then answer requests at a steady rate."""
        async with self._topics(variant, stages, partitions) as (options, producer):
            names = Namespace(options.namespace)
            source, first, last = (names.topic(WAY[number]) for number in (0, 1, stages))
            await load(producer, source, keys(0, work.backlog))
            async with hops_process(options) as subject, reading(self._kafka, last, partitions) as sink:
                used_s = subject.cpu_s()
                subject.begin()
                await self._drain(subject, sink, work.backlog)
                used_s = subject.cpu_s() - used_s
                drained_ms = sink.last_ms - await first_append_ms(self._kafka, first, partitions)
                latencies_ms = await self._latencies_ms(producer, source, sink, work) if work.paced else [0.0]
        return Speed(
            rate=work.backlog * 1000 / drained_ms,
            cpu_us=used_s * 1_000_000 / work.backlog / stages,
            p50_ms=percentile(latencies_ms, 0.5),
            p95_ms=percentile(latencies_ms, 0.95),
            duplicates=sink.duplicates,
        )

    async def peer_hop(self, peer: Peer, count: int) -> float:
        """Records a second through one hop of a peer, from its first output to its last."""
        async with self._topics(Variant("raw"), 1, 1) as (options, producer):
            names = Namespace(options.namespace)
            source, target = names.topic(WAY[0]), names.topic(WAY[1])
            await load(producer, source, keys(0, count))
            arguments = (self._kafka.bootstrap_servers, names.group("peer"), source, target)
            async with peer_process(peer, *arguments) as subject, reading(self._kafka, target, 1) as sink:
                await self._drain(subject, sink, count)
        return (count - 1) * 1000 / max(sink.last_ms - sink.first_ms, 1)

    async def head_of_line_s(self, kind: str, count: int, slow_every: int, slow_ms: int) -> float:
        """Seconds from first to last output, where one record of ``slow_every`` takes ``slow_ms``; one partition."""
        async with self._topics(Variant(kind), 1, 1) as (options, producer):
            names = Namespace(options.namespace)
            await load(producer, names.topic(WAY[0]), keys(0, count, slow_every))
            slow = options.model_copy(update={"slow_ms": slow_ms})
            async with hops_process(slow) as subject, reading(self._kafka, names.topic(WAY[1]), 1) as sink:
                subject.begin()
                await self._drain(subject, sink, count)
        return (sink.last_ms - sink.first_ms) / 1000

    async def rss_growth_mb(self, warm_up: int, count: int) -> float:
        """How far our process grows over ``count`` records of one hop, after ``warm_up`` of them."""
        async with self._topics(Variant("ragline"), 1, 1) as (options, producer):
            names = Namespace(options.namespace)
            source = names.topic(WAY[0])
            await load(producer, source, keys(0, warm_up))
            async with hops_process(options) as subject, reading(self._kafka, names.topic(WAY[1]), 1) as sink:
                subject.begin()
                await self._drain(subject, sink, warm_up)
                before_mb = subject.rss_mb()
                await load(producer, source, keys(warm_up, count))
                await self._drain(subject, sink, warm_up + count)
                return subject.rss_mb() - before_mb

    async def _drain(self, subject: Subject, sink: Sink, count: int) -> None:
        for _ in range(int(_TIMEOUT_S / _WATCH_S)):
            subject.check()
            try:
                await sink.wait_for(count, _WATCH_S)
            except TimeoutError:
                continue
            return
        raise TimeoutError(f"{len(sink.arrived)} of {count} records came through within {_TIMEOUT_S:.0f} s")

    async def _latencies_ms(self, producer: AIOKafkaProducer, source: str, sink: Sink, work: Load) -> list[float]:
        wanted = keys(work.backlog, work.paced)
        async with asyncio.TaskGroup() as group:
            pacing = group.create_task(pace(producer, source, wanted, work.rate))
            await sink.wait_for(work.backlog + work.paced, _TIMEOUT_S)
        sent = pacing.result()
        return [(sink.arrived[key] - sent[key]) * 1000 for key in wanted[work.uncounted :]]

    @contextlib.asynccontextmanager
    async def _topics(
        self, variant: Variant, stages: int, partitions: int
    ) -> AsyncIterator[tuple[HopsOptions, AIOKafkaProducer]]:
        """Topics of their own for a run, and a producer for its load."""
        options = HopsOptions.model_validate(
            {
                "kind": variant.kind,
                "bootstrap_servers": self._kafka.bootstrap_servers,
                "namespace": f"bench-{uuid.uuid4().hex[:12]}",
                "guarantee": variant.guarantee,
                "stages": stages,
                "partitions": partitions,
                "codec": variant.codec,
            }
        )
        names = Namespace(options.namespace)
        specs = [*WAY[: stages + 1], CONTROL]
        await apply_topics(self._kafka, TopicSettings(partitions=partitions), names, specs=specs)
        async with contextlib.AsyncExitStack() as stack:
            admin = AIOKafkaAdminClient(**self._kafka.client_options())
            producer = AIOKafkaProducer(**self._kafka.client_options(), enable_idempotence=True)
            stack.push_async_callback(admin.close)
            await admin.start()
            stack.push_async_callback(producer.stop)
            await producer.start()
            yield options, producer
            await admin.delete_topics([names.topic(spec) for spec in specs])
