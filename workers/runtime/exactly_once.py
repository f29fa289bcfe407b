"""Exactly once: outputs, offset and done-map of a partition in one Kafka transaction.

aiokafka does not send the group's generation along with a transaction's offsets (KIP-447), so a zombie is fenced the
older way: one transactional.id per group, topic and partition. Whoever is assigned the partition starts that producer,
which ends the last owner's open transaction and refuses its next one; only then is the committed position read.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from workers.runtime.guarantee import (
    RESEND_WAIT_S,
    LostPartitionError,
    Undelivered,
    raise_unless_passing,
    send_all,
    too_large,
)
from workers.runtime.job import Completion
from workers.runtime.metrics import Metrics
from workers.runtime.partition import Partition

log = structlog.get_logger(__name__)

_FENCED = (ProducerFenced, InvalidProducerEpoch)


class ExactlyOnce:
    """Commits each partition's completions in transactions of a producer of its own.

    ``make_producer`` makes an unstarted one for a transactional.id. ``on_fenced`` is told of a partition that no longer
    takes our transactions: another worker has it, or the broker gave up on one of them. ``fail`` takes an error that
    must end the worker.
    """

    def __init__(
        self,
        group: str,
        make_producer: Callable[[str], AIOKafkaProducer],
        metrics: Metrics,
        on_fenced: Callable[[TopicPartition], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._group = group
        self._make_producer = make_producer
        self._metrics = metrics
        self._on_fenced = on_fenced
        self._fail = fail
        self._lines: dict[TopicPartition, _Line] = {}
        self.dirty = asyncio.Event()

    async def start(self) -> None:
        """Producers start with their partitions."""

    async def stop(self) -> None:
        await asyncio.gather(*[self.close(tp) for tp in list(self._lines)])

    async def open(self, tp: TopicPartition) -> None:
        make_producer = partial(self._make_producer, f"{self._group}-{tp.topic}-{tp.partition}")
        line = _Line(tp, self._group, make_producer, self._metrics, self._on_fenced, self._fail)
        await line.open()
        self._lines[tp] = line

    async def close(self, tp: TopicPartition) -> None:
        line = self._lines.pop(tp, None)
        if line is not None:
            await line.close()

    async def deliver(self, completions: Sequence[Completion]) -> list[Undelivered]:
        by_partition: dict[Partition, list[int]] = {}
        for index, completion in enumerate(completions):
            by_partition.setdefault(completion.job.partition, []).append(index)
        errors: list[Undelivered] = [None] * len(completions)

        async def deliver_part(partition: Partition, indexes: list[int]) -> None:
            part: Sequence[Undelivered]
            try:
                part = await self._line(partition).commit(partition, [completions[index] for index in indexes])
            except LostPartitionError as error:
                part = [error] * len(indexes)
            for index, result in zip(indexes, part, strict=True):
                errors[index] = result

        await asyncio.gather(*[deliver_part(partition, indexes) for partition, indexes in by_partition.items()])
        return errors

    async def commit(self, partitions: Iterable[Partition]) -> None:
        changed = [p for p in partitions if not p.lost and p.position() != p.committed]
        results = await asyncio.gather(*[self._line(p).commit(p, []) for p in changed], return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, LostPartitionError):
                raise result

    def _line(self, partition: Partition) -> "_Line":
        line = self._lines.get(TopicPartition(partition.topic, partition.number))
        if line is None or partition.lost:
            raise LostPartitionError(str(partition))
        return line


class _Line:
    """The transactions of one partition, one after the other; what finishes meanwhile goes into the next one."""

    def __init__(
        self,
        tp: TopicPartition,
        group: str,
        make_producer: Callable[[], AIOKafkaProducer],
        metrics: Metrics,
        on_fenced: Callable[[TopicPartition], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._tp = tp
        self._group = group
        self._make_producer = make_producer
        self._producer = make_producer()
        self._metrics = metrics
        self._on_fenced = on_fenced
        self._fail = fail
        self._waiting: list[tuple[Partition, Sequence[Completion], asyncio.Future[list[Undelivered]]]] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Fence whoever had the partition before."""
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        self._task = asyncio.create_task(self._run())

    async def commit(self, partition: Partition, completions: Sequence[Completion]) -> list[Undelivered]:
        """Have the completions, and whatever else is done, in a committed transaction."""
        if self._task is None or self._task.done():
            raise LostPartitionError(str(partition))
        done: asyncio.Future[list[Undelivered]] = asyncio.get_running_loop().create_future()
        self._waiting.append((partition, completions, done))
        self._arrived.set()
        return await done

    async def close(self) -> None:
        """Stop; an open transaction is left to the next owner's producer to abort."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._refuse()
        await self._producer.stop()

    async def _run(self) -> None:
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                waiting, self._waiting = self._waiting, []
                try:
                    await self._commit_group(waiting)
                except BaseException:
                    self._waiting += waiting
                    raise
        except _FENCED:
            log.warning("fenced; what was done here and not committed is dropped", partition=str(self._tp))
            self._refuse()
            self._on_fenced(self._tp)
        except Exception as error:  # noqa: BLE001 - handed on: the worker must end
            self._fail(error)

    def _refuse(self) -> None:
        for partition, _, done in self._waiting:
            if not done.done():
                done.set_exception(LostPartitionError(str(partition)))
        self._waiting = []

    async def _commit_group(
        self, waiting: Sequence[tuple[Partition, Sequence[Completion], asyncio.Future[list[Undelivered]]]]
    ) -> None:
        partition = waiting[-1][0]
        completions = [completion for _, group, _ in waiting for completion in group]
        errors = await self._transact(partition, completions)
        for _, group, done in waiting:
            if not done.done():
                done.set_result(errors[: len(group)])
            errors = errors[len(group) :]

    async def _transact(self, partition: Partition, completions: Sequence[Completion]) -> list[Undelivered]:
        """Commit all completions but those that are too large, however many transactions it takes."""
        errors: list[Undelivered] = [None] * len(completions)
        while True:
            kept = [index for index, error in enumerate(errors) if error is None]
            try:
                await self._producer.begin_transaction()
                failures = await send_all(self._producer, [completions[index].records for index in kept])
                if not any(failures):
                    await self._commit(partition, [completions[index] for index in kept])
                    return errors
                for index, failed in zip(kept, failures, strict=True):
                    errors[index] = too_large(completions[index], failed)
                    if failed and errors[index] is None:
                        raise_unless_passing(failed)
                await self._begin_anew()
            except KafkaError as error:
                if not error.retriable or isinstance(error, _FENCED):
                    raise
                log.warning("transaction aborted, trying again", partition=str(self._tp), reason=str(error))
                await self._producer.abort_transaction()
                await asyncio.sleep(RESEND_WAIT_S)

    async def _begin_anew(self) -> None:
        """Abort by starting the producer again: aiokafka counts the sequence numbers of a refused batch as used."""
        await self._producer.stop()
        self._producer = self._make_producer()
        await self._producer.start()

    async def _commit(self, partition: Partition, completions: Sequence[Completion]) -> None:
        # Only now, with every output acknowledged, do they count as done. Should the commit fail, the same ones are
        # sent again before anything else of this partition is committed.
        for completion in completions:
            partition.progress.finish(completion.job.record.origin.offset)
        position = partition.position()
        await self._producer.send_offsets_to_transaction({self._tp: position}, self._group)
        await self._producer.commit_transaction()
        partition.committed = position
        self._metrics.commits.inc()
        self._metrics.produced.inc(sum(len(completion.records) for completion in completions))
