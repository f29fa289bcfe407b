"""Puts what clients want into Kafka: questions, cancellations, documents."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from uuid_utils import uuid7

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.kafka import KafkaSettings
from schemas import codec
from schemas.events import Event, QueryAsked
from schemas.headers import Headers, derive_id
from topics.names import Namespace
from topics.specs import TOPIC_OF_EVENT, TOPICS

SOURCE = "ragline/bridge"


class Publisher(Protocol):
    """Where the bridge's events go; the topic follows from the event."""

    async def publish(self, key: str, event: Event, *, tenant: str, traceparent: str | None = None) -> None:
        """Write an event under its request or document ID; returns when it is safe.

        Raises:
            BackendUnavailableError: it is not known to be written. Publishing a question again with the same request
                ID is harmless: a request is answered once.
            BackendRejectedError: it is larger than a record of the topic may be.
        """
        ...

    async def check(self) -> None:
        """Raises ``BackendUnavailableError`` unless events can be written now."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class KafkaPublisher:
    """Writes idempotently, acknowledged by all replicas. Connects when first used."""

    def __init__(self, kafka: KafkaSettings, names: Namespace, timeout_ms: int) -> None:
        self._kafka = kafka
        self._names = names
        self._timeout_ms = timeout_ms
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, key: str, event: Event, *, tenant: str, traceparent: str | None = None) -> None:
        spec = TOPIC_OF_EVENT[type(event)]
        headers = headers_of(key, event, tenant, datetime.now(UTC), traceparent)
        value = codec.encode(event)
        if value is not None and len(value) > spec.max_message_bytes:
            raise BackendRejectedError(f"A record of {spec.name} takes {spec.max_message_bytes:,} bytes at most.")
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                producer = await self._connected()
                await producer.send_and_wait(
                    self._names.topic(spec), key=key.encode(), value=value, headers=headers.encode()
                )
        except MessageSizeTooLargeError as error:
            raise BackendRejectedError(f"A record of {spec.name} does not take so much.") from error
        except (KafkaError, OSError) as error:
            raise self._unavailable(error) from error

    async def check(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                producer = await self._connected()
                await producer.client.fetch_all_metadata()
        except (KafkaError, OSError) as error:
            raise self._unavailable(error) from error

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._kafka.client_options(),
                    client_id="ragline-bridge",
                    enable_idempotence=True,
                    acks="all",
                    max_request_size=max(spec.max_message_bytes for spec in TOPICS),
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    def _unavailable(self, error: Exception) -> BackendUnavailableError:
        why = str(error) or f"no answer within {self._timeout_ms} ms"
        return BackendUnavailableError(f"Kafka does not take questions now ({why}).")


def headers_of(key: str, event: Event, tenant: str, now: datetime, traceparent: str | None) -> Headers:
    """Headers of an event. The event ID of a question follows from its request ID, so that asking again repeats it."""
    asked = isinstance(event, QueryAsked)
    return Headers(
        id=derive_id(SOURCE, tenant, key) if asked else str(uuid7()),
        type=event.TYPE,
        source=SOURCE,
        time=now,
        subject=key,
        tenant=tenant,
        traceparent=traceparent,
    )


@dataclass(frozen=True, slots=True)
class Published:
    """An event as it was published."""

    key: str
    event: Event
    tenant: str
    traceparent: str | None


class MemoryPublisher:
    """The twin: keeps events in a queue. ``available`` False makes it refuse them as if Kafka were down."""

    def __init__(self) -> None:
        self.published: asyncio.Queue[Published] = asyncio.Queue()
        self.available = True

    async def publish(self, key: str, event: Event, *, tenant: str, traceparent: str | None = None) -> None:
        await self.check()
        self.published.put_nowait(Published(key, event, tenant, traceparent))

    async def check(self) -> None:
        if not self.available:
            msg = "Kafka does not take questions now (out of order)."
            raise BackendUnavailableError(msg)

    async def close(self) -> None:
        """Nothing to let go of."""
