"""A worker: one process running one stage, from start to clean end."""

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from backends.kafka import KafkaSettings, stop_consumer
from schemas.stamps import Stamp
from topics.names import Namespace
from topics.specs import DEAD_LETTERS_HEADROOM_BYTES, TOPICS
from workers.runtime.assignment import Assignment
from workers.runtime.cancellation import Cancellations
from workers.runtime.exactly_once import ExactlyOnce
from workers.runtime.guarantee import AtLeastOnce, Ending, Guarantee
from workers.runtime.handler import Handler
from workers.runtime.http import status_page
from workers.runtime.intake import Intake
from workers.runtime.job import Backlog, Completion
from workers.runtime.metrics import Metrics
from workers.runtime.sending import BATCH_BYTES
from workers.runtime.settings import RuntimeSettings
from workers.runtime.settling import Settling
from workers.runtime.stage import BatchedStage, ConcurrentStage, Measured
from workers.runtime.tracing import Tracing

log = structlog.get_logger(__name__)

# Hardly any of its objects form cycles: what waits for a commit is not looked through again and again.
_GC_THRESHOLDS = (200_000, 10, 20)
_CONNECT_WAIT_S = 2.0
_LAG_PROBE_S = 0.25
_CATCH_UP_TIMEOUT_S = 10.0
_LARGEST_RECORD = max(spec.max_message_bytes for spec in TOPICS) + DEAD_LETTERS_HEADROOM_BYTES


class Worker:
    """Runs a stage as a member of the consumer group that is named after it.

    ``make_stamp`` says what decides all that the stage does; it is asked once, in a thread, when the stage has started.
    """

    def __init__(
        self,
        stage: BatchedStage[Any] | ConcurrentStage[Any],
        kafka: KafkaSettings,
        names: Namespace,
        settings: RuntimeSettings,
        make_stamp: Callable[[], Stamp] = Stamp,
    ) -> None:
        self._stage = stage
        self._make_stamp = make_stamp
        self._kafka = kafka
        self._names = names
        self._settings = settings
        self._specs = {names.topic(spec): spec for spec in stage.consumes}
        self._metrics = Metrics(stage.name, stage.collectors if isinstance(stage, Measured) else ())
        self._tracing = Tracing(stage.name)
        self._backlog = Backlog()
        self._consumer = self._make_consumer()
        self._died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._guarantee = self._make_guarantee()
        self._assignment = Assignment(
            self._consumer,
            names.group(stage.name),
            self._guarantee,
            settings,
            self._history,
            self._metrics,
            self._backlog.drop,
            self._die,
        )
        self._intake = Intake(
            self._consumer,
            self._assignment,
            self._specs,
            stage.name,
            self._backlog,
            settings.max_outstanding,
            self._metrics,
            self._guarantee.dirty,
        )
        self._settling = Settling(
            stage.name,
            stage.subject,
            self._backlog,
            self._guarantee,
            names,
            settings,
            self._metrics,
            self._intake.make_room,
        )
        self._cancellations = Cancellations(kafka, names, settings.cancellation_window_ms / 1000)
        self._handler = Handler(
            stage,
            self._backlog,
            self._guarantee,
            self._settling,
            self._cancellations.cancelled,
            self._metrics,
            self._tracing,
        )
        self._ready = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then drain and leave the group.

        Raises:
            Exception: whatever ended the worker before that; work that was not committed is done again by others.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self._tracing.close)
            settings = self._settings
            page = status_page(settings.http_host, settings.http_port, self._metrics.registry, self.status)
            port = await stack.enter_async_context(page)
            log.info("starting", stage=self._stage.name, http=f"http://{settings.http_host}:{port}", pid=os.getpid())
            # Again at the very end, harmlessly: for a worker that is stopped before it has come to their start.
            stack.push_async_callback(self._guarantee.stop)
            stack.push_async_callback(stop_consumer, self._consumer)
            if not await self._until(stop, self._stage.start()):
                return
            stack.push_async_callback(self._stage.stop)
            if not await self._until(stop, self._stamp()):
                return
            stack.push_async_callback(self._guarantee.stop)
            stack.push_async_callback(stop_consumer, self._consumer)
            if not await self._until(stop, self._connect(self._guarantee.start)):
                return
            if not await self._until(stop, self._connect(self._consumer.start)):
                return
            self._consumer.subscribe(list(self._specs), listener=self._assignment)
            await self._work(stop)
        log.info("stopped", stage=self._stage.name)

    def status(self) -> dict[str, object]:
        """What the worker is doing, for ``/status``."""
        return {
            "stage": self._stage.name,
            "ready": self._ready,
            "in_flight": self._settling.in_flight,
            "queued": len(self._backlog),
            "processed": self._metrics.processed,
            "failed": self._metrics.failed,
            "last_error": self._settling.last_error,
            "partitions": sorted(str(partition) for partition in self._assignment.partitions.values()),
        }

    # --- phases -----------------------------------------------------------------------------------------

    async def _work(self, stop: asyncio.Event) -> None:
        async with (
            asyncio.TaskGroup() as group,
            _background(group, self._probe_loop_lag()),
            self._hearing_cancellations(group, stop),
        ):
            async with _background(group, self._commit_as_it_goes()):
                async with (
                    _background(group, self._intake.run()),
                    _background(group, self._handler.run(group)),
                    _background(group, self._announce()),
                ):
                    await self._stopped_or_dead(stop)
                self._ready = False
                await self._drain()
            for partition in self._assignment.partitions.values():
                partition.open = False
            await self._commit()
            for partition in self._assignment.partitions.values():
                partition.lose()

    async def _drain(self) -> None:
        log.info("draining", in_flight=self._settling.in_flight)
        try:
            async with asyncio.timeout(self._settings.drain_timeout_ms / 1000):
                await self._settling.drain()
        except TimeoutError:
            log.warning("not everything finished in time; others do it again", in_flight=self._settling.in_flight)

    async def _stopped_or_dead(self, stop: asyncio.Event) -> None:
        stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({stopped, self._died}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self._died.done():
            self._died.result()

    async def _until(self, stop: asyncio.Event, start: Awaitable[object]) -> bool:
        """Await a start-up step; False if told to stop before it was done."""
        task: asyncio.Future[Any] = asyncio.ensure_future(start)
        stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                return True
            return False
        finally:
            for waiting in (task, stopped):
                waiting.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    async def _stamp(self) -> None:
        self._settling.decided_by(await asyncio.to_thread(self._make_stamp))

    async def _connect(self, start: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await start()
            except (KafkaError, OSError) as error:
                servers = self._kafka.bootstrap_servers
                log.warning("Kafka does not answer, trying again", servers=servers, reason=str(error) or repr(error))
                await asyncio.sleep(_CONNECT_WAIT_S)
            else:
                return

    @asynccontextmanager
    async def _hearing_cancellations(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> AsyncIterator[None]:
        """Know of cancellations, of those before the start too; but for them, work goes on without."""
        if self._stage.subject != "request":
            yield
            return
        async with _background(group, self._cancellations.run()):
            try:
                async with asyncio.timeout(_CATCH_UP_TIMEOUT_S):
                    await self._until(stop, self._cancellations.caught_up.wait())
            except TimeoutError:
                log.warning("what was cancelled before is not known yet; beginning without")
            yield

    # --- background -------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        await self._assignment.joined.wait()
        # What is there now stays: looking through it again and again would take a fifth of the time per record.
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        self._ready = True
        log.info("ready", stage=self._stage.name, partitions=len(self._assignment.partitions))

    async def _commit_as_it_goes(self) -> None:
        while True:
            await self._guarantee.dirty.wait()
            self._guarantee.dirty.clear()
            await self._commit()
            await asyncio.sleep(self._settings.commit_interval_ms / 1000)

    async def _commit(self) -> None:
        try:
            async with asyncio.timeout(self._settings.session_timeout_ms / 1000):
                await self._guarantee.commit(list(self._assignment.partitions.values()))
        except TimeoutError:
            log.warning("commit took too long, trying again")
            self._guarantee.dirty.set()

    async def _probe_loop_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LAG_PROBE_S)
            self._metrics.loop_lag = max(0.0, time.monotonic() - before - _LAG_PROBE_S)
            self._metrics.queued, self._metrics.in_flight = len(self._backlog), self._settling.in_flight

    # --- pieces -----------------------------------------------------------------------------------------

    def _make_consumer(self) -> AIOKafkaConsumer:
        settings = self._settings
        return AIOKafkaConsumer(
            **self._kafka.client_options(),
            client_id=f"ragline-{self._stage.name}",
            group_id=self._names.group(self._stage.name),
            group_instance_id=settings.group_instance_id or None,
            enable_auto_commit=False,
            # Nobody but the assignment decides where to begin.
            auto_offset_reset="none",
            metadata_max_age_ms=settings.metadata_max_age_ms,
            isolation_level="read_committed",
            partition_assignment_strategy=[StickyPartitionAssignor],
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            max_poll_interval_ms=settings.max_poll_interval_ms,
        )

    def _make_guarantee(self) -> Guarantee:
        if self._settings.guarantee == "exactly_once":
            group = self._names.group(self._stage.name)
            return ExactlyOnce(
                group, self._make_producer, self._consumer, self._metrics, self._ended, self._fenced, self._die
            )
        return AtLeastOnce(partial(self._make_producer, None), self._consumer, self._metrics, self._ended, self._die)

    def _make_producer(self, transactional_id: str | None) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._kafka.client_options(),
            client_id=f"ragline-{self._stage.name}",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            transactional_id=transactional_id,
            transaction_timeout_ms=self._settings.transaction_timeout_ms,
            max_request_size=_LARGEST_RECORD,
        )

    def _history(self, topic: str) -> int:
        return self._settings.duplicate_window if self._specs[topic].once_per_key else 0

    def _ended(self, completions: Sequence[Completion], ending: Ending) -> None:
        self._settling.ended(completions, ending)

    def _fenced(self, tp: TopicPartition) -> None:
        self._assignment.forget(tp)

    def _die(self, error: BaseException) -> None:
        if not self._died.done():
            self._died.set_exception(error)


@asynccontextmanager
async def _background(group: asyncio.TaskGroup, work: Any) -> AsyncIterator[None]:
    """A task that lasts as long as the context, and whose error ends the group."""
    task = group.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(128 + signal.SIGTERM)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
