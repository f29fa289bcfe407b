"""Fetches records and turns them into jobs, only as many as there is room for."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from schemas.headers import Headers, Origin
from topics.specs import TopicSpec
from workers.runtime.assignment import Assignment
from workers.runtime.job import Backlog, make_job
from workers.runtime.metrics import Metrics
from workers.runtime.partition import Partition
from workers.runtime.records import Incoming, identity, is_for

log = structlog.get_logger(__name__)

_FETCH_WAIT_MS = 500
_ERROR_WAIT_S = 1.0
_NOWHERE = TopicPartition("", -1)


class Intake:
    """Moves records from the consumer to the backlog.

    A partition is fetched from while at most half of its ``max_outstanding`` places are taken. It is not paused in the
    meantime: aiokafka would throw away what it has fetched ahead. ``stage`` is whose worker this is.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        assignment: Assignment,
        specs: Mapping[str, TopicSpec],
        stage: str,
        backlog: Backlog,
        max_outstanding: int,
        metrics: Metrics,
        dirty: asyncio.Event,
    ) -> None:
        self._consumer = consumer
        self._dirty = dirty
        self._assignment = assignment
        self._specs = specs
        self._stage = stage
        self._backlog = backlog
        self._max_outstanding = max_outstanding
        self._metrics = metrics
        self._fetching: set[TopicPartition] = set()
        self._changed = assignment.changed

    async def run(self) -> None:
        """Fetch until cancelled. Partitions that have room again do not wait for others to have records."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                if wanted := self._with_room():
                    self._fetching.update(wanted)
                    group.create_task(self._fetch(wanted))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_FETCH_WAIT_MS / 1000):
                        await self._changed.wait()
                # The group hears that we are alive, also while there is room nowhere.
                await self._consumer.getmany(_NOWHERE, timeout_ms=0)

    def make_room(self, partition: Partition) -> None:
        """Note that records of a partition are finished."""
        if self._has_room(partition) and partition.tp not in self._fetching:
            self._changed.set()

    def _has_room(self, partition: Partition) -> bool:
        return partition.progress.outstanding <= self._max_outstanding // 2

    def _with_room(self) -> list[TopicPartition]:
        return [
            tp
            for tp, partition in self._assignment.partitions.items()
            if tp not in self._fetching and self._has_room(partition)
        ]

    async def _fetch(self, wanted: Sequence[TopicPartition]) -> None:
        room = self._max_outstanding - self._max_outstanding // 2
        try:
            fetched = await self._consumer.getmany(*wanted, timeout_ms=_FETCH_WAIT_MS, max_records=room)
            # No await from here: a rebalance in between would mix two assignments.
            self._take_all(fetched)
            if not fetched:
                await self._skip_markers(wanted)
        except OffsetOutOfRangeError as error:
            await self._assignment.begin_anew(error.args[0])
        except KafkaError as error:
            if not error.retriable:
                raise
            log.warning("fetch failed, trying again", reason=str(error) or repr(error))
            await asyncio.sleep(_ERROR_WAIT_S)
        finally:
            self._fetching.difference_update(wanted)
            self._changed.set()

    async def _skip_markers(self, wanted: Sequence[TopicPartition]) -> None:
        """Let idle partitions pass the markers that end transactions, or they would seem to lag for ever."""
        for tp in wanted:
            partition = self._assignment.partitions.get(tp)
            if partition and partition.progress.outstanding == 0 and tp in self._consumer.assignment():
                position = await self._consumer.position(tp)
                if not partition.lost and partition.progress.skip_to(position):
                    self._dirty.set()

    def _take_all(self, fetched: Mapping[TopicPartition, Sequence[Any]]) -> None:
        now_ms = time.time_ns() // 1_000_000
        for tp, records in fetched.items():
            partition = self._assignment.partitions.get(tp)
            if partition is not None:
                for record in records:
                    self._take(partition, record, now_ms)

    def _take(self, partition: Partition, record: Any, now_ms: int) -> None:
        spec = self._specs[record.topic]
        incoming = Incoming(
            Origin(record.topic, record.partition, record.offset),
            record.key,
            record.value,
            Headers.decode(record.headers),
            datetime.fromtimestamp(record.timestamp / 1000, UTC),
            now_ms,
        )
        first = partition.seen.first_offset(identity(incoming, spec), record.offset)
        if record.offset < partition.progress.next_offset:
            return  # history, read for its key alone, or fetched twice around a rebalance
        self._metrics.fetched += 1
        if not partition.progress.begin(record.offset):
            return
        if not is_for(incoming, self._stage):
            self._drop(partition, record.offset)
            return
        if first != record.offset:
            log.info("duplicate dropped", origin=str(incoming.origin), first_offset=first)
            self._metrics.duplicates += 1
            self._drop(partition, record.offset)
            return
        self._backlog.add(make_job(incoming, spec, partition))

    def _drop(self, partition: Partition, offset: int) -> None:
        partition.progress.finish(offset)
        self._dirty.set()
