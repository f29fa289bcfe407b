"""What comes of a handled job: records to deliver, another attempt, or an end without success."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import structlog

from schemas.events import Event
from schemas.stamps import Stamp, encode
from topics.names import Namespace
from workers.runtime import records, retry
from workers.runtime.guarantee import Ending, Guarantee
from workers.runtime.job import Backlog, Completion, Job
from workers.runtime.metrics import Metrics
from workers.runtime.partition import Partition
from workers.runtime.settings import RuntimeSettings
from workers.runtime.stage import Outcome, PoisonError, Produce, StageError

log = structlog.get_logger(__name__)

# Decoding or encoding more than this takes long enough to hold up heartbeats: it goes to a thread.
LARGE_BYTES = 128 * 1024


class Settling:
    """Knows all jobs that were begun, until each is delivered, lost, or waits for its next attempt.

    ``on_finished`` is told of each partition on which records were finished.
    """

    def __init__(
        self,
        stage: str,
        subject: Literal["request", "document"] | None,
        backlog: Backlog,
        guarantee: Guarantee,
        names: Namespace,
        settings: RuntimeSettings,
        metrics: Metrics,
        on_finished: Callable[[Partition], None],
    ) -> None:
        self._stage = stage
        self._subject = subject
        self._backlog = backlog
        self._guarantee = guarantee
        self._names = names
        self._settings = settings
        self._metrics = metrics
        self._on_finished = on_finished
        self._rng = random.Random()  # noqa: S311 - jitter
        self._begun: set[Job] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.last_error: str | None = None
        self._stamp, self._encoded = Stamp(), b""

    @property
    def in_flight(self) -> int:
        """Jobs being handled or delivered; those waiting for a retry are not."""
        return len(self._begun)

    def decided_by(self, stamp: Stamp) -> None:
        """From now on say that this decides all that the worker does."""
        self._stamp, self._encoded = stamp, encode(stamp)

    async def drain(self) -> None:
        """Wait until nothing that was begun is unfinished."""
        await self._idle.wait()

    def begin(self, jobs: Sequence[Job]) -> None:
        """Note that jobs are being handled."""
        self._begun.update(jobs)
        self._idle.clear()

    async def settle_large(self, job: Job, outcome: Outcome) -> None:
        """``settle`` for a job whose records take long to encode."""
        if isinstance(outcome, Produce) and not job.partition.lost:
            made = await asyncio.to_thread(self._records, job, outcome.events, outcome.stamp)
            self._deliver(job, made)
        else:
            self.settle(job, outcome)

    def settle(self, job: Job, outcome: Outcome) -> None:
        """Deliver what came of a job, or have it tried again."""
        if job.partition.lost:
            self.let_go([job])
        elif isinstance(outcome, Produce):
            self._deliver(job, self._records(job, outcome.events, outcome.stamp))
        else:
            self._settle_error(job, outcome)

    def let_go(self, jobs: Sequence[Job]) -> None:
        """Note that jobs are no longer this worker's concern."""
        self._begun.difference_update(jobs)
        if not self._begun:
            self._idle.set()

    def ended(self, completions: Sequence[Completion], ending: Ending) -> None:
        """What became of completions that were to be delivered."""
        if isinstance(ending, PoisonError):
            for job, _ in completions:
                self._note(job, ending, retry.GiveUp(ending, dead_letter=True))
                self._fail(job, ending, dead_letter=True)
            return
        if ending is None:
            now_s = time.time()
            for job, _ in completions:
                self._metrics.finished(max(0.0, now_s - job.record.fetched_ms / 1000))
                self._backlog.finish(job)
                if job.careful:
                    job.partition.suspect(None)
            for partition in {job.partition for job, _ in completions}:
                self._on_finished(partition)
        self.let_go([job for job, _ in completions])

    def _settle_error(self, job: Job, error: StageError) -> None:
        deadline_at = job.delivery.deadline_at if job.delivery else None
        decision = retry.decide(error, job.attempt, deadline_at, datetime.now(UTC), self._settings, self._rng)
        self._note(job, error, decision)
        if isinstance(decision, retry.RetryAfter):
            self._retry(job, decision.delay_s)
        elif isinstance(decision, retry.Expire) and job.delivery and deadline_at:
            events = records.expired(job.delivery, self._stage, deadline_at)
            self._deliver(job, self._records(job, events))
        else:
            self._fail(job, error, dead_letter=isinstance(decision, retry.GiveUp) and decision.dead_letter)

    def _records(self, job: Job, events: Sequence[Event], own: Stamp | None = None) -> list[records.Outgoing]:
        stamp = encode(self._stamp, own) if own else self._encoded
        return records.outgoing(job.record, events, self._span(job), self._names, stamp)

    def _fail(self, job: Job, error: StageError, *, dead_letter: bool) -> None:
        """The record's end without success: a terminal event, and the record itself where people may look at it."""
        self._metrics.failed += 1
        event = job.delivery.event if job.delivery else None
        terminal = records.failure(job.record, event, self._subject, self._stage, error)
        made = self._records(job, terminal)
        if dead_letter:
            self._metrics.dead_letters += 1
            made.append(records.dead_letter(job.record, job.spec, self._stage, error, job.attempt, self._names))
        self._deliver(job, made)

    def _deliver(self, job: Job, made: list[records.Outgoing]) -> None:
        if job.partition.lost:
            self.let_go([job])
        elif made:
            self._guarantee.deliver(Completion(job, made))
        else:
            # Nobody can see of it whether it is committed now or with the next ones.
            job.partition.progress.finish(job.record.origin.offset)
            self._guarantee.dirty.set()
            self.ended([Completion(job, made)], None)

    def _retry(self, job: Job, delay_s: float) -> None:
        def again() -> None:
            works.discard(timer)
            job.attempt += 1
            self._backlog.add_again(job)

        self._metrics.retries += 1
        works = job.partition.works
        timer = asyncio.get_running_loop().call_later(delay_s, again)
        works.add(timer)
        self.let_go([job])

    def _span(self, job: Job) -> records.Span:
        now_ms = time.time_ns() // 1_000_000
        step = job.delivery.event.STEP if job.delivery else None
        return records.Span(step or self._stage, job.record.fetched_ms, now_ms, job.attempt, job.traceparent)

    def _note(self, job: Job, error: StageError, decision: retry.Decision) -> None:
        self.last_error = f"{error.code}: {error}"
        log.warning(
            "not handled",
            request_id=job.delivery.key if job.delivery else records.request_key(job.record),
            origin=str(job.record.origin),
            code=error.code,
            reason=str(error),
            attempt=job.attempt,
            decision=type(decision).__name__,
        )
