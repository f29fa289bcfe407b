"""Compacted topics of one partition that are read whole and followed: what holds is what was said last."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from backends.kafka import KafkaSettings, committed_reader, partitions_of, stop_consumer
from schemas import codec
from schemas.events import Event
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import TopicSpec

# Gets each event with its offset, in order.
Take: TypeAlias = Callable[[int, Event], None]

_FETCH_WAIT_MS = 1_000
_RECONNECT_WAIT_S = 1.0
_PARTITION = 0

log = structlog.get_logger(__name__)


async def read_whole(kafka: KafkaSettings, names: Namespace, spec: TopicSpec, take: Take) -> None:
    """Read what the topic holds now.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: the topic is missing.
    """
    async with _reading(kafka, names.topic(spec)) as (consumer, partition):
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            await _take(consumer, partition, spec, take)


async def follow(kafka: KafkaSettings, names: Namespace, spec: TopicSpec, take: Take, ready: asyncio.Event) -> None:
    """Read what the topic holds and what comes, until cancelled; ``ready`` is set once what it held has been read.

    While Kafka is away it tries again, and then reads from the beginning.
    """
    while True:
        try:
            async with _reading(kafka, names.topic(spec)) as (consumer, partition):
                end = (await consumer.end_offsets([partition]))[partition]
                while True:
                    if await consumer.position(partition) >= end:
                        ready.set()
                    await _take(consumer, partition, spec, take)
        except (KafkaError, OSError) as error:
            log.warning("the topic cannot be read, trying again", topic=spec.name, reason=str(error) or repr(error))
        await asyncio.sleep(_RECONNECT_WAIT_S)


@asynccontextmanager
async def _reading(kafka: KafkaSettings, topic: str) -> AsyncIterator[tuple[AIOKafkaConsumer, TopicPartition]]:
    consumer = committed_reader(kafka)
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


async def _take(consumer: AIOKafkaConsumer, partition: TopicPartition, spec: TopicSpec, take: Take) -> None:
    for record in (await consumer.getmany(partition, timeout_ms=_FETCH_WAIT_MS)).get(partition, []):
        try:
            event = codec.decode(record.value, Headers.decode(record.headers).type, spec.events)
        except codec.UndecodableError as error:
            log.warning("a record cannot be read", topic=partition.topic, offset=record.offset, reason=str(error))
            continue
        take(record.offset, event)
