"""How outputs and progress reach Kafka: the delivery guarantee."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

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

_RESEND_WAIT_S = 1.0


class Guarantee(Protocol):
    """Makes completions durable."""

    async def deliver(self, completions: Sequence[Completion]) -> list[PoisonError | None]:
        """Produce the records of each completion, and count it as done once they are safe.

        Gives, per completion, why its records can never be produced, or None. Returns only when that is known.
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

    async def deliver(self, completions: Sequence[Completion]) -> list[PoisonError | None]:
        errors = await asyncio.gather(*[self._produce(completion.records) for completion in completions])
        for completion, error in zip(completions, errors, strict=True):
            if error is None:
                self._metrics.produced.inc(len(completion.records))
                completion.job.partition.progress.finish(completion.job.record.origin.offset)
        self.dirty.set()
        return errors

    async def commit(self, partitions: Iterable[Partition]) -> None:
        positions = {p: p.progress.commit() for p in partitions if not p.lost}
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

    async def _produce(self, records: Sequence[Outgoing]) -> PoisonError | None:
        unsent = list(records)
        while unsent:
            results = await asyncio.gather(*[self._send(record) for record in unsent], return_exceptions=True)
            failed: list[Outgoing] = []
            for record, result in zip(unsent, results, strict=True):
                if isinstance(result, (MessageSizeTooLargeError, RecordListTooLargeError)):
                    size = len(record.value or b"")
                    msg = f"the record for {record.topic} has {size} bytes, more than the topic takes"
                    return PoisonError("output_too_large", msg)
                if isinstance(result, KafkaError) and _passing(result):
                    log.warning(
                        "not produced yet, trying again", topic=record.topic, reason=str(result) or repr(result)
                    )
                    failed.append(record)
                elif isinstance(result, BaseException):
                    raise result
            unsent = failed
            if unsent:
                await asyncio.sleep(_RESEND_WAIT_S)
        return None

    async def _send(self, record: Outgoing) -> None:
        await self._producer.send_and_wait(record.topic, record.value, key=record.key, headers=record.headers)


def _passing(error: KafkaError) -> bool:
    """Whether sending again may work: aiokafka marks most such errors, but not its own time-out."""
    return bool(error.retriable) or isinstance(error, KafkaTimeoutError)
