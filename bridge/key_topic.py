"""The API keys in Kafka: a compacted topic that every bridge reads whole and follows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from backends.kafka import KafkaSettings, partitions_of, stop_consumer
from bridge.keys import KeyRing
from schemas import codec
from schemas.events import ApiKeyCreated, ApiKeyRevoked
from schemas.headers import Headers, derive_id
from topics.names import Namespace
from topics.specs import API_KEYS

_FETCH_WAIT_MS = 1_000
_RECONNECT_WAIT_S = 1.0
_PARTITION = 0

log = structlog.get_logger(__name__)


class KafkaKeys:
    """Follows ``rag.api-keys`` into ``ring`` while ``run`` runs; ``ready`` is set once all of it has been read.

    A revocation is known within the time of one fetch. While Kafka is gone, the keys known so far are good: nobody can
    revoke one then either.
    """

    def __init__(self, kafka: KafkaSettings, names: Namespace) -> None:
        self._kafka = kafka
        self._topic = names.topic(API_KEYS)
        self.ring = KeyRing()
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                async with _reading(self._kafka, self._topic) as (consumer, partition):
                    await self._follow(consumer, partition)
            except (KafkaError, OSError) as error:
                log.warning("API keys cannot be read, trying again", reason=str(error) or repr(error))
            await asyncio.sleep(_RECONNECT_WAIT_S)

    async def _follow(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        end = (await consumer.end_offsets([partition]))[partition]
        while True:
            if await consumer.position(partition) >= end:
                self.ready.set()
            await _take(consumer, partition, self.ring)


async def read_keys(kafka: KafkaSettings, names: Namespace) -> KeyRing:
    """The keys as they are now.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: the topic is missing.
    """
    ring = KeyRing()
    async with _reading(kafka, names.topic(API_KEYS)) as (consumer, partition):
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            await _take(consumer, partition, ring)
    return ring


async def write_key(kafka: KafkaSettings, names: Namespace, event: ApiKeyCreated | ApiKeyRevoked) -> None:
    """Say what has become of a key; returns when all replicas have it.

    Raises:
        KafkaError: it is not known to be written; it may be written again.
    """
    headers = Headers(
        id=derive_id(event.TYPE, event.key_id),
        type=event.TYPE,
        source="ragline/keys",
        time=datetime.now(UTC),
        subject=event.key_id,
        tenant=event.tenant,
    )
    producer = AIOKafkaProducer(**kafka.client_options(), enable_idempotence=True, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(
            names.topic(API_KEYS), codec.encode(event), key=event.key.encode(), headers=headers.encode()
        )
    finally:
        await producer.stop()


@asynccontextmanager
async def _reading(kafka: KafkaSettings, topic: str) -> AsyncIterator[tuple[AIOKafkaConsumer, TopicPartition]]:
    consumer = AIOKafkaConsumer(
        **kafka.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    try:
        await consumer.start()
        if not await partitions_of(consumer, topic):
            raise OSError(f"topic {topic} is missing; create the topics with: ragline topics apply")
        partition = TopicPartition(topic, _PARTITION)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        yield consumer, partition
    finally:
        await stop_consumer(consumer)


async def _take(consumer: AIOKafkaConsumer, partition: TopicPartition, ring: KeyRing) -> None:
    for record in (await consumer.getmany(partition, timeout_ms=_FETCH_WAIT_MS)).get(partition, []):
        try:
            event = codec.decode(record.value, Headers.decode(record.headers).type, API_KEYS.events)
        except codec.UndecodableError as error:
            log.warning("not an API key", topic=partition.topic, offset=record.offset, reason=str(error))
            continue
        assert isinstance(event, ApiKeyCreated | ApiKeyRevoked)  # noqa: S101 - the topic holds nothing else
        ring.take(event)
