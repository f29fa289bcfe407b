"""Looks whether a new version holds what it should, on the store's twin."""

from typing import Any

import numpy as np
import pytest

from backends.memory_vector_store import MemoryVectorStore
from backends.vector_store import Search, StoredChunk
from ragline.reindex import verification
from ragline.reindex.errors import ReindexError
from ragline.reindex.tally import Ended, Tally
from ragline.reindex.verification import Checked, verify

RANDOM = np.random.default_rng(3)


def chunks(document: str, count: int, tenant: str = "t", text: str = "word") -> list[StoredChunk]:
    vectors = RANDOM.normal(size=(count, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        StoredChunk(
            f"{tenant}{document}{number}", document, tenant, "", "", number, f"{text} {document}{number}", vector
        )
        for number, vector in enumerate(vectors)
    ]


class Reader:
    """A tally that has read everything."""

    def __init__(self, **documents: int) -> None:
        self.tally = Tally()
        for name, count in documents.items():
            self.tally.end(name, Ended("r", "t", count))

    async def ends(self) -> dict[Any, int]:
        return {}

    async def has_read(self, ends: dict[Any, int]) -> bool:
        return not ends


@pytest.fixture
async def store() -> MemoryVectorStore:
    store = MemoryVectorStore()
    await store.replace("t", "a", chunks("a", 2))
    await store.replace("t", "b", chunks("b", 3))
    return store


async def run(store: MemoryVectorStore, reader: Reader) -> Checked:
    return await verify(store, reader, 50, "english")  # type: ignore[arg-type]  # a reader for this test


async def test_what_holds_and_finds_everything_is_well(store: MemoryVectorStore) -> None:
    assert await run(store, Reader(a=2, b=3)) == Checked(samples=2, by_vector=2, with_words=2, by_words=2)


async def test_a_count_that_never_meets_is_said_by_tenant(
    store: MemoryVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_COUNTS_TIMEOUT_S", 0.2)
    await store.replace("other", "x", chunks("x", 1, "other"))
    with pytest.raises(ReindexError, match=r"the counts differ: the collection has 6 chunks instead of 5$"):
        await run(store, Reader(a=2, b=3))
    with pytest.raises(ReindexError, match=r"instead of 7; tenant 't' has 5 chunks instead of 7$"):
        await run(store, Reader(a=2, b=5))


async def test_a_document_that_lacks_a_chunk_is_named(store: MemoryVectorStore) -> None:
    with pytest.raises(ReindexError, match=r"document '[ab]' has [23] chunks instead of [23]"):
        await run(store, Reader(a=3, b=2))


async def test_chunks_without_words_are_looked_for_by_their_vectors_alone(store: MemoryVectorStore) -> None:
    [chunk] = chunks("c", 1)
    await store.replace("t", "c", [StoredChunk("c", "c", "t", "", "", 0, "…!?", chunk.vector)])
    checked = await run(store, Reader(a=2, b=3, c=1))
    assert (checked.samples, checked.by_vector, checked.with_words) == (3, 3, 2)


async def test_an_index_that_finds_nothing_is_refused(
    store: MemoryVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(searches: list[Search]) -> list[list[Any]]:
        return [[] for _ in searches]

    monkeypatch.setattr(store, "search", nothing)
    with pytest.raises(ReindexError, match="of 2 sampled chunks, 0 are found by their vectors among the best 10"):
        await run(store, Reader(a=2, b=3))
