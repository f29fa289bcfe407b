"""Runs a stage on the jobs of the backlog."""

import asyncio
import time
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import structlog

from backends.engine import EngineDeadError
from schemas.events import Event
from workers.runtime import records, retry
from workers.runtime.cancellation import Cancelled, RequestCancelledError
from workers.runtime.guarantee import Guarantee
from workers.runtime.job import Backlog, Job
from workers.runtime.metrics import Metrics
from workers.runtime.partition import LostPartitionError, Partition
from workers.runtime.settling import LARGE_BYTES, Settling
from workers.runtime.stage import (
    BatchedStage,
    ConcurrentStage,
    Delivery,
    Lenient,
    Outcome,
    PoisonError,
    Produce,
    StageError,
    UnavailableError,
)
from workers.runtime.tracing import Tracing

log = structlog.get_logger(__name__)

# What structlog's bind_contextvars sets, for a tenth of the time.
_REQUEST_ID: ContextVar[str] = ContextVar(f"{structlog.contextvars.STRUCTLOG_KEY_PREFIX}request_id")
# Others on the event loop wait no longer than that for jobs that never wait themselves.
_TURN_S = 0.005


class Handler:
    """Takes jobs from the backlog while ``run`` runs; what it has begun goes on until it is settled."""

    def __init__(
        self,
        stage: BatchedStage[Any] | ConcurrentStage[Any],
        backlog: Backlog,
        guarantee: Guarantee,
        settling: Settling,
        cancelled: Cancelled,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._stage = stage
        # Asked once: a check against a Protocol costs more than anything else done per record.
        self._batch: BatchedStage[Any] | None = stage if isinstance(stage, BatchedStage) else None
        self._single: ConcurrentStage[Any] | None = None if isinstance(stage, BatchedStage) else stage
        self._backlog = backlog
        self._guarantee = guarantee
        self._settling = settling
        self._cancelled = cancelled
        self._metrics = metrics
        self._tracing = tracing
        self._slots = asyncio.Semaphore(self._single.max_in_flight if self._single else 1)
        self._last_careful: Partition | None = None
        self._open = True

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Take up jobs until cancelled; each goes on in a task of ``group``."""
        self._cancelled.tell(lambda request_id: self._end_waiting(group, request_id))
        try:
            while True:
                await self._slots.acquire()
                await self._backlog.wait()
                runner = self._run_singles(self._single) if self._single else self._run_batches(self._batch)
                # Here and not in the task, for one that is cancelled before its first step never runs.
                group.create_task(runner).add_done_callback(lambda _: self._slots.release())
                # It takes what it can before there is another.
                await asyncio.sleep(0)
        finally:
            self._open = False

    def _end_waiting(self, group: asyncio.TaskGroup, request_id: str) -> None:
        """A request that was cancelled while it waited ends now, and not when its turn comes."""
        if self._open and self._stage.subject == "request":
            for job in self._backlog.take_for(request_id):
                self._settling.begin([job])
                group.create_task(self._end(job))

    async def _end(self, job: Job) -> None:
        outcome = await self._prepare(job)
        if outcome is not None:
            await self._settle(job, outcome)
            return
        self._settling.let_go([job])
        if not job.partition.lost:
            self._backlog.add_again(job)

    # --- one at a time ----------------------------------------------------------------------------------

    async def _run_singles(self, stage: ConcurrentStage[Any]) -> None:
        """Handle jobs while there are any: those that never wait all go through one task."""
        began_s = time.monotonic()
        while self._open and (jobs := self._backlog.take(1)):
            self._settling.begin(jobs)
            await self._run_single(stage, jobs[0])
            if time.monotonic() - began_s > _TURN_S:
                await asyncio.sleep(0)
                began_s = time.monotonic()

    async def _run_single(self, stage: ConcurrentStage[Any], job: Job) -> None:
        outcome = await self._prepare(job)
        if outcome is None and job.delivery is not None:
            _REQUEST_ID.set(job.delivery.key)
            span = self._tracing.start(job.delivery)
            job.traceparent = span.traceparent
            try:
                outcome = await self._handle(stage, job, job.delivery)
            finally:
                span.end()
        if outcome is None:
            self._settling.let_go([job])
        else:
            await self._settle(job, outcome)

    async def _handle(self, stage: ConcurrentStage[Any], job: Job, delivery: Delivery[Event]) -> Outcome | None:
        """The stage's outcome; None if the partition was lost meanwhile."""
        works = job.partition.works
        try:
            with self._cancelled.watching(delivery.key) as work:
                works.add(work)
                try:
                    return await stage.handle(delivery)
                finally:
                    works.discard(work)
        except EngineDeadError:
            raise
        except LostPartitionError:
            return None
        except RequestCancelledError as error:
            self._metrics.cancelled += 1
            return Produce(records.cancelled(delivery, self._stage.name, error.cancellation.reason))
        except Exception as error:  # noqa: BLE001 - whatever a stage raises belongs to this event alone
            return self._as_error(error)

    # --- in batches -------------------------------------------------------------------------------------

    async def _run_batches(self, stage: BatchedStage[Any] | None) -> None:
        """Handle batches while there are any. What is lost meanwhile is dropped after its batch."""
        assert stage is not None  # noqa: S101 - for the type checker
        while self._open and len(self._backlog):
            if len(self._backlog) < stage.max_batch and stage.linger_ms:
                await asyncio.sleep(stage.linger_ms / 1000)
            jobs = self._backlog.take(stage.max_batch)
            if not jobs:
                return
            self._settling.begin(jobs)
            await self._run_batch(stage, jobs)

    async def _run_batch(self, stage: BatchedStage[Any], jobs: list[Job]) -> None:
        ready: list[tuple[Job, Delivery[Event]]] = []
        for job in jobs:
            outcome = await self._prepare(job)
            if outcome is not None:
                await self._settle(job, outcome)
            elif job.delivery is None or job.partition.lost:
                self._settling.let_go([job])
            else:
                ready.append((job, job.delivery))
        if not ready:
            return
        spans = [self._tracing.start(delivery) for _, delivery in ready]
        try:
            outcomes = await self._handle_batch(stage, [delivery for _, delivery in ready])
        finally:
            for span in spans:
                span.end()
        for (job, _), span, outcome in zip(ready, spans, outcomes, strict=True):
            job.traceparent = span.traceparent
            await self._settle(job, outcome)

    async def _handle_batch(self, stage: BatchedStage[Any], deliveries: Sequence[Delivery[Event]]) -> list[Outcome]:
        try:
            outcomes = await stage.handle(deliveries)
            if len(outcomes) != len(deliveries):
                msg = f"stage {self._stage.name} gave {len(outcomes)} outcomes for {len(deliveries)} events"
                raise RuntimeError(msg)  # noqa: TRY301 - same path as any other fault of the stage
        except UnavailableError as error:
            return [error] * len(deliveries)
        except Exception as error:  # noqa: BLE001 - one bad event must not fail its neighbours
            if len(deliveries) == 1:
                return [self._as_error(error)]
            return [(await self._handle_batch(stage, [delivery]))[0] for delivery in deliveries]
        return list(outcomes)

    # --- both -------------------------------------------------------------------------------------------

    async def _prepare(self, job: Job) -> Outcome | None:
        """Decode into ``job.delivery``. Gives what is settled already: undecodable, not wanted, or quarantined."""
        if job.partition.lost:
            return None
        record = job.record
        try:
            if len(record.value or b"") > LARGE_BYTES:
                job.delivery = await asyncio.to_thread(records.deliver, record, job.spec, job.attempt)
            else:
                job.delivery = records.deliver(record, job.spec, job.attempt)
        except PoisonError as error:
            return error
        if events := self._end_unhandled(job.delivery):
            return Produce(events)
        if record.origin.offset == job.partition.quarantined:
            quarantine = PoisonError("quarantined", "Its worker died each time it was handled.")
            instead = self._stage.instead(job.delivery, quarantine) if isinstance(self._stage, Lenient) else None
            return instead or quarantine
        if job.careful:
            # The one before is no longer suspected; that must be known as well before this one can kill us.
            partitions = {job.partition, self._last_careful or job.partition}
            self._last_careful = job.partition
            job.partition.suspect(record.origin.offset)
            await self._guarantee.commit(partitions)
        return None

    def _end_unhandled(self, delivery: Delivery[Event]) -> tuple[Event, ...]:
        """The terminal event of a request that nobody wants any more."""
        if self._stage.subject != "request":
            return ()
        if cancellation := self._cancelled.find(delivery.key):
            self._metrics.cancelled += 1
            return records.cancelled(delivery, self._stage.name, cancellation.reason)
        if (deadline_at := delivery.deadline_at) is not None and datetime.now(UTC) >= deadline_at:
            self._metrics.expired += 1
            return records.expired(delivery, self._stage.name, deadline_at)
        return ()

    async def _settle(self, job: Job, outcome: Outcome) -> None:
        if len(job.record.value or b"") > LARGE_BYTES:
            await self._settling.settle_large(job, outcome)
        else:
            self._settling.settle(job, outcome)

    def _as_error(self, error: Exception) -> StageError:
        if not isinstance(error, StageError):
            log.warning("unexpected error in stage", exc_info=error)
        return retry.as_stage_error(error)
