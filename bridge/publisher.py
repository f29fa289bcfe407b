"""Puts questions into Kafka."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from backends.errors import BackendUnavailableError
from backends.kafka import KafkaSettings
from schemas import codec
from schemas.events import QueryAsked
from schemas.headers import Headers, derive_id
from topics.names import Namespace
from topics.specs import QUERIES

SOURCE = "ragline/bridge"


class QueryPublisher(Protocol):
    """Where the bridge's questions go."""

    async def publish(self, request_id: str, event: QueryAsked, *, traceparent: str | None = None) -> None:
        """Write a question; returns when it is safe.

        Raises:
            BackendUnavailableError: it is not known to be written. Publishing it again with the same request ID is
                harmless: a request is answered once.
        """
        ...

    async def check(self) -> None:
        """Raises ``BackendUnavailableError`` unless questions can be written now."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class KafkaQueryPublisher:
    """Writes to ``rag.queries``, idempotent, acknowledged by all replicas. Connects when first used."""

    def __init__(self, kafka: KafkaSettings, names: Namespace, timeout_ms: int) -> None:
        self._kafka = kafka
        self._topic = names.topic(QUERIES)
        self._timeout_ms = timeout_ms
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, request_id: str, event: QueryAsked, *, traceparent: str | None = None) -> None:
        headers = query_headers(request_id, datetime.now(UTC), traceparent)
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                producer = await self._connected()
                await producer.send_and_wait(
                    self._topic, key=request_id.encode(), value=codec.encode(event), headers=headers.encode()
                )
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
                    max_request_size=QUERIES.max_message_bytes,
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


def query_headers(request_id: str, now: datetime, traceparent: str | None) -> Headers:
    """Headers of a question; the event ID follows from the request ID, so that asking again repeats it."""
    return Headers(
        id=derive_id(SOURCE, request_id),
        type=QueryAsked.TYPE,
        source=SOURCE,
        time=now,
        subject=request_id,
        traceparent=traceparent,
    )


@dataclass(frozen=True, slots=True)
class Published:
    """A question as it was published."""

    request_id: str
    event: QueryAsked
    traceparent: str | None


class MemoryQueryPublisher:
    """The twin: keeps questions in a queue. ``available`` False makes it refuse them as if Kafka were down."""

    def __init__(self) -> None:
        self.published: asyncio.Queue[Published] = asyncio.Queue()
        self.available = True

    async def publish(self, request_id: str, event: QueryAsked, *, traceparent: str | None = None) -> None:
        await self.check()
        self.published.put_nowait(Published(request_id, event, traceparent))

    async def check(self) -> None:
        if not self.available:
            msg = "Kafka does not take questions now (out of order)."
            raise BackendUnavailableError(msg)

    async def close(self) -> None:
        """Nothing to let go of."""
