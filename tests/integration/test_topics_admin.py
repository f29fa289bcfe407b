"""Plan, apply and describe on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from backends.kafka import KafkaSettings
from topics.admin import apply_topics, describe_topics, plan_topics
from topics.cluster import TopicsError
from topics.names import Namespace
from topics.plan import GrowPartitions
from topics.settings import TopicSettings
from topics.specs import CONTROL, DOCUMENTS, QUERIES, all_topics

pytestmark = pytest.mark.servers

SETTINGS = TopicSettings(partitions=2)


@pytest.fixture
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka_bootstrap)


@pytest.fixture
def names() -> Namespace:
    return Namespace(f"t{uuid4().hex[:12]}")


@asynccontextmanager
async def admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**kafka.client_options())
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def overrides(kafka: KafkaSettings, topic: str) -> dict[str, str]:
    async with admin(kafka) as client:
        [response] = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in response.resources[0][4] if entry[3] == 1}


async def set_overrides(kafka: KafkaSettings, topic: str, configs: Mapping[str, str]) -> None:
    async with admin(kafka) as client:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(configs))])


async def test_apply_makes_what_plan_says_and_then_nothing_differs(kafka: KafkaSettings, names: Namespace) -> None:
    planned = await plan_topics(kafka, SETTINGS, names)
    assert [new.topic for new in planned.creates] == [names.topic(spec) for spec in all_topics()]
    applied = await apply_topics(kafka, SETTINGS, names)
    assert applied.created == tuple(new.topic for new in planned.creates)
    assert applied.remaining.in_order
    assert (await plan_topics(kafka, SETTINGS, names)).in_order
    again = await apply_topics(kafka, SETTINGS, names)
    assert again.created == again.changed == ()


async def test_plan_changes_nothing(kafka: KafkaSettings, names: Namespace) -> None:
    await plan_topics(kafka, SETTINGS, names)
    assert len((await plan_topics(kafka, SETTINGS, names)).creates) == len(all_topics())
    assert await describe_topics(kafka, names) == []


async def test_many_may_apply_at_once(kafka: KafkaSettings, names: Namespace) -> None:
    applied = await asyncio.gather(*(apply_topics(kafka, SETTINGS, names) for _ in range(4)))
    assert all(one.remaining.in_order for one in applied)
    created = [topic for one in applied for topic in one.created]
    assert sorted(created) == sorted(names.topic(spec) for spec in all_topics())


async def test_what_differs_is_reported_and_left_alone(kafka: KafkaSettings, names: Namespace) -> None:
    topic = names.topic(QUERIES)
    await apply_topics(kafka, SETTINGS, names, specs=[QUERIES, CONTROL])
    await set_overrides(kafka, topic, {"retention.ms": "12345", "segment.bytes": "1048576"})

    applied = await apply_topics(kafka, SETTINGS, names, specs=[QUERIES, CONTROL, DOCUMENTS])

    assert applied.created == (names.topic(DOCUMENTS),)
    assert applied.changed == ()
    found = {mismatch.setting: mismatch.actual for mismatch in applied.remaining.mismatches}
    # Kafka's AlterConfigs dropped the topic's limit, so the broker's is in effect.
    assert found["retention.ms"] == "12345"
    assert set(found) == {"retention.ms", "max.message.bytes"}
    assert (await overrides(kafka, topic))["retention.ms"] == "12345"


async def test_with_consent_configs_are_set_and_others_are_kept(kafka: KafkaSettings, names: Namespace) -> None:
    topic = names.topic(QUERIES)
    await apply_topics(kafka, SETTINGS, names, specs=[QUERIES])
    await set_overrides(kafka, topic, {"retention.ms": "12345", "segment.bytes": "1048576"})

    applied = await apply_topics(kafka, SETTINGS, names, specs=[QUERIES], fix=True)

    assert applied.changed == (topic,)
    assert applied.remaining.in_order
    now = await overrides(kafka, topic)
    assert now["segment.bytes"] == "1048576"
    assert now["retention.ms"] == str(QUERIES.retention_ms)


async def test_partitions_grow_only_with_consent_and_never_shrink(kafka: KafkaSettings, names: Namespace) -> None:
    topic = names.topic(QUERIES)
    await apply_topics(kafka, SETTINGS, names, specs=[QUERIES])
    more = replace(QUERIES, partitions=3)

    without = await apply_topics(kafka, SETTINGS, names, specs=[more])
    assert without.remaining.grows == (GrowPartitions(topic, 3, 2),)
    assert len(await describe_topics(kafka, names, specs=[QUERIES])) == 2

    grown = await apply_topics(kafka, SETTINGS, names, specs=[more], fix=True)
    assert grown.changed == (topic,)
    assert grown.remaining.in_order
    assert len(await describe_topics(kafka, names, specs=[QUERIES])) == 3

    shrunk = await apply_topics(kafka, SETTINGS, names, specs=[QUERIES], fix=True)
    assert shrunk.changed == ()
    [mismatch] = shrunk.remaining.mismatches
    assert (mismatch.setting, mismatch.actual, mismatch.fixable) == ("partitions", "3", False)


async def test_a_topic_that_someone_else_made_is_not_overwritten(kafka: KafkaSettings, names: Namespace) -> None:
    topic = names.topic(QUERIES)
    async with admin(kafka) as client:
        await client.create_topics([NewTopic(topic, 2, 1, topic_configs={"cleanup.policy": "compact"})])
    applied = await apply_topics(kafka, SETTINGS, names, specs=[QUERIES])
    assert applied.created == ()
    assert "cleanup.policy" in {mismatch.setting for mismatch in applied.remaining.mismatches}


async def test_describe_shows_offsets_leaders_and_replicas(kafka: KafkaSettings, names: Namespace) -> None:
    await apply_topics(kafka, SETTINGS, names, specs=[QUERIES, CONTROL])
    async with AIOKafkaProducer(**kafka.client_options()) as producer:
        for _ in range(3):
            await producer.send_and_wait(names.topic(QUERIES), b"{}", partition=1)
    states = await describe_topics(kafka, names, specs=[CONTROL, QUERIES, DOCUMENTS])
    assert [(state.topic, state.partition, state.first_offset, state.next_offset) for state in states] == [
        (names.topic(CONTROL), 0, 0, 0),
        (names.topic(QUERIES), 0, 0, 0),
        (names.topic(QUERIES), 1, 0, 3),
    ]
    for state in states:
        assert state.leader is not None
        assert state.replicas == state.in_sync == (state.leader,)


async def test_what_the_cluster_refuses_is_one_sentence(kafka: KafkaSettings, names: Namespace) -> None:
    with pytest.raises(TopicsError, match=r"refused to create topics: .*replication factor of 7.*rag\.queries\)"):
        await apply_topics(kafka, TopicSettings(replication_factor=7), names, specs=[QUERIES])


async def test_a_broker_that_starts_late_is_waited_for(kafka: KafkaSettings, names: Namespace) -> None:
    host, port = kafka.bootstrap_servers.split(":")
    async with _Door(host, int(port)) as door:
        late = KafkaSettings(bootstrap_servers=f"127.0.0.1:{door.port}")
        said: list[str] = []

        def report(sentence: str) -> None:
            said.append(sentence)
            door.opened.set()

        applied = await apply_topics(late, SETTINGS, names, specs=[QUERIES], report=report, timeout_s=30)
    assert applied.created == (names.topic(QUERIES),)
    assert said[0].startswith(f"waiting for Kafka at 127.0.0.1:{door.port}: ")


async def test_a_broker_that_never_starts_is_an_error_after_the_time_given(names: Namespace) -> None:
    async with _Door("127.0.0.1", 1) as door:
        dead = KafkaSettings(bootstrap_servers=f"127.0.0.1:{door.port}")
        with pytest.raises(TopicsError, match=r"was not ready within 0\.5 s: .+"):
            await plan_topics(dead, SETTINGS, names, timeout_s=0.5)


class _Door:
    """A port that hangs up at once until it is opened, then leads to the broker."""

    def __init__(self, host: str, port: int) -> None:
        self.opened = asyncio.Event()
        self._target = host, port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.opened.is_set():
            writer.close()
            return
        inner_reader, inner_writer = await asyncio.open_connection(*self._target)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, inner_writer))
            group.create_task(_pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
