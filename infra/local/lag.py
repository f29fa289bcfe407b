"""How far consumer groups are behind, asked of Kafka."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from infra.local.report import LocalStackError
from topics import specs
from topics.names import Namespace
from topics.specs import TopicSpec

_COORDINATOR_TIMEOUT_S = 5.0
_COORDINATOR_INTERVAL_S = 0.2

# What each stage's group reads; the stages themselves live above this package.
INPUTS: Mapping[str, tuple[TopicSpec, ...]] = {
    "query": (specs.QUERIES,),
    "embedding": (specs.QUERIES_ACCEPTED,),
    "retrieval": (specs.QUERIES_EMBEDDED,),
    "prompt": (specs.PASSAGES_RETRIEVED,),
    "generation": (specs.PROMPTS_BUILT,),
    "projector": (
        specs.QUERIES_ACCEPTED,
        specs.QUERIES_EMBEDDED,
        specs.PASSAGES_RETRIEVED,
        specs.PROMPTS_BUILT,
        specs.ANSWERS,
    ),
    "chunking": (specs.DOCUMENTS,),
    "chunk-embedding": (specs.CHUNKS,),
    "indexing": (specs.CHUNKS_EMBEDDED,),
}


@dataclass(frozen=True, slots=True)
class GroupLag:
    """A stage's consumer group: its members, the partitions it reads, and the records it has not committed yet."""

    members: int
    partitions: int
    lag: int


async def lag(client_options: Mapping[str, Any], names: Namespace) -> dict[str, GroupLag]:
    """The groups of all stages, by stage. ``client_options`` are keyword arguments of aiokafka's clients.

    A partition on which nothing is committed yet counts from its first record.

    Raises:
        LocalStackError: Kafka does not answer.
    """
    admin = AIOKafkaAdminClient(**client_options)
    consumer = AIOKafkaConsumer(**client_options, enable_auto_commit=False)
    try:
        with _quiet():
            try:
                await admin.start()
                await consumer.start()
                partitions = await _partitions(admin, names)
                lags = [_lag_of(admin, consumer, names.group(stage), partitions[stage]) for stage in INPUTS]
                return dict(zip(INPUTS, await asyncio.gather(*lags), strict=True))
            finally:
                await asyncio.gather(admin.close(), consumer.stop())
    except (KafkaError, OSError) as error:
        msg = f"Kafka at {client_options['bootstrap_servers']} does not answer: {error}"
        raise LocalStackError(msg) from error


async def _partitions(admin: AIOKafkaAdminClient, names: Namespace) -> dict[str, list[TopicPartition]]:
    """What each stage reads; empty where its topics are missing."""
    wanted = {names.topic(spec) for inputs in INPUTS.values() for spec in inputs}
    described = await admin.describe_topics(sorted(wanted & set(await admin.list_topics())))
    found = {
        topic["topic"]: [TopicPartition(topic["topic"], partition["partition"]) for partition in topic["partitions"]]
        for topic in described
    }
    return {
        stage: [partition for spec in inputs for partition in found.get(names.topic(spec), [])]
        for stage, inputs in INPUTS.items()
    }


# A broker's first group makes it create the topic of offsets.
@retry(
    retry=retry_if_exception_type(GroupCoordinatorNotAvailableError),
    stop=stop_after_delay(_COORDINATOR_TIMEOUT_S),
    wait=wait_fixed(_COORDINATOR_INTERVAL_S),
    reraise=True,
)
async def _lag_of(
    admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, group: str, partitions: Sequence[TopicPartition]
) -> GroupLag:
    if not partitions:
        return GroupLag(await members(admin, group), 0, 0)
    joined, committed, first, end = await asyncio.gather(
        members(admin, group),
        admin.list_consumer_group_offsets(group),
        consumer.beginning_offsets(partitions),
        consumer.end_offsets(partitions),
    )
    positions = {
        partition: committed[partition].offset if partition in committed else first[partition]
        for partition in partitions
    }
    behind = sum(max(0, end[partition] - max(position, 0)) for partition, position in positions.items())
    return GroupLag(joined, len(partitions), behind)


async def members(admin: AIOKafkaAdminClient, group: str) -> int:
    """Number of members; 0 for a group that nobody has joined yet."""
    (response,) = await admin.describe_consumer_groups([group])
    return sum(len(described[5]) for described in response.groups)


@contextmanager
def _quiet() -> Iterator[None]:
    """Aiokafka logs a failed connection as an error; here it is an answer."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
