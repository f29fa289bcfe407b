"""Defects planted in a worker process: each breaks one promise, and the oracle must see it.

They sit in the Kafka client and in ``Progress``, whatever the runtime between them looks like.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import RecordMetadata

from workers.runtime.progress import Progress, decode_runs

Mutant: TypeAlias = Literal["fencing_off", "commit_before_acks", "watermark_ignores_gaps"]

_SEND_WAIT_S = 1.0


def plant(mutant: Mutant) -> None:
    """Break this process's runtime. Traps are installed before, so that they stay where they say they are."""
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
    """The producer says that the brokers have acknowledged what it has not even sent; so it counts as done, and is
    committed, too early.
    """
    sending: set[asyncio.Task[Any]] = set()

    async def late(send: Callable[[], Any]) -> None:
        await asyncio.sleep(_SEND_WAIT_S)
        await (await send())

    def hasty(name: str) -> None:
        original = getattr(AIOKafkaProducer, name)

        async def send(self: Any, *args: Any, **kwargs: Any) -> asyncio.Future[RecordMetadata]:
            task = asyncio.create_task(late(partial(original, self, *args, **kwargs)))
            sending.add(task)
            task.add_done_callback(sending.discard)
            acknowledged: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
            acknowledged.set_result(RecordMetadata("", 0, TopicPartition("", 0), -1, -1, 0, -1))
            return acknowledged

        setattr(AIOKafkaProducer, name, send)

    hasty("send")
    hasty("send_batch")


def _watermark_ignores_gaps() -> None:
    """The highest offset done is committed, whatever below it is not."""
    original = Progress.commit

    def commit(self: Progress) -> tuple[int, str]:
        watermark, metadata = original(self)
        runs = decode_runs(watermark, metadata)
        return (runs[-1].stop, "") if runs else (watermark, metadata)

    Progress.commit = commit  # type: ignore[method-assign]  # the defect


_PLANTS: Mapping[Mutant, Callable[[], None]] = {
    "fencing_off": _fencing_off,
    "commit_before_acks": _commit_before_acks,
    "watermark_ignores_gaps": _watermark_ignores_gaps,
}
