"""Three Kafka brokers that can be killed, restarted and filled up one by one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from backends.kafka import KafkaSettings
from faults.servers import HOST, Server, free_ports
from faults.small_disk import SmallDisk
from infra.local.kafka import KafkaNode, jars_path, kafka_process, prepare_jars, prepare_node
from infra.local.report import Report
from topics.admin import describe_topics
from topics.cluster import TopicsError
from topics.names import Namespace

BROKERS = (1, 2, 3)
_HEALTHY_TIMEOUT_S = 90
_LOOK_S = 0.1
# Kafka's own limits are for clusters with minutes to spare: here a fault must be noticed within seconds.
_OVERRIDES = {
    "group.min.session.timeout.ms": "1000",
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


class Cluster:
    """Brokers by ID. Leaves no process behind, even if this one is killed.

    ``small_disk`` gives the last broker a disk of its own, in memory, that can be filled up.
    """

    def __init__(self, folder: Path, data_dir: Path, small_disk: SmallDisk | None, report: Report) -> None:
        self._report = report
        self._data_dir = data_dir
        self._small_disk = small_disk
        self._jars = jars_path(data_dir)
        ports = free_ports(2 * len(BROKERS))
        clients, controllers = ports[: len(BROKERS)], ports[len(BROKERS) :]
        voters = {number: f"{HOST}:{port}" for number, port in zip(BROKERS, controllers, strict=True)}
        self.nodes = {
            number: KafkaNode(
                node_id=number,
                folder=folder / f"kafka-{number}",
                host=HOST,
                port=port,
                controller_port=controller,
                voters=voters,
                replication=len(BROKERS),
                overrides=_OVERRIDES,
            )
            for number, port, controller in zip(BROKERS, clients, controllers, strict=True)
        }
        self.kafka = KafkaSettings(bootstrap_servers=",".join(f"{HOST}:{port}" for port in clients))
        self._brokers = {
            number: Server(kafka_process(node, self._jars), node.folder / "log") for number, node in self.nodes.items()
        }

    async def start(self) -> None:
        """Start all brokers; returns when they answer."""
        await asyncio.to_thread(prepare_jars, self._data_dir, self._report)
        if self._small_disk is not None:
            self._small_disk.mount(self.nodes[BROKERS[-1]].folder / "data")
        for node in self.nodes.values():
            await asyncio.to_thread(prepare_node, node, self._jars, self._report)
        self._report("starting three Kafka brokers")
        async with asyncio.TaskGroup() as group:
            for number in BROKERS:
                group.create_task(self.start_broker(number))

    async def close(self) -> None:
        """Kill all brokers: nothing of them is kept."""
        for broker in self._brokers.values():
            await broker.kill()
        if self._small_disk is not None:
            self._small_disk.unmount()

    async def start_broker(self, number: int) -> None:
        """Start one; returns when it answers."""
        await self._brokers[number].start()

    async def kill_broker(self, number: int) -> None:
        """SIGKILL."""
        await self._brokers[number].kill()

    async def stop_broker(self, number: int) -> None:
        """SIGTERM: it hands its leaderships over first."""
        await self._brokers[number].stop()

    @property
    def can_fill_disk(self) -> bool:
        """Whether one of the brokers has a disk that may be filled up."""
        return self._small_disk is not None

    async def fill_disk(self) -> None:
        """Fill the last broker's disk up."""
        assert self._small_disk is not None  # noqa: S101 - asked before
        await asyncio.to_thread(self._small_disk.fill)

    async def free_disk(self) -> None:
        """Make room again, and start the broker if that ended it."""
        assert self._small_disk is not None  # noqa: S101 - asked before
        self._small_disk.free()
        if self._brokers[BROKERS[-1]].ended:
            await self.start_broker(BROKERS[-1])

    async def coordinator(self, group_or_transactional_id: str, *, transactional: bool = False) -> int:
        """The broker that coordinates a group or a transactional ID."""
        async with self.admin() as admin:
            while True:
                try:
                    return int(await admin.find_coordinator(group_or_transactional_id, int(transactional)))
                except KafkaError:
                    await asyncio.sleep(_LOOK_S)

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """An admin client for as long as the block runs."""
        admin = AIOKafkaAdminClient(**self.kafka.client_options())
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def wait_until_whole(self, names: Namespace) -> None:
        """Wait until every replica is in sync: the next fault finds the cluster as the first one did."""
        async with asyncio.timeout(_HEALTHY_TIMEOUT_S):
            while True:
                with contextlib.suppress(TopicsError):
                    partitions = await describe_topics(self.kafka, names, timeout_s=10)
                    if partitions and all(len(p.in_sync) == len(BROKERS) for p in partitions):
                        return
                await asyncio.sleep(5 * _LOOK_S)
