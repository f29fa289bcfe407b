"""What the cluster says at the end of a round: how far each group has committed, and what is still open."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from faults.cluster import Cluster
from faults.journal import reader, topics
from topics.names import Namespace

_LOOK_S = 0.3
# More than two heartbeats: who missed a rebalance, or was stopped, hears of it with the next one and joins again.
_QUIET_S = 3.0
_SETTLED_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Ends:
    """Per partition: the end of what is committed, and the end of all there is."""

    stable: Mapping[TopicPartition, int]
    all: Mapping[TopicPartition, int]

    @property
    def open(self) -> tuple[str, ...]:
        """Partitions with a transaction that has not ended."""
        return tuple(f"{tp.topic}/{tp.partition}" for tp in sorted(self.all) if self.stable.get(tp) != self.all[tp])


async def read_ends(cluster: Cluster, names: Namespace, timeout_s: float) -> Ends:
    """The ends of a request's topics; waits while transactions are open, but not longer than ``timeout_s``."""
    wanted = list(topics(names))
    deadline = time.monotonic() + timeout_s
    async with (
        reader(cluster.kafka, wanted, "read_committed") as committed,
        reader(cluster.kafka, wanted, "read_uncommitted") as uncommitted,
    ):
        while True:
            try:
                # In this order: a transaction that begins in between looks open, and is looked at again.
                stable = await committed.end_offsets(committed.assignment())
                ends = Ends(stable, await uncommitted.end_offsets(uncommitted.assignment()))
            except KafkaError:
                await asyncio.sleep(_LOOK_S)
                continue
            if not ends.open or time.monotonic() > deadline:
                return ends
            await asyncio.sleep(_LOOK_S)


async def read_committed_offsets(
    cluster: Cluster, names: Namespace, stages: Sequence[str]
) -> dict[tuple[str, str, int], int]:
    """Committed offsets by stage, topic (without namespace) and partition."""
    there = topics(names)
    found: dict[tuple[str, str, int], int] = {}
    async with cluster.admin() as admin:
        for stage in stages:
            while True:
                try:
                    offsets = await admin.list_consumer_group_offsets(names.group(stage))
                    break
                except KafkaError:
                    await asyncio.sleep(_LOOK_S)
            found |= {(stage, there[tp.topic], tp.partition): meta.offset for tp, meta in offsets.items()}
    return found


async def wait_until_settled(cluster: Cluster, groups: Mapping[str, int]) -> None:
    """Wait until each consumer group has so many members, and none has come or gone for a while.

    Raises:
        TimeoutError: a group did not come to rest.
    """
    async with asyncio.timeout(_SETTLED_TIMEOUT_S), cluster.admin() as admin:
        before: dict[str, frozenset[str]] = {}
        since = time.monotonic()
        while True:
            now = {group: await _stable_members(admin, group) for group in groups}
            if now != before or any(len(now[group]) != count for group, count in groups.items()):
                before, since = now, time.monotonic()
            elif time.monotonic() - since > _QUIET_S:
                return
            await asyncio.sleep(_LOOK_S)


async def _stable_members(admin: AIOKafkaAdminClient, group: str) -> frozenset[str]:
    """Member IDs of a group that is not rebalancing."""
    try:
        (response,) = await admin.describe_consumer_groups([group])
    except KafkaError:
        return frozenset()
    return frozenset(
        member[0] for _, _, state, _, _, members, *_ in response.groups if state == "Stable" for member in members
    )


async def count_records(cluster: Cluster, names: Namespace, ends: Ends) -> Counter[str]:
    """Records of a request's topics, aborted ones included, by topic without namespace."""
    there = topics(names)
    counts: Counter[str] = Counter()
    async with reader(cluster.kafka, list(there), "read_uncommitted") as consumer:
        while any([await consumer.position(tp) < end for tp, end in ends.all.items()]):
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                counts[there[tp.topic]] += len(records)
    return counts
