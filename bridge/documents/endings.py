"""How documents ended: the topic that says so, read whole and followed by every bridge."""

import asyncio
from collections import OrderedDict

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from backends.index_topic import FollowedIndex
from backends.kafka import KafkaSettings, has_reached, stop_consumer
from bridge.documents.states import Ending
from schemas import codec
from schemas.events import DocumentFailed, DocumentIndexed
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import DOCUMENTS_INDEXED

MAX_DOCUMENTS = 100_000
_FETCH_WAIT_MS = 500
_RECONNECT_WAIT_S = 1.0

log = structlog.get_logger(__name__)


class HeldEndings:
    """How documents ended: the ``max_documents`` that did so last. ``ready`` is set once the past is known."""

    def __init__(self, max_documents: int = MAX_DOCUMENTS) -> None:
        self.ready = asyncio.Event()
        self._max = max_documents
        self._endings: OrderedDict[tuple[str, str], Ending] = OrderedDict()

    def find(self, tenant: str, document_id: str) -> Ending | None:
        """How a tenant's document ended last; None where nothing is known."""
        return self._endings.get((tenant, document_id))

    def take(self, event: DocumentIndexed | DocumentFailed, at_ms: int) -> None:
        """Note how a document ended."""
        key = (event.tenant, event.document_id)
        self._endings.pop(key, None)
        self._endings[key] = Ending.of(event, at_ms)
        if len(self._endings) > self._max:
            self._endings.popitem(last=False)


class KafkaEndings(HeldEndings):
    """Follows ``rag.documents.indexed`` of the version of the index that is live, while ``run`` runs."""

    def __init__(self, kafka: KafkaSettings, names: Namespace) -> None:
        super().__init__()
        self._kafka = kafka
        self._names = names
        self._index = FollowedIndex(kafka, names)

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._index.run(), name="index")
            await self._index.ready.wait()
            await self._read_on()

    async def _read_on(self) -> None:
        while True:
            version = self._index.live_version
            consumer = AIOKafkaConsumer(
                self._names.of_index(version).topic(DOCUMENTS_INDEXED),
                **self._kafka.client_options(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
            )
            try:
                await consumer.start()
                await self._follow(consumer, version)
                continue
            except (KafkaError, OSError) as error:
                log.warning("ends of documents cannot be read, trying again", reason=str(error) or repr(error))
            finally:
                await stop_consumer(consumer)
            await asyncio.sleep(_RECONNECT_WAIT_S)

    async def _follow(self, consumer: AIOKafkaConsumer, version: int) -> None:
        """Read until another version is live."""
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while self._index.live_version == version:
            if not self.ready.is_set() and await has_reached(consumer, ends):
                self.ready.set()
            for records in (await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)).values():
                for record in records:
                    self._read(record)

    def _read(self, record: ConsumerRecord) -> None:
        try:
            event = codec.decode(record.value, Headers.decode(record.headers).type, DOCUMENTS_INDEXED.events)
        except codec.UndecodableError as error:
            log.warning("not the end of a document", topic=record.topic, offset=record.offset, reason=str(error))
            return
        assert isinstance(event, DocumentIndexed | DocumentFailed)  # noqa: S101 - the topic holds nothing else
        self.take(event, record.timestamp)
