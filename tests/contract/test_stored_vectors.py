"""A store gives back the vectors that it holds: the twin in memory, and a real Milvus."""

import uuid
from collections.abc import AsyncIterator

import numpy as np
import pytest

from backends.memory_vector_store import MemoryVectorStore
from backends.vector_store import StoredChunk, VectorStore
from ragline.settings import Settings
from ragline.stages import create_store

DIMENSIONS = 8


@pytest.fixture(params=["memory", pytest.param("milvus", marks=pytest.mark.servers)])
def unprepared(request: pytest.FixtureRequest) -> VectorStore:
    if request.param == "memory":
        return MemoryVectorStore()
    milvus = {"uri": request.getfixturevalue("milvus_uri"), "collection": f"test_{uuid.uuid4().hex}"}
    return create_store(Settings.model_validate({"milvus": milvus}))


@pytest.fixture
async def store(unprepared: VectorStore) -> AsyncIterator[VectorStore]:
    yield unprepared
    await unprepared.close()


async def test_the_vectors_of_chunks_come_back_as_they_went(store: VectorStore) -> None:
    assert await store.vectors("t", ["c1"]) == {}
    vectors = np.random.default_rng(1).standard_normal((2_500, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chunks = [StoredChunk(f"c{at}", "d", "t", "", "", at, f"text {at}", vector) for at, vector in enumerate(vectors)]
    await store.replace("t", "d", chunks)
    found = await store.vectors("t", [*(chunk.chunk_id for chunk in chunks), "missing", 'c1" or "'])
    assert found.keys() == {chunk.chunk_id for chunk in chunks}
    assert all(np.array_equal(found[chunk.chunk_id], chunk.vector) for chunk in chunks)
    assert await store.vectors("t", []) == {}
    await store.replace("t", "d", chunks[:1])
    assert (await store.vectors("t", ["c0", "c1"])).keys() == {"c0"}
    assert await store.vectors("other", ["c0"]) == {}
