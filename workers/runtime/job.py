"""A record on its way through a worker, and the order in which records are taken up."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from schemas.events import Event
from topics.specs import TopicSpec
from workers.runtime.partition import Partition
from workers.runtime.records import Incoming, Outgoing, request_key
from workers.runtime.stage import Delivery


@dataclass(eq=False, slots=True)
class Job:
    """One record, from fetch to commit. ``delivery`` is there once it is decoded.

    Jobs with the same ``order_key`` are handled one after the other. One that is ``careful`` may kill its worker: of
    those there is one at a time.
    """

    record: Incoming
    spec: TopicSpec
    partition: Partition
    careful: bool
    order_key: tuple[Partition, str]
    delivery: Delivery[Event] | None = None
    attempt: int = 1
    traceparent: str | None = None


def make_job(record: Incoming, spec: TopicSpec, partition: Partition) -> Job:
    """A job for a fetched record."""
    return Job(record, spec, partition, partition.is_careful(record.origin.offset), (partition, request_key(record)))


class Completion(NamedTuple):
    """A finished job and the records that follow from it."""

    job: Job
    records: list[Outgoing]


class Backlog:
    """Jobs not yet taken up. Of jobs with the same key one at a time is out, in the order they came in."""

    def __init__(self) -> None:
        self._ready: deque[Job] = deque()
        self._careful: deque[Job] = deque()
        self._alone: Job | None = None
        self._behind: dict[tuple[Partition, str], deque[Job] | None] = {}
        self._waiting = 0
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._careful) + self._waiting

    def add(self, job: Job) -> None:
        """Put a new job at the end."""
        if job.order_key not in self._behind:
            self._behind[job.order_key] = None
            self._put(job)
            return
        behind = self._behind[job.order_key]
        if behind is None:
            behind = self._behind[job.order_key] = deque()
        behind.append(job)
        self._waiting += 1

    def add_again(self, job: Job) -> None:
        """Put back a job that was taken and is to be tried again; those behind it still wait."""
        self._leave(job)
        self._put(job)

    def finish(self, job: Job) -> None:
        """Note that a taken job is over, and let the one behind it come."""
        self._leave(job)
        behind = self._behind.get(job.order_key)
        if behind:
            self._waiting -= 1
            self._put(behind.popleft())
        else:
            self._behind.pop(job.order_key, None)

    def drop(self, partition: Partition) -> None:
        """Forget the jobs of a partition that was lost."""
        self._ready = deque(job for job in self._ready if job.partition is not partition)
        self._careful = deque(job for job in self._careful if job.partition is not partition)
        if self._alone is not None and self._alone.partition is partition:
            self._alone = None
        for key in [key for key in self._behind if key[0] is partition]:
            self._waiting -= len(self._behind.pop(key) or ())
        self._note_arrivals()

    def take(self, limit: int) -> list[Job]:
        """Take up to ``limit`` jobs that may run now; a careful one comes alone."""
        if self._careful and self._alone is None:
            self._alone = self._careful.popleft()
            jobs = [self._alone]
        else:
            jobs = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        self._note_arrivals()
        return jobs

    def take_for(self, request_id: str) -> list[Job]:
        """Take the jobs of a request that may run now, before their turn."""
        jobs = [job for job in (*self._ready, *self._careful) if request_key(job.record) == request_id]
        for job in jobs:
            (self._careful if job.careful else self._ready).remove(job)
        self._note_arrivals()
        return jobs

    async def wait(self) -> None:
        """Wait until there is a job to take."""
        await self._arrived.wait()

    def _put(self, job: Job) -> None:
        (self._careful if job.careful else self._ready).append(job)
        self._note_arrivals()

    def _leave(self, job: Job) -> None:
        if job is self._alone:
            self._alone = None
            self._note_arrivals()

    def _note_arrivals(self) -> None:
        if self._ready or (self._careful and self._alone is None):
            self._arrived.set()
        else:
            self._arrived.clear()
