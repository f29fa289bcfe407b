"""Sends events and gathers what is said to them in topics, in no group: what is read is nobody else's offset."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from backends.kafka import KafkaSettings, partitions_of, stop_consumer
from schemas import codec
from schemas.events import Event
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import TopicSpec

_CONNECT_TIMEOUT_S = 15
_CLOSE_TIMEOUT_S = 5
_POLL_MS = 500
_MAX_RECORD_BYTES = 2 * 1024 * 1024

# Next offsets by topic and partition, as JSON knows them.
Positions: TypeAlias = dict[str, dict[str, int]]


class Gathered(NamedTuple):
    """An event from a topic; ``at_ms`` is its record's timestamp."""

    key: str
    event: Event
    headers: Headers
    at_ms: int


class Gathering:
    """Use it as an asynchronous context manager. Reading begins at ``starts``, or where the topics end on entering.

    Raises:
        ConnectionError: on entering, when Kafka does not answer or a topic is missing.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        names: Namespace,
        specs: Sequence[TopicSpec],
        source: str,
        starts: Positions | None = None,
    ) -> None:
        self._servers = kafka.bootstrap_servers
        self._names = names
        self._specs = {names.topic(spec): spec for spec in specs}
        self._source = source
        options = kafka.client_options()
        self._producer = AIOKafkaProducer(**options, enable_idempotence=True, max_request_size=_MAX_RECORD_BYTES)
        self._consumer = AIOKafkaConsumer(
            **options, enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        self.positions: Positions = starts or {}

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._producer.start()
                await self._consumer.start()
                await self._seek()
        except (KafkaError, TimeoutError) as error:
            await self._close()
            raise ConnectionError(f"Kafka at {self._servers} does not answer; is it running (ragline up)?") from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def send(self, spec: TopicSpec, key: str, event: Event, event_id: str, tenant: str | None = None) -> None:
        """Send one event; returns once Kafka has it.

        Raises:
            ConnectionError: Kafka did not take it.
        """
        headers = Headers(
            id=event_id, type=event.TYPE, source=self._source, time=datetime.now(UTC), subject=key, tenant=tenant
        )
        try:
            await self._producer.send_and_wait(
                self._names.topic(spec), codec.encode(event), key=key.encode(), headers=headers.encode()
            )
        except KafkaError as error:
            raise ConnectionError(f"Kafka did not take the record of {key}: {error}") from error

    async def read(self) -> list[Gathered]:
        """What has come meanwhile, those of a partition in order; waits half a second for something.

        Raises:
            ConnectionError: Kafka does not answer.
        """
        try:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
        except KafkaError as error:
            raise ConnectionError(f"Kafka at {self._servers} cannot be read: {error}") from error
        found = []
        for partition, records in fetched.items():
            spec = self._specs[partition.topic]
            for record in records:
                headers = Headers.decode(record.headers)
                # What cannot be decoded is nothing that was said to us.
                with contextlib.suppress(codec.UndecodableError):
                    event = codec.decode(record.value, headers.type, spec.events)
                    found.append(
                        Gathered((record.key or b"").decode("utf-8", "replace"), event, headers, record.timestamp)
                    )
        return found

    async def _seek(self) -> None:
        partitions = []
        for topic in self._specs:
            of_topic = await partitions_of(self._consumer, topic)
            if not of_topic:
                raise ConnectionError(f"topic {topic} is missing; create the topics with: ragline topics apply")
            partitions += of_topic
        self._consumer.assign(partitions)
        ends = await self._consumer.end_offsets(partitions)
        starts = {partition: _start(self.positions, partition, ends) for partition in partitions}
        for partition, offset in starts.items():
            self._consumer.seek(partition, offset)
        self.positions = {topic: {} for topic in self._specs}
        for partition, offset in starts.items():
            self.positions[partition.topic][str(partition.partition)] = offset

    async def _close(self) -> None:
        # A broker that is gone must not hold us at the end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await stop_consumer(self._consumer)
                await self._producer.stop()


def _start(starts: Positions, partition: TopicPartition, ends: Mapping[TopicPartition, int]) -> int:
    """Where to begin; a partition that was not there before is read from its first record."""
    if partition.topic not in starts:
        return ends[partition]
    return starts[partition.topic].get(str(partition.partition), 0)
