"""Reads dead letters, and what was said of them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from aiokafka import TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings, committed_reader, stop_consumer
from ragline import letters
from ragline.letters import Filter, Letter, Marks
from schemas.headers import Origin
from topics.names import Namespace
from topics.specs import DEAD_LETTERS_AUDIT, TopicSpec, dead_letters

CONNECT_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0
_POLL_MS = 500


class DeadLettersError(Exception):
    """Dead letters cannot be read or dealt with; the message says why and what to do, in one sentence."""


class DeadLetters:
    """Dead letters of a namespace, for reading; an asynchronous context manager.

    Raises:
        DeadLettersError: from any call, when Kafka does not answer or a topic is missing.
    """

    def __init__(self, kafka: KafkaSettings, names: Namespace) -> None:
        self._names = names
        self._servers = kafka.bootstrap_servers
        self._numbers: dict[str, set[int]] = {}
        self._consumer = committed_reader(kafka)

    async def __aenter__(self) -> Self:
        try:
            with answering(self._servers):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._consumer.start()
                    await self._consumer._client.force_metadata_update()  # noqa: SLF001 - else only topics of a subscription are known
                    # Once some are assigned, it forgets the others.
                    topics = await self._consumer.topics()
                    self._numbers = {topic: self._consumer.partitions_for_topic(topic) or set() for topic in topics}
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def find(self, wanted: Filter) -> list[Letter]:
        """The letters that the filter means, in the order in which they failed."""
        with answering(self._servers):
            marks = await self.marks()
            specs = {self._names.topic(dead_letters(spec)): spec for spec in wanted.specs}
            found = []
            async for record in self._read(self._partitions(specs), since=wanted.since):
                letter = self._letter(specs[record.topic], record)
                letter = replace(letter, mark=marks.get(letter.id))
                if wanted.lets_through(letter):
                    found.append(letter)
            return wanted.cut(found)

    async def fetch(self, wanted: Iterable[Letter]) -> AsyncGenerator[tuple[Letter, ConsumerRecord], None]:
        """The records of letters, partition by partition, in order; one that is no longer there is left out."""
        places: dict[TopicPartition, dict[int, Letter]] = {}
        for letter in wanted:
            partition = TopicPartition(letter.place.topic, letter.place.partition)
            places.setdefault(partition, {})[letter.place.offset] = letter
        with answering(self._servers):
            for partition, by_offset in places.items():
                async for record in self._read([partition], first=min(by_offset), last=max(by_offset)):
                    if record.offset in by_offset:
                        yield by_offset[record.offset], record

    async def marks(self) -> Marks:
        """What was said of letters so far, by letter ID."""
        partitions = self._partitions([self._names.topic(DEAD_LETTERS_AUDIT)])
        said = [letters.read_mark(record.value, record.headers) async for record in self._read(partitions)]
        return {mark.letter_id: mark for mark in said if mark is not None}

    def partition_of(self, letter: Letter) -> int | None:
        """The partition that the record was in, if its topic still has it."""
        numbers = {partition.partition for partition in self._partitions([self._names.topic(letter.spec)])}
        return letter.origin.partition if letter.origin and letter.origin.partition in numbers else None

    def _partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        found = []
        for topic in topics:
            numbers = self._numbers.get(topic)
            if not numbers:
                raise DeadLettersError(f"topic {topic} is missing; create the topics with: ragline topics apply")
            found += [TopicPartition(topic, number) for number in sorted(numbers)]
        return found

    async def _read(
        self,
        partitions: Sequence[TopicPartition],
        *,
        since: datetime | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> AsyncGenerator[ConsumerRecord, None]:
        """What the partitions hold now; from a time or an offset on, to an offset."""
        consumer = self._consumer
        # Before offsets are asked for: it waits a while for each topic that is not assigned.
        consumer.assign(list(partitions))
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        if last is not None:
            ends = {tp: min(end, last + 1) for tp, end in ends.items()}
        if since is not None:
            times = await consumer.offsets_for_times(dict.fromkeys(partitions, int(since.timestamp() * 1000)))
            for tp in partitions:
                consumer.seek(tp, times[tp].offset if times.get(tp) else ends[tp])
        elif first is not None:
            for tp in partitions:
                consumer.seek(tp, first)
        else:
            await consumer.seek_to_beginning(*partitions)
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for tp, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record

    def _letter(self, spec: TopicSpec, record: ConsumerRecord) -> Letter:
        place = Origin(record.topic, record.partition, record.offset)
        failed_at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        return letters.read_letter(spec, place, record.key, record.value, record.headers, failed_at)

    async def _close(self) -> None:
        # A broker that is gone must not hold us at the end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await stop_consumer(self._consumer)


@contextlib.contextmanager
def answering(servers: str) -> Iterator[None]:
    """Say in one sentence what is wrong with Kafka.

    Raises:
        DeadLettersError: in place of aiokafka's errors.
    """
    try:
        yield
    except (ProducerFenced, InvalidProducerEpoch) as error:
        raise DeadLettersError(
            "another redrive or drop has begun and goes on in place of this one; what this one did is done"
        ) from error
    except (KafkaError, OSError) as error:
        raise DeadLettersError(f"Kafka at {servers} does not answer: {str(error) or type(error).__name__}") from error
