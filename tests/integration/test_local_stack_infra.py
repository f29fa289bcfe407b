"""``ragline up --only infra``: the three servers, their jars and models from where they are made once."""

import asyncio
import dataclasses
import time
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from backends.kafka import KafkaSettings
from infra.local.config import StackConfig, stack_config
from infra.local.lag import GroupLag, lag
from infra.local.report import LocalStackError
from infra.local.stack import LocalStack, prepare, run_stack
from infra.local.state import read_state
from infra.local.status import processes
from infra.settings import LocalSettings
from ragline.settings import Settings
from tests.fixtures.servers import SHARED_DATA_DIR, free_port
from topics.names import Namespace

pytestmark = pytest.mark.servers


@pytest.fixture
def config(tmp_path: Path) -> StackConfig:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (SHARED_DATA_DIR / "jars").mkdir(parents=True, exist_ok=True)
    (data_dir / "jars").symlink_to(SHARED_DATA_DIR / "jars")
    local = LocalSettings(
        data_dir=data_dir,
        kafka_port=free_port(),
        kafka_controller_port=free_port(),
        milvus_port=free_port(),
        redis_port=free_port(),
    )
    settings = Settings(local=local)
    return stack_config(settings, command=("ragline",), environment={}, scale={}, only_infra=True, quiet=True)


async def nothing() -> None:
    return


def test_the_servers_start_and_leave_nothing(config: StackConfig, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    prepare(config, said.append)

    async def look(_: LocalStack) -> list[int]:
        found = await processes(config.data_dir)
        assert found is not None
        assert [(status.state.name, status.state.phase) for status in found] == [
            ("kafka", "ready"),
            ("milvus", "ready"),
            ("valkey", "ready"),
        ]
        return [status.state.pid for status in found if status.state.pid]

    began = time.monotonic()
    pids = asyncio.run(run_stack(config, report=said.append, after_servers=nothing, body=look))
    took_s = time.monotonic() - began
    with capsys.disabled():
        print(f"\nservers up and down in {took_s:.1f} s")  # noqa: T201
    assert pids is not None
    assert len(pids) == 3
    assert not any(map(psutil.pid_exists, pids))
    assert read_state(config.data_dir) is None
    # The ports are free again: the same check passes.
    prepare(config, said.append)


def test_a_taken_port_is_refused_before_any_work(config: StackConfig, redis_url: str) -> None:
    port = int(redis_url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
    taken = dataclasses.replace(config, local=config.local.model_copy(update={"redis_port": port}))
    with pytest.raises(LocalStackError, match=f"port {port} for Valkey is taken"):
        prepare(taken, lambda _: None)
    assert not (config.data_dir / "kafka").exists()


async def test_lag_of_a_group(kafka_bootstrap: str) -> None:
    names = Namespace("lag-test")
    topic, group = "lag-test.rag.prompts.built", names.group("generation")
    options = KafkaSettings(bootstrap_servers=kafka_bootstrap).client_options()
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 2, 1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(**options) as producer:
        for partition in (0, 0, 0, 1):
            await producer.send_and_wait(topic, b"x", partition=partition)
    consumer = AIOKafkaConsumer(
        topic, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest", **options
    )
    await consumer.start()
    try:
        await consumer.getmany(timeout_ms=5_000)
        await consumer.commit({TopicPartition(topic, 0): 2})
        found = await lag(options, names)
    finally:
        await consumer.stop()
    assert found["generation"] == GroupLag(members=1, partitions=2, lag=2)
    assert found["query"] == GroupLag(members=0, partitions=0, lag=0)


async def test_lag_without_kafka() -> None:
    options = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}").client_options()
    with pytest.raises(LocalStackError, match="does not answer"):
        await lag(options, Namespace())
