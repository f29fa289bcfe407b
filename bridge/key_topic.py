"""The API keys in Kafka: a compacted topic that every bridge reads whole and follows."""

import asyncio
from datetime import UTC, datetime
from functools import partial

from aiokafka import AIOKafkaProducer

from backends.kafka import KafkaSettings
from backends.whole_topic import follow, read_whole
from bridge.keys import KeyRing
from schemas import codec
from schemas.events import ApiKeyCreated, ApiKeyRevoked, Event
from schemas.headers import Headers, derive_id
from topics.names import Namespace
from topics.specs import API_KEYS


class KafkaKeys:
    """Follows ``rag.api-keys`` into ``ring`` while ``run`` runs; ``ready`` is set once all of it has been read.

    A revocation is known within the time of one fetch. While Kafka is gone, the keys known so far are good: nobody can
    revoke one then either.
    """

    def __init__(self, kafka: KafkaSettings, names: Namespace) -> None:
        self._kafka = kafka
        self._names = names
        self.ring = KeyRing()
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        await follow(self._kafka, self._names, API_KEYS, partial(_take, self.ring), self.ready)


async def read_keys(kafka: KafkaSettings, names: Namespace) -> KeyRing:
    """The keys as they are now.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: the topic is missing.
    """
    ring = KeyRing()
    await read_whole(kafka, names, API_KEYS, partial(_take, ring))
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


def _take(ring: KeyRing, _: int, event: Event) -> None:
    assert isinstance(event, ApiKeyCreated | ApiKeyRevoked)  # noqa: S101 - the topic holds nothing else
    ring.take(event)
