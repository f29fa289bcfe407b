"""Sees how the requests of a replay end."""

import asyncio
from collections.abc import Callable, Iterable

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings
from replay.recording import Recording, answering
from replay.requests import incoming, request_id
from replay.tracker import Tracker
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import ANSWERS

_POLL_MS = 500


class Endings:
    """Tells a tracker of every terminal event of a run; ``on_end`` is called after some."""

    def __init__(self, kafka: KafkaSettings, names: Namespace, tracker: Tracker, on_end: Callable[[], None]) -> None:
        self._kafka = kafka
        self._topic = names.topic(ANSWERS)
        self._tracker = tracker
        self._on_end = on_end
        self._next: dict[int, int] = {}

    async def catch_up(self) -> None:
        """Read what is there now.

        Raises:
            ReplayError: Kafka does not answer.
        """
        async with Recording(self._kafka, self._topic) as recording:
            spans = await recording.whole()
            async for records in recording.read(spans):
                self._take(records)
        self._next = {partition: span.end for partition, span in spans.items()}

    async def follow(self) -> None:
        """Read what comes after that, until cancelled.

        Raises:
            ReplayError: Kafka does not answer.
        """
        with answering(self._kafka.bootstrap_servers):
            async with Recording(self._kafka, self._topic) as recording:
                for partition, offset in self._next.items():
                    recording.consumer.seek(TopicPartition(self._topic, partition), offset)
                while True:
                    for records in (await recording.consumer.getmany(timeout_ms=_POLL_MS)).values():
                        self._take(records)
                        # Much may have ended meanwhile, and others have work, too.
                        await asyncio.sleep(0)

    def _take(self, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            self._tracker.end(request_id(incoming(record)), _state(record))
        self._on_end()


def _state(record: ConsumerRecord) -> str:
    """How it ended: the last word but one of its type, as in ``ragline.request.failed.v1``."""
    return (Headers.decode(record.headers).type or "unknown.v0").split(".")[-2]
