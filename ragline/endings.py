"""How documents end from now on, in whichever version of the index is live."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from backends.index_topic import FollowedIndex, read_index
from backends.kafka import KafkaSettings, partitions_of, stop_consumer
from schemas import codec
from schemas.events import DocumentFailed, DocumentIndexed
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import DOCUMENTS_INDEXED

_CONNECT_TIMEOUT_MS = 15_000
_CLOSE_TIMEOUT_S = 5
# What has ended in a version before it was live counts, too: the clocks of workers differ by less than this.
_SKEW_MS = 60_000


class LiveEndings:
    """Reads ``rag.documents.indexed`` of the live version, and goes over to another one's when that becomes live.

    ``index`` is being followed; ``close`` comes at the end.
    """

    def __init__(self, kafka: KafkaSettings, names: Namespace, index: FollowedIndex) -> None:
        self._kafka = kafka
        self._names = names
        self._index = index
        self._version = names.index_version
        self._since_ms = int(time.time() * 1000) - _SKEW_MS
        self._consumer: AIOKafkaConsumer | None = None

    async def begin(self) -> None:
        """Take what comes from now on.

        Raises:
            KafkaError: Kafka does not answer.
            OSError: the topic is missing.
        """
        consumer, partitions = await self._open()
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            # The position is looked up now, not with the first fetch, which may come after the first ending.
            await consumer.position(partition)

    async def take(self, timeout_ms: int) -> list[DocumentIndexed | DocumentFailed]:
        """What has ended, waiting for so long if nothing has.

        Raises:
            KafkaError: Kafka does not answer.
            OSError: the topic of the version that is live now is missing.
        """
        if self._index.ready.is_set() and self._index.live_version != self._version:
            self._version = self._index.live_version
            await self._go_over()
        if self._consumer is None:
            raise RuntimeError("nothing was begun")
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms)
        events = [ending_of(record) for records in fetched.values() for record in records]
        return [event for event in events if event is not None]

    async def close(self) -> None:
        """Let go of Kafka."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_consumer(consumer)

    async def _go_over(self) -> None:
        # A consumer that has been assigned a topic hears of no other.
        await self.close()
        consumer, partitions = await self._open()
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, self._since_ms))
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            first = found.get(partition)
            consumer.seek(partition, first.offset if first else ends[partition])

    async def _open(self) -> tuple[AIOKafkaConsumer, list[TopicPartition]]:
        self._consumer = consumer = AIOKafkaConsumer(
            **self._kafka.client_options(),
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            request_timeout_ms=_CONNECT_TIMEOUT_MS,
        )
        await consumer.start()
        topic = self._names.of_index(self._version).topic(DOCUMENTS_INDEXED)
        partitions = await partitions_of(consumer, topic)
        if not partitions:
            raise OSError(f"topic {topic} is missing; create the topics with: ragline topics apply")
        consumer.assign(partitions)
        return consumer, partitions


@asynccontextmanager
async def live_endings(kafka: KafkaSettings, names: Namespace) -> AsyncIterator[LiveEndings]:
    """How documents end, from now until the end of the block.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: a topic is missing.
    """
    index = FollowedIndex(kafka, names)
    endings = LiveEndings(kafka, await live_names(kafka, names), index)
    following = asyncio.create_task(index.run(), name="index")
    try:
        await endings.begin()
        yield endings
    finally:
        following.cancel()
        # A broker that is gone must not hold us at the end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.wait({following})
                await endings.close()


async def live_names(kafka: KafkaSettings, names: Namespace) -> Namespace:
    """The names of the live version.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: the topic of the versions is missing.
    """
    state = await read_index(kafka, names)
    return names.of_index(state.live.version) if state else names


def ending_of(record: ConsumerRecord) -> DocumentIndexed | DocumentFailed | None:
    """How a document ended, as a record of ``rag.documents.indexed`` says; None for one that is not ours to judge."""
    try:
        event = codec.decode(record.value, Headers.decode(record.headers).type, DOCUMENTS_INDEXED.events)
    except codec.UndecodableError:
        return None
    return event if isinstance(event, DocumentIndexed | DocumentFailed) else None
