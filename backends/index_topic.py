"""Which version of the index is live: a compacted topic that workers and bridges read whole and follow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from backends.kafka import KafkaSettings
from backends.whole_topic import follow, read_whole
from schemas import codec
from schemas.events import Event, IndexChanged
from schemas.headers import Headers, derive_id
from topics.names import Namespace
from topics.specs import INDEXES


class FollowedIndex:
    """Follows ``rag.indexes`` while ``run`` runs.

    ``ready`` is set once all of it has been read, and ``state`` is what was said last; None says that nothing ever was,
    as before the first re-index. ``on_change`` is called with each state that comes after that.
    """

    def __init__(
        self, kafka: KafkaSettings, names: Namespace, on_change: Callable[[IndexChanged], None] | None = None
    ) -> None:
        self._kafka = kafka
        self._names = names
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
        await follow(self._kafka, self._names, INDEXES, self._take, self.ready)

    def _take(self, offset: int, event: Event) -> None:
        # A reader that begins again reads the past again.
        if offset <= self._read_to or not isinstance(event, IndexChanged):
            return
        self._read_to, self.state = offset, event
        if self._on_change is not None and self.ready.is_set():
            self._on_change(event)


async def read_index(kafka: KafkaSettings, names: Namespace) -> IndexChanged | None:
    """What was said last; None if nothing was.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: the topic is missing.
    """
    said: list[Event] = []
    await read_whole(kafka, names, INDEXES, lambda _, event: said.append(event))
    states = (event for event in reversed(said) if isinstance(event, IndexChanged))
    return next(states, None)


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
