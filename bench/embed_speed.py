"""How fast texts become vectors: in a process without a pipeline, and through Kafka and the workers."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Self

from aiokafka import AIOKafkaProducer

from backends.kafka import KafkaSettings
from bench.embed_options import PARTS, EmbedOptions, Part, Texts
from bench.hops_process import child_process
from bench.hops_records import Sink, reading
from schemas import codec
from schemas.events import DocumentChunked, Event, QueryAccepted
from schemas.examples import EXAMPLE_BY_TYPE
from schemas.headers import Headers
from schemas.values import Chunk
from topics.names import Namespace
from topics.settings import TopicSettings
from topics.specs import CHUNKS, CHUNKS_EMBEDDED, QUERIES_ACCEPTED, QUERIES_EMBEDDED, TopicSpec

_READY_TIMEOUT_S = 300
_TIMEOUT_S = 600
_TENANT = "default"
# A document of some pages.
_CHUNKS_PER_DOCUMENT = 32
_TOPICS: dict[Part, tuple[TopicSpec, TopicSpec]] = {
    "questions": (QUERIES_ACCEPTED, QUERIES_EMBEDDED),
    "chunks": (CHUNKS, CHUNKS_EMBEDDED),
}


class Raw:
    """The process without a pipeline."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin  # noqa: S101 - piped
        assert process.stdout  # noqa: S101
        self._in, self._out = process.stdin, process.stdout

    async def seconds(self, part: Part) -> float:
        """Have it encode the texts once."""
        self._in.write(f"{part}\n".encode())
        async with asyncio.timeout(_TIMEOUT_S):
            return float(await self._out.readline())


class Pipeline:
    """The workers, as this process speaks to them; an asynchronous context manager."""

    def __init__(self, kafka: KafkaSettings, names: Namespace, texts: Texts, settings: TopicSettings) -> None:
        self._kafka = kafka
        self._names = names
        self._texts = texts
        self._partitions = settings.partitions
        self._producer = AIOKafkaProducer(**kafka.client_options(), enable_idempotence=True, max_request_size=2**24)
        self._sinks: dict[Part, Sink] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._producer.start()
        self._stack.push_async_callback(self._producer.stop)
        for part in PARTS:
            topic = self._names.topic(_TOPICS[part][1])
            self._sinks[part] = await self._stack.enter_async_context(reading(self._kafka, topic, self._partitions))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def seconds(self, part: Part) -> float:
        """From the first record in the stage's topic to the last one in the next, by the broker's clock."""
        events = _questions(self._texts.questions) if part == "questions" else _documents(self._texts.chunks)
        sink = self._sinks[part]
        wanted = len(sink.arrived) + len(events)
        topic = self._names.topic(_TOPICS[part][0])
        sent = [await self._producer.send(topic, **_record(event)) for event in events]
        began_ms: int = min(metadata.timestamp for metadata in await asyncio.gather(*sent))
        await sink.wait_for(wanted, _TIMEOUT_S)
        return (sink.last_ms - began_ms) / 1000


@asynccontextmanager
async def started(options: EmbedOptions) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process under measurement, with its model loaded."""
    # As in the local stack: none takes the other's cores.
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if options.threads}
    env = {**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    async with child_process(
        [sys.executable, "-m", "bench.embed_child", options.model_dump_json()], env=env
    ) as process:
        assert process.stdin  # noqa: S101 - piped
        assert process.stdout  # noqa: S101
        async with asyncio.timeout(_READY_TIMEOUT_S):
            if await process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"the process of {options.kind} {options.variant.name} did not become ready")
        yield process
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _READY_TIMEOUT_S)


def _questions(questions: Sequence[str]) -> list[Event]:
    example = EXAMPLE_BY_TYPE[QueryAccepted.TYPE]
    assert isinstance(example, QueryAccepted)  # noqa: S101 - by its type
    return [
        example.model_copy(
            update={"request_id": uuid.uuid4().hex, "tenant": _TENANT, "question": question, "deadline_at": None}
        )
        for question in questions
    ]


def _documents(chunks: Sequence[tuple[str, str]]) -> list[Event]:
    starts = range(0, len(chunks), _CHUNKS_PER_DOCUMENT)
    return [_document(uuid.uuid4().hex, chunks[start : start + _CHUNKS_PER_DOCUMENT]) for start in starts]


def _document(document_id: str, chunks: Sequence[tuple[str, str]]) -> DocumentChunked:
    return DocumentChunked(
        document_id=document_id,
        revision=document_id,
        tenant=_TENANT,
        title="",
        source="",
        chunks=tuple(
            Chunk(
                chunk_id=f"{document_id}-{ordinal}", ordinal=ordinal, text=text, start=0, end=len(text), context=context
            )
            for ordinal, (context, text) in enumerate(chunks)
        ),
    )


def _record(event: Event) -> dict[str, object]:
    headers = Headers(
        id=f"bench-{event.key}", type=event.TYPE, source="ragline/bench", time=datetime.now(UTC), tenant=_TENANT
    )
    return {"value": codec.encode(event), "key": event.key.encode(), "headers": headers.encode()}
