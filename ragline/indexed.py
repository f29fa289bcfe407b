"""What is searchable already, read from ``rag.documents.indexed``."""

from backends.kafka import KafkaSettings
from ragline.endings import ending_of, live_names
from ragline.topic_records import records_of
from schemas.events import DocumentIndexed
from topics.names import Namespace
from topics.specs import DOCUMENTS_INDEXED


async def indexed_revisions(kafka: KafkaSettings, names: Namespace) -> dict[str, str]:
    """The revision of each document that is searchable; one that was removed is left out.

    Raises:
        KafkaError: Kafka does not answer.
        OSError: the topic of the versions of the index is missing.
    """
    revisions: dict[str, str] = {}
    names = await live_names(kafka, names)
    async for record in records_of(kafka, names.topic(DOCUMENTS_INDEXED)):
        event = ending_of(record)
        if isinstance(event, DocumentIndexed) and event.chunks:
            revisions[event.document_id] = event.revision
        elif isinstance(event, DocumentIndexed):
            revisions.pop(event.document_id, None)
    return revisions
