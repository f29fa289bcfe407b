"""Ask through Kafka alone: any language with a Kafka client can do this. Needs no ragline package.

Run it against `ragline up`:  python examples/kafka_records.py "What does the yield expression do?"
"""

import asyncio
import json
import sys
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

SERVERS = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:9092"


async def main(question: str) -> int:
    request_id = str(uuid.uuid4())
    producer = AIOKafkaProducer(bootstrap_servers=SERVERS)
    # A group of its own makes an upstream's answers resumable; `earliest` cannot miss one that comes quickly.
    consumer = AIOKafkaConsumer(
        "rag.answers", bootstrap_servers=SERVERS, group_id="my-upstream", auto_offset_reset="earliest"
    )
    async with producer, consumer:
        # The record key is the request ID; only "question" is required.
        await producer.send_and_wait("rag.queries", json.dumps({"question": question}).encode(), request_id.encode())
        async for record in consumer:
            if record.key == request_id.encode():
                kind = dict(record.headers)["ce_type"].decode()
                event = json.loads(record.value)
                print(event["answer"] if kind == "ragline.answered.v1" else f"{kind}: {event.get('message')}")
                return 0 if kind == "ragline.answered.v1" else 1
    return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "What does the yield expression do?")))
