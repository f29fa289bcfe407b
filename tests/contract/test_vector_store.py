"""What every vector store keeps to: run on the twin in memory and on a real Milvus."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace as with_changes

import numpy as np
import pytest

from backends.errors import BackendRejectedError
from backends.filter_parser import parse_filter
from backends.filters import Comparison, OneOf, StartsWith
from backends.memory_vector_store import MemoryVectorStore
from backends.milvus import MilvusVectorStore
from backends.vector_store import (
    MAX_DOCUMENT_ID_BYTES,
    MAX_TEXT_BYTES,
    Hit,
    Replaced,
    Search,
    StoredChunk,
    VectorStore,
)
from backends.vector_store_settings import VectorStoreSettings
from schemas.values import FloatArray

DIMENSIONS = 8
HOSTILE = [
    '"',
    "'",
    "\\",
    '\\"',
    'a" or tenant != "',
    "a\\",
    'x"] or chunk_id in ["y',
    "{tenant}",
    "%_%",
    "line\nbreak\rand\ttab",
    "\x01\x1f\x7f",
    "ünïcødé 漢字 😀 \u2028",
    " spaces ",
    "null",
    "1",
]


@pytest.fixture(params=["memory", pytest.param("milvus", marks=pytest.mark.servers)])
def make_new(request: pytest.FixtureRequest) -> Callable[[], VectorStore]:
    """Makes stores on one collection, which nobody has prepared."""
    if request.param == "memory":
        memory = MemoryVectorStore()
        return lambda: memory
    settings = VectorStoreSettings(uri=request.getfixturevalue("milvus_uri"), collection=f"test_{uuid.uuid4().hex}")
    return lambda: MilvusVectorStore(settings)


@pytest.fixture
async def make_store(make_new: Callable[[], VectorStore]) -> AsyncIterator[Callable[[], VectorStore]]:
    made: list[VectorStore] = []

    def make() -> VectorStore:
        made.append(make_new())
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
def empty(make_store: Callable[[], VectorStore]) -> VectorStore:
    return make_store()


@pytest.fixture
async def store(empty: VectorStore) -> VectorStore:
    await empty.prepare(DIMENSIONS)
    return empty


def vector(*values: float) -> FloatArray:
    array = np.zeros(DIMENSIONS, dtype=np.float32)
    array[: len(values)] = values
    length = np.linalg.norm(array)
    return array / length if length else array


def chunk(chunk_id: str, *values: float, document: str = "d", tenant: str = "t", ordinal: int = 0) -> StoredChunk:
    return StoredChunk(
        chunk_id=chunk_id,
        document_id=document,
        tenant=tenant,
        title="Title",
        source="file.txt",
        ordinal=ordinal,
        text=f"text of {chunk_id}",
        vector=vector(*(values or (1,))),
    )


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.chunk_id for hit in hits]


async def find(store: VectorStore, *values: float, tenant: str = "t", limit: int = 10) -> list[str]:
    [hits] = await store.search([Search(vector(*(values or (1,))), tenant, limit)])
    return ids(hits)


async def find_words(store: VectorStore, text: str, tenant: str = "t", limit: int = 10) -> list[str]:
    [hits] = await store.search([Search(text, tenant, limit)])
    return ids(hits)


def worded(chunk_id: str, text: str, title: str = "", **options: str) -> StoredChunk:
    return with_changes(chunk(chunk_id, **options), text=text, title=title)


async def test_a_collection_that_nobody_prepared_is_empty(empty: VectorStore) -> None:
    assert await find(empty) == []
    assert await empty.count() == 0
    await empty.flush()
    assert await empty.replace("t", "d", []) == Replaced(0, 0)


async def test_replace_creates_a_missing_collection(empty: VectorStore) -> None:
    assert await empty.replace("t", "d", [chunk("a")]) == Replaced(1, 0)
    assert await find(empty) == ["a"]


async def test_preparing_again_changes_nothing(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("a")])
    await store.prepare(DIMENSIONS)
    assert await find(store) == ["a"]


async def test_refuses_another_vector_length(store: VectorStore) -> None:
    for call in (store.prepare, store.verify):
        await call(DIMENSIONS)
        with pytest.raises(BackendRejectedError, match="length 8, not 9"):
            await call(DIMENSIONS + 1)


async def test_verifying_a_missing_collection_makes_none(empty: VectorStore) -> None:
    await empty.verify(DIMENSIONS)
    await empty.prepare(DIMENSIONS + 1)


async def test_many_workers_prepare_at_once(make_store: Callable[[], VectorStore]) -> None:
    stores = [make_store() for _ in range(4)]
    await asyncio.gather(*(store.prepare(DIMENSIONS) for store in stores))
    await stores[0].replace("t", "d", [chunk("a")])
    assert await find(stores[-1]) == ["a"]


async def test_finds_the_nearest_first_with_cosine_scores(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("far", 0, 1), chunk("near", 2, 1), chunk("same", 3), chunk("against", -1)])
    [hits] = await store.search([Search(vector(1), "t", 10)])
    assert ids(hits) == ["same", "near", "far", "against"]
    assert [hit.score for hit in hits] == pytest.approx([1, 2 / 5**0.5, 0, -1], abs=1e-5)
    assert all(-1 <= hit.score <= 1 for hit in hits)
    first = hits[0].chunk
    assert (first.document_id, first.title, first.source, first.ordinal) == ("d", "Title", "file.txt", 0)
    assert (first.text, first.tenant) == ("text of same", "t")
    assert first.vector == pytest.approx(vector(3), abs=1e-6)


async def test_gives_at_most_the_limit(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk(f"c{n}", 1, n) for n in range(5)])
    assert await find(store, 1, limit=2) == ["c0", "c1"]


async def test_words_find_what_shares_their_stems_the_rarest_first(store: VectorStore) -> None:
    await store.replace(
        "t",
        "d",
        [
            worded("both", "The mice were running in the maze."),
            worded("common", "A mouse in a house, and mice."),
            worded("title", "Nothing of that.", title="A maze"),
            worded("none", "Something else."),
        ],
    )
    found = await find_words(store, "Mazes in which MICE run")
    assert found[0] == "both"
    assert set(found) == {"both", "title", "common"}
    assert await find_words(store, "mazes", limit=1) == ["title"]
    for text in ("unheard", "", "?!…", "* OR text:x", '"'):
        assert await find_words(store, text) == []


async def test_words_and_vectors_are_searched_in_one_call(store: VectorStore) -> None:
    await store.replace("t", "d", [worded("a", "apples"), with_changes(worded("b", "pears"), vector=vector(0, 1))])
    await store.replace("u", "d", [worded("c", "apples", tenant="u")])
    searches = [
        Search("apple", "t", 5),
        Search(vector(0, 1), "t", 1),
        Search("pear", "t", 5),
        Search("?", "t", 5),
        Search("apple", "u", 5),
        Search("apple", "nobody", 5),
    ]
    assert [ids(hits) for hits in await store.search(searches)] == [["a"], ["b"], ["b"], [], ["c"], []]
    [hits] = await store.search([Search("apple", "t", 5)])
    assert hits[0].score > 0


async def test_words_follow_what_replaces_them(store: VectorStore) -> None:
    await store.replace("t", "d", [worded("a", "apples")])
    await store.flush()
    await store.replace("t", "d", [worded("b", "pears")])
    assert await find_words(store, "apples") == []
    assert await find_words(store, "pears") == ["b"]


async def test_answers_each_search_of_a_batch_in_its_place(store: VectorStore) -> None:
    for tenant in ("t", "u"):
        await store.replace(tenant, "d", [chunk(f"{tenant}{n}", 1, n, tenant=tenant) for n in range(3)])
    searches = [
        Search(vector(1), "t", 1),
        Search(vector(1), "u", 2),
        Search(vector(1), "nobody", 2),
        Search(vector(1, 2), "t", 2),
        Search(vector(1, 1), "t", 1),
    ]
    found = await store.search(searches)
    assert [ids(hits) for hits in found] == [
        ["t0"],
        ["u0", "u1"],
        [],
        ["t2", "t1"],
        ["t1"],
    ]
    assert await store.search([]) == []


async def test_replacing_again_changes_nothing(store: VectorStore) -> None:
    chunks = [chunk("a", ordinal=0), chunk("b", 1, 1, ordinal=1)]
    assert await store.replace("t", "d", chunks) == Replaced(2, 0)
    assert await store.replace("t", "d", chunks) == Replaced(0, 0)
    assert await store.count() == 2


async def test_a_changed_document_loses_its_old_chunks(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("a"), chunk("b", 1, 1)])
    await store.replace("t", "other", [chunk("x", 1, 3, document="other")])
    await store.replace("u", "d", [chunk("y", tenant="u")])
    assert await store.replace("t", "d", [chunk("b", 1, 1), chunk("c", 1, 2)]) == Replaced(1, 1)
    assert await find(store) == ["b", "c", "x"]
    assert await find(store, tenant="u") == ["y"]
    assert await store.replace("t", "d", []) == Replaced(0, 2)
    assert await find(store) == ["x"]
    assert await find(store, tenant="u") == ["y"]


async def test_a_chunk_that_moved_gets_its_new_ordinal(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("a", ordinal=0)])
    assert await store.replace("t", "d", [chunk("b", 0, 1, ordinal=0), chunk("a", ordinal=1)]) == Replaced(1, 0)
    [hits] = await store.search([Search(vector(1), "t", 2)])
    assert [(hit.chunk.chunk_id, hit.chunk.ordinal) for hit in hits] == [("a", 1), ("b", 0)]


async def test_writes_before_and_after_a_flush_count_alike(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("a"), chunk("b", 1, 1)])
    await store.flush()
    assert await find(store) == ["a", "b"]
    assert await store.replace("t", "d", [chunk("b", 1, 1), chunk("c", 1, 2)]) == Replaced(1, 1)
    assert await find(store) == ["b", "c"]
    await store.flush()
    await store.flush()
    assert await find(store) == ["b", "c"]
    assert await store.replace("t", "d", [chunk("a")]) == Replaced(1, 2)
    assert await find(store) == ["a"]


FILTERS = {
    'source == "a/1.md"': ["c0"],
    "source starts_with 'a/'": ["c0", "c1"],
    "source starts_with ''": ["c0", "c1", "c2", "c3"],
    "source > 'a/1.md' and source <= 'b_3.md'": ["c1", "c2", "c3"],
    "not source starts_with 'a/'": ["c2", "c3"],
    "source starts_with 'b_'": ["c2"],
    "source starts_with 'b%'": ["c3"],
    "ordinal in [1, 3]": ["c1", "c3"],
    "ordinal not in [1, 3] and not (ordinal == 0 or title != 'Title')": ["c2"],
    "ordinal >= 1 and ordinal < 3": ["c1", "c2"],
    "ordinal < -1 or title == 'none'": [],
    "document_id == 'd' and ordinal > 2": ["c3"],
    "ordinal >= 0 or document_id != 'd'": ["c0", "c1", "c2", "c3"],
}


@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.parametrize("is_flushed", [False, True])
async def test_a_filter_leaves_out_what_it_does_not_hold_for(store: VectorStore, text: str, is_flushed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    sources = ["a/1.md", "a/2.md", "b_3.md", "b%4.md"]
    for tenant in ("t", "u"):
        prefix = "c" if tenant == "t" else "other"
        chunks = [
            with_changes(worded(f"{prefix}{n}", "apples", "Title", tenant=tenant), ordinal=n, source=source)
            for n, source in enumerate(sources)
        ]
        await store.replace(tenant, "d", chunks)
    if is_flushed:
        await store.flush()
    condition = parse_filter(text)
    searches = [Search(vector(1), "t", 10, condition), Search("apple", "t", 10, condition), Search(vector(1), "t", 10)]
    by_vector, by_words, all_of_them = await store.search(searches)
    assert sorted(ids(by_vector)) == sorted(ids(by_words)) == FILTERS[text]
    assert len(all_of_them) == 4
    assert [chunk.chunk_id for chunk in await store.select("t", condition, 10)] == FILTERS[text]
    assert await store.select("nobody", condition, 10) == []


async def test_select_gives_whole_chunks_and_at_most_the_limit(store: VectorStore) -> None:
    condition = parse_filter("ordinal >= 0")
    assert await store.select("t", condition, 10) == []
    await store.replace("t", "d", [chunk("a", 3, 4), chunk("b", ordinal=1)])
    first, second = await store.select("t", condition, 10)
    assert (first.chunk_id, first.tenant, first.title, first.text) == ("a", "t", "Title", "text of a")
    assert first.vector == pytest.approx(vector(3, 4), abs=1e-6)
    assert second.chunk_id == "b"
    assert len(await store.select("t", condition, 1)) == 1


async def test_select_in_a_missing_collection_finds_nothing(empty: VectorStore) -> None:
    assert await empty.select("t", parse_filter("ordinal >= 0"), 10) == []


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_filters_text_is_never_read_as_a_filter(store: VectorStore, text: str) -> None:
    await store.replace("t", "d", [with_changes(chunk("a"), title=text), chunk("b")])
    await store.replace("u", "d", [with_changes(chunk("c", tenant="u"), title=text)])
    for condition in (Comparison("title", "==", text), OneOf("title", (text, "x")), StartsWith("title", text)):
        assert [c.chunk_id for c in await store.select("t", condition, 10)] == ["a"]
    assert [c.chunk_id for c in await store.select("t", Comparison("title", "!=", text), 10)] == ["b"]


@pytest.mark.parametrize("text", HOSTILE)
async def test_text_is_never_read_as_a_filter(store: VectorStore, text: str) -> None:
    hostile = with_changes(chunk(f"id{text}", tenant=text, document=text), title=text, source=text, text=text)
    assert await store.replace("t", "d", [chunk("innocent")]) == Replaced(1, 0)
    assert await store.replace(text, text, [hostile]) == Replaced(1, 0)
    assert await store.replace(text, text, [hostile]) == Replaced(0, 0)
    [hits] = await store.search([Search(vector(1), text, 10)])
    assert [(c.chunk_id, c.document_id, c.tenant, c.title, c.source, c.text) for c in (hit.chunk for hit in hits)] == [
        (f"id{text}", text, text, text, text, text)
    ]
    assert await store.replace(text, text, []) == Replaced(0, 1)
    assert await find(store, tenant=text) == []
    assert await find(store) == ["innocent"]


async def test_refuses_a_vector_of_another_length(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("a")])
    short = np.ones(3, dtype=np.float32)
    with pytest.raises(BackendRejectedError):
        await store.search([Search(vector(1), "t", 1), Search(short, "t", 1)])
    with pytest.raises(BackendRejectedError):
        await store.replace("t", "d", [chunk("b"), with_changes(chunk("c"), vector=short)])
    assert await find(store) == ["a"]


@pytest.mark.parametrize(
    "changes", [{"text": "ä" * (MAX_TEXT_BYTES // 2 + 1)}, {"document_id": "x" * (MAX_DOCUMENT_ID_BYTES + 1)}]
)
async def test_refuses_what_is_too_long(store: VectorStore, changes: dict[str, str]) -> None:
    with pytest.raises(BackendRejectedError, match="over the limit"):
        await store.replace("t", "d", [with_changes(chunk("a"), **changes)])


async def test_holds_documents_of_many_chunks(store: VectorStore) -> None:
    chunks = [with_changes(chunk(f"c{n:04}", 1, n, ordinal=n), text="word " * 200) for n in range(2_500)]
    assert await store.replace("t", "d", chunks) == Replaced(2_500, 0)
    assert await store.count() == 2_500
    assert await find(store, 1, limit=3) == ["c0000", "c0001", "c0002"]
    assert await store.replace("t", "d", chunks[:10]) == Replaced(0, 2_490)
    assert await store.count() == 10


async def test_counts_a_tenant_s_chunks(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("c1"), chunk("c2")])
    await store.replace("other", "e", [chunk("c3", document="e", tenant="other")])
    assert [await store.count(tenant) for tenant in (None, "t", "other", "nobody", '" or true')] == [3, 2, 1, 0, 0]
