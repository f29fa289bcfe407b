"""Clients that put questions into Kafka and wait for their passages."""

import asyncio
import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from backends.kafka import KafkaSettings
from schemas import codec
from schemas.events import PassagesRetrieved, QueryAsked
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import ANSWERS, PASSAGES_RETRIEVED, QUERIES

_ANSWER_TIMEOUT_S = 60
_READ_WAIT_MS = 1_000


@dataclass
class Measured:
    """Latencies in milliseconds, from sending a question to having its passages; questions a second of all together;
    and each stage's share in milliseconds, from the end of the one before.
    """

    latencies_ms: list[float] = field(default_factory=list)
    qps: float = 0.0
    stages_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class Clients:
    """Asks as an upstream does."""

    def __init__(self, producer: AIOKafkaProducer, names: Namespace) -> None:
        self._producer = producer
        self._names = names
        self._waiting: dict[bytes, asyncio.Future[Headers]] = {}
        self._numbers = itertools.count()

    async def ask(self, questions: Sequence[str], concurrent: int, top_k: int) -> Measured:
        """Ask all, ``concurrent`` at a time: each client asks again when it has its passages.

        Raises:
            RuntimeError: a question failed.
            TimeoutError: the passages of one did not come.
        """
        measured = Measured()

        async def work(rest: Iterator[str]) -> None:
            for question in rest:
                began_ms, began_s = time.time() * 1000, time.perf_counter()
                headers = await self._passages(question, top_k)
                measured.latencies_ms.append((time.perf_counter() - began_s) * 1000)
                before_ms = began_ms
                for share in headers.timeline:
                    measured.stages_ms[share.stage].append(share.finished_ms - before_ms)
                    before_ms = share.finished_ms

        began_s = time.perf_counter()
        rest = iter(questions)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrent):
                tasks.create_task(work(rest))
        measured.qps = len(questions) / (time.perf_counter() - began_s)
        return measured

    async def _passages(self, question: str, top_k: int) -> Headers:
        key = f"question-{next(self._numbers)}".encode()
        arrived: asyncio.Future[Headers] = asyncio.get_running_loop().create_future()
        self._waiting[key] = arrived
        event = QueryAsked(question=question, top_k=top_k, min_score=-1)
        headers = Headers(id=key.decode(), type=event.TYPE, source="ragline/bench")
        await self._producer.send(self._names.topic(QUERIES), codec.encode(event), key=key, headers=headers.encode())
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            return await arrived

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        """Hand what arrives to who waits for it, for ever."""
        while True:
            for records in (await consumer.getmany(timeout_ms=_READ_WAIT_MS)).values():
                for record in records:
                    headers = Headers.decode(record.headers)
                    arrived = self._waiting.pop(record.key, None)
                    if arrived is None or arrived.done():
                        continue
                    if headers.type == PassagesRetrieved.TYPE:
                        arrived.set_result(headers)
                    else:
                        arrived.set_exception(RuntimeError(f"{headers.type}: {record.value.decode()}"))


@asynccontextmanager
async def running_clients(kafka: KafkaSettings, names: Namespace, partitions: int) -> AsyncIterator[Clients]:
    """Clients of topics that are there, as long as the block runs."""
    producer = AIOKafkaProducer(**kafka.client_options(), enable_idempotence=True, acks="all")
    consumer = AIOKafkaConsumer(**kafka.client_options(), auto_offset_reset="earliest")
    clients = Clients(producer, names)
    await producer.start()
    await consumer.start()
    topics = [names.topic(spec) for spec in (PASSAGES_RETRIEVED, ANSWERS)]
    consumer.assign([TopicPartition(topic, number) for topic in topics for number in range(partitions)])
    listening = asyncio.create_task(clients.listen(consumer))
    try:
        yield clients
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await consumer.stop()
        await producer.stop()
