"""What a worker holds of one assigned partition."""

import asyncio
from collections import OrderedDict

from workers.runtime.progress import Progress


class Partition:
    """State of one partition from assignment to loss.

    ``lost`` is set when the partition belongs to someone else: work on it is stopped and its results are dropped.
    """

    def __init__(self, topic: str, number: int, progress: Progress, seen_limit: int) -> None:
        self.topic = topic
        self.number = number
        self.progress = progress
        self.seen = SeenKeys(seen_limit)
        self.committed: tuple[int, str] | None = None
        self.lost = False
        self.paused = False
        self.tasks: set[asyncio.Task[None]] = set()

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"

    def lose(self) -> None:
        """Stop all work on it."""
        self.lost = True
        for task in self.tasks:
            task.cancel()


class SeenKeys:
    """The keys seen last, with the offset at which each was seen first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._offsets: OrderedDict[str, int] = OrderedDict()

    def first_offset(self, key: str, offset: int) -> int:
        """Note the key; give back where it was seen first, which is ``offset`` itself the first time."""
        first = self._offsets.setdefault(key, offset)
        if len(self._offsets) > self._limit:
            self._offsets.popitem(last=False)
        return first
