"""A topic as it was recorded: its bounds, and the committed records of spans of it. Nobody's offsets change."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings, partitions_of, stop_consumer
from replay.errors import ReplayError
from replay.selection import Bounds, Span

T = TypeVar("T")

CONNECT_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0
_POLL_MS = 200
# Records that are in memory as objects at a time; those behind them wait as the bytes that were fetched.
_READ_RECORDS = 500
# Of each partition; a record that is larger comes all the same (KIP-74).
_FETCH_BYTES = 256 * 1024
# A partition of which so many records wait is not fetched from meanwhile.
_BUFFERED = 500


class Recording:
    """A topic, for reading; an asynchronous context manager. ``group`` is whose offsets a replay keeps, if any.

    Raises:
        ReplayError: from any call, when Kafka does not answer or the topic is missing.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, group: str | None = None) -> None:
        self.topic = topic
        self._servers = kafka.bootstrap_servers
        self.consumer = AIOKafkaConsumer(
            **kafka.client_options(),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES,
            # What was aborted never was; offsets asked for are stable.
            isolation_level="read_committed",
        )
        self._partitions: list[TopicPartition] = []

    async def __aenter__(self) -> Self:
        try:
            with answering(self._servers):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self.consumer.start()
                    self._partitions = await partitions_of(self.consumer, self.topic)
                    # Before offsets are asked for: it waits a while for each topic that is not assigned.
                    self.consumer.assign(self._partitions)
            self._check_there()
        except BaseException:
            await self._close()
            raise
        return self

    def _check_there(self) -> None:
        if not self._partitions:
            raise ReplayError(f"there is no topic {self.topic} on Kafka at {self._servers}")

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def partitions(self) -> int:
        """How many the topic has."""
        return len(self._partitions)

    async def bounds(self) -> dict[int, Bounds]:
        """What each partition holds now."""
        with answering(self._servers):
            firsts = await self.consumer.beginning_offsets(self._partitions)
            ends = await self.consumer.end_offsets(self._partitions)
            earliest = await self.consumer.offsets_for_times(dict.fromkeys(self._partitions, 0))
        return {
            tp.partition: Bounds(firsts[tp], max(firsts[tp], ends[tp]), found.timestamp if found else None)
            for tp in self._partitions
            for found in [earliest.get(tp)]
        }

    async def find(self, at_ms: int) -> dict[int, int | None]:
        """Each partition's first offset at or after a time."""
        with answering(self._servers):
            found = await self.consumer.offsets_for_times(dict.fromkeys(self._partitions, at_ms))
        return {tp.partition: found[tp].offset if found.get(tp) else None for tp in self._partitions}

    async def read(self, spans: Mapping[int, Span]) -> AsyncGenerator[list[ConsumerRecord], None]:
        """The records of spans, those of a partition in order, in batches as they come."""
        reader = Reader(self, spans)
        with answering(self._servers):
            reader.begin()
            while not await reader.exhausted():
                for records in (await reader.fetch(_POLL_MS / 1000, _READ_RECORDS)).values():
                    yield records

    async def read_with(
        self, function: Callable[[list[ConsumerRecord]], T], spans: Mapping[int, Span]
    ) -> AsyncGenerator[T, None]:
        """What ``function`` makes of each batch, beside the event loop: some hundred records that are decoded or
        compressed make heartbeats late.

        All in one thread, for each thread keeps memory of its own; it has come to rest when this ends, however it ends.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="recording") as thread:
            async for records in self.read(spans):
                yield await loop.run_in_executor(thread, function, records)

    async def whole(self) -> dict[int, Span]:
        """The spans of all that is there."""
        return {partition: Span(first, end) for partition, (first, end, _) in (await self.bounds()).items()}

    async def since(self, at_ms: int) -> dict[int, Span]:
        """The spans of what is there from a time on."""
        bounds, found = await self.bounds(), await self.find(at_ms)
        return {
            partition: Span(end if (first := found[partition]) is None else first, end)
            for partition, (_, end, _) in bounds.items()
        }

    async def _close(self) -> None:
        # A broker that is gone must not hold us at the end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await stop_consumer(self.consumer)


class Reader:
    """Reads spans of a recording into one line a partition, as far as there is room.

    ``lines`` has by partition what was fetched and is still there; whoever takes from the left end of it goes on.
    """

    def __init__(self, recording: Recording, spans: Mapping[int, Span]) -> None:
        self._consumer = recording.consumer
        self._ends = {TopicPartition(recording.topic, number): span.end for number, span in spans.items()}
        self._begins = {TopicPartition(recording.topic, number): span.first for number, span in spans.items()}
        self._next = dict(self._begins)
        self._paused: set[TopicPartition] = set()
        self._reached: set[TopicPartition] = {tp for tp, end in self._ends.items() if self._begins[tp] >= end}
        self.lines: dict[TopicPartition, deque[ConsumerRecord]] = {tp: deque() for tp in self._ends}

    def begin(self) -> None:
        """Go to the beginning of the spans."""
        left = self._ends.keys() - self._reached
        if left:
            self._consumer.assign(list(left))
        for tp in left:
            self._consumer.seek(tp, self._begins[tp])

    async def exhausted(self) -> bool:
        """Whether everything has been fetched. Behind the last record a span may have offsets without one."""
        for tp, end in self._ends.items():
            if tp not in self._reached:
                if await self._consumer.position(tp) < end:
                    return False
                self._finish(tp)
        return True

    async def begun(self) -> bool:
        """Whether every line has a record, or never will."""
        await self.exhausted()
        return all(line or tp in self._reached for tp, line in self.lines.items())

    def left(self) -> int:
        """Offsets that have not been taken from the lines."""
        return sum(end - self.position(tp) for tp, end in self._ends.items())

    def position(self, tp: TopicPartition) -> int:
        """The first offset that has not been taken from the line."""
        line = self.lines[tp]
        if line:
            return int(line[0].offset)
        return self._ends[tp] if tp in self._reached else self._next[tp]

    async def fill(self, wait_s: float) -> None:
        """Fetch into the lines that have room; waits no longer than ``wait_s`` for something to come."""
        self._balance()
        if self._paused == self._ends.keys() - self._reached:
            await asyncio.sleep(wait_s)
            return
        for tp, records in (await self.fetch(wait_s)).items():
            self.lines[tp].extend(records)
            self._next[tp] = records[-1].offset + 1

    async def fetch(self, wait_s: float, max_records: int | None = None) -> dict[TopicPartition, list[ConsumerRecord]]:
        """The next records, past none of the spans."""
        fetched: Mapping[Any, list[ConsumerRecord]] = await self._consumer.getmany(
            timeout_ms=int(wait_s * 1000), max_records=max_records
        )
        found = {}
        for tp, records in fetched.items():
            end = self._ends[tp]
            within = records if records[-1].offset < end else [record for record in records if record.offset < end]
            if len(within) < len(records) or within[-1].offset + 1 == end:
                self._finish(tp)
            if within:
                found[tp] = within
        return found

    def _finish(self, tp: TopicPartition) -> None:
        if tp not in self._reached:
            self._reached.add(tp)
            self._paused.discard(tp)
            self._consumer.pause(tp)

    def _balance(self) -> None:
        for tp, line in self.lines.items():
            if tp in self._reached:
                continue
            if len(line) >= _BUFFERED and tp not in self._paused:
                self._paused.add(tp)
                self._consumer.pause(tp)
            elif len(line) < _BUFFERED // 2 and tp in self._paused:
                self._paused.discard(tp)
                self._consumer.resume(tp)


@contextlib.contextmanager
def answering(servers: str) -> Iterator[None]:
    """Say in one sentence what is wrong with Kafka.

    Raises:
        ReplayError: in place of aiokafka's errors.
    """
    try:
        yield
    except (KafkaError, OSError) as error:
        raise ReplayError(f"Kafka at {servers} does not answer: {str(error) or type(error).__name__}") from error
