import asyncio
from datetime import UTC, datetime

from schemas.headers import Headers, Origin
from topics.specs import DOCUMENTS
from workers.runtime.job import Backlog, Job, make_job
from workers.runtime.partition import Partition, SeenKeys
from workers.runtime.progress import Progress
from workers.runtime.records import Incoming
from workers.runtime.survival import Mark


def new_job(partition: Partition, offset: int, key: bytes | None) -> Job:
    origin = Origin(partition.tp.topic, partition.tp.partition, offset)
    record = Incoming(origin, key, b"{}", Headers(), datetime.now(UTC), 0)
    return make_job(record, DOCUMENTS, partition)


def make_partition(number: int = 0) -> Partition:
    return Partition("rag.documents", number, Progress(0), 10)


def test_one_job_of_a_key_at_a_time_in_their_order() -> None:
    backlog, partition = Backlog(), make_partition()
    first, second, other = (new_job(partition, n, key) for n, key in enumerate([b"a", b"a", b"b"]))
    for job in (first, second, other):
        backlog.add(job)
    assert backlog.take(10) == [first, other]
    assert len(backlog) == 1
    backlog.add_again(first)
    assert backlog.take(10) == [first]
    backlog.finish(first)
    assert backlog.take(10) == [second]
    backlog.finish(second)
    assert len(backlog) == 0


def test_jobs_without_a_key_do_not_wait_for_each_other() -> None:
    backlog, partition = Backlog(), make_partition()
    jobs = [new_job(partition, n, None) for n in range(3)]
    for job in jobs:
        backlog.add(job)
    assert backlog.take(10) == jobs


async def test_a_lost_partition_takes_its_jobs_along() -> None:
    backlog, lost, kept = Backlog(), make_partition(0), make_partition(1)
    backlog.add(new_job(lost, 0, b"a"))
    backlog.add(new_job(lost, 1, b"a"))
    taken = backlog.take(1)[0]
    backlog.drop(lost)
    backlog.finish(taken)
    assert len(backlog) == 0
    waiting = asyncio.ensure_future(backlog.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    backlog.add(new_job(kept, 0, b"a"))
    await asyncio.wait_for(waiting, 5)
    # The same partition, come back later, starts afresh.
    again = new_job(make_partition(0), 1, b"a")
    backlog.add(again)
    assert again in backlog.take(10)


def test_seen_keys_forget_the_oldest() -> None:
    seen = SeenKeys(2)
    assert seen.first_offset(b"a", 1) == 1
    assert seen.first_offset(b"b", 2) == 2
    assert seen.first_offset(b"a", 3) == 1
    assert seen.first_offset(b"c", 4) == 4
    assert seen.first_offset(b"a", 5) == 5


def careful_partition(number: int) -> Partition:
    return Partition("rag.documents", number, Progress(0), 10, Mark(deaths=2, horizon=5))


def test_there_is_one_careful_job_at_a_time_and_others_go_on() -> None:
    backlog, one, other = Backlog(), careful_partition(0), careful_partition(1)
    first, second, third = new_job(one, 0, b"a"), new_job(other, 0, b"b"), new_job(one, 1, b"c")
    usual = new_job(one, 6, b"d")
    for job in (first, second, third, usual):
        backlog.add(job)
    assert backlog.take(10) == [first]
    assert backlog.take(10) == [usual]
    assert backlog.take(10) == []
    backlog.finish(first)
    assert backlog.take(10) == [second]
    backlog.add_again(second)
    assert backlog.take(10) == [third]
    backlog.drop(one)
    assert backlog.take(10) == [second]
    assert len(backlog) == 0


def test_careful_jobs_keep_the_order_of_their_key() -> None:
    backlog, partition = Backlog(), careful_partition(0)
    careful, later = new_job(partition, 5, b"a"), new_job(partition, 6, b"a")
    backlog.add(careful)
    backlog.add(later)
    assert (careful.careful, later.careful) == (True, False)
    assert backlog.take(10) == [careful]
    assert backlog.take(10) == []
    backlog.finish(careful)
    assert backlog.take(10) == [later]
