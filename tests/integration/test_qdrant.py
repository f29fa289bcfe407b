"""Qdrant in a folder of its own: who may open it, what is there afterwards, and what ``ragline`` tells of it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.qdrant import QdrantVectorStore
from backends.qdrant_schema import payload_indexes
from backends.qdrant_settings import QdrantSettings
from backends.vector_store import Replaced, Search, StoredChunk
from ragline.cli import app
from tests.fixtures.qdrant_http import Answers
from tests.fixtures.servers import HOST, free_port

VECTOR = np.array([1, 0, 0, 0], dtype=np.float32)
DEADLINE_S = 60
HOLDER = """
import asyncio, sys
from backends.qdrant import QdrantVectorStore
from backends.qdrant_settings import QdrantSettings
asyncio.run(QdrantVectorStore(QdrantSettings(path=sys.argv[1])).prepare(4))
print("open", flush=True)
sys.stdin.read()
"""


def chunk(chunk_id: str, tenant: str = "default") -> StoredChunk:
    return StoredChunk(chunk_id, "d", tenant, "title", "source", 0, f"the words of {chunk_id}", VECTOR)


@pytest.fixture
def settings(tmp_path: Path) -> QdrantSettings:
    return QdrantSettings(path=tmp_path / "qdrant")


@pytest.fixture
async def store(settings: QdrantSettings) -> AsyncIterator[QdrantVectorStore]:
    store = QdrantVectorStore(settings)
    yield store
    await store.close()


async def test_chunks_are_there_when_the_folder_is_opened_again(settings: QdrantSettings) -> None:
    first = QdrantVectorStore(settings)
    assert await first.replace("t", "d", [chunk("a", "t")]) == Replaced(1, 0)
    await first.close()
    await first.close()
    second = QdrantVectorStore(settings)
    for query in (VECTOR, "word"):
        [[hit]] = await second.search([Search(query, "t", 5)])
        assert hit.chunk.chunk_id == "a"
    assert await second.replace("t", "d", [chunk("a", "t")]) == Replaced(0, 0)
    await second.close()


async def test_another_process_is_told_who_may_open_the_folder(settings: QdrantSettings) -> None:
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(settings.path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert await holder.stdout.readline() == b"open\n"
        store = QdrantVectorStore(settings)
        for call in (store.verify(4), store.prepare(4), store.count()):
            with pytest.raises(BackendRejectedError, match=r"is open already, and can be open only once.*qdrant\.url"):
                await call
    finally:
        # As a worker dies that is killed: the system lets go of the folder.
        holder.kill()
        await holder.wait()
    assert await store.count() == 0
    await store.close()


async def test_a_collection_of_another_language_or_without_words_is_refused(store: QdrantVectorStore) -> None:
    await store.prepare(4)
    store._settings = store._settings.model_copy(update={"language": "german"})
    for call in (store.prepare, store.verify):
        with pytest.raises(BackendRejectedError, match=r"is stemmed as english, but qdrant\.language is german"):
            await call(4)


async def test_a_server_that_is_away_is_away() -> None:
    url = f"http://{HOST}:{free_port()}"
    store = QdrantVectorStore(QdrantSettings(url=url, timeout_ms=500))
    search = Search(VECTOR, "t", 1)
    for call in (store.prepare(4), store.search([search]), store.replace("t", "d", []), store.count(), store.flush()):
        with pytest.raises(BackendUnavailableError, match=f"Qdrant at {url} does not answer"):
            await call
    await store.close()


def test_the_commands_show_what_there_is(settings: QdrantSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def make() -> None:
        store = QdrantVectorStore(settings)
        await store.prepare(4)
        await store.replace("default", "d", [chunk("a"), chunk("b")])
        await store.replace("other", "d", [chunk("c", "other")])
        await store.close()

    asyncio.run(make())
    monkeypatch.setenv("RAGLINE_VECTOR_STORE", "qdrant")
    monkeypatch.setenv("RAGLINE_QDRANT__PATH", str(settings.path))
    runner = CliRunner()
    assert runner.invoke(app, ["collections", "list"]).stdout == "* ragline  3 chunks\n"
    described = runner.invoke(app, ["collections", "describe"]).stdout.splitlines()
    assert described[:3] == ["ragline", "  vectors of length 4, words: english", "  1 shards"]
    assert described[3].startswith("  index of vector: HNSW, DOT, m 16, ef_construct 200")
    assert described[4].startswith("  index of words_english: SPARSE, DOT, modifier idf")
    assert runner.invoke(app, ["collections", "stats"]).stdout == "ragline: 3 chunks, green\n  default: 2\n"
    found = orjson.loads(runner.invoke(app, ["collections", "stats", "ragline", "--json"]).stdout)
    assert (found["chunks"], found["tenants"]) == (3, {"default": 2})
    missing = runner.invoke(app, ["collections", "describe", "nothing"])
    assert missing.exit_code == 1
    assert "there is no collection 'nothing'" in missing.stderr


def test_a_whole_pipeline_cannot_share_the_folder(settings: QdrantSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLINE_VECTOR_STORE", "qdrant")
    monkeypatch.setenv("RAGLINE_QDRANT__PATH", str(settings.path))
    for command in (["up"], ["demo"]):
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code == 1
        assert "qdrant.path is for one process" in refused.stderr
        assert "Traceback" not in refused.output


async def test_what_filters_ask_for_is_indexed_on_a_server(qdrant_stand_in: tuple[str, Answers]) -> None:
    url, server = qdrant_stand_in
    stores = [QdrantVectorStore(QdrantSettings(url=url)) for _ in range(3)]
    await asyncio.gather(*(store.prepare(4) for store in stores))
    made = server.indexes["ragline"]
    assert made.keys() == payload_indexes().keys()
    assert (made["tenant"]["type"], made["tenant"]["is_tenant"]) == ("keyword", True)
    for store in stores:
        await store.close()
