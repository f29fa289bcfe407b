"""Finds a request's records, wherever they are, and reads as little as it can for that."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings, stop_consumer
from ragline.topic_records import Report
from replay.requests import incoming, request_id
from topics.names import Namespace
from topics.specs import (
    ANSWERS,
    CONTROL,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    TopicSpec,
    dead_letters,
)
from workers.runtime.records import Incoming

_WAY = (QUERIES, QUERIES_ACCEPTED, QUERIES_EMBEDDED, PASSAGES_RETRIEVED, PROMPTS_BUILT, ANSWERS)
LETTERS = {dead_letters(spec).name: spec for spec in _WAY}
_TOPICS = (*_WAY, CONTROL, *(dead_letters(spec) for spec in _WAY))

# The clocks of whoever made the ID and of the broker differ by less than this.
_SKEW_MS = 60_000
# How long after it was asked a request ends, unless it is redriven.
_HORIZON_MS = 2 * 3600 * 1000
_POLL_MS = 200
_STALLED_S = 30.0

Spans: TypeAlias = dict[TopicPartition, tuple[int, int]]


class Recorded(NamedTuple):
    """A record of the request, in the topic ``spec``."""

    spec: TopicSpec
    record: Incoming


class RequestRecords:
    """Reads the topics of a namespace for one request, once.

    Each topic is read in the one partition that the request's key belongs to, and in the others only if nothing is
    there. With ``asked_ms``, when it was asked (Unix milliseconds), reading begins there and ends where its answer is;
    without, the topics are read whole. ``report`` is told how many of how many offsets have been read.
    """

    def __init__(
        self, kafka: KafkaSettings, names: Namespace, request: str, asked_ms: int | None, report: Report
    ) -> None:
        self._names = names
        self._request = request
        self._report = report
        self._asked_ms = asked_ms
        self._consumer = AIOKafkaConsumer(
            **kafka.client_options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        self._specs = {names.topic(spec): spec for spec in _TOPICS}

    async def find(self) -> list[Recorded]:
        """The request's records, by topic, in each in order; none if nothing is known of it.

        Raises:
            ConnectionError: Kafka does not answer, or the topics are missing.
        """
        try:
            async with self._connected():
                own, others = await self._partitions()
                found = await self._among(own) or await self._among(others)
                if not any(item.spec is QUERIES for item in found):
                    found = [*await self._asked(found), *found]
        except (KafkaError, OSError) as error:
            if isinstance(error, ConnectionError):
                raise
            raise ConnectionError(f"Kafka does not answer: {error or repr(error)}") from error
        return found

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        try:
            await self._consumer.start()
            yield
        finally:
            await stop_consumer(self._consumer)

    async def _partitions(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Those that the key belongs to, one a topic, and all others."""
        await self._consumer._client.force_metadata_update()  # noqa: SLF001 - else only topics of a subscription are known
        own, others = [], []
        for topic in self._specs:
            numbers = sorted(self._consumer.partitions_for_topic(topic) or ())
            if not numbers:
                continue
            # As every producer of ragline's chooses it.
            mine = DefaultPartitioner()(self._request.encode("utf-8", "replace"), numbers, numbers)
            own.append(TopicPartition(topic, mine))
            others += [TopicPartition(topic, number) for number in numbers if number != mine]
        if not own:
            raise ConnectionError(f"there is no topic {self._names.topic(QUERIES)}; see ragline topics plan")
        return own, others

    async def _among(self, partitions: Sequence[TopicPartition]) -> list[Recorded]:
        if not partitions:
            return []
        if self._asked_ms is None:
            return await self._read(await self._between(partitions))
        since_ms, until_ms = max(0, self._asked_ms - _SKEW_MS), self._asked_ms + _HORIZON_MS
        answers = [tp for tp in partitions if tp.topic == self._names.topic(ANSWERS)]
        endings = await self._read(await self._between(answers, since_ms, until_ms), only_one=True)
        if endings:
            until_ms = int(endings[0].record.timestamp.timestamp() * 1000) + _SKEW_MS
        found = await self._read(await self._between(partitions, since_ms, until_ms))
        has_letters = any(item.spec.name in LETTERS for item in found)
        if found and (has_letters or not endings):
            # It may have been redriven at any time since, or wait still.
            found += await self._read(await self._between(partitions, until_ms))
        return found

    async def _between(
        self, partitions: Sequence[TopicPartition], since_ms: int | None = None, until_ms: int | None = None
    ) -> Spans:
        """The offsets that are there, and were written at or after ``since_ms`` and before ``until_ms``."""
        consumer = self._consumer
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.beginning_offsets(partitions)
        starts = await self._at(partitions, since_ms, ends) if since_ms is not None else starts
        ends = await self._at(partitions, until_ms, ends) if until_ms is not None else ends
        return {tp: (starts[tp], ends[tp]) for tp in partitions if starts[tp] < ends[tp]}

    async def _at(
        self, partitions: Iterable[TopicPartition], ms: int, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, ms))
        return {tp: min(found[tp].offset, ends[tp]) if found[tp] else ends[tp] for tp in partitions}

    async def _read(self, spans: Spans, *, only_one: bool = False) -> list[Recorded]:
        """The request's records there, in the order of the topics."""
        if not spans:
            return []
        consumer, found = self._consumer, []
        consumer.assign(list(spans))
        for tp, (start, _) in spans.items():
            consumer.seek(tp, start)
        total, moved_at = sum(end - start for start, end in spans.values()), asyncio.get_running_loop().time()
        left = total
        while left:
            for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                own = [(record.topic, incoming(record)) for record in records if record.offset < spans[_tp(record)][1]]
                found += [Recorded(self._specs[topic], it) for topic, it in own if request_id(it) == self._request]
            before, left = left, await self._left(spans)
            self._report(total - left, total)
            now = asyncio.get_running_loop().time()
            moved_at = now if left < before else moved_at
            if now - moved_at > _STALLED_S:
                raise ConnectionError(f"Kafka has given no records for {_STALLED_S:.0f} s")
            if only_one and found:
                break
        order = list(self._specs.values())
        return sorted(found, key=lambda item: (order.index(item.spec), item.record.origin.partition))

    async def _left(self, spans: Spans) -> int:
        left = 0
        for tp, (_, end) in spans.items():
            missing = max(0, end - await self._consumer.position(tp))
            if not missing:
                self._consumer.pause(tp)
            left += missing
        return left

    async def _asked(self, found: Sequence[Recorded]) -> list[Recorded]:
        """The question itself, where its producer chose partitions otherwise, by what was made of it."""
        topic = self._names.topic(QUERIES)
        places = [item.record.headers.origin for item in found]
        place = next((place for place in places if place and place.topic == topic), None)
        if place is None:
            return []
        tp = TopicPartition(topic, place.partition)
        if place.partition not in (self._consumer.partitions_for_topic(topic) or ()):
            return []
        whole = (await self._between([tp])).get(tp)
        if whole is None or not whole[0] <= place.offset < whole[1]:
            return []
        return await self._read({tp: (place.offset, place.offset + 1)})


def _tp(record: ConsumerRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)
