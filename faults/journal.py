"""Reads every topic of a request as it grows, as a careful upstream would: only what is committed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from backends.kafka import KafkaSettings
from faults.chain import CHAIN
from faults.oracle import Position, Record
from topics.names import Namespace
from topics.specs import ANSWERS, DEAD_LETTERS_SUFFIX, dead_letters

_WAIT_MS = 100
_ERROR_WAIT_S = 0.5


def topics(names: Namespace) -> dict[str, str]:
    """The topics of a request and their dead letters, by their names on the cluster."""
    specs = [*(step.source for step in CHAIN), ANSWERS]
    return {names.topic(spec): spec.name for spec in [*specs, *map(dead_letters, specs)]}


class Journal:
    """All committed records, and when each request was seen to have ended (monotonic seconds)."""

    def __init__(self, kafka: KafkaSettings, names: Namespace) -> None:
        self._kafka = kafka
        self._topics = topics(names)
        self._names = names
        self.records: list[Record] = []
        self.ended: dict[str, float] = {}
        self._grew = asyncio.Condition()
        self._positions: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        async with reader(self._kafka, list(self._topics), "read_committed") as consumer:
            while True:
                try:
                    fetched = await consumer.getmany(timeout_ms=_WAIT_MS)
                except KafkaError:
                    await asyncio.sleep(_ERROR_WAIT_S)
                    continue
                async with self._grew:
                    for records in fetched.values():
                        for raw in records:
                            self._note(record_of(raw, self._topics))
                    self._positions = {tp: await consumer.position(tp) for tp in consumer.assignment()}
                    self._grew.notify_all()

    async def wait_until_ended(self, keys: Collection[str], timeout_s: float) -> bool:
        """Wait until all of these requests have ended; False if some had not when the time was up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._grew:
                await self._grew.wait_for(lambda: all(key in self.ended for key in keys))
                return True
        return False

    async def wait_until_read(self, ends: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Wait until everything before these offsets has been read."""
        async with asyncio.timeout(timeout_s), self._grew:
            await self._grew.wait_for(lambda: all(self._positions.get(tp, 0) >= end for tp, end in ends.items()))

    def of(self, keys: Collection[str]) -> list[Record]:
        """The records of some requests."""
        wanted = frozenset(keys)
        return [record for record in self.records if record.key in wanted]

    def _note(self, record: Record) -> None:
        self.records.append(record)
        if record.topic == ANSWERS.name:
            self.ended.setdefault(record.key, time.monotonic())


@contextlib.asynccontextmanager
async def reader(kafka: KafkaSettings, names: Sequence[str], isolation_level: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of all partitions of these topics from their beginnings, outside any group."""
    consumer = AIOKafkaConsumer(
        **kafka.client_options(),
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        consumer._client.set_topics(names)  # noqa: SLF001 - partitions_for_topic knows only what was asked for
        await consumer._client.force_metadata_update()  # noqa: SLF001
        consumer.assign([TopicPartition(name, p) for name in names for p in consumer.partitions_for_topic(name) or ()])
        await consumer.seek_to_beginning()
        yield consumer
    finally:
        await consumer.stop()


def record_of(raw: Any, topics_: Mapping[str, str]) -> Record:
    """What the oracle looks at of a consumed record. A dead letter says itself where it came from."""
    headers = {name: value.decode() for name, value in raw.headers if value is not None}
    topic = topics_[raw.topic]
    prefix = "ragline_dead_letter" if topic.endswith(DEAD_LETTERS_SUFFIX) else "ragline_source"
    origin: Position | None = None
    if f"{prefix}_topic" in headers:
        origin_topic = headers[f"{prefix}_topic"]
        origin = (
            topics_.get(origin_topic, origin_topic),
            int(headers[f"{prefix}_partition"]),
            int(headers[f"{prefix}_offset"]),
        )
    body = _body(raw.value)
    return Record(
        position=(topic, raw.partition, raw.offset),
        key=(raw.key or b"").decode("utf-8", "replace"),
        id=headers.get("ce_id", ""),
        type=headers.get("ce_type", ""),
        origin=origin,
        question=_question(body),
        answer=body.get("answer"),
        attempt=body.get("attempt", 0),
    )


def _body(value: bytes | None) -> dict[str, Any]:
    try:
        body = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _question(body: dict[str, Any]) -> str | None:
    carrier = body.get("query", body)
    return carrier.get("question") if isinstance(carrier, dict) else None
