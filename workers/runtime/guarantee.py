"""How outputs and progress reach Kafka: the delivery guarantee."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from workers.runtime.job import Completion
from workers.runtime.metrics import Metrics
from workers.runtime.partition import Partition
from workers.runtime.records import Outgoing
from workers.runtime.stage import PoisonError

log = structlog.get_logger(__name__)

RESEND_WAIT_S = 1.0


class LostPartitionError(Exception):
    """The partition belongs to another worker now: what this one did on it counts for nothing."""


Undelivered: TypeAlias = PoisonError | LostPartitionError | None


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

    async def deliver(self, completions: Sequence[Completion]) -> list[Undelivered]:
        """Produce the records of each completion, and count it as done once they are safe.

        Gives, per completion, None or why not: a ``PoisonError`` when its records can never be produced, a
        ``LostPartitionError`` when the work is somebody else's now. Returns only when that is known.
        """
        ...

    async def commit(self, partitions: Iterable[Partition]) -> None:
        """Commit the progress of the partitions, as far as it changed."""
        ...


class AtLeastOnce:
    """Outputs are acknowledged by all in-sync replicas first, then progress is committed.

    A crash in between has the work done again, with the same event IDs.
    """

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, metrics: Metrics) -> None:
        self._producer = producer
        self._consumer = consumer
        self._metrics = metrics
        self.dirty = asyncio.Event()

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def open(self, tp: TopicPartition) -> None:
        """Nothing keeps the owner before from committing but the group itself."""

    async def close(self, tp: TopicPartition) -> None:
        """Nothing is held per partition."""

    async def deliver(self, completions: Sequence[Completion]) -> list[Undelivered]:
        errors: list[Undelivered] = [None] * len(completions)
        unsent = list(range(len(completions)))
        while unsent:
            results = await send_all(self._producer, [completions[index].records for index in unsent])
            again = []
            for index, failures in zip(unsent, results, strict=True):
                errors[index] = too_large(completions[index], failures)
                if errors[index] is None and failures:
                    raise_unless_passing(failures)
                    again.append(index)
                elif errors[index] is None:
                    self._metrics.produced.inc(len(completions[index].records))
                    completions[index].job.partition.progress.finish(completions[index].job.record.origin.offset)
            unsent = again
            self.dirty.set()
            if unsent:
                await asyncio.sleep(RESEND_WAIT_S)
        return errors

    async def commit(self, partitions: Iterable[Partition]) -> None:
        positions = {p: p.position() for p in partitions if not p.lost}
        changed = {p: position for p, position in positions.items() if position != p.committed}
        if not changed:
            return
        offsets = {TopicPartition(p.topic, p.number): position for p, position in changed.items()}
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The group is rebalancing: whoever gets the partition starts at the last commit.
            log.info("commit refused", reason=str(error))
            return
        self._metrics.commits.inc()
        for partition, position in changed.items():
            partition.committed = position


async def send_all(producer: AIOKafkaProducer, groups: Sequence[Sequence[Outgoing]]) -> list[list[BaseException]]:
    """Send groups of records in order and wait for every acknowledgement; gives each group's failures."""
    sent: list[list[asyncio.Future[object]]] = []
    failures: list[list[BaseException]] = []
    for group in groups:
        acks: list[asyncio.Future[object]] = []
        failed: list[BaseException] = []
        for record in group:
            try:
                acks.append(await producer.send(record.topic, record.value, key=record.key, headers=record.headers))
            except KafkaError as error:
                failed.append(error)
        sent.append(acks)
        failures.append(failed)
    for acks, failed in zip(sent, failures, strict=True):
        results = await asyncio.gather(*acks, return_exceptions=True)
        failed += [result for result in results if isinstance(result, BaseException)]
    return failures


def too_large(completion: Completion, failures: Sequence[BaseException]) -> PoisonError | None:
    """Why the completion's records can never be produced, if so."""
    if not any(isinstance(failure, (MessageSizeTooLargeError, RecordListTooLargeError)) for failure in failures):
        return None
    largest = max(completion.records, key=lambda record: len(record.value or b""))
    size = len(largest.value or b"")
    return PoisonError("output_too_large", f"the record for {largest.topic} has {size} bytes, more than it takes")


def raise_unless_passing(failures: Sequence[BaseException]) -> None:
    """Raise the first failure that sending again cannot mend; aiokafka marks those, but not its own time-out."""
    for failure in failures:
        if not (isinstance(failure, KafkaTimeoutError) or (isinstance(failure, KafkaError) and failure.retriable)):
            raise failure
    log.warning("not produced yet, trying again", reason=str(failures[0]) or repr(failures[0]))
