"""A Milvus that goes away and comes back on the same port: the worker's client lives through it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import numpy as np
import pytest

from backends.errors import BackendError, BackendUnavailableError
from backends.milvus import MilvusVectorStore
from backends.milvus_settings import MilvusSettings
from backends.vector_store import Replaced, Search, StoredChunk
from tests.fixtures.milvus_server import Server

pytestmark = pytest.mark.servers

T = TypeVar("T")
DEADLINE_S = 60
VECTOR = np.array([1, 0, 0, 0], dtype=np.float32)
SEARCH = Search(VECTOR, "t", 10)


@pytest.fixture
async def store(milvus_server: Server) -> AsyncIterator[MilvusVectorStore]:
    store = MilvusVectorStore(MilvusSettings(uri=milvus_server.uri, collection="c", timeout_ms=2_000))
    yield store
    await store.close()


def chunk(chunk_id: str) -> StoredChunk:
    return StoredChunk(chunk_id, "d", "t", "title", "source", 0, "text", VECTOR)


async def when_back(call: Callable[[], Awaitable[T]]) -> T:
    """What a worker does: try again until the store answers."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await call()
            except BackendUnavailableError:
                await asyncio.sleep(0.1)


async def ids(store: MilvusVectorStore) -> list[str]:
    [hits] = await store.search([SEARCH])
    return [hit.chunk.chunk_id for hit in hits]


async def test_works_again_without_a_new_client(milvus_server: Server, store: MilvusVectorStore) -> None:
    with pytest.raises(BackendUnavailableError, match=milvus_server.uri):
        await store.prepare(4)
    await asyncio.to_thread(milvus_server.start)
    await when_back(lambda: store.prepare(4))
    assert await store.replace("t", "d", [chunk("flushed")]) == Replaced(1, 0)
    await store.flush()
    assert await store.replace("t", "d", [chunk("flushed"), chunk("not flushed")]) == Replaced(1, 0)

    await asyncio.to_thread(milvus_server.stop)
    for call in (store.search([SEARCH]), store.replace("t", "d", []), store.count(), store.flush()):
        async with asyncio.timeout(10):
            with pytest.raises(BackendUnavailableError, match=milvus_server.uri):
                await call

    await asyncio.to_thread(milvus_server.start)
    assert await when_back(lambda: ids(store)) == ["flushed", "not flushed"]
    assert await store.replace("t", "d", [chunk("new")]) == Replaced(1, 2)
    assert await ids(store) == ["new"]


async def test_searches_in_an_outage_are_held_back_never_refused(
    milvus_server: Server, store: MilvusVectorStore
) -> None:
    await asyncio.to_thread(milvus_server.start)
    await when_back(lambda: store.replace("t", "d", [chunk("a")]))
    failed, ended = asyncio.Event(), asyncio.Event()
    kinds: set[type[BackendError]] = set()

    async def search_on() -> None:
        while not ended.is_set():
            try:
                assert await ids(store) == ["a"]
            except BackendError as error:
                kinds.add(type(error))
                failed.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(search_on())
        await asyncio.to_thread(milvus_server.stop)
        async with asyncio.timeout(DEADLINE_S):
            await failed.wait()
        await asyncio.to_thread(milvus_server.start)
        assert await when_back(lambda: ids(store)) == ["a"]
        ended.set()
    assert kinds == {BackendUnavailableError}
