import uuid

import aiokafka
import pytest
import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pymilvus import MilvusClient

from topics.specs import MIB

pytestmark = pytest.mark.servers


async def test_kafka_takes_the_largest_record(kafka_bootstrap: str) -> None:
    topic = "test.local-stack.largest"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": str(32 * MIB)})])
    finally:
        await admin.close()
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, max_request_size=33 * MIB)
    await producer.start()
    try:
        sent = await producer.send_and_wait(topic, b"x" * (32 * MIB - 1024))
    finally:
        await producer.stop()
    assert sent.offset == 0


async def test_kafka_creates_no_topic_by_itself(kafka_bootstrap: str) -> None:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, request_timeout_ms=1_000)
    await producer.start()
    try:
        with pytest.raises(aiokafka.errors.UnknownTopicOrPartitionError):
            await producer.send_and_wait("test.local-stack.nobody-made-this", b"x")
    finally:
        await producer.stop()


async def test_redis_answers(redis_url: str) -> None:
    client = redis.asyncio.from_url(redis_url)
    try:
        await client.set("test:local-stack", "here")
        assert await client.get("test:local-stack") == b"here"
    finally:
        await client.aclose()


def test_milvus_answers(milvus_uri: str) -> None:
    client = MilvusClient(milvus_uri)
    try:
        name = f"test_{uuid.uuid4().hex}"
        client.create_collection(name, dimension=4)
        assert name in client.list_collections()
        client.drop_collection(name)
    finally:
        client.close()
