"""What Milvus is sent, without a Milvus."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import milvus_schema
from backends.vector_store import StoredChunk


def chunk(text: str = "text") -> StoredChunk:
    return StoredChunk("c", "d", "t", "title", "source", 0, text, np.ones(4, dtype=np.float32))


@given(st.text())
def test_a_literal_ends_where_it_should(text: str) -> None:
    literal = milvus_schema.literal(text)
    assert literal[0] == literal[-1] == '"'
    read, escaped = "", False
    for letter in literal[1:-1]:
        if escaped:
            read += {"n": "\n", "r": "\r", "t": "\t"}.get(letter, letter)
            escaped = False
        elif letter == "\\":
            escaped = True
        else:
            assert letter not in '"\n\r'
            read += letter
    assert not escaped
    assert read == text


def test_filters_name_tenant_document_and_chunks() -> None:
    assert milvus_schema.document_filter("t", 'a"b') == 'tenant == "t" and document_id == "a\\"b"'
    assert milvus_schema.ids_filter(["a", "\\"]) == 'chunk_id in ["a", "\\\\"]'


@pytest.mark.parametrize(("index_type", "top_k", "ef"), [("HNSW", 5, 64), ("HNSW", 100, 200), ("FLAT", 5, None)])
def test_hnsw_looks_at_more_than_it_gives(index_type: str, top_k: int, ef: int | None) -> None:
    assert milvus_schema.search_params(index_type, top_k)["params"].get("ef") == ef


def test_passages_are_sorted_clipped_and_cut_at_the_minimum() -> None:
    hits = [
        {
            "distance": distance,
            "entity": dict(zip(milvus_schema.PASSAGE_FIELDS, (name, "d", "", "", 0, ""), strict=True)),
        }
        for name, distance in [("low", 0.1), ("b", 0.5), ("a", 0.5), ("best", 1.0000001)]
    ]
    found = milvus_schema.passages(hits, 0.2)
    assert [(passage.chunk_id, passage.score) for passage in found] == [("best", 1.0), ("a", 0.5), ("b", 0.5)]


def test_batches_stay_within_rows_and_bytes() -> None:
    assert [len(batch) for batch in milvus_schema.batches([chunk()] * 2_100)] == [1_000, 1_000, 100]
    large = chunk("x" * 60_000)
    batches = list(milvus_schema.batches([large] * 300))
    assert sum(map(len, batches)) == 300
    assert len(batches) == 3
    assert list(milvus_schema.batches([])) == []
