from workers.runtime.partition import Partition
from workers.runtime.progress import Progress


def make_partition() -> Partition:
    return Partition("t", 0, Progress(0), 10)


def test_a_partition_is_ours_while_the_group_s_commit_comes_from_here() -> None:
    partition = make_partition()
    assert partition.is_ours(None)
    assert not partition.is_ours((0, ""))
    first = partition.offer()
    partition.progress.begin(0)
    partition.progress.finish(0)
    second = partition.offer()
    assert first != second
    # Which of the two the group has taken is not known when an answer was lost.
    assert partition.is_ours(first)
    assert partition.is_ours(second)
    assert not partition.is_ours((1, "|1,5,-"))


def test_a_partition_whose_commit_is_gone_is_not_ours() -> None:
    partition = make_partition()
    partition.offer()
    assert not partition.is_ours(None)


def test_losing_a_partition_stops_its_work() -> None:
    class Work:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True
            partition.works.discard(self)

    partition, works = make_partition(), [Work(), Work()]
    partition.works.update(works)
    partition.lose()
    assert partition.lost
    assert all(work.cancelled for work in works)
