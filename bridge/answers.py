"""How a request ended, from the answer topic: for when the live view no longer knows."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from backends.errors import BackendUnavailableError
from backends.kafka import KafkaSettings, stop_consumer
from schemas import codec
from schemas.events import Terminal
from schemas.headers import Headers, StageTime
from topics.names import Namespace
from topics.specs import ANSWERS

# The clocks of whoever made the ID and of the broker differ by less than this.
_SKEW_MS = 60_000
# How long after it was asked a request may end: its deadline, and a redrive by an operator soon after.
_HORIZON_MS = 2 * 3600 * 1000
_MAX_RECORDS = 50_000
_FETCH_WAIT_MS = 200
# Searches under way or waiting; more are refused.
_MAX_WAITING = 8
_UUID7 = 7

Ending = tuple[Terminal, tuple[StageTime, ...]]

log = structlog.get_logger(__name__)


class Answers(Protocol):
    """Finds how requests ended."""

    async def find(self, tenant: str, request_id: str) -> Ending | None:
        """The terminal event of a tenant's request, with its timeline; None if there is none to be found.

        Raises:
            BackendUnavailableError: it could not be looked for, or not to the end.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def asked_ms(request_id: str) -> int | None:
    """When a request was asked, by its ID: Unix milliseconds, or None for an ID that is not a UUIDv7."""
    try:
        parsed = UUID(request_id)
    except ValueError:
        return None
    # RFC 9562, section 5.7: the first 48 bits are the time.
    return parsed.int >> 80 if parsed.version == _UUID7 and str(parsed) == request_id.lower() else None


class KafkaAnswers:
    """Looks where a request's answer must be: the partition of its key, from the time in its ID.

    Found are requests with a UUIDv7 as ID that ended within two hours of being asked, as long as ``rag.answers`` keeps
    them; at most 50,000 records are looked at. A search costs one look-up of an offset and, as answers come within
    seconds, mostly one fetch. One search runs at a time.
    """

    def __init__(self, kafka: KafkaSettings, names: Namespace, timeout_ms: int, default_tenant: str) -> None:
        self._kafka = kafka
        self._topic = names.topic(ANSWERS)
        self._default_tenant = default_tenant
        self._timeout_ms = timeout_ms
        self._consumer: AIOKafkaConsumer | None = None
        self._searching = asyncio.Lock()
        self._waiting = 0

    async def find(self, tenant: str, request_id: str) -> Ending | None:
        since_ms = asked_ms(request_id)
        if since_ms is None:
            return None
        if self._waiting >= _MAX_WAITING:
            raise BackendUnavailableError("Too many old answers are being looked for.")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_ms / 1000), self._searching:
                try:
                    return await self._search(tenant, request_id, since_ms)
                except BaseException:
                    # Where it stands is not known.
                    await self.close()
                    raise
        except (KafkaError, OSError) as error:
            why = str(error) or f"not found within {self._timeout_ms} ms"
            raise BackendUnavailableError(f"The answer could not be looked for ({why}).") from error
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_consumer(consumer)

    async def _search(self, tenant: str, request_id: str, since_ms: int) -> Ending | None:
        consumer = await self._connected()
        partitions = consumer.partitions_for_topic(self._topic)
        if not partitions:
            raise OSError(f"topic {self._topic} is missing")
        # As every producer of answers chooses it.
        number = DefaultPartitioner()(request_id.encode(), sorted(partitions), sorted(partitions))
        partition = TopicPartition(self._topic, number)
        consumer.assign([partition])
        try:
            end = (await consumer.end_offsets([partition]))[partition]
            first = (await consumer.offsets_for_times({partition: max(0, since_ms - _SKEW_MS)}))[partition]
            if first is None or first.offset >= end:
                return None
            consumer.seek(partition, first.offset)
            last = min(end, first.offset + _MAX_RECORDS)
            while await consumer.position(partition) < last:
                records = (await consumer.getmany(partition, timeout_ms=_FETCH_WAIT_MS)).get(partition, [])
                if found := self._among(records, tenant, request_id):
                    return found
                if records and records[-1].timestamp > since_ms + _HORIZON_MS:
                    return None
            return None
        finally:
            # Else it would fetch on.
            consumer.unsubscribe()

    def _among(self, records: Sequence[Any], tenant: str, request_id: str) -> Ending | None:
        key = request_id.encode()
        for record in records:
            if record.key != key:
                continue
            headers = Headers.decode(record.headers)
            try:
                event = codec.decode(record.value, headers.type, ANSWERS.events)
            except codec.UndecodableError as error:
                log.warning("not an answer", topic=record.topic, offset=record.offset, reason=str(error))
                continue
            assert isinstance(event, Terminal)  # noqa: S101 - the topic holds nothing else
            if (event.tenant or headers.tenant or self._default_tenant) == tenant:
                return event, headers.timeline
        return None

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._kafka.client_options(), enable_auto_commit=False, isolation_level="read_committed"
            )
            try:
                await consumer.start()
                await consumer._client.force_metadata_update()  # noqa: SLF001 - else only topics of a subscription are known
            except BaseException:
                await stop_consumer(consumer)
                raise
            self._consumer = consumer
        return self._consumer


class MemoryAnswers:
    """The twin: what was put in, by tenant and request ID."""

    def __init__(self, endings: Mapping[tuple[str, str], Ending] | None = None) -> None:
        self.endings = dict(endings or {})

    async def find(self, tenant: str, request_id: str) -> Ending | None:
        return self.endings.get((tenant, request_id))

    async def close(self) -> None:
        """Nothing to let go of."""
