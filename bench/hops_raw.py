"""The loop that a programmer would write with aiokafka alone: fetch, produce, await every acknowledgement, commit.

A record is passed on whole: key, value and headers, partitioned by its key.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from backends.kafka import KafkaSettings
from bench.hops_options import COMMIT_INTERVAL_MS, SLOW_KEY, WAY, HopsOptions
from topics.names import Namespace

_FETCH_WAIT_MS = 500
_FETCH_RECORDS = 500


class RawHop:
    """One consume-and-produce loop; ``joined`` is set when it owns its partitions."""

    def __init__(self, options: HopsOptions, number: int) -> None:
        kafka = KafkaSettings(bootstrap_servers=options.bootstrap_servers)
        names = Namespace(options.namespace)
        self._options = options
        self._group = names.group(f"raw-{number}")
        self._target = names.topic(WAY[number + 1])
        self._stack = AsyncExitStack()
        self._consumer = AIOKafkaConsumer(
            names.topic(WAY[number]),
            **kafka.client_options(),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        # One per partition is what exactly-once takes: a transaction must fence the partition's former owner.
        ids = (
            [f"{self._group}-{partition}" for partition in range(options.partitions)]
            if options.guarantee == "exactly_once"
            else [None]
        )
        self._producers = [
            AIOKafkaProducer(**kafka.client_options(), enable_idempotence=True, transactional_id=transactional_id)
            for transactional_id in ids
        ]
        self._committed_at = time.monotonic()

    async def __aenter__(self) -> Self:
        for client in (*self._producers, self._consumer):
            await client.start()
            self._stack.push_async_callback(client.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Pass records on until cancelled."""
        while True:
            fetched = await self._consumer.getmany(timeout_ms=_FETCH_WAIT_MS, max_records=_FETCH_RECORDS)
            if self._options.guarantee == "exactly_once":
                await asyncio.gather(*[self._transact(tp, records) for tp, records in fetched.items()])
            else:
                for records in fetched.values():
                    await asyncio.gather(*await self._send(self._producers[0], records))
                await self._commit()

    async def _transact(self, tp: TopicPartition, records: Sequence[Any]) -> None:
        producer = self._producers[tp.partition]
        async with producer.transaction():
            await asyncio.gather(*await self._send(producer, records))
            await producer.send_offsets_to_transaction({tp: records[-1].offset + 1}, self._group)

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[Any]) -> list[asyncio.Future[Any]]:
        futures = []
        for record in records:
            if self._options.slow_ms and record.key.startswith(SLOW_KEY):
                await asyncio.sleep(self._options.slow_ms / 1000)
            value = orjson.dumps(orjson.loads(record.value)) if self._options.codec == "json" else record.value
            headers = list(record.headers)
            futures.append(await producer.send(self._target, value, key=record.key, headers=headers))
        return futures

    async def _commit(self) -> None:
        if time.monotonic() - self._committed_at >= COMMIT_INTERVAL_MS / 1000:
            await self._consumer.commit()
            self._committed_at = time.monotonic()
