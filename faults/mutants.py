"""Defects planted in a worker process: each breaks one promise, and the oracle must see it."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from aiokafka import AIOKafkaProducer

from workers.runtime.guarantee import AtLeastOnce
from workers.runtime.job import Completion
from workers.runtime.progress import Progress

Mutant: TypeAlias = Literal["fencing_off", "commit_before_acks", "watermark_ignores_gaps"]

_COMMIT_WAIT_S = 1.0


def plant(mutant: Mutant) -> None:
    """Break this process's runtime."""
    _PLANTS[mutant]()


def _fencing_off() -> None:
    """Every producer gets a transactional ID of its own: a new owner no longer shuts the old one out."""
    original = AIOKafkaProducer.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("transactional_id"):
            kwargs["transactional_id"] += f"-{uuid.uuid4().hex}"
        original(self, *args, **kwargs)

    AIOKafkaProducer.__init__ = init


def _commit_before_acks() -> None:
    """Work counts as done, and is committed, before what it produced is acknowledged."""
    original = AtLeastOnce._turn  # noqa: SLF001 - the defect is inside

    async def turn(self: AtLeastOnce, completions: list[Completion]) -> None:
        for completion in completions:
            completion.job.partition.progress.finish(completion.job.record.origin.offset)
        self.dirty.set()
        await asyncio.sleep(_COMMIT_WAIT_S)
        await original(self, completions)

    AtLeastOnce._turn = turn  # type: ignore[method-assign]  # noqa: SLF001


def _watermark_ignores_gaps() -> None:
    """The highest offset done is committed, whatever below it is not."""
    original = Progress.commit

    def commit(self: Progress) -> tuple[int, str]:
        watermark, metadata = original(self)
        return (max(self._done) + 1, "") if self._done else (watermark, metadata)

    Progress.commit = commit  # type: ignore[method-assign]  # the defect


_PLANTS: Mapping[Mutant, Callable[[], None]] = {
    "fencing_off": _fencing_off,
    "commit_before_acks": _commit_before_acks,
    "watermark_ignores_gaps": _watermark_ignores_gaps,
}
