"""Which partitions this worker owns, through rebalances.

aiokafka revokes everything at the start of a rebalance and says at its end what is ours. Work on a partition that comes
back goes on as if nothing had happened; work on one that does not is stopped.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from workers.runtime.committed import read_committed
from workers.runtime.guarantee import Guarantee
from workers.runtime.metrics import Metrics
from workers.runtime.partition import NEW, Partition
from workers.runtime.progress import Progress
from workers.runtime.settings import RuntimeSettings
from workers.runtime.survival import Mark, split, take_over

log = structlog.get_logger(__name__)


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Keeps one ``Partition`` per partition owned.

    ``history`` says, per topic, how many records before the commit to read again only to know their keys. ``on_lost``
    is told of each partition that has gone to somebody else; ``fail`` takes an error that must end the worker, for
    aiokafka swallows what a listener raises. ``joined`` is set with the first assignment, ``changed`` with every one.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        group: str,
        guarantee: Guarantee,
        settings: RuntimeSettings,
        history: Callable[[str], int],
        metrics: Metrics,
        on_lost: Callable[[Partition], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._consumer = consumer
        self._group = group
        self._guarantee = guarantee
        self._settings = settings
        self._history = history
        self._metrics = metrics
        self._on_lost = on_lost
        self._fail = fail
        self.partitions: dict[TopicPartition, Partition] = {}
        self._fenced: set[TopicPartition] = set()
        self.joined = asyncio.Event()
        self.changed = asyncio.Event()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commit what is done before somebody else may read it, within half the session timeout."""
        partitions = [self.partitions[tp] for tp in revoked if tp in self.partitions]
        for partition in partitions:
            partition.open = False
        try:
            await self._commit(partitions)
        except Exception as error:  # noqa: BLE001 - handed on: aiokafka would swallow it
            self._fail(error)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Drop what was lost, go on with what stayed, begin what is new where its last owner stopped."""
        try:
            await self._take(set(assigned))
        except Exception as error:  # noqa: BLE001 - handed on: aiokafka would swallow it
            self._fail(error)

    def forget(self, tp: TopicPartition) -> None:
        """Drop a partition on which we are fenced, and join again: if the group says it is ours, it begins anew."""
        partition = self.partitions.pop(tp, None)
        if partition is None:
            return
        partition.lose()
        self._on_lost(partition)
        self._fenced.add(tp)
        self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - aiokafka has no public way

    async def begin_anew(self, out_of_range: Mapping[TopicPartition, int]) -> None:
        """Carry on with partitions that have no record at the offset wanted: retention took it, or the topic is new."""
        beginnings = await self._consumer.beginning_offsets(list(out_of_range))
        for tp, beginning in beginnings.items():
            partition = self.partitions.get(tp)
            if partition is None:
                continue
            wanted = partition.progress.next_offset
            if wanted <= beginning:
                _warn_of_deleted(tp, wanted, beginning)
            else:
                log.error("the topic was deleted and made anew; beginning at its beginning", partition=str(tp))
                partition.lose()
                self._on_lost(partition)
                self._add(tp, Progress(beginning))
            self._consumer.seek(tp, beginning)

    def _add(self, tp: TopicPartition, progress: Progress, mark: Mark = NEW, quarantined: int | None = None) -> None:
        limit = max(self._settings.duplicate_window, 1)
        self.partitions[tp] = Partition(tp.topic, tp.partition, progress, limit, mark, quarantined)

    async def _commit(self, partitions: Iterable[Partition]) -> None:
        try:
            async with asyncio.timeout(self._settings.session_timeout_ms / 2000):
                await self._guarantee.commit(partitions)
        except TimeoutError:
            log.warning("commit at the rebalance took too long; some work may be done again")

    async def _taken_by_others(self, tps: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Which of our partitions somebody else had since our last commit: we were out of the group for a while."""
        partitions = {tp: self.partitions[tp] for tp in tps}
        commits = await read_committed(self._consumer, self._group, partitions)
        taken = {tp for tp, partition in partitions.items() if not partition.is_ours(commits.get(tp))}
        for tp in taken:
            log.warning("another worker had the partition meanwhile; what was begun here is dropped", partition=str(tp))
        return taken

    async def _take(self, assigned: set[TopicPartition]) -> None:
        lost = self.partitions.keys() - assigned
        lost |= await self._taken_by_others(self.partitions.keys() - lost)
        for tp in lost & self.partitions.keys():
            partition = self.partitions.pop(tp)
            partition.lose()
            self._on_lost(partition)
            await self._guarantee.close(tp)
        while self._fenced:
            await self._guarantee.close(self._fenced.pop())
        new = assigned - self.partitions.keys()
        # First nobody else can commit, then the position is read.
        await asyncio.gather(*[self._guarantee.open(tp) for tp in new])
        commits = await read_committed(self._consumer, self._group, new)
        beginnings = await self._consumer.beginning_offsets(list(new)) if new else {}
        for tp, partition in self.partitions.items():
            partition.open = True
            self._consumer.seek(tp, partition.progress.next_offset)
        for tp in new:
            commit = commits.get(tp)
            beginning = beginnings.get(tp, 0)
            offset = commit.offset if commit is not None else beginning
            runs, left = split(commit.metadata if commit is not None else "")
            mark, quarantined = take_over(left, offset, self._settings.max_outstanding)
            if left is not None:
                log.warning("the owner before did not leave in good order", partition=str(tp), deaths=mark.deaths)
            if offset < beginning:
                _warn_of_deleted(tp, offset, beginning)
            self._add(tp, Progress.from_commit(offset, runs), mark, quarantined)
            self._consumer.seek(tp, max(beginning, offset - self._history(tp.topic)))
        # That somebody is at work must be known before any of it can kill us.
        await self._commit(self.partitions.values())
        self._metrics.rebalances += 1
        self._metrics.partitions = len(assigned)
        self.joined.set()
        self.changed.set()
        log.info("assigned", partitions=len(assigned), new=len(new))


def _warn_of_deleted(tp: TopicPartition, wanted: int, beginning: int) -> None:
    log.error(
        "retention deleted records before they were handled", partition=str(tp), first=wanted, kept_from=beginning
    )
