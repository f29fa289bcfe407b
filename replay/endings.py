"""Sees how the requests of a replay end."""

import asyncio
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings, partitions_of, stop_consumer
from replay.recording import answering
from replay.requests import incoming, request_id
from replay.tracker import Tracker
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import ANSWERS

_POLL_MS = 500


class Endings:
    """Tells a tracker of every terminal event of a run; ``on_end`` is called after some."""

    def __init__(self, kafka: KafkaSettings, names: Namespace, tracker: Tracker, on_end: Callable[[], None]) -> None:
        self._servers = kafka.bootstrap_servers
        self._topic = names.topic(ANSWERS)
        self._tracker = tracker
        self._on_end = on_end
        self._consumer = AIOKafkaConsumer(
            **kafka.client_options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )

    async def run(self) -> None:
        """Read from the beginning, until cancelled.

        Raises:
            ReplayError: Kafka does not answer.
        """
        with answering(self._servers):
            try:
                await self._consumer.start()
                self._consumer.assign(await partitions_of(self._consumer, self._topic))
                while True:
                    for records in (await self._consumer.getmany(timeout_ms=_POLL_MS)).values():
                        for record in records:
                            self._tracker.end(request_id(incoming(record)), _state(record))
                        self._on_end()
                        # Much may have ended meanwhile, and others have work, too.
                        await asyncio.sleep(0)
            finally:
                await stop_consumer(self._consumer)


def _state(record: ConsumerRecord) -> str:
    """How it ended: the last but one word of its type, as in ``ragline.request.failed.v1``."""
    return (Headers.decode(record.headers).type or "unknown.v0").split(".")[-2]
