"""Fetches records and turns them into jobs, only as many as there is room for."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.headers import REDRIVES, Origin
from topics.specs import TopicSpec
from workers.runtime.assignment import Assignment
from workers.runtime.job import Backlog, Job
from workers.runtime.metrics import Metrics
from workers.runtime.partition import Partition
from workers.runtime.records import Incoming, is_for

log = structlog.get_logger(__name__)

_FETCH_WAIT_MS = 500
_ERROR_WAIT_S = 1.0


class Intake:
    """Moves records from the consumer to the backlog.

    A partition with ``max_outstanding`` unfinished records is paused, and resumed at half of that. ``stage`` is whose
    worker this is.
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

    async def run(self) -> None:
        """Fetch until cancelled."""
        while True:
            room = self._make_room()
            try:
                fetched = await self._consumer.getmany(timeout_ms=_FETCH_WAIT_MS, max_records=room)
            except KafkaError as error:
                if not error.retriable:
                    raise
                log.warning("fetch failed, trying again", reason=str(error) or repr(error))
                await asyncio.sleep(_ERROR_WAIT_S)
                continue
            if not fetched:
                await self._skip_markers()
            # No await from here to the end of the loop: a rebalance in between would mix two assignments.
            now_ms = time.time_ns() // 1_000_000
            for tp, records in fetched.items():
                partition = self._assignment.partitions.get(tp)
                if partition is not None:
                    for record in records:
                        self._take(partition, record, now_ms)

    async def _skip_markers(self) -> None:
        """Let idle partitions pass the markers that end transactions, or they would seem to lag for ever."""
        for tp, partition in list(self._assignment.partitions.items()):
            if partition.progress.outstanding == 0 and tp in self._consumer.assignment():
                position = await self._consumer.position(tp)
                if not partition.lost and partition.progress.skip_to(position):
                    self._dirty.set()

    def _drop(self, partition: Partition, offset: int) -> None:
        partition.progress.finish(offset)
        self._dirty.set()

    def resume(self, partition: Partition) -> None:
        """Fetch a paused partition again, once there is room."""
        tp = TopicPartition(partition.topic, partition.number)
        if partition.paused and not partition.lost and partition.progress.outstanding <= self._max_outstanding // 2:
            partition.paused = False
            if tp in self._consumer.assignment():
                self._consumer.resume(tp)

    def _make_room(self) -> int:
        """Pause the full partitions; give how many records any one of the others may still take."""
        rooms = []
        owned = self._consumer.assignment()
        paused = self._consumer.paused()
        for tp, partition in self._assignment.partitions.items():
            room = self._max_outstanding - partition.progress.outstanding
            if partition.paused or room <= 0:
                partition.paused = True
                # A rebalance forgets what was paused.
                if tp in owned and tp not in paused:
                    self._consumer.pause(tp)
            else:
                rooms.append(room)
        return min(rooms, default=1)

    def _take(self, partition: Partition, record: Any, now_ms: int) -> None:
        spec = self._specs[record.topic]
        incoming = Incoming(
            Origin(record.topic, record.partition, record.offset),
            record.key,
            record.value,
            record.headers,
            datetime.fromtimestamp(record.timestamp / 1000, UTC),
            now_ms,
        )
        first = partition.seen.first_offset(_identity(incoming, spec), record.offset)
        if record.offset < partition.progress.next_offset:
            return  # history, read for its key alone, or fetched twice around a rebalance
        self._metrics.fetched.inc()
        if not partition.progress.begin(record.offset):
            return
        if not is_for(incoming, self._stage):
            self._drop(partition, record.offset)
            return
        if first != record.offset:
            log.info("duplicate dropped", origin=str(incoming.origin), first_offset=first)
            self._metrics.duplicates.inc()
            self._drop(partition, record.offset)
            return
        self._backlog.add(Job(incoming, spec, partition))


def _identity(record: Incoming, spec: TopicSpec) -> str:
    """What makes two records of a topic the same: the key where it may come once, else the event ID.

    A redriven record is another than the one that failed.
    """
    headers = dict(record.headers)
    name = record.key if spec.once_per_key else headers.get("ce_id")
    if not name:
        return str(record.origin)
    redrives = headers.get(REDRIVES, b"")
    return (name + b"\0" + redrives if redrives else name).decode("latin-1")
