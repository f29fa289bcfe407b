"""Which requests were cancelled: every worker reads all of ``rag.control``, in no group."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from backends.kafka import KafkaSettings, committed_reader, has_reached, partitions_of, stop_consumer
from schemas import codec
from schemas.events import CancellationRequested
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import CONTROL
from workers.runtime.partition import LostPartitionError

log = structlog.get_logger(__name__)

# Cancellations known at a time: some 50 MB. The oldest are forgotten first.
_LIMIT = 100_000
_FETCH_WAIT_MS = 1_000
_RECONNECT_WAIT_S = 1.0


class RequestCancelledError(Exception):
    """The request was cancelled while work on it ran."""

    def __init__(self, cancellation: "Cancellation") -> None:
        super().__init__(cancellation.reason)
        self.cancellation = cancellation


@dataclass(frozen=True, slots=True)
class Cancellation:
    """That somebody cancelled a request, and why. ``known_s`` is when this worker heard of it, on its own clock."""

    reason: str | None
    known_s: float


class Cancelled:
    """The requests cancelled in the last ``window_s`` seconds, and the work that runs on requests.

    It holds at most ``limit`` requests.
    """

    def __init__(self, window_s: float, limit: int = _LIMIT) -> None:
        self._window_s = window_s
        self._limit = limit
        self._cancelled: OrderedDict[str, Cancellation] = OrderedDict()
        self._running: dict[str, list[Work]] = {}
        self._on_cancelled: Callable[[str], None] | None = None

    def __len__(self) -> int:
        return len(self._cancelled)

    def find(self, request_id: str) -> Cancellation | None:
        """The cancellation of the request, if there was one."""
        cancellation = self._cancelled.get(request_id)
        if cancellation is None or cancellation.known_s < time.monotonic() - self._window_s:
            return None
        return cancellation

    def add(self, request_id: str, reason: str | None) -> None:
        """Note a cancellation and stop the work that runs on the request; the first of a request counts."""
        now_s = time.monotonic()
        while self._cancelled and next(iter(self._cancelled.values())).known_s < now_s - self._window_s:
            self._cancelled.popitem(last=False)
        if request_id in self._cancelled:
            return
        if len(self._cancelled) >= self._limit:
            self._cancelled.popitem(last=False)
        self._cancelled[request_id] = cancellation = Cancellation(reason, now_s)
        for work in self._running.get(request_id, ()):
            work.stop(RequestCancelledError(cancellation))
        if self._on_cancelled is not None:
            self._on_cancelled(request_id)

    def tell(self, on_cancelled: Callable[[str], None]) -> None:
        """Have ``on_cancelled`` called with each request that is cancelled from now on."""
        self._on_cancelled = on_cancelled

    def watching(self, request_id: str) -> "Work":
        """A context around work of the current task, which stops when the request is cancelled."""
        return Work(self._running, request_id)


class Work:
    """What the current task does in this context; it can be stopped without ending the task.

    ``asyncio.timeout`` tells its own cancellation from others' in the same way.

    Raises:
        RequestCancelledError: in place of the ``CancelledError`` that stopped it. A task that is cancelled by others
            too gets their ``CancelledError``.
        LostPartitionError: likewise, after ``cancel``.
    """

    __slots__ = ("_before", "_reason", "_request_id", "_running", "_task")

    def __init__(self, running: "dict[str, list[Work]]", request_id: str) -> None:
        self._running = running
        self._request_id = request_id
        self._reason: Exception | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task  # noqa: S101 - coroutines run in tasks
        self._task = task
        self._before = task.cancelling()
        self._running.setdefault(self._request_id, []).append(self)
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        # It may have had its result, or failed, all the same.
        reason = self._take_back()
        works = self._running[self._request_id]
        works.remove(self)
        if not works:
            del self._running[self._request_id]
        if reason is not None and isinstance(error, asyncio.CancelledError):
            raise reason from error

    def stop(self, reason: Exception) -> None:
        """Stop it; ``reason`` is what the context raises."""
        self._reason = reason
        self._task.cancel()

    def cancel(self) -> None:
        """Stop it, for its partition is lost."""
        self.stop(LostPartitionError())

    def _take_back(self) -> Exception | None:
        """Undo our cancelling of the task; gives why it was cancelled, unless others want it too."""
        reason, self._reason = self._reason, None
        return reason if reason and self._task.uncancel() <= self._before else None


class Cancellations:
    """Follows ``rag.control`` into ``cancelled`` while ``run`` runs.

    It begins ``window_s`` seconds back, so that a worker that has just started knows what came before; ``caught_up`` is
    set once it has read so far. Kafka gone is waited for.
    """

    def __init__(self, kafka: KafkaSettings, names: Namespace, window_s: float) -> None:
        self._kafka = kafka
        self._topic = names.topic(CONTROL)
        self._window_s = window_s
        self.cancelled = Cancelled(window_s)
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._follow()
            except (KafkaError, OSError) as error:
                log.warning("cancellations cannot be read, trying again", reason=str(error) or repr(error))
            await asyncio.sleep(_RECONNECT_WAIT_S)

    async def _follow(self) -> None:
        consumer = committed_reader(self._kafka)
        try:
            await consumer.start()
            ends = await self._seek(consumer)
            while True:
                if not self.caught_up.is_set() and await has_reached(consumer, ends):
                    self.caught_up.set()
                for records in (await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)).values():
                    for record in records:
                        self._take(record)
        finally:
            await stop_consumer(consumer)

    async def _seek(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Go to the beginning of the window; gives where the partitions end now."""
        partitions = await partitions_of(consumer, self._topic)
        if not partitions:
            msg = f"topic {self._topic} is missing; create the topics with: ragline topics apply"
            raise OSError(msg)
        consumer.assign(partitions)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        since_ms = int((time.time() - self._window_s) * 1000)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        for partition, end in ends.items():
            first = found.get(partition)
            consumer.seek(partition, first.offset if first else end)
        return ends

    def _take(self, record: Any) -> None:
        try:
            event = codec.decode(record.value, Headers.decode(record.headers).type, CONTROL.events)
        except codec.UndecodableError as error:
            log.warning("not a cancellation", topic=self._topic, offset=record.offset, reason=str(error))
            return
        assert isinstance(event, CancellationRequested)  # noqa: S101 - the topic holds nothing else
        self.cancelled.add(event.request_id, event.reason)
