"""``python -m bench.ingest``: how fast chunks become searchable, and how each index searches them.

Synthetic chunks that have their vectors go through Kafka and an indexing worker into Milvus. The last line on standard
output is one JSON object.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import orjson
from aiokafka import AIOKafkaProducer

from backends.kafka import KafkaSettings
from backends.milvus import MilvusVectorStore
from backends.milvus_settings import IndexType, MilvusSettings
from bench.broker import running_broker, running_milvus, running_milvus_server
from bench.figures import rounded
from bench.hops_process import ROOT
from bench.hops_records import Sink, reading
from bench.ingest_corpus import CHUNKS_PER_DOCUMENT, Corpus
from bench.ingest_indexes import Searched, search_each, table
from bench.report import say
from bench.stages_process import StageOptions, Usage, stages_process, usage_of
from infra.setup.milvus import MILVUS_SERVER
from schemas import codec
from schemas.events import ChunksEmbedded
from schemas.headers import Headers
from topics.admin import apply_topics
from topics.names import Namespace
from topics.settings import TopicSettings
from topics.specs import CHUNKS_EMBEDDED, DOCUMENTS_INDEXED

_NAMES = Namespace("bench")
_PARTITIONS = 6
_TIMEOUT_S = 3_600
_FLIGHT = 100
# An index of all the chunks may take minutes to build.
_MILVUS_TIMEOUT_MS = 1_200_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Chunks in the collection when searches are measured, each time with so many queries."""

    sizes: tuple[int, ...]
    queries: int


FULL = Plan(sizes=(10_000, 50_000, 200_000), queries=50)
SHORT = Plan(sizes=(1_000, 2_000), queries=5)


@dataclass(frozen=True, slots=True)
class Written:
    """Chunks that became searchable, and in how many seconds; of each chunk, the CPU time of worker and Milvus."""

    chunks: int
    seconds: float
    worker_cpu_ms: float
    milvus_cpu_ms: float


class Ingest:
    """Documents into Kafka, and what comes of them."""

    def __init__(self, producer: AIOKafkaProducer, sink: Sink, worker: Usage, milvus: Usage) -> None:
        self._producer = producer
        self._sink = sink
        self._worker = worker
        self._milvus = milvus

    async def write(self, documents: Iterable[ChunksEmbedded], first: int, last: int) -> Written:
        """Produce the documents numbered from ``first`` up to ``last``, and wait until all are indexed."""
        before = self._worker.cpu_s(), self._milvus.cpu_s()
        began_ms = time.time() * 1000
        flight: list[asyncio.Future[object]] = []
        for event in documents:
            headers = Headers(id=event.document_id, type=event.TYPE, source="ragline/bench", tenant=event.tenant)
            topic, key = _NAMES.topic(CHUNKS_EMBEDDED), event.document_id.encode()
            flight.append(await self._producer.send(topic, codec.encode(event), key=key, headers=headers.encode()))
            if len(flight) == _FLIGHT:
                await asyncio.gather(*flight)
                flight.clear()
        await asyncio.gather(*flight)
        await self._sink.wait_for(last, _TIMEOUT_S)
        chunks = (last - first) * CHUNKS_PER_DOCUMENT
        used = self._worker.cpu_s() - before[0], self._milvus.cpu_s() - before[1]
        return Written(chunks, (self._sink.last_ms - began_ms) / 1000, *(1000 * cpu_s / chunks for cpu_s in used))


async def measure(plan: Plan, *, on_server: bool) -> dict[str, float]:
    """All figures, on Milvus Lite as the local stack runs it or on a standalone server, which knows no words."""
    corpus = Corpus()
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(running_broker(ROOT / ".ragline", say))
        uri = await stack.enter_async_context(running_milvus_server(MILVUS_SERVER) if on_server else running_milvus())
        milvus = usage_of("standalone" if on_server else "milvus_lite")
        await apply_topics(kafka, TopicSettings(partitions=_PARTITIONS), _NAMES)
        # Milvus 2.3, which its wheel brings, knows no words, and loses updates among several partitions.
        own: dict[str, object] = {"uri": uri} | ({"keyword_search": False, "tenant_partitions": 1} if on_server else {})
        settings = MilvusSettings.model_validate(own | {"timeout_ms": _MILVUS_TIMEOUT_MS})
        store = MilvusVectorStore(settings)
        stack.push_async_callback(store.close)
        worker = await stack.enter_async_context(stages_process(_indexing(kafka, own)))
        ingest = await stack.enter_async_context(_ingest(kafka, worker, milvus))
        written: list[Written] = []
        rss_mb: list[float] = []
        searched: list[tuple[int, dict[IndexType, Searched]]] = []
        figures: dict[str, float] = {}
        for size in plan.sizes:
            first, last = sum(each.chunks for each in written) // CHUNKS_PER_DOCUMENT, size // CHUNKS_PER_DOCUMENT
            written.append(await ingest.write(corpus.documents(first, last - first), first, last))
            rss_mb.append(worker.rss_mb())
            figures[f"milvus_rss_mb_{size // 1000}k"] = milvus.rss_mb()
            say(f"{size} chunks: {written[-1]}, worker {rss_mb[-1]:.0f} MB, Milvus {milvus.rss_mb():.0f} MB")
            await store.flush()
            if (count := await store.count()) != size:
                raise RuntimeError(f"{count} chunks are in the collection, not {size}")
            searched.append((size, await search_each(settings, corpus.queries(plan.queries), say)))
    chunks = sum(each.chunks for each in written)
    return (
        {
            "chunks": chunks,
            "chunks_per_s": chunks / sum(each.seconds for each in written),
            "rss_mb_growth": rss_mb[-1] - rss_mb[0],
            "worker_rss_mb": rss_mb[-1],
            "worker_cpu_ms_per_chunk": sum(each.worker_cpu_ms * each.chunks for each in written) / chunks,
            "milvus_cpu_ms_per_chunk": sum(each.milvus_cpu_ms * each.chunks for each in written) / chunks,
        }
        | {
            f"chunks_per_s_{size // 1000}k": each.chunks / each.seconds
            for size, each in zip(plan.sizes, written, strict=True)
        }
        | figures
        | table(searched)
    )


@asynccontextmanager
async def _ingest(kafka: KafkaSettings, worker: Usage, milvus: Usage) -> AsyncIterator[Ingest]:
    producer = AIOKafkaProducer(**kafka.client_options(), enable_idempotence=True, acks="all")
    await producer.start()
    try:
        async with reading(kafka, _NAMES.topic(DOCUMENTS_INDEXED), _PARTITIONS) as sink:
            yield Ingest(producer, sink, worker, milvus)
    finally:
        await producer.stop()


def _indexing(kafka: KafkaSettings, milvus: dict[str, object]) -> StageOptions:
    return StageOptions(
        stages=("indexing",),
        settings={
            "namespace": _NAMES.prefix,
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers},
            "milvus": milvus,
            "query": {"mode": "dense"},
        },
    )


async def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.ingest", description="How fast chunks become searchable.")
    parser.add_argument("--short", action="store_true", help="a few chunks, to see that everything runs")
    parser.add_argument("--server", action="store_true", help="a standalone Milvus in place of Milvus Lite")
    options = parser.parse_args()
    if options.server and not MILVUS_SERVER.exists():
        parser.error("the standalone Milvus is not installed; make test-milvus does that")
    figures = await measure(SHORT if options.short else FULL, on_server=options.server)
    print(orjson.dumps(rounded(figures)).decode())


if __name__ == "__main__":
    asyncio.run(main())
