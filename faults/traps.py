"""Traps in a worker's way: at an exact point of its work it is killed or stopped by its own hand.

A trap is a file in a folder that the harness and all workers share. Whoever passes its point often enough takes the
trap away and springs it: each goes off once, in one worker.
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, Literal, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pydantic import BaseModel, ConfigDict

# "token": the engine has made the next one of an answer.
Point: TypeAlias = Literal["token", "before_send", "after_send", "mid_commit", "after_offsets"]
Action: TypeAlias = Literal["kill", "stop", "engine_hung", "engine_dead"]

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_TRANSACTIONAL_IDS = "transactional-ids"


class Trap(BaseModel):
    """Springs when its point has been passed ``passes`` times by one worker; ``delay_ms`` counts in mid commit only."""

    model_config = ConfigDict(frozen=True)

    number: int
    action: Action = "kill"
    passes: int = 0
    delay_ms: float = 0.0


class TrapFolder:
    """The harness's side: sets traps, and sees which went off."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for made in (_TRANSACTIONAL_IDS, "ready"):
            (folder / made).mkdir(parents=True, exist_ok=True)
        self._count = 0

    def set(self, stage: str, point: Point, action: Action, *, passes: int = 0, delay_ms: float = 0.0) -> Trap:
        """Set a trap for the workers of a stage; there is one at a time at each point of a stage."""
        self._count += 1
        trap = Trap(number=self._count, action=action, passes=passes, delay_ms=delay_ms)
        whole = self.folder / f"new.{trap.number}"
        whole.write_text(trap.model_dump_json())
        whole.rename(self.folder / f"{stage}.{point}")
        return trap

    def sprung_by(self, trap: Trap) -> int | None:
        """The process that sprang the trap, once one did."""
        return next((int(path.suffix[1:]) for path in self.folder.glob(f"sprung.{trap.number}.*")), None)

    def clear(self) -> None:
        """Take away what has not gone off."""
        for path in self.folder.glob("*.*"):
            path.unlink(missing_ok=True)

    def slow(self, worker: str, *, slow: bool) -> None:
        """Slow a worker down, or let it go again."""
        path = self.folder / f"slow.{worker}"
        path.touch() if slow else path.unlink(missing_ok=True)

    def transactional_ids(self) -> list[str]:
        """Every transactional ID that a worker has used."""
        return sorted(path.name for path in (self.folder / _TRANSACTIONAL_IDS).iterdir())


class Traps:
    """The worker's side."""

    def __init__(self, folder: Path, stage: str, worker: str) -> None:
        self._folder = folder
        self._stage = stage
        self._slow = folder / f"slow.{worker}"
        self._passes: dict[int, int] = {}

    @property
    def slowed(self) -> bool:
        """Whether this worker is to be slow."""
        return self._slow.exists()

    def passed(self, point: Point) -> Trap | None:
        """Note that the point is passed; gives the trap that this springs, now out of everybody else's way."""
        path = self._folder / f"{self._stage}.{point}"
        try:
            trap = Trap.model_validate_json(path.read_bytes())
            passes = self._passes[trap.number] = self._passes.get(trap.number, 0) + 1
            if passes <= trap.passes:
                return None
            path.rename(self._folder / f"sprung.{trap.number}.{os.getpid()}")
        except FileNotFoundError:
            return None
        return trap

    def step(self, point: Point) -> None:
        """Pass the point, and do not survive it if there is a trap."""
        trap = self.passed(point)
        if trap is not None:
            spring(trap)

    def install(self) -> None:
        """Put the points of delivery into aiokafka's clients, for all of this process."""
        _watch_sends(self, "send")
        _watch_sends(self, "send_batch")
        _watch_commits(self)
        _note_transactional_ids(self._folder / _TRANSACTIONAL_IDS)


def spring(trap: Trap) -> None:
    """Kill or stop this process; what befalls an engine is the engine's to do."""
    if trap.action in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[trap.action])


def _watch_sends(traps: Traps, name: str) -> None:
    """A record, or a batch of them, as it is handed to the producer and when the brokers have acknowledged it."""
    original = getattr(AIOKafkaProducer, name)

    def acknowledged(sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and not sent.exception():
            traps.step("after_send")

    async def send(self: Any, *args: Any, **kwargs: Any) -> Any:
        traps.step("before_send")
        sent = await original(self, *args, **kwargs)
        sent.add_done_callback(acknowledged)
        return sent

    setattr(AIOKafkaProducer, name, send)


def _watch_commits(traps: Traps) -> None:
    """At least once: the consumer's commit. Exactly once: the offsets, and the commit, of a transaction."""
    _watch_commit(traps, AIOKafkaConsumer, "commit")
    _watch_commit(traps, AIOKafkaProducer, "commit_transaction")
    _watch_after(traps, AIOKafkaConsumer, "commit")
    _watch_after(traps, AIOKafkaProducer, "send_offsets_to_transaction")


def _watch_commit(traps: Traps, client: Any, name: str) -> None:
    original = getattr(client, name)

    async def commit(self: Any, *args: Any, **kwargs: Any) -> Any:
        trap = traps.passed("mid_commit")
        if trap is None:
            return await original(self, *args, **kwargs)
        going = asyncio.ensure_future(original(self, *args, **kwargs))
        await asyncio.sleep(trap.delay_ms / 1000)
        spring(trap)
        return await going

    setattr(client, name, commit)


def _watch_after(traps: Traps, client: Any, name: str) -> None:
    original = getattr(client, name)

    async def offsets(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        traps.step("after_offsets")
        return result

    setattr(client, name, offsets)


def _note_transactional_ids(folder: Path) -> None:
    original = AIOKafkaProducer.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if kwargs.get("transactional_id"):
            (folder / kwargs["transactional_id"]).touch()

    AIOKafkaProducer.__init__ = init
