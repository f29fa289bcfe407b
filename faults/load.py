"""Asks questions at a steady rate, whatever happens to the cluster meanwhile."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from topics.names import Namespace
from topics.specs import QUERIES

_ERROR_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """A question under its request ID."""

    key: str
    question: str


class Load:
    """The questions of one round; ``asked`` says when each was asked (monotonic seconds).

    A question that may or may not have arrived is asked again: the pipeline answers a request ID once.
    """

    def __init__(self, producer: AIOKafkaProducer, names: Namespace, questions: Sequence[Asked], rate: float) -> None:
        self._producer = producer
        self._topic = names.topic(QUERIES)
        self._questions = questions
        self._rate = rate
        self._grew = asyncio.Condition()
        self._count = 0
        self.asked: dict[str, float] = {}

    async def run(self) -> None:
        """Ask them all; returns when all are acknowledged."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, asked in enumerate(self._questions):
                await asyncio.sleep(started + number / self._rate - time.monotonic())
                self.asked.setdefault(asked.key, time.monotonic())
                group.create_task(self._ask(asked))
                async with self._grew:
                    self._count += 1
                    self._grew.notify_all()

    async def reached(self, share: float) -> None:
        """Wait until this share of the questions (0 to 1) has been asked."""
        async with self._grew:
            await self._grew.wait_for(lambda: self._count >= share * len(self._questions))

    async def _ask(self, asked: Asked) -> None:
        value = orjson.dumps({"question": asked.question})
        while True:
            try:
                await self._producer.send_and_wait(self._topic, value, key=asked.key.encode())
            except KafkaError:
                await asyncio.sleep(_ERROR_WAIT_S)
            else:
                return
