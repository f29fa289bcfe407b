"""Waits until a version of the index has all documents, and takes away what it should no longer have."""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import uuid_utils
from aiokafka import AIOKafkaProducer

from backends.kafka import KafkaSettings
from ragline.endings import ending_of
from ragline.reindex.errors import ReindexError
from ragline.reindex.reader import TallyReader
from ragline.reindex.tally import Ended, Tally
from ragline.reindex.waiting import until
from ragline.topic_records import records_of
from schemas import codec
from schemas.events import DocumentChunked, DocumentSubmitted
from schemas.headers import Headers
from schemas.revision import document_revision
from topics.names import Namespace
from topics.specs import CHUNKS, DOCUMENTS_INDEXED

# Two collections hold the same when the second has what came until so long ago.
_FRESH_S = 5.0
_POLL_S = 0.05
_POLL_MANY_S = 1.0
_MANY = 1_000
_SHOWN = 5


async def catch_up(reader: TallyReader, progress: Callable[[Tally], None], timeout_s: float) -> None:
    """Wait until the version has every document that came until a moment ago.

    Raises:
        ReindexError: no document ended for ``timeout_s`` seconds.
    """
    tally, told = reader.tally, -1
    moved_at = time.monotonic()
    while True:
        began, ends = time.monotonic(), await reader.ends()
        while not await reader.has_read(ends) or reader.behind(ends):
            progress(tally)
            if tally.endings != told:
                told, moved_at = tally.endings, time.monotonic()
            elif time.monotonic() - moved_at > timeout_s:
                raise ReindexError(
                    f"no document was indexed for {timeout_s:g} s, {tally.pending} of {tally.records} are under way; "
                    "see the logs of the re-index in the folder reindex/logs of local.data_dir"
                )
            # Looking through all that is pending takes a while where that is much.
            await asyncio.sleep(_POLL_S if tally.pending < _MANY else _POLL_MANY_S)
        if time.monotonic() - began < _FRESH_S:
            progress(tally)
            return


async def remove_orphans(producer: AIOKafkaProducer, names: Namespace, tally: Tally, timeout_s: float) -> int:
    """Have documents removed from the version that were deleted while nobody worked for it, and so long ago that the
    topic of documents has forgotten the deletions; how many those were.

    Raises:
        KafkaError: it is not done; it may be done again.
        ReindexError: it is not done within so many seconds.
    """
    orphans = list(tally.orphans())
    if not orphans:
        return 0
    await _withdraw(producer, names, orphans)

    async def are_gone() -> bool:
        return not any(tally.orphans())

    try:
        async with asyncio.timeout(timeout_s):
            await until(are_gone, _POLL_S)
    except TimeoutError:
        msg = f"{len(orphans)} documents that were deleted long ago are not removed within {timeout_s:g} s"
        raise ReindexError(msg) from None
    return len(orphans)


async def _withdraw(producer: AIOKafkaProducer, names: Namespace, orphans: Iterable[tuple[str, Ended]]) -> None:
    async with producer.transaction():
        for document, ended in orphans:
            event = DocumentChunked(
                document_id=document,
                # As the chunking stage says of a document that is withdrawn.
                revision=document_revision(DocumentSubmitted(text="")),
                tenant=ended.tenant,
                title="",
                source="",
                chunks=(),
            )
            headers = Headers(
                id=str(uuid_utils.uuid7()),
                type=event.TYPE,
                source="ragline/reindex",
                time=datetime.now(UTC),
                subject=document,
                tenant=ended.tenant,
            )
            await producer.send(
                names.topic(CHUNKS), codec.encode(event), key=event.key.encode(), headers=headers.encode()
            )


async def check_failures(kafka: KafkaSettings, live: Namespace, tally: Tally) -> None:
    """See that no document fails in the version which is searchable in the ``live`` one.

    Raises:
        ReindexError: some do.
        KafkaError: Kafka does not answer.
    """
    failures = tally.failures
    if not failures:
        return
    now = Tally()
    async for record in records_of(kafka, live.topic(DOCUMENTS_INDEXED)):
        event = ending_of(record)
        if event is not None:
            now.end(event.document_id, Ended.of(event))
    lost = {document: reason for document, reason in failures.items() if now.is_searchable(document)}
    if lost:
        named = "; ".join(f"{document}: {reason.rstrip('.')}" for document, reason in list(lost.items())[:_SHOWN])
        raise ReindexError(f"{len(lost)} documents that are searchable now would be so no longer: {named}")
