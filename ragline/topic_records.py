"""What a topic holds now, read from its beginning to its end by no group."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings, committed_reader, partitions_of, stop_consumer

# How many of how many offsets have been read; not every one has a record.
Report: TypeAlias = Callable[[int, int], None]

_POLL_MS = 500


async def records_of(
    kafka: KafkaSettings, topic: str, report: Report | None = None
) -> AsyncGenerator[ConsumerRecord, None]:
    """The committed records that are there when reading begins, those of a partition in order; none of a missing topic.

    ``report`` is told again and again how far reading has come.

    Raises:
        KafkaError: Kafka does not answer.
    """
    consumer = committed_reader(kafka)
    try:
        await consumer.start()
        partitions = await partitions_of(consumer, topic)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions) if partitions else {}
        beginnings = await consumer.beginning_offsets(partitions) if partitions else {}
        while left := await _left(consumer, ends):
            if report is not None:
                total = sum(ends[tp] - beginnings[tp] for tp in partitions)
                report(total - sum(left.values()), total)
            for records in (await consumer.getmany(*left, timeout_ms=_POLL_MS)).values():
                for record in records:
                    yield record
    finally:
        await stop_consumer(consumer)


async def _left(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Of partitions that are not read to their ends, how many offsets are missing."""
    left = {tp: end - await consumer.position(tp) for tp, end in ends.items()}
    return {tp: offsets for tp, offsets in left.items() if offsets > 0}
