"""Builds one index after the other on the chunks of a collection, and searches with each."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import get_args

from pymilvus import MilvusClient

from backends import milvus_schema
from backends.milvus import MilvusVectorStore
from backends.milvus_client import connect
from backends.milvus_settings import IndexType, MilvusSettings
from backends.vector_store import Search
from bench.ingest_corpus import TENANT
from infra.local.report import Report
from schemas.values import FloatArray

_TOP_K = 10
_WARM_UP = 3
_LOOK_S = 0.2
# What the others are held against comes first; the collection keeps the last.
ORDER: tuple[IndexType, ...] = ("FLAT", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX", "HNSW")
assert set(ORDER) == set(get_args(IndexType))  # noqa: S101 - none is forgotten


@dataclass(frozen=True, slots=True)
class Searched:
    """How an index searches: the median in milliseconds, the share of the ten nearest that it finds, and how long it
    took to build.
    """

    p50_ms: float
    recall10: float
    build_s: float


async def search_each(settings: MilvusSettings, queries: FloatArray, report: Report) -> dict[IndexType, Searched]:
    """Figures of each index type, on all chunks that are in the collection now."""
    found: dict[IndexType, Searched] = {}
    nearest: list[list[str]] = []
    for index_type in ORDER:
        own = settings.model_copy(update={"index_type": index_type, "index_params": {}, "search_params": {}})
        build_s = await asyncio.to_thread(_rebuild, own)
        report(f"{index_type}: built in {build_s:.1f} s")
        p50_ms, hits = await _search(own, queries)
        nearest = nearest or hits
        shares = [len({*own_hits} & {*exact}) / len(exact) for own_hits, exact in zip(hits, nearest, strict=True)]
        found[index_type] = Searched(p50_ms, mean(shares), build_s)
        report(f"{index_type}: p50 {p50_ms:.1f} ms, recall {mean(shares):.3f}")
    return found


async def _search(settings: MilvusSettings, queries: FloatArray) -> tuple[float, list[list[str]]]:
    """Search for one query after the other: the median in milliseconds, and the chunk IDs."""
    store = MilvusVectorStore(settings)
    try:
        for query in queries[:_WARM_UP]:
            await store.search([Search(query, TENANT, _TOP_K)])
        latencies_ms, found = [], []
        for query in queries:
            began_s = time.perf_counter()
            [hits] = await store.search([Search(query, TENANT, _TOP_K)])
            latencies_ms.append((time.perf_counter() - began_s) * 1000)
            found.append([hit.chunk.chunk_id for hit in hits])
    finally:
        await store.close()
    return median(latencies_ms), found


def _rebuild(settings: MilvusSettings) -> float:
    """Replace the index of the vectors; seconds until it is there."""
    client = connect(settings)
    try:
        client.release_collection(settings.collection)
        client.drop_index(settings.collection, milvus_schema.VECTOR)
        began_s = time.perf_counter()
        params = client.prepare_index_params()
        params.add_index(
            milvus_schema.VECTOR,
            index_type=settings.index_type,
            metric_type=settings.metric,
            params=settings.built_with,
        )
        client.create_index(settings.collection, params, timeout=settings.timeout_ms / 1000)
        _wait_until_built(client, settings)
        client.load_collection(settings.collection, timeout=settings.timeout_ms / 1000)
        return time.perf_counter() - began_s
    finally:
        client.close()


def _wait_until_built(client: MilvusClient, settings: MilvusSettings) -> None:
    """A server builds in the background, Milvus Lite while it loads."""
    deadline_s = time.perf_counter() + settings.timeout_ms / 1000
    while True:
        described = client.describe_index(settings.collection, milvus_schema.VECTOR)
        if int(described.get("pending_index_rows", 0)) == 0:
            return
        if time.perf_counter() > deadline_s:
            raise TimeoutError(f"{settings.index_type} was not built in {settings.timeout_ms} ms: {described}")
        time.sleep(_LOOK_S)


def table(sizes: Sequence[tuple[int, dict[IndexType, Searched]]]) -> dict[str, float]:
    """The figures by name: ``hnsw_p50_ms_10k`` and the like."""
    return {
        f"{index_type.lower()}_{figure}_{size // 1000}k": getattr(searched, figure)
        for size, found in sizes
        for index_type, searched in found.items()
        for figure in ("p50_ms", "recall10", "build_s")
    }
