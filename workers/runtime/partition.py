"""What a worker holds of one assigned partition."""

from collections import OrderedDict, deque
from dataclasses import replace
from typing import Protocol

from aiokafka import TopicPartition

from workers.runtime.progress import Progress
from workers.runtime.survival import Mark

NEW = Mark()
# Commits of which one may be the last that the group has taken.
_OFFERS = 16


class LostPartitionError(Exception):
    """The partition belongs to another worker now: what this one did on it counts for nothing."""


class Stoppable(Protocol):
    """Work on a partition, or a timer that is to begin some."""

    def cancel(self) -> object:
        """Stop; what comes of it counts for nothing."""
        ...


class Partition:
    """State of one partition from assignment to loss.

    ``lost`` is set when the partition belongs to someone else: ``works`` on it are stopped and their results are
    dropped. While ``open``, commits say that an owner is at work. The record at offset ``quarantined`` has killed its
    workers.
    """

    def __init__(
        self,
        topic: str,
        number: int,
        progress: Progress,
        seen_limit: int,
        mark: Mark = NEW,
        quarantined: int | None = None,
    ) -> None:
        self.tp = TopicPartition(topic, number)
        self.progress = progress
        self.mark = mark
        self.quarantined = quarantined
        self.open = True
        self.seen = SeenKeys(seen_limit)
        self.committed: tuple[int, str] | None = None
        self._offered: deque[tuple[int, str]] = deque(maxlen=_OFFERS)
        self.lost = False
        self.works: set[Stoppable] = set()

    def __str__(self) -> str:
        return f"{self.tp.topic}/{self.tp.partition}"

    def position(self) -> tuple[int, str]:
        """What to commit: offset and metadata."""
        offset, runs = self.progress.commit()
        return offset, runs + self.mark.encode() if self.open else runs

    def offer(self) -> tuple[int, str]:
        """What to commit, and note that we try to."""
        position = self.position()
        self._offered.append(position)
        return position

    def is_ours(self, committed: tuple[int, str] | None) -> bool:
        """Whether what the group has committed comes from here: else somebody had the partition while we slept."""
        return committed in self._offered if committed is not None else not self._offered

    def is_careful(self, offset: int) -> bool:
        """Whether the record is to be handled alone, for it may kill its worker."""
        return self.mark.is_careful(offset)

    def suspect(self, offset: int | None) -> None:
        """Note the record that is handled alone now, or that there is none; it counts once it is committed."""
        self.mark = replace(self.mark, suspect=offset)

    def lose(self) -> None:
        """Stop all work on it."""
        self.lost = True
        for work in list(self.works):
            work.cancel()


class SeenKeys:
    """The keys seen last, with the offset at which each was seen first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._offsets: OrderedDict[bytes, int] = OrderedDict()

    def first_offset(self, key: bytes, offset: int) -> int:
        """Note the key; give back where it was seen first, which is ``offset`` itself the first time."""
        first = self._offsets.setdefault(key, offset)
        if len(self._offsets) > self._limit:
            self._offsets.popitem(last=False)
        return first
