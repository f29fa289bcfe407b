"""What a topic holds now, read from its beginning to its end by no group."""

from collections.abc import AsyncGenerator

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings, partitions_of, stop_consumer

_POLL_MS = 500


async def records_of(kafka: KafkaSettings, topic: str) -> AsyncGenerator[ConsumerRecord, None]:
    """The committed records that are there when reading begins, those of a partition in order; none of a missing topic.

    Raises:
        KafkaError: Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(
        **kafka.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    try:
        await consumer.start()
        partitions = await partitions_of(consumer, topic)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions) if partitions else {}
        for tp in partitions:
            while await consumer.position(tp) < ends[tp]:
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        yield record
    finally:
        await stop_consumer(consumer)
