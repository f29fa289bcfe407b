"""Exactly once: outputs, offset and done-map of a partition in one Kafka transaction.

aiokafka does not send the group's generation along with a transaction's offsets (KIP-447), so a zombie is fenced the
older way: one transactional.id per group, topic and partition. Whoever is assigned the partition starts that producer,
which ends the last owner's open transaction and refuses its next one; only then is the committed position read.

Progress without outputs has nothing to be one with: the group takes it from the partition's owner as it is, in one
request in place of a transaction's three.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from workers.runtime.guarantee import OnEnd, commit_progress, too_large
from workers.runtime.job import Completion
from workers.runtime.line import Line
from workers.runtime.metrics import Metrics
from workers.runtime.partition import LostPartitionError, Partition
from workers.runtime.sending import RESEND_WAIT_S, raise_unless_passing, send_all, was_refused

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
        consumer: AIOKafkaConsumer,
        metrics: Metrics,
        on_end: OnEnd,
        on_fenced: Callable[[TopicPartition], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._group = group
        self._make_producer = make_producer
        self._consumer = consumer
        self._metrics = metrics
        self._on_end = on_end
        self._on_fenced = on_fenced
        self._fail = fail
        self._transactions: dict[TopicPartition, _Transactions] = {}
        self.dirty = asyncio.Event()

    async def start(self) -> None:
        """Producers start with their partitions."""

    async def stop(self) -> None:
        await asyncio.gather(*[self.close(tp) for tp in list(self._transactions)])

    async def open(self, tp: TopicPartition) -> None:
        make_producer = partial(self._make_producer, f"{self._group}-{tp.topic}-{tp.partition}")
        transactions = _Transactions(
            tp, self._group, make_producer, self._consumer, self._metrics, self._on_end, self._failed
        )
        await transactions.open()
        self._transactions[tp] = transactions

    async def close(self, tp: TopicPartition) -> None:
        transactions = self._transactions.pop(tp, None)
        if transactions is not None:
            await transactions.close()

    def deliver(self, completion: Completion) -> None:
        transactions = self._of(completion.job.partition)
        if transactions is None:
            self._on_end([completion], LostPartitionError())
        else:
            transactions.line.put(completion)

    async def commit(self, partitions: Iterable[Partition]) -> None:
        changed = [(self._of(p), p) for p in partitions if p.position() != p.committed]
        commits = [transactions.commit(p) for transactions, p in changed if transactions is not None]
        for result in await asyncio.gather(*commits, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, LostPartitionError):
                raise result

    def _of(self, partition: Partition) -> "_Transactions | None":
        transactions = self._transactions.get(partition.tp)
        return None if transactions is None or transactions.line.closed or partition.lost else transactions

    def _failed(self, tp: TopicPartition, error: Exception) -> None:
        if isinstance(error, _FENCED):
            log.warning("fenced; what was done here and not committed is dropped", partition=str(tp))
            self._on_fenced(tp)
        else:
            self._fail(error)


class _Transactions:
    """The transactions of one partition, one after the other."""

    def __init__(
        self,
        tp: TopicPartition,
        group: str,
        make_producer: Callable[[], AIOKafkaProducer],
        consumer: AIOKafkaConsumer,
        metrics: Metrics,
        on_end: OnEnd,
        on_error: Callable[[TopicPartition, Exception], None],
    ) -> None:
        self._tp = tp
        self._group = group
        self._make_producer = make_producer
        self._producer = make_producer()
        self._consumer = consumer
        self._metrics = metrics
        self._on_end = on_end
        self._on_error = on_error
        self._partition: Partition | None = None
        self.line = Line(self._turn, self._failed)

    async def open(self) -> None:
        """Fence whoever had the partition before."""
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        self.line.open()

    async def commit(self, partition: Partition) -> None:
        """Have whatever is done in a committed transaction."""
        self._partition = partition
        await self.line.flush()

    async def close(self) -> None:
        """Stop; an open transaction is left to the next owner's producer to abort."""
        self._drop(await self.line.close())
        await self._producer.stop()

    async def _turn(self, completions: list[Completion]) -> None:
        """Commit all completions but those that are too large, however many transactions it takes; without any,
        whatever else is done.
        """
        if not completions:
            # There is one line only, so no transaction is open: all that counts as done and has outputs is committed.
            assert self._partition is not None  # noqa: S101 - a commit was asked for
            await commit_progress(self._consumer, self._metrics, [self._partition])
            return
        self._partition = completions[-1].job.partition
        alone = False
        while True:
            try:
                await self._producer.begin_transaction()
                records = [completion.records for completion in completions]
                failed = await send_all(self._producer, records, alone=alone)
                if not failed:
                    await self._commit(completions)
                    break
                alone = was_refused(failed)
                if not alone:
                    raise_unless_passing(failed)
                await self._begin_anew()
            except KafkaError as error:
                if not error.retriable or isinstance(error, _FENCED):
                    raise
                log.warning("transaction aborted, trying again", partition=str(self._tp), reason=str(error))
                await self._producer.abort_transaction()
                await asyncio.sleep(RESEND_WAIT_S)
                continue
            for index, failure in failed.items():
                if failure.too_large:
                    self._on_end([completions[index]], too_large(completions[index]))
            completions = [c for i, c in enumerate(completions) if i not in failed or not failed[i].too_large]

    async def _begin_anew(self) -> None:
        """Abort by starting the producer again."""
        await self._producer.stop()
        self._producer = self._make_producer()
        await self._producer.start()

    async def _commit(self, completions: list[Completion]) -> None:
        # Only now, with every output acknowledged, do they count as done. Should the commit fail, the same ones are
        # sent again before anything else of this partition is committed.
        partition = self._partition
        assert partition is not None  # noqa: S101 - a turn has completions, or a commit was asked for
        for completion in completions:
            partition.progress.finish(completion.job.record.origin.offset)
        position = partition.offer()
        await self._producer.send_offsets_to_transaction({self._tp: position}, self._group)
        await self._producer.commit_transaction()
        partition.committed = position
        self._metrics.commits += 1
        self._metrics.produced += sum(len(completion.records) for completion in completions)
        self._on_end(completions, None)

    def _failed(self, error: Exception, undelivered: list[Completion]) -> None:
        self._drop(undelivered)
        self._on_error(self._tp, error)

    def _drop(self, completions: list[Completion]) -> None:
        if completions:
            self._on_end(completions, LostPartitionError())
