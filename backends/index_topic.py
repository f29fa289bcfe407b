"""Which version of the index is live: a compacted topic that workers and bridges read whole and follow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from backends.kafka import KafkaSettings, partitions_of, stop_consumer
from schemas import codec
from schemas.events import IndexChanged
from schemas.headers import Headers, derive_id
from topics.names import Namespace
from topics.specs import INDEXES

_FETCH_WAIT_MS = 1_000
_RECONNECT_WAIT_S = 1.0
_PARTITION = 0

log = structlog.get_logger(__name__)


class FollowedIndex:
    """Follows ``rag.indexes`` while ``run`` runs.

    ``ready`` is set once all of it has been read, and ``state`` is what was said last; None says that nothing ever was,
    as before the first re-index. ``on_change`` is called with each state that comes after that.
    """

    def __init__(
        self, kafka: KafkaSettings, names: Namespace, on_change: Callable[[IndexChanged], None] | None = None
    ) -> None:
        self._kafka = kafka
        self._topic = names.topic(INDEXES)
        self._on_change = on_change
        self._read_to = -1
        self.state: IndexChanged | None = None
        self.ready = asyncio.Event()

    @property
    def live_version(self) -> int:
        """The version that questions are answered from."""
        return self.state.live.version if self.state else 1

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                async with _reading(self._kafka, self._topic) as (consumer, partition):
                    await self._follow(consumer, partition)
            except (KafkaError, OSError) as error:
                log.warning("the versions of the index cannot be read, trying again", reason=_text(error))
            await asyncio.sleep(_RECONNECT_WAIT_S)

    async def _follow(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        end = (await consumer.end_offsets([partition]))[partition]
        while True:
            if await consumer.position(partition) >= end:
                self.ready.set()
            for offset, state in await _take(consumer, partition):
                self._note(offset, state)

    def _note(self, offset: int, state: IndexChanged) -> None:
        # A reader that begins again reads the past again.
        if offset <= self._read_to:
            return
        self._read_to, self.state = offset, state
        if self._on_change is not None and self.ready.is_set():
            self._on_change(state)


async def read_index(kafka: KafkaSettings, names: Namespace) -> IndexChanged | None:
    """What was said last; None if nothing was.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: the topic is missing.
    """
    state: IndexChanged | None = None
    async with _reading(kafka, names.topic(INDEXES)) as (consumer, partition):
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            for _, said in await _take(consumer, partition):
                state = said
    return state


async def write_index(producer: AIOKafkaProducer, names: Namespace, event: IndexChanged) -> None:
    """Say what holds from now on, in a transaction of the ``producer``; returns when all replicas have it.

    Raises:
        KafkaError: it is not said, or not known to be; ``ProducerFenced`` if somebody else has begun since.
    """
    headers = Headers(
        id=derive_id(event.TYPE, event.alias, event.at.isoformat()),
        type=event.TYPE,
        source="ragline/reindex",
        time=datetime.now(UTC),
        subject=event.alias,
    )
    async with producer.transaction():
        await producer.send_and_wait(
            names.topic(INDEXES), codec.encode(event), key=event.key.encode(), headers=headers.encode()
        )


@asynccontextmanager
async def index_writer(kafka: KafkaSettings, names: Namespace) -> AsyncIterator[AIOKafkaProducer]:
    """The one producer that may say which version is live: it ends the right of whoever had it before.

    Raises:
        KafkaError: Kafka does not answer.
    """
    producer = AIOKafkaProducer(**kafka.client_options(), transactional_id=names.of("ragline.indexes"))
    try:
        await producer.start()
        yield producer
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


async def _take(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[tuple[int, IndexChanged]]:
    said = []
    for record in (await consumer.getmany(partition, timeout_ms=_FETCH_WAIT_MS)).get(partition, []):
        try:
            event = codec.decode(record.value, Headers.decode(record.headers).type, INDEXES.events)
        except codec.UndecodableError as error:
            log.warning("not a version of the index", topic=partition.topic, offset=record.offset, reason=str(error))
            continue
        if isinstance(event, IndexChanged):
            said.append((record.offset, event))
    return said


def _text(error: BaseException) -> str:
    return str(error) or repr(error)
