"""Runs a stage on the jobs of the backlog and settles what comes of each."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from backends.engine import EngineDeadError
from schemas.events import Event
from topics.names import Namespace
from workers.runtime import records, retry
from workers.runtime.cancellation import Cancelled, RequestCancelledError
from workers.runtime.guarantee import Guarantee
from workers.runtime.job import Backlog, Completion, Job
from workers.runtime.metrics import Metrics
from workers.runtime.partition import Partition
from workers.runtime.settings import RuntimeSettings
from workers.runtime.stage import (
    BatchedStage,
    ConcurrentStage,
    Delivery,
    Outcome,
    PoisonError,
    Produce,
    StageError,
    UnavailableError,
)
from workers.runtime.tracing import Tracing

log = structlog.get_logger(__name__)

# Decoding or encoding more than this takes long enough to hold up heartbeats: it goes to a thread.
_LARGE_BYTES = 128 * 1024


class Handler:
    """Takes jobs from the backlog while ``run`` runs; what it has begun goes on until ``drain``."""

    def __init__(
        self,
        stage: BatchedStage[Any] | ConcurrentStage[Any],
        backlog: Backlog,
        guarantee: Guarantee,
        names: Namespace,
        settings: RuntimeSettings,
        cancelled: Cancelled,
        metrics: Metrics,
        tracing: Tracing,
        on_finished: Callable[[Partition], None],
    ) -> None:
        self._stage = stage
        # Asked once: a check against a Protocol costs more than anything else done per record.
        self._batch: BatchedStage[Any] | None = stage if isinstance(stage, BatchedStage) else None
        self._single: ConcurrentStage[Any] | None = None if isinstance(stage, BatchedStage) else stage
        self._backlog = backlog
        self._guarantee = guarantee
        self._names = names
        self._settings = settings
        self._cancelled = cancelled
        self._metrics = metrics
        self._tracing = tracing
        self._on_finished = on_finished
        self._slots = asyncio.Semaphore(self._single.max_in_flight if self._single else 1)
        self._rng = random.Random()  # noqa: S311 - jitter
        self._busy: set[Job] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.last_error: str | None = None

    @property
    def in_flight(self) -> int:
        """Jobs being handled or delivered; those waiting for a retry are not."""
        return len(self._busy)

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Take up jobs until cancelled; each goes on as a task of ``group``."""
        while True:
            await self._slots.acquire()
            jobs: list[Job] = []
            try:
                await self._backlog.wait()
                if self._batch is not None:
                    if len(self._backlog) < self._batch.max_batch and self._batch.linger_ms:
                        await asyncio.sleep(self._batch.linger_ms / 1000)
                    jobs = self._backlog.take(self._batch.max_batch)
                else:
                    jobs = self._backlog.take(1)
            finally:
                if not jobs:
                    self._slots.release()
            if jobs:
                self._begin(group, jobs)

    async def drain(self) -> None:
        """Wait until nothing that was begun is unfinished."""
        await self._idle.wait()

    # --- tasks ------------------------------------------------------------------------------------------

    def _begin(self, group: asyncio.TaskGroup, jobs: list[Job]) -> None:
        slot = _Slot(self._slots)
        task = group.create_task(self._work(group, jobs, slot))
        self._busy.update(jobs)
        self._idle.clear()

        def end(_: asyncio.Task[None]) -> None:
            # Here and not in the task, for one that is cancelled before its first step never runs.
            slot.release()
            self._busy.difference_update(jobs)
            if not self._busy:
                self._idle.set()

        task.add_done_callback(end)
        if self._single is not None:
            # A batch holds work of other partitions too: it goes on, and what was lost is dropped after it.
            jobs[0].partition.tasks.add(task)
            task.add_done_callback(jobs[0].partition.tasks.discard)

    async def _work(self, group: asyncio.TaskGroup, jobs: list[Job], slot: "_Slot") -> None:
        """Decode, handle and settle a batch, or a single job."""
        settled, ready = await self._prepare(jobs)
        settled += list(zip(ready, await self._handle(ready), strict=True)) if ready else []
        slot.release()
        await self._settle(group, [(job, outcome) for job, outcome in settled if not job.partition.lost])

    async def _prepare(self, jobs: Sequence[Job]) -> tuple[list[tuple[Job, Outcome]], list[Job]]:
        """Decode. Gives what is settled already (undecodable, not wanted, quarantined), and the jobs to handle."""
        settled: list[tuple[Job, Outcome]] = []
        ready: list[Job] = []
        for job in jobs:
            if job.partition.lost:
                continue
            try:
                job.delivery = await self._decode(job)
            except PoisonError as error:
                settled.append((job, error))
                continue
            if events := self._end_unhandled(job.delivery):
                settled.append((job, Produce(events)))
                continue
            if job.record.origin.offset == job.partition.quarantined:
                settled.append((job, PoisonError("quarantined", "Its worker died each time it was handled.")))
                continue
            if job.is_careful:
                job.partition.suspect(job.record.origin.offset)
                await self._guarantee.commit([job.partition])
            ready.append(job)
        return settled, ready

    def _end_unhandled(self, delivery: Delivery[Event]) -> tuple[Event, ...]:
        """The terminal event of a request that nobody wants any more."""
        if self._stage.subject != "request":
            return ()
        if cancellation := self._cancelled.find(delivery.key):
            self._metrics.cancelled.inc()
            return records.cancelled(delivery, self._stage.name, cancellation.reason)
        if delivery.deadline_at is not None and datetime.now(UTC) >= delivery.deadline_at:
            self._metrics.expired.inc()
            return records.expired(delivery, self._stage.name, delivery.deadline_at)
        return ()

    async def _decode(self, job: Job) -> Delivery[Event]:
        if len(job.record.value or b"") > _LARGE_BYTES:
            return await asyncio.to_thread(records.deliver, job.record, job.spec, job.attempt)
        return records.deliver(job.record, job.spec, job.attempt)

    # --- handling ---------------------------------------------------------------------------------------

    async def _handle(self, jobs: list[Job]) -> list[Outcome]:
        spans = [
            self._tracing.start(job.record.origin.topic, job.delivery.key, job.delivery.headers.traceparent)
            for job in jobs
            if job.delivery
        ]
        for job, span in zip(jobs, spans, strict=True):
            job.traceparent = span.traceparent
        try:
            deliveries = [job.delivery for job in jobs if job.delivery]
            if self._single is not None:
                with structlog.contextvars.bound_contextvars(request_id=deliveries[0].key):
                    return [await self._handle_one(self._single, deliveries[0])]
            return await self._handle_batch(deliveries)
        finally:
            for span in spans:
                span.end()

    async def _handle_one(self, stage: ConcurrentStage[Any], delivery: Delivery[Event]) -> Outcome:
        try:
            with self._cancelled.watching(delivery.key):
                return await stage.handle(delivery)
        except EngineDeadError:
            raise
        except RequestCancelledError as error:
            self._metrics.cancelled.inc()
            return Produce(records.cancelled(delivery, self._stage.name, error.cancellation.reason))
        except Exception as error:  # noqa: BLE001 - whatever a stage raises belongs to this event alone
            return self._as_error(error)

    async def _handle_batch(self, deliveries: list[Delivery[Event]]) -> list[Outcome]:
        assert self._batch is not None  # noqa: S101 - for the type checker
        try:
            outcomes = await self._batch.handle(deliveries)
            if len(outcomes) != len(deliveries):
                msg = f"stage {self._stage.name} gave {len(outcomes)} outcomes for {len(deliveries)} events"
                raise RuntimeError(msg)  # noqa: TRY301 - same path as any other fault of the stage
        except UnavailableError as error:
            return [error] * len(deliveries)
        except Exception as error:  # noqa: BLE001 - one bad event must not fail its neighbours
            if len(deliveries) == 1:
                return [self._as_error(error)]
            return [(await self._handle_batch([delivery]))[0] for delivery in deliveries]
        return list(outcomes)

    def _as_error(self, error: Exception) -> StageError:
        if not isinstance(error, StageError):
            log.warning("unexpected error in stage", exc_info=error)
        return retry.as_stage_error(error)

    # --- settling ---------------------------------------------------------------------------------------

    async def _settle(self, group: asyncio.TaskGroup, settled: Sequence[tuple[Job, Outcome]]) -> None:
        completions: list[Completion] = []
        for job, outcome in settled:
            if isinstance(outcome, Produce):
                completions.append(await self._complete(job, outcome.events))
                continue
            deadline_at = job.delivery.deadline_at if job.delivery else None
            decision = retry.decide(outcome, job.attempt, deadline_at, datetime.now(UTC), self._settings, self._rng)
            self._note(job, outcome, decision)
            if isinstance(decision, retry.RetryAfter):
                self._retry(group, job, decision.delay_s)
            elif isinstance(decision, retry.Expire) and job.delivery and deadline_at:
                events = records.expired(job.delivery, self._stage.name, deadline_at)
                completions.append(await self._complete(job, events))
            else:
                completions.append(await self._fail(job, outcome, dead_letter=_keeps(decision)))
        await self._deliver(completions)

    async def _deliver(self, completions: list[Completion]) -> None:
        if not completions:
            return
        errors = await self._guarantee.deliver(completions)
        failed = []
        for completion, error in zip(completions, errors, strict=True):
            if error is None:
                self._finish(completion.job)
            elif isinstance(error, PoisonError):
                self._note(completion.job, error, retry.GiveUp(error, dead_letter=True))
                failed.append(await self._fail(completion.job, error, dead_letter=True))
        await self._deliver(failed)

    async def _complete(self, job: Job, events: Sequence[Event]) -> Completion:
        span = self._span(job)
        if len(job.record.value or b"") > _LARGE_BYTES:
            made = await asyncio.to_thread(records.outgoing, job.record, events, span, self._names)
        else:
            made = records.outgoing(job.record, events, span, self._names)
        return Completion(job, tuple(made))

    async def _fail(self, job: Job, error: StageError, *, dead_letter: bool) -> Completion:
        """The record's end without success: a terminal event, and the record itself where people may look at it."""
        self._metrics.failed.inc()
        event = job.delivery.event if job.delivery else None
        terminal = records.failure(job.record, event, self._stage.subject, self._stage.name, error)
        made = records.outgoing(job.record, terminal, self._span(job), self._names)
        if dead_letter:
            self._metrics.dead_letters.inc()
            made.append(records.dead_letter(job.record, job.spec, self._stage.name, error, job.attempt, self._names))
        return Completion(job, tuple(made))

    def _retry(self, group: asyncio.TaskGroup, job: Job, delay_s: float) -> None:
        async def later() -> None:
            await asyncio.sleep(delay_s)
            job.attempt += 1
            self._backlog.add_again(job)

        self._metrics.retries.inc()
        task = group.create_task(later())
        job.partition.tasks.add(task)
        task.add_done_callback(job.partition.tasks.discard)

    def _finish(self, job: Job) -> None:
        self._metrics.processed.inc()
        self._metrics.duration.observe(max(0.0, time.time() - job.record.fetched_ms / 1000))
        self._backlog.finish(job)
        self._on_finished(job.partition)

    def _span(self, job: Job) -> records.Span:
        now_ms = time.time_ns() // 1_000_000
        return records.Span(self._stage.name, job.record.fetched_ms, now_ms, job.attempt, job.traceparent)

    def _note(self, job: Job, error: StageError, decision: retry.Decision) -> None:
        self.last_error = f"{error.code}: {error}"
        key = job.delivery.key if job.delivery else records.request_key(job.record)
        log.warning(
            "not handled",
            request_id=key,
            origin=str(job.record.origin),
            code=error.code,
            reason=str(error),
            attempt=job.attempt,
            decision=type(decision).__name__,
        )


class _Slot:
    """One of the places for work in flight; releasing it twice is harmless."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots: asyncio.Semaphore | None = slots

    def release(self) -> None:
        if self._slots is not None:
            self._slots.release()
            self._slots = None


def _keeps(decision: retry.Decision) -> bool:
    return isinstance(decision, retry.GiveUp) and decision.dead_letter
