"""Reads documents and how they ended into a tally, and goes on as they come."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from backends.kafka import KafkaSettings, committed_reader, has_reached, partitions_of, stop_consumer
from ragline.endings import ending_of
from ragline.reindex.tally import Ended, Submitted, Tally
from ragline.reindex.waiting import until
from schemas import codec
from schemas.events import DocumentSubmitted, DocumentWithdrawn
from schemas.headers import Headers
from schemas.revision import document_revision
from topics.names import Namespace
from topics.specs import DOCUMENTS, DOCUMENTS_INDEXED

T = TypeVar("T")

_POLL_MS = 200
_WAIT_S = 0.05
# A few at a time: what is decoded holds up everything else.
_MAX_RECORDS = 100


class TallyReader:
    """Keeps ``tally`` for the version of the index that ``names`` are of, while ``running`` runs."""

    def __init__(self, consumer: AIOKafkaConsumer, names: Namespace) -> None:
        self._consumer = consumer
        self._documents = names.topic(DOCUMENTS)
        self.tally = Tally()
        self.running = asyncio.create_task(self._run(), name="tally")

    async def _run(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
            for tp, records in fetched.items():
                for record in records:
                    (self._submit if tp.topic == self._documents else self._end)(record)
            # A topic that is read from its beginning never makes anybody wait.
            await asyncio.sleep(0)

    async def beside(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which ends when ``run`` does.

        Raises:
            KafkaError: what ``run`` has failed with.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self.running}, return_when=asyncio.FIRST_COMPLETED)
            if self.running.done():
                self.running.result()
            return await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def read_all(self) -> None:
        """Wait until what the topics hold now is in the tally."""
        ends = await self.ends()
        await until(lambda: self.has_read(ends), _WAIT_S)

    async def ends(self) -> dict[TopicPartition, int]:
        """Where the topics end now."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self._consumer.assignment())
        return ends

    async def has_read(self, ends: dict[TopicPartition, int]) -> bool:
        """Whether everything before these offsets is in the tally."""
        return await has_reached(self._consumer, ends)

    def behind(self, ends: dict[TopicPartition, int]) -> int:
        """How many documents before these offsets have not ended."""
        return self.tally.behind({tp.partition: end for tp, end in ends.items() if tp.topic == self._documents})

    def _submit(self, record: ConsumerRecord) -> None:
        headers = Headers.decode(record.headers)
        revision: str | None = None
        event = None
        try:
            event = codec.decode(record.value, headers.type, DOCUMENTS.events)
        except codec.UndecodableError:
            # The chunking stage says so of it, without a revision.
            revision = ""
        else:
            document = event if isinstance(event, DocumentSubmitted) else DocumentSubmitted(text="")
            by_reference = isinstance(event, DocumentSubmitted) and headers.dataref and not event.text
            revision = None if by_reference else document_revision(document)
        withdrawal = isinstance(event, DocumentWithdrawn)
        submitted = Submitted(record.partition, record.offset, revision, withdrawal)
        self.tally.submit((record.key or b"").decode("utf-8", "replace"), submitted)

    def _end(self, record: ConsumerRecord) -> None:
        event = ending_of(record)
        if event is not None:
            self.tally.end(event.document_id, Ended.of(event))


@asynccontextmanager
async def reading(kafka: KafkaSettings, names: Namespace) -> AsyncIterator[TallyReader]:
    """A reader of both topics from their beginning.

    Raises:
        KafkaError: Kafka does not answer.
    """
    consumer = committed_reader(kafka)
    try:
        await consumer.start()
        documents = await partitions_of(consumer, names.topic(DOCUMENTS))
        endings = await partitions_of(consumer, names.topic(DOCUMENTS_INDEXED))
        consumer.assign([*documents, *endings])
        reader = TallyReader(consumer, names)
        try:
            yield reader
        finally:
            reader.running.cancel()
            await asyncio.wait({reader.running})
    finally:
        await stop_consumer(consumer)
