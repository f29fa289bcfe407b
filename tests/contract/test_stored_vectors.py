"""A store gives back the vectors that it holds, whichever store it is."""

from collections.abc import Callable

import numpy as np

from backends.vector_store import StoredChunk, VectorStore

DIMENSIONS = 8


async def test_the_vectors_of_chunks_come_back_as_they_went(make_store: Callable[[], VectorStore]) -> None:
    store = make_store()
    assert await store.vectors("t", ["c1"]) == {}
    vectors = np.random.default_rng(1).standard_normal((1_100, DIMENSIONS)).astype(np.float32)
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
