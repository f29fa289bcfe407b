"""Sends documents to ``rag.documents`` and follows each one until it is searchable or has failed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from backends.conversion import ConversionSettings
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.kafka import KafkaSettings
from backends.references import References
from ragline.corpus import Document, Found, Item, Skipped
from ragline.endings import LiveEndings, live_endings
from ragline.ledger import IngestSummary, Ledger, Submission, may_be_too_large, submission
from ragline.reading import read
from topics.names import Namespace
from topics.specs import DOCUMENTS

__all__ = ["IngestError", "IngestSummary", "ingest"]

# Enough to fill every batch of the ingest stages.
_MAX_IN_FLIGHT = 256
_CLOSE_TIMEOUT_S = 5
_POLL_MS = 500


class IngestError(Exception):
    """The ingest cannot start or go on; the message says why and what to do, in one sentence."""


async def ingest(
    kafka: KafkaSettings,
    names: Namespace,
    documents: Iterable[Found],
    *,
    tenant: str | None = None,
    metadata: Mapping[str, object] | None = None,
    report: Callable[[IngestSummary], None],
    timeout_s: float = 120,
    conversion: ConversionSettings | None = None,
    references: References | None = None,
) -> IngestSummary:
    """Submit documents and wait until each is searchable; ``report`` sees the summary grow.

    The iterable is read in a thread, a bounded number of documents ahead of the stages; ``conversion`` bounds what one
    file in it may cost. ``metadata`` is given to every document; what one says of itself holds before it. What is too
    long for a record is put where ``references`` says.

    Raises:
        IngestError: Kafka does not answer, the topics are missing, or no document ended for ``timeout_s`` seconds.
    """
    async with _connected(kafka, names) as (producer, endings):
        run = _Run(producer, endings, names.topic(DOCUMENTS), report, references)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = read(documents, conversion or ConversionSettings())
                tasks.create_task(run.submit(reading, tenant, metadata or {}))
                tasks.create_task(run.follow(timeout_s))
        except* KafkaError as group:
            raise IngestError(f"Kafka failed during the ingest: {_text(group.exceptions[0])}") from None
        except* OSError as group:
            raise IngestError(_text(group.exceptions[0])) from None
        except* IngestError as group:
            raise group.exceptions[0] from None
    return run.ledger.summary


class _Run:
    """One ingest: two loops, one that submits and one that follows, around a ledger."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        endings: LiveEndings,
        topic: str,
        report: Callable[[IngestSummary], None],
        references: References | None,
    ) -> None:
        self.ledger = Ledger()
        self._references = references
        self._producer = producer
        self._endings = endings
        self._topic = topic
        self._report = report
        self._room = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._all_sent = False

    async def submit(
        self, documents: AsyncGenerator[Item, None], tenant: str | None, metadata: Mapping[str, object]
    ) -> None:
        # Files under conversion end with us, whatever ends us.
        async with contextlib.aclosing(documents):
            async for item in documents:
                if isinstance(item, Document) and metadata:
                    item = replace(item, metadata={**metadata, **item.metadata})  # noqa: PLW2901 - the same document
                record = await self._admit(item, tenant)
                if record is not None:
                    await self._room.acquire()
                    await self._producer.send_and_wait(
                        self._topic, record.value, key=record.key, headers=record.headers
                    )
                self._report(self.ledger.summary)
        self._all_sent = True

    async def _admit(self, item: Item, tenant: str | None) -> Submission | None:
        references = self._references
        if references is None or not references.can_write or not isinstance(item, Document):
            return self.ledger.admit(item, tenant)
        if not may_be_too_large(item) or submission(item, tenant).size <= DOCUMENTS.max_message_bytes:
            return self.ledger.admit(item, tenant)
        try:
            dataref = await references.write(item.text)
        except (BackendRejectedError, BackendUnavailableError) as error:
            return self.ledger.admit(Skipped(item.id, f"it is too long for a record, and {error}"), tenant)
        return self.ledger.admit(item, tenant, dataref)

    async def follow(self, timeout_s: float) -> None:
        summary = self.ledger.summary
        moved_at = time.monotonic()
        while not self._all_sent or summary.pending:
            ended = sum(map(self.ledger.conclude, await self._endings.take(_POLL_MS)))
            for _ in range(ended):
                self._room.release()
            if ended or not summary.pending:
                moved_at = time.monotonic()
                self._report(summary)
            elif time.monotonic() - moved_at > timeout_s:
                raise IngestError(_stalled(summary, timeout_s))


@contextlib.asynccontextmanager
async def _connected(kafka: KafkaSettings, names: Namespace) -> AsyncIterator[tuple[AIOKafkaProducer, LiveEndings]]:
    """A producer, and how documents end from now on."""
    producer = AIOKafkaProducer(
        **kafka.client_options(), enable_idempotence=True, max_request_size=DOCUMENTS.max_message_bytes
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_close, producer)
        try:
            await producer.start()
            endings = await stack.enter_async_context(live_endings(kafka, names))
        except KafkaError as error:
            servers = kafka.bootstrap_servers
            raise IngestError(f"Kafka at {servers} does not answer ({_text(error)}); is ragline up?") from None
        except OSError as error:
            raise IngestError(_text(error)) from None
        yield producer, endings


async def _close(producer: AIOKafkaProducer) -> None:
    # A broker that is gone must not hold us at the end.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await producer.stop()


def _stalled(summary: IngestSummary, timeout_s: float) -> str:
    return (
        f"no document became searchable for {timeout_s:.0f} s, {summary.pending} of {summary.submitted} are under way; "
        "are the ingest workers running? See ragline status; what was submitted is not lost"
    )


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
