"""What every vector store keeps to: run on the twin in memory, a real Milvus, and Qdrant embedded and as a server."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace as with_changes

import numpy as np
import pytest

from backends.errors import BackendRejectedError
from backends.filter_parser import parse_filter
from backends.filters import Comparison, OneOf, StartsWith
from backends.vector_store import (
    MAX_DOCUMENT_ID_BYTES,
    MAX_TEXT_BYTES,
    Hit,
    Replaced,
    Replacement,
    Search,
    StoredChunk,
    VectorStore,
)
from schemas.values import FloatArray
from tests.fixtures.servers import QDRANT_URL, has_qdrant_server

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


@pytest.fixture
def empty(make_store: Callable[[], VectorStore]) -> VectorStore:
    return make_store()


@pytest.fixture
def worded_store(store: VectorStore) -> VectorStore:
    if not store.keyword_search:
        pytest.skip("this server knows no keyword search")
    return store


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


async def test_without_keyword_search_words_are_refused(store: VectorStore) -> None:
    if store.keyword_search:
        assert await find_words(store, "apple") == []
        return
    with pytest.raises(BackendRejectedError, match="not searched by words"):
        await find_words(store, "apple")


async def test_words_find_what_shares_their_stems_the_rarest_first(worded_store: VectorStore) -> None:
    store = worded_store
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


async def test_words_and_vectors_are_searched_in_one_call(worded_store: VectorStore) -> None:
    store = worded_store
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


async def test_words_follow_what_replaces_them(worded_store: VectorStore) -> None:
    store = worded_store
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
    assert await store.replace("t", "d", [chunk("b", 0, 1, ordinal=0), chunk("a", ordinal=1)]) == Replaced(1, 0, 1)
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


async def test_a_filter_leaves_out_what_it_does_not_hold_for(store: VectorStore) -> None:
    sources = ["a/1.md", "a/2.md", "b_3.md", "b%4.md"]
    for tenant in ("t", "u"):
        prefix = "c" if tenant == "t" else "other"
        chunks = [
            with_changes(worded(f"{prefix}{n}", "apples", "Title", tenant=tenant), ordinal=n, source=source)
            for n, source in enumerate(sources)
        ]
        await store.replace(tenant, "d", chunks)
    conditions = {text: parse_filter(text) for text in FILTERS}
    queries = [vector(1), "apple"] if store.keyword_search else [vector(1)]
    for _ in ("not flushed", "flushed"):
        assert len(await find(store)) == 4
        for query in queries:
            hits = await store.search([Search(query, "t", 10, condition) for condition in conditions.values()])
            assert {text: sorted(ids(some)) for text, some in zip(FILTERS, hits, strict=True)} == FILTERS
        selected = {text: await store.select("t", condition, 10) for text, condition in conditions.items()}
        assert {text: [each.chunk_id for each in some] for text, some in selected.items()} == FILTERS
        assert await store.select("nobody", conditions["ordinal >= 1 and ordinal < 3"], 10) == []
        await store.flush()


DETAILED = [
    with_changes(
        chunk("c0", ordinal=0), page=1, last_page=2, heading="Start", metadata={"year": 2019, "lang": "en", "ok": True}
    ),
    with_changes(
        chunk("c1", ordinal=1), page=3, last_page=3, heading="Start > On", metadata={"year": 2021.5, "lang": "de"}
    ),
    with_changes(
        chunk("c2", ordinal=2), metadata={"year": "2021", "ok": False, "is-it": "%_", "one": 1, "flag": True, "nil": 0}
    ),
    chunk("c3", ordinal=3),
]
DETAIL_FILTERS = {
    "page == 3": ["c1"],
    "page != 3": ["c0", "c2", "c3"],
    "page <= 2 and last_page >= 2": ["c0"],
    "page >= 0": ["c0", "c1"],
    "not page >= 0": ["c2", "c3"],
    "page in [1, 3]": ["c0", "c1"],
    "page not in [1, 2]": ["c1", "c2", "c3"],
    "heading starts_with 'Start >'": ["c1"],
    "heading == 'Start'": ["c0"],
    "not heading starts_with 'Start'": ["c2", "c3"],
    "metadata.year >= 2020": ["c1"],
    "metadata.year < 2021.5": ["c0"],
    "metadata.year == 2021.5": ["c1"],
    "metadata.year == '2021'": ["c2"],
    "metadata.year > '2'": ["c2"],
    "metadata.year != 2019": ["c1", "c2", "c3"],
    "not (metadata.year == 2019 or metadata.lang == 'de')": ["c2", "c3"],
    "metadata.lang in ['en', 'de'] and ordinal > 0": ["c1"],
    "metadata.lang not in ['en']": ["c1", "c2", "c3"],
    "metadata.lang starts_with 'd'": ["c1"],
    "metadata.is-it starts_with '%'": ["c2"],
    "metadata.ok == true": ["c0"],
    "metadata.ok != true": ["c1", "c2", "c3"],
    "metadata.ok == false": ["c2"],
    "metadata.ok == 1": [],
    "metadata.one == 1": ["c2"],
    "metadata.one == true": [],
    "metadata.flag == 1": [],
    "metadata.nil == 0.0": ["c2"],
    "metadata.none == 'x'": [],
    "metadata.none != 'x' and not metadata.none > 3": ["c0", "c1", "c2", "c3"],
    "metadata.page == 1": [],
}


async def test_pages_headings_and_metadata_are_kept_and_filtered_by(store: VectorStore) -> None:
    await store.replace("t", "d", DETAILED)
    await store.replace("u", "d", [with_changes(DETAILED[0], chunk_id="other", tenant="u")])
    conditions = {text: parse_filter(text) for text in DETAIL_FILTERS}
    for _ in ("not flushed", "flushed"):
        searches = [Search(vector(1), "t", 10, condition) for condition in conditions.values()]
        found = dict(zip(conditions, map(ids, await store.search(searches)), strict=True))
        assert {text: sorted(some) for text, some in found.items()} == DETAIL_FILTERS
        selected = {text: await store.select("t", condition, 10) for text, condition in conditions.items()}
        assert {text: [each.chunk_id for each in some] for text, some in selected.items()} == DETAIL_FILTERS
        [hits] = await store.search([Search(vector(1), "t", 10)])
        read = {hit.chunk.chunk_id: hit.chunk.details for hit in hits}
        assert {name: repr(sorted(details.items())) for name, details in read.items()} == {
            each.chunk_id: repr(sorted(each.details.items())) for each in DETAILED
        }
        await store.flush()


async def test_what_changes_beside_the_text_is_written_alone(store: VectorStore) -> None:
    await store.replace("t", "d", DETAILED)
    assert await store.replace("t", "d", DETAILED) == Replaced(0, 0)
    moved = [with_changes(DETAILED[0], page=2), with_changes(DETAILED[1], metadata={"lang": "fr"}), *DETAILED[2:]]
    assert await store.replace("t", "d", moved) == Replaced(0, 0, 2)
    assert await store.count() == 4
    [french] = await store.select("t", parse_filter("metadata.lang == 'fr'"), 10)
    assert (french.chunk_id, french.metadata, french.page) == ("c1", {"lang": "fr"}, 3)
    assert await store.select("t", parse_filter("metadata.lang == 'de'"), 10) == []


async def test_metadata_is_never_read_as_a_filter(store: VectorStore) -> None:
    for n, text in enumerate(HOSTILE):
        await store.replace("t", "d", [with_changes(chunk(f"a{n}"), heading=text, metadata={"m": text}), chunk("b")])
        await store.replace("u", "d", [with_changes(chunk(f"c{n}", tenant="u"), metadata={"m": text})])
        for field in ("metadata.m", "heading"):
            for condition in (Comparison(field, "==", text), OneOf(field, (text, "x")), StartsWith(field, text)):
                assert [c.chunk_id for c in await store.select("t", condition, 10)] == [f"a{n}"], text
        [found] = await store.select("t", Comparison("metadata.m", "==", text), 10)
        assert (found.heading, found.metadata) == (text, {"m": text})


async def test_refuses_metadata_that_is_none(store: VectorStore) -> None:
    with pytest.raises(BackendRejectedError, match="name that is not taken"):
        await store.replace("t", "d", [with_changes(chunk("a"), metadata={"a.b": 1})])
    with pytest.raises(BackendRejectedError, match="4096 are allowed"):
        await store.replace("t", "d", [with_changes(chunk("a"), metadata={"a": "x" * 5_000})])


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


async def test_a_filters_text_is_never_read_as_a_filter(store: VectorStore) -> None:
    for n, text in enumerate(HOSTILE):
        await store.replace("t", "d", [with_changes(chunk(f"a{n}"), title=text), chunk("b")])
        await store.replace("u", "d", [with_changes(chunk(f"c{n}", tenant="u"), title=text)])
        for condition in (Comparison("title", "==", text), OneOf("title", (text, "x")), StartsWith("title", text)):
            assert [c.chunk_id for c in await store.select("t", condition, 10)] == [f"a{n}"], text
        assert [c.chunk_id for c in await store.select("t", Comparison("title", "!=", text), 10)] == ["b"]


async def test_text_is_never_read_as_a_filter(store: VectorStore) -> None:
    assert await store.replace("t", "d", [chunk("innocent")]) == Replaced(1, 0)
    for text in HOSTILE:
        hostile = with_changes(chunk(f"id{text}", tenant=text, document=text), title=text, source=text, text=text)
        assert await store.replace(text, text, [hostile]) == Replaced(1, 0), text
        assert await store.replace(text, text, [hostile]) == Replaced(0, 0)
        [[hit]] = await store.search([Search(vector(1), text, 10)])
        found = hit.chunk
        assert (found.chunk_id, found.document_id, found.tenant) == (f"id{text}", text, text)
        assert (found.title, found.source, found.text) == (text, text, text)
        assert await store.replace(text, text, []) == Replaced(0, 1)
        assert await find(store, tenant=text) == []
        assert await find(store) == ["innocent"]


async def test_many_documents_are_replaced_at_once(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("a"), chunk("b", ordinal=1)])
    await store.replace("t", "e", [chunk("c", document="e")])
    await store.replace("u", "d", [chunk("own", tenant="u")])
    replacements = [
        Replacement("t", "d", [chunk("b", ordinal=1), chunk("new", ordinal=2)]),
        Replacement("t", "e", []),
        Replacement("u", "d", [chunk("own", tenant="u", ordinal=3)]),
        Replacement("t", "never there", []),
        Replacement("t", "f", [chunk("f", document="f")]),
    ]
    assert await store.replace_many(replacements) == [
        Replaced(added=1, removed=1),
        Replaced(added=0, removed=1),
        Replaced(added=0, removed=0, updated=1),
        Replaced(added=0, removed=0),
        Replaced(added=1, removed=0),
    ]
    assert sorted(await find(store)) == ["b", "f", "new"]
    assert await find(store, tenant="u") == ["own"]
    assert set(await store.replace_many(replacements)) == {Replaced(added=0, removed=0)}
    assert await store.replace_many([]) == []


async def test_of_many_documents_one_that_cannot_be_kept_is_refused(store: VectorStore) -> None:
    await store.replace("t", "d", [chunk("a")])
    bad = with_changes(chunk("bad", document="e"), vector=np.ones(3, dtype=np.float32))
    with pytest.raises(BackendRejectedError):
        await store.replace_many([Replacement("t", "d", [chunk("b")]), Replacement("t", "e", [bad])])
    # Whether those before it were replaced is not said.
    assert await find(store) in (["a"], ["b"])


async def test_many_documents_create_a_missing_collection(empty: VectorStore) -> None:
    assert await empty.replace_many([Replacement("t", "d", [])]) == [Replaced(0, 0)]
    assert await empty.replace_many([Replacement("t", "d", []), Replacement("t", "e", [chunk("a", document="e")])]) == [
        Replaced(0, 0),
        Replaced(1, 0),
    ]
    assert await find(empty) == ["a"]


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
    chunks = [with_changes(chunk(f"c{n:04}", 1, n, ordinal=n), text="word " * 200) for n in range(1_100)]
    assert await store.replace("t", "d", chunks) == Replaced(1_100, 0)
    assert await store.count() == 1_100
    assert await find(store, 1, limit=3) == ["c0000", "c0001", "c0002"]
    assert await store.replace("t", "d", chunks[:10]) == Replaced(0, 1_090)
    assert await store.count() == 10


def test_a_qdrant_server_keeps_to_it_too() -> None:
    if not has_qdrant_server():
        pytest.skip(f"there is no Qdrant server, which no package brings: name one in {QDRANT_URL}")
