"""Sends recorded requests into a replay: each once, whatever is killed when.

Records and the source's offsets are in one transaction, so what was sent and how far it has read always agree. Starting
with the same transactional.id ends what a killed feeder left open, and shuts out one that still works.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings
from replay.errors import ReplayError
from replay.recording import Reader, Recording, answering
from replay.requests import Make, incoming, request_id
from replay.schedule import Schedule
from replay.selection import Selection, Span
from replay.tracker import Tracker
from topics.names import Namespace
from topics.specs import DEAD_LETTERS_HEADROOM_BYTES, TOPICS
from workers.runtime.committed import read_committed
from workers.runtime.records import Outgoing
from workers.runtime.sending import BATCH_BYTES, send_all

GROUP = "replay"
# Requests that were sent and have not ended: as many as keep every worker busy.
WINDOW = 4_000
_TURN_RECORDS = 500
_TURN_BYTES = 8 * 1024 * 1024
_WAIT_S = 0.05
# Offsets passed over without a record to send, after which the position is committed all the same.
_SKIPPED = 10_000
_LARGEST_RECORD = max(spec.max_message_bytes for spec in TOPICS) + DEAD_LETTERS_HEADROOM_BYTES


def group_of(names: Namespace) -> str:
    """The consumer group that keeps how far a run has read."""
    return names.group(GROUP)


class Feeder:
    """Sends what ``selection`` takes from spans of a recording, but for requests that the tracker knows.

    ``schedule`` makes one of the time of the earliest record. The recording is opened with ``group_of`` the run's
    namespace.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        names: Namespace,
        recording: Recording,
        make: Make,
        selection: Selection,
        schedule: Callable[[int], Schedule],
        tracker: Tracker,
    ) -> None:
        self._servers = kafka.bootstrap_servers
        self._group = group_of(names)
        self._recording = recording
        self._make = make
        self._selection = selection
        self._make_schedule = schedule
        self._tracker = tracker
        self._left = 0
        self._room = asyncio.Event()
        self._producer = AIOKafkaProducer(
            **kafka.client_options(),
            transactional_id=names.of(f"ragline.{GROUP}"),
            max_batch_size=BATCH_BYTES,
            max_request_size=_LARGEST_RECORD,
        )

    @property
    def left(self) -> int:
        """Offsets still to be read: no more requests than that are to come."""
        return self._left

    def make_room(self) -> None:
        """A request has ended."""
        self._room.set()

    async def start(self, spans: Mapping[int, Span]) -> dict[int, Span]:
        """Shut out any other feeder of the run; gives what is left of the spans."""
        with answering(self._servers):
            await self._producer.start()
            partitions = [TopicPartition(self._recording.topic, number) for number in spans]
            commits = await read_committed(self._recording.consumer, self._group, partitions)
        left = {
            number: Span(commits[tp].offset if tp in commits else span.first, span.end)
            for number, span in spans.items()
            for tp in [TopicPartition(self._recording.topic, number)]
        }
        self._left = sum(map(len, left.values()))
        return left

    async def stop(self) -> None:
        """Let go of the connection; a transaction that is open is aborted."""
        await self._producer.stop()

    async def run(self, spans: Mapping[int, Span]) -> None:
        """Send everything that is left.

        Raises:
            ReplayError: Kafka does not take it; the same again goes on.
        """
        reader = Reader(self._recording, spans)
        reader.begin()
        with answering(self._servers):
            while not await reader.begun():
                await reader.fill(_WAIT_S)
            heads = [line[0].timestamp for line in reader.lines.values() if line]
            if heads:
                await self._send_all(reader, self._make_schedule(min(heads)))
            # Spans end behind their last record.
            await self._deliver(reader, [], at_least=1)

    async def _send_all(self, reader: Reader, schedule: Schedule) -> None:
        began_s, sent, wait_s = time.monotonic(), 0, 0.0
        while True:
            records, wait_s = self._due(reader, schedule, sent, time.monotonic() - began_s)
            sent += len(records)
            await self._deliver(reader, records, at_least=_SKIPPED)
            await self._wait_for_room()
            if not await reader.exhausted():
                await reader.fill(wait_s)
            elif not any(reader.lines.values()):
                return
            else:
                await asyncio.sleep(wait_s)

    def _due(self, reader: Reader, schedule: Schedule, sent: int, now_s: float) -> tuple[list[Outgoing], float]:
        """The records for one transaction, and how long to wait for more."""
        due: list[Outgoing] = []
        size = 0
        wait_s = _WAIT_S
        # Of every partition some, for the stages work on all of them at once.
        share = max(1, _TURN_RECORDS // len(reader.lines))
        for line in reader.lines.values():
            for _ in range(min(share, len(line))):
                early_s = schedule.due_s(sent + len(due), line[0].timestamp) - now_s
                if early_s > 0 or size >= _TURN_BYTES:
                    wait_s = min(wait_s, max(early_s, 0.0))
                    break
                record = self._take(line.popleft())
                if record is not None:
                    due.append(record)
                    size += len(record.value or b"")
        if wait_s == _WAIT_S and any(reader.lines.values()):
            wait_s = 0.0
        return due, wait_s

    def _take(self, record: ConsumerRecord) -> Outgoing | None:
        came = incoming(record)
        name = request_id(came)
        if not self._selection.takes(name, record.timestamp) or not self._tracker.send(name):
            return None
        return self._make(came)

    async def _deliver(self, reader: Reader, records: list[Outgoing], at_least: int) -> None:
        """Send records, and say how far it has read; without records, when that is so much further."""
        left = reader.left()
        if not records and self._left - left < at_least:
            return
        positions = {tp: OffsetAndMetadata(reader.position(tp), "") for tp in reader.lines}
        async with self._producer.transaction():
            failed = await send_all(self._producer, [[record] for record in records])
            for failure in failed.values():
                cause = str(failure.cause) or type(failure.cause).__name__
                raise ReplayError(f"a recorded request could not be sent: {cause}")
            await self._producer.send_offsets_to_transaction(positions, self._group)
        self._left = left

    async def _wait_for_room(self) -> None:
        # For a whole turn, or there would be as many transactions as requests.
        while self._tracker.pending > WINDOW - _TURN_RECORDS:
            self._room.clear()
            await self._room.wait()
