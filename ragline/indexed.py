"""What is searchable already, read from ``rag.documents.indexed``."""

from aiokafka import AIOKafkaConsumer

from backends.kafka import KafkaSettings, partitions_of, stop_consumer
from schemas import codec
from schemas.events import DocumentIndexed
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import DOCUMENTS_INDEXED

_POLL_MS = 500


async def indexed_revisions(kafka: KafkaSettings, names: Namespace) -> dict[str, str]:
    """The revision of each document whose last indexing is still in the topic; one that was removed is left out.

    Raises:
        KafkaError: Kafka does not answer.
    """
    revisions: dict[str, str] = {}
    topic = names.topic(DOCUMENTS_INDEXED)
    consumer = AIOKafkaConsumer(
        **kafka.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        partitions = await partitions_of(consumer, topic)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for tp in partitions:
            while await consumer.position(tp) < ends[tp]:
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        _note(revisions, record.value, Headers.decode(record.headers).type)
    finally:
        await stop_consumer(consumer)
    return revisions


def _note(revisions: dict[str, str], value: bytes | None, ce_type: str | None) -> None:
    try:
        event = codec.decode(value, ce_type, DOCUMENTS_INDEXED.events)
    except codec.UndecodableError:
        return
    if isinstance(event, DocumentIndexed) and event.chunks:
        revisions[event.document_id] = event.revision
    elif isinstance(event, DocumentIndexed):
        revisions.pop(event.document_id, None)
