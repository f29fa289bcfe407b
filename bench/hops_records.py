"""The records of a run: loading them, and watching them arrive."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from backends.kafka import KafkaSettings
from bench.hops_options import SLOW_KEY
from schemas.events import QueryAsked
from schemas.headers import Headers, derive_id

VALUE_BYTES = 500
_QUESTION = "q" * 100
# QueryAsked takes no note of it.
_FILLED = {"question": _QUESTION, "padding": ""}
VALUE = orjson.dumps(_FILLED | {"padding": "p" * (VALUE_BYTES - len(orjson.dumps(_FILLED)))})
_FLIGHT = 1000
_READ_WAIT_MS = 100


def keys(first: int, count: int, slow_every: int = 0) -> list[bytes]:
    """``count`` keys as long as a request ID, numbered from ``first``; one of ``slow_every`` is of a slow record."""
    return [
        (SLOW_KEY if slow_every and number % slow_every == slow_every // 2 else b"fast-") + b"%031x" % number
        for number in range(first, first + count)
    ]


def headers_of(key: bytes) -> list[tuple[str, bytes]]:
    """Headers as those of a question that came from ragline's own client."""
    headers = Headers(
        id=derive_id(key.decode()),
        type=QueryAsked.TYPE,
        source="ragline/bench",
        subject=key.decode(),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tenant="bench",
    )
    return headers.encode()


async def load(producer: AIOKafkaProducer, topic: str, wanted: Iterable[bytes]) -> None:
    """Produce a record for each key, as fast as it goes; returns when all are acknowledged."""
    flight: set[asyncio.Future[object]] = set()
    for key in wanted:
        flight.add(await producer.send(topic, VALUE, key=key, headers=headers_of(key)))
        if len(flight) >= _FLIGHT:
            await asyncio.gather(*flight)
            flight.clear()
    await asyncio.gather(*flight)


async def pace(producer: AIOKafkaProducer, topic: str, wanted: Iterable[bytes], rate: float) -> dict[bytes, float]:
    """Produce a record for each key at a steady rate a second; when each was sent (``time.perf_counter``)."""
    sent: dict[bytes, float] = {}
    started = time.perf_counter()
    futures = []
    for number, key in enumerate(wanted):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        sent[key] = time.perf_counter()
        futures.append(await producer.send(topic, VALUE, key=key, headers=headers_of(key)))
    await asyncio.gather(*futures)
    return sent


class Sink:
    """What has arrived in a topic so far.

    ``arrived`` is when each key was first seen here (``time.perf_counter``); ``first_ms`` and ``last_ms`` are when the
    broker appended the earliest and the latest record (Unix time).
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.arrived: dict[bytes, float] = {}
        self.duplicates = 0
        self.first_ms = 0
        self.last_ms = 0

    async def wait_for(self, count: int, timeout_s: float) -> None:
        """Read until so many different keys have arrived.

        Raises:
            TimeoutError: they did not.
        """
        async with asyncio.timeout(timeout_s):
            while len(self.arrived) < count:
                await self._read()

    async def _read(self) -> None:
        fetched = await self._consumer.getmany(timeout_ms=_READ_WAIT_MS)
        now = time.perf_counter()
        for records in fetched.values():
            for record in records:
                if record.key in self.arrived:
                    self.duplicates += 1
                else:
                    self.arrived[record.key] = now
            earliest, latest = records[0].timestamp, records[-1].timestamp
            self.first_ms = min(self.first_ms or earliest, earliest)
            self.last_ms = max(self.last_ms, latest)


@contextlib.asynccontextmanager
async def reading(kafka: KafkaSettings, topic: str, partitions: int) -> AsyncIterator[Sink]:
    """A sink on the committed records of a topic."""
    consumer = AIOKafkaConsumer(
        **kafka.client_options(), auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
        yield Sink(consumer)
    finally:
        await consumer.stop()


async def first_append_ms(kafka: KafkaSettings, topic: str, partitions: int) -> int:
    """When the broker appended the earliest record of a topic that has some (Unix time)."""
    async with reading(kafka, topic, partitions) as sink:
        while not sink.first_ms:
            await sink.wait_for(1, 30)
    return sink.first_ms
