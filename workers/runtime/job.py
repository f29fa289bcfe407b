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

    Jobs with the same ``order_key`` are handled one after the other; one that is ``careful`` is handled alone, for it
    may kill its worker.
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
    careful = partition.is_careful(record.origin.offset)
    return Job(record, spec, partition, careful, (partition, "" if careful else request_key(record)))


class Completion(NamedTuple):
    """A finished job and the records that follow from it."""

    job: Job
    records: list[Outgoing]


class Backlog:
    """Jobs not yet taken up. Of jobs with the same key one at a time is out, in the order they came in."""

    def __init__(self) -> None:
        self._ready: deque[Job] = deque()
        self._behind: dict[tuple[Partition, str], deque[Job] | None] = {}
        self._waiting = 0
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + self._waiting

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
        self._put(job)

    def finish(self, job: Job) -> None:
        """Note that a taken job is over, and let the one behind it come."""
        behind = self._behind.get(job.order_key)
        if behind:
            self._waiting -= 1
            self._put(behind.popleft())
        else:
            self._behind.pop(job.order_key, None)

    def drop(self, partition: Partition) -> None:
        """Forget the jobs of a partition that was lost."""
        self._ready = deque(job for job in self._ready if job.partition is not partition)
        for key in [key for key in self._behind if key[0] is partition]:
            self._waiting -= len(self._behind.pop(key) or ())
        if not self._ready:
            self._arrived.clear()

    def take(self, limit: int) -> list[Job]:
        """Take up to ``limit`` jobs that may run now; one that is to be handled alone comes alone."""
        jobs: list[Job] = []
        while self._ready and len(jobs) < limit and not (jobs and self._ready[0].careful):
            jobs.append(self._ready.popleft())
            if jobs[-1].careful:
                break
        if not self._ready:
            self._arrived.clear()
        return jobs

    def take_for(self, request_id: str) -> list[Job]:
        """Take the jobs of a request that may run now, before their turn."""
        jobs = [job for job in self._ready if request_key(job.record) == request_id]
        for job in jobs:
            self._ready.remove(job)
        if not self._ready:
            self._arrived.clear()
        return jobs

    async def wait(self) -> None:
        """Wait until there is a job to take."""
        await self._arrived.wait()

    def _put(self, job: Job) -> None:
        self._ready.append(job)
        self._arrived.set()
