"""How outputs and progress reach Kafka: the delivery guarantee."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from workers.runtime.job import Completion
from workers.runtime.line import Line
from workers.runtime.metrics import Metrics
from workers.runtime.partition import LostPartitionError, Partition
from workers.runtime.sending import RESEND_WAIT_S, raise_unless_passing, send_all, was_refused
from workers.runtime.stage import PoisonError

log = structlog.get_logger(__name__)

# What became of completions: None where they are safe; a PoisonError where their records can never be produced; a
# LostPartitionError where the work is somebody else's now.
Ending: TypeAlias = PoisonError | LostPartitionError | None
OnEnd: TypeAlias = Callable[[Sequence[Completion], Ending], None]


class Guarantee(Protocol):
    """Makes completions durable. ``dirty`` is set when there is progress to commit."""

    @property
    def dirty(self) -> asyncio.Event: ...

    async def start(self) -> None:
        """Connect; raises ``KafkaError`` while that is not possible."""
        ...

    async def stop(self) -> None:
        """Let go of connections."""
        ...

    async def open(self, tp: TopicPartition) -> None:
        """A partition is ours now; whoever had it can no longer commit. Comes before its position is read."""
        ...

    async def close(self, tp: TopicPartition) -> None:
        """A partition is no longer ours."""
        ...

    def deliver(self, completion: Completion) -> None:
        """Have the records of a completion, at least one, produced, and count it as done once they are safe.

        What became of it is told to the ``on_end`` that the guarantee was made with.
        """
        ...

    async def commit(self, partitions: Iterable[Partition]) -> None:
        """Commit the progress of the partitions, as far as it changed."""
        ...


class AtLeastOnce:
    """Outputs are acknowledged by all in-sync replicas first, then progress is committed.

    A crash in between has the work done again, with the same event IDs. ``fail`` takes an error that must end the
    worker.
    """

    def __init__(
        self,
        make_producer: Callable[[], AIOKafkaProducer],
        consumer: AIOKafkaConsumer,
        metrics: Metrics,
        on_end: OnEnd,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._make_producer = make_producer
        self._producer = make_producer()
        self._consumer = consumer
        self._metrics = metrics
        self._on_end = on_end
        self._line = Line(self._turn, lambda error, _: fail(error))
        self.dirty = asyncio.Event()

    async def start(self) -> None:
        await self._producer.start()
        self._line.open()

    async def stop(self) -> None:
        await self._line.close()
        await self._producer.stop()

    async def open(self, tp: TopicPartition) -> None:
        """Nothing keeps the owner before from committing but the group itself."""

    async def close(self, tp: TopicPartition) -> None:
        """Nothing is held per partition."""

    def deliver(self, completion: Completion) -> None:
        self._line.put(completion)

    async def commit(self, partitions: Iterable[Partition]) -> None:
        await commit_progress(self._consumer, self._metrics, partitions)

    async def _turn(self, completions: list[Completion]) -> None:
        unsent = completions
        alone = False
        while unsent:
            lost = [completion for completion in unsent if completion.job.partition.lost]
            if lost:
                self._on_end(lost, LostPartitionError())
                unsent = [completion for completion in unsent if not completion.job.partition.lost]
            failed = await send_all(self._producer, [completion.records for completion in unsent], alone=alone)
            self._finish([completion for index, completion in enumerate(unsent) if index not in failed])
            alone = was_refused(failed)
            if alone:
                await self._producer.stop()
                self._producer = self._make_producer()
                await self._producer.start()
            elif failed:
                raise_unless_passing(failed)
                await asyncio.sleep(RESEND_WAIT_S)
            for index, failure in failed.items():
                if failure.too_large:
                    self._on_end([unsent[index]], too_large(unsent[index]))
            unsent = [unsent[index] for index, failure in failed.items() if not failure.too_large]

    def _finish(self, completions: list[Completion]) -> None:
        if not completions:
            return
        for completion in completions:
            completion.job.partition.progress.finish(completion.job.record.origin.offset)
            self._metrics.produced += len(completion.records)
        self.dirty.set()
        self._on_end(completions, None)


async def commit_progress(consumer: AIOKafkaConsumer, metrics: Metrics, partitions: Iterable[Partition]) -> None:
    """Commit the progress of the partitions as a member of the group, which takes it from the present owner only."""
    changed = {p: p.offer() for p in partitions if not p.lost and p.position() != p.committed}
    if not changed:
        return
    offsets = {p.tp: position for p, position in changed.items()}
    try:
        await consumer.commit(offsets)
    except (CommitFailedError, IllegalStateError) as error:
        # The group is rebalancing: whoever gets the partition starts at the last commit.
        log.info("commit refused", reason=str(error))
        return
    metrics.commits += 1
    for partition, position in changed.items():
        partition.committed = position


def too_large(completion: Completion) -> PoisonError:
    """Why the completion's records can never be produced."""
    largest = max(completion.records, key=lambda record: len(record.value or b""))
    size = len(largest.value or b"")
    return PoisonError("output_too_large", f"the record for {largest.topic} has {size} bytes, more than it takes")
