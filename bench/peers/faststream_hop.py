"""One hop of FastStream, at least once: a record is committed when its handler is done and its output acknowledged."""

import asyncio
import sys

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage, KafkaResponse

servers, group, source, target = sys.argv[1:]
# By default it logs two lines a record.
broker = KafkaBroker(servers, acks="all", enable_idempotence=True, logger=None)


@broker.subscriber(source, group_id=group, auto_offset_reset="earliest", ack_policy=AckPolicy.ACK)
@broker.publisher(target)
async def hop(message: KafkaMessage) -> KafkaResponse:
    """Echo."""
    return KafkaResponse(message.body, key=message.raw_message.key)


if __name__ == "__main__":
    asyncio.run(FastStream(broker, logger=None).run())
