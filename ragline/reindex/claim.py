"""Sees to it that one re-index at a time is at work on a pipeline."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from backends.kafka import KafkaSettings, stop_consumer
from ragline.reindex.errors import ReindexError
from topics.names import Namespace
from topics.specs import INDEXES

# Who was killed holds its claim for as long as this.
_SESSION_TIMEOUT_MS = 6_000
_HEARTBEAT_INTERVAL_MS = 500
_CLAIM_TIMEOUT_S = 30
# It reads nothing, and is not to be missed for that.
_MAX_POLL_INTERVAL_MS = 7 * 24 * 60 * 60 * 1000


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Knows what the group gave this member first."""

    def __init__(self) -> None:
        self.first: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The claim is asked for once; what goes on writing without it is refused by the broker."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """The only partition is the claim."""
        if not self.first.done():
            self.first.set_result(bool(set(assigned)))


@asynccontextmanager
async def claimed(kafka: KafkaSettings, names: Namespace) -> AsyncIterator[None]:
    """Hold the claim while the block runs: the only partition of ``rag.indexes``, in a consumer group.

    Raises:
        ReindexError: somebody else holds it.
        KafkaError: Kafka does not answer.
    """
    consumer = AIOKafkaConsumer(
        **kafka.client_options(),
        group_id=names.group("reindex"),
        enable_auto_commit=False,
        partition_assignment_strategy=[StickyPartitionAssignor],
        session_timeout_ms=_SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=_HEARTBEAT_INTERVAL_MS,
        max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
    )
    assigned = _Assigned()
    try:
        consumer.subscribe([names.topic(INDEXES)], listener=assigned)
        await consumer.start()
        try:
            async with asyncio.timeout(_CLAIM_TIMEOUT_S):
                is_ours = await assigned.first
        except TimeoutError:
            is_ours = False
        if not is_ours:
            raise ReindexError("a re-index of this pipeline is running already; wait until it has ended, or stop it")
        yield
    finally:
        await stop_consumer(consumer)
