"""Collections in a real Milvus: each way to keep one, and ``ragline collections``."""

import asyncio
import uuid
from typing import Any

import numpy as np
import orjson
import pytest
from pymilvus import MilvusClient
from typer.testing import CliRunner

from backends.errors import BackendRejectedError
from backends.milvus import MilvusVectorStore
from backends.milvus_settings import MilvusSettings
from backends.vector_store import Search, StoredChunk
from ragline.cli import app

DIMENSIONS = 8
RANDOM = np.random.default_rng(5)


def settings(milvus: MilvusSettings, **changes: Any) -> MilvusSettings:
    kept = {"collection": f"test_{uuid.uuid4().hex}"} | changes
    return MilvusSettings.model_validate(milvus.model_dump() | kept)


def chunks(count: int, tenant: str = "default") -> list[StoredChunk]:
    vectors = RANDOM.normal(size=(count, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [StoredChunk(f"{tenant}{n}", "d", tenant, "", "", n, f"word{n}", vector) for n, vector in enumerate(vectors)]


async def fill(store: MilvusVectorStore, some: list[StoredChunk]) -> None:
    await store.prepare(DIMENSIONS)
    await store.replace(some[0].tenant, "d", some)
    await store.flush()


@pytest.mark.servers
@pytest.mark.parametrize(
    "changes",
    [
        {"index_type": "HNSW", "index_params": {"M": 8}},
        {"index_type": "IVF_FLAT", "index_params": {"nlist": 4}, "search_params": {"nprobe": 4}},
        {"index_type": "IVF_SQ8", "index_params": {"nlist": 4}, "search_params": {"nprobe": 4}},
        {"index_type": "FLAT"},
        {"index_type": "AUTOINDEX"},
        {"index_type": "HNSW", "metric": "IP"},
        {"index_type": "FLAT", "metric": "L2"},
        {"consistency_level": "Bounded", "tenant_partitions": 4},
    ],
    ids=str,
)
async def test_every_index_finds_the_nearest_with_the_same_scores(
    milvus: MilvusSettings, changes: dict[str, Any]
) -> None:
    if not milvus.keyword_search and "tenant_partitions" in changes:
        pytest.skip("this Milvus loses updates among several partitions")
    store = MilvusVectorStore(settings(milvus, **changes))
    some = chunks(300)
    await fill(store, some)
    query = some[7].vector
    [hits] = await store.search([Search(query, "default", 20)])
    similarity = {chunk.chunk_id: float(chunk.vector @ query) for chunk in some}
    nearest = sorted(similarity, key=similarity.__getitem__, reverse=True)[:20]
    assert hits[0].chunk.chunk_id == "default7"
    found = [hit.chunk.chunk_id for hit in hits]
    assert [hit.score for hit in hits] == pytest.approx([similarity[chunk_id] for chunk_id in found], abs=0.02)
    # Only one that compares with all misses none.
    if changes.get("index_type") == "FLAT":
        assert set(found) == set(nearest)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    await store.close()


@pytest.mark.servers
async def test_a_collection_of_another_language_or_without_words_is_refused(milvus: MilvusSettings) -> None:
    if not milvus.keyword_search:
        pytest.skip("this Milvus knows no keyword search")
    english = settings(milvus)
    store = MilvusVectorStore(english)
    await fill(store, chunks(3))
    german = MilvusVectorStore(english.model_copy(update={"language": "german"}))
    for call in (german.prepare, german.verify):
        with pytest.raises(
            BackendRejectedError, match=r"is stemmed as english, but milvus\.language is german; use another"
        ):
            await call(DIMENSIONS)
    wordless = MilvusVectorStore(english.model_copy(update={"keyword_search": False, "tenant_partitions": 1}))
    with pytest.raises(BackendRejectedError, match=r"as english, but milvus\.keyword_search is off"):
        await wordless.prepare(DIMENSIONS)
    foreign = settings(milvus)
    client = MilvusClient(uri=milvus.uri, dedicated=True)
    await asyncio.to_thread(client.create_collection, foreign.collection, dimension=DIMENSIONS)
    client.close()
    other = MilvusVectorStore(foreign)
    with pytest.raises(BackendRejectedError, match="has no words for keyword search"):
        await other.verify(DIMENSIONS)
    for each in (store, german, wordless, other):
        await each.close()


@pytest.mark.servers
async def test_a_collection_without_words_is_searched_by_vectors_alone(milvus: MilvusSettings) -> None:
    kept = settings(milvus, keyword_search=False, tenant_partitions=1)
    store = MilvusVectorStore(kept)
    some = chunks(3)
    await fill(store, some)
    await store.verify(DIMENSIONS)
    [hits] = await store.search([Search(some[1].vector, "default", 1)])
    assert hits[0].chunk.chunk_id == "default1"
    with pytest.raises(BackendRejectedError, match="not searched by words"):
        await store.search([Search("word1", "default", 1)])
    worded = MilvusVectorStore(kept.model_copy(update={"keyword_search": True}))
    with pytest.raises(BackendRejectedError, match=r"has no words for keyword search, but milvus\.language is english"):
        await worded.verify(DIMENSIONS)
    for each in (store, worded):
        await each.close()


@pytest.mark.servers
def test_the_commands_show_what_there_is(milvus: MilvusSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = settings(milvus)
    alias = f"alias_{uuid.uuid4().hex}"

    async def make() -> None:
        store = MilvusVectorStore(kept)
        await fill(store, chunks(3))
        await store.replace("other", "d", chunks(2, "other"))
        await store.close()

    asyncio.run(make())
    client = MilvusClient(uri=milvus.uri, dedicated=True)
    client.create_alias(kept.collection, alias)
    client.close()
    monkeypatch.setenv("RAGLINE_MILVUS__URI", milvus.uri)
    monkeypatch.setenv("RAGLINE_MILVUS__KEYWORD_SEARCH", str(milvus.keyword_search))
    monkeypatch.setenv("RAGLINE_MILVUS__TENANT_PARTITIONS", str(milvus.tenant_partitions))
    monkeypatch.setenv("RAGLINE_QUERY__MODE", "dense")
    monkeypatch.setenv("RAGLINE_MILVUS__COLLECTION", alias)
    runner = CliRunner()

    listed = runner.invoke(app, ["collections", "list"]).stdout
    assert f"* {kept.collection}  ({alias})  5 chunks" in listed
    described = runner.invoke(app, ["collections", "describe"]).stdout
    assert f"vectors of length 8, words: {'english' if milvus.keyword_search else 'none'}" in described
    assert "consistency Strong" in described
    assert "index of vector: HNSW, COSINE" in described
    assert ("index of bm25: SPARSE_INVERTED_INDEX, BM25" in described) is milvus.keyword_search
    counted = runner.invoke(app, ["collections", "stats", kept.collection]).stdout
    assert counted == f"{kept.collection}: 5 chunks, Loaded\n  default: 3\n"

    found = orjson.loads(runner.invoke(app, ["collections", "describe", "--json"]).stdout)
    assert (found["name"], found["aliases"], found["dimensions"]) == (kept.collection, [alias], 8)
    found = orjson.loads(runner.invoke(app, ["collections", "stats", "--json"]).stdout)
    assert (found["chunks"], found["tenants"]) == (5, {"default": 3})
    lines = runner.invoke(app, ["collections", "list", "--json"]).stdout.splitlines()
    assert kept.collection in {orjson.loads(line)["name"] for line in lines}

    missing = runner.invoke(app, ["collections", "describe", "nothing"])
    assert missing.exit_code == 1
    assert "there is no collection 'nothing'" in missing.stderr


def test_an_outage_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLINE_MILVUS__URI", "http://127.0.0.1:1")
    monkeypatch.setenv("RAGLINE_MILVUS__TIMEOUT_MS", "500")
    result = CliRunner().invoke(app, ["collections", "list"])
    assert result.exit_code == 1
    assert "Milvus at http://127.0.0.1:1 does not answer" in result.stderr
    assert "Traceback" not in result.output
