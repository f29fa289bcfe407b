import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, OutOfOrderSequenceNumber
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from workers.runtime.records import Outgoing
from workers.runtime.sending import BATCH_BYTES, partition_of, raise_unless_passing, send_all, was_refused

PARTITIONS = 3


@given(st.binary(max_size=400), st.integers(1, 1000))
def test_keys_go_where_kafka_s_own_clients_send_them(key: bytes, count: int) -> None:
    assert partition_of(key, count) == (murmur2(key) & 0x7FFFFFFF) % count


class Producer:
    """Keeps batches, and refuses those that ``refuse`` finds fault with."""

    def __init__(self, refuse: Any = lambda _count, _size: None) -> None:
        self.refuse = refuse
        self.batches: list[tuple[str, int, int]] = []

    async def partitions_for(self, _: str) -> set[int]:
        return set(range(PARTITIONS))

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[None]:
        self.batches.append((topic, partition, batch.record_count()))
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        error = self.refuse(batch.record_count(), batch.size())
        acknowledged.set_exception(error) if error else acknowledged.set_result(None)
        return acknowledged


def records(count: int, size: int = 10, key: bytes = b"k") -> list[list[Outgoing]]:
    return [[Outgoing("t", key, b"v" * size, [])] for _ in range(count)]


async def test_records_of_a_partition_go_in_one_batch() -> None:
    producer = Producer()
    assert await send_all(producer, records(5)) == {}
    assert producer.batches == [("t", partition_of(b"k", PARTITIONS), 5)]
    assert await send_all(producer, []) == {}


async def test_batches_are_bounded_and_large_records_go_alone() -> None:
    producer = Producer()
    await send_all(producer, records(20, 50_000))
    assert sum(count for _, _, count in producer.batches) == 20
    assert max(count for _, _, count in producer.batches) * 50_000 <= BATCH_BYTES
    producer = Producer()
    await send_all(producer, records(1) + records(1, 100_000) + records(2))
    assert [count for _, _, count in producer.batches] == [1, 1, 2]


async def test_neighbours_of_what_is_too_large_are_told_from_it_when_sent_alone() -> None:
    producer = Producer(lambda _, size: MessageSizeTooLargeError() if size > 50_000 else None)
    groups = records(2) + records(1, 60_000) + records(1)
    failed = await send_all(producer, groups)
    assert was_refused(failed)
    assert not any(failure.too_large for failure in failed.values())
    alone = await send_all(producer, groups, alone=True)
    assert {index: failure.too_large for index, failure in alone.items()} == {2: True}


@pytest.mark.parametrize("error", [KafkaTimeoutError(), OutOfOrderSequenceNumber()])
async def test_a_group_fails_with_any_of_its_records(error: Exception) -> None:
    producer = Producer(lambda count, _: error if count == 1 else None)
    other = next(key for key in (b"a", b"b", b"c", b"d") if partition_of(key, 3) != partition_of(b"k", 3))
    groups = [*records(2), [Outgoing("t", b"k", b"", []), Outgoing("t", other, b"", [])]]
    failed = await send_all(producer, groups)
    assert list(failed) == [2]
    assert not was_refused(failed)
    if isinstance(error, KafkaTimeoutError):
        raise_unless_passing(failed)
    else:
        with pytest.raises(OutOfOrderSequenceNumber):
            raise_unless_passing(failed)
