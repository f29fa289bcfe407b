"""Filters as Qdrant is sent them, held by its own embedded evaluation against ours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models
from qdrant_client.local.payload_filters import check_filter

from backends.filter_parser import parse_filter
from backends.filters import AllOf, AnyOf, Comparison, Filter, Not, OneOf, Scalar, StartsWith, matches
from backends.qdrant_filters import of_document, point_id, within
from backends.qdrant_schema import payload
from backends.vector_store import StoredChunk

VECTOR = np.array([1, 0], dtype=np.float32)

texts = st.text("ab%\x00é\U0010ffff", max_size=13)
numbers = st.integers(-5, 5) | st.sampled_from([2.5, -0.5, 3.0, 2**53 - 1, 2**60])
scalars: st.SearchStrategy[Scalar] = texts | numbers | st.booleans()
own_fields = st.sampled_from(["metadata.a", "metadata.b-c"])
conditions = st.one_of(
    st.builds(
        Comparison, st.sampled_from(["title", "heading"]), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), texts
    ),
    st.builds(Comparison, own_fields, st.sampled_from(["==", "!="]), scalars),
    st.builds(Comparison, own_fields, st.sampled_from(["<", "<=", ">", ">="]), texts | numbers),
    st.builds(OneOf, own_fields, st.lists(scalars, max_size=3).map(tuple)),
    st.builds(StartsWith, st.sampled_from(["title", "metadata.a"]), texts),
    st.builds(Comparison, st.sampled_from(["ordinal", "page"]), st.sampled_from(["==", "!=", "<", ">="]), numbers),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)
chunks = st.builds(
    StoredChunk,
    chunk_id=st.just("c"),
    document_id=st.just("d"),
    tenant=st.just("t"),
    title=texts,
    source=st.just("s"),
    ordinal=st.integers(0, 5),
    text=st.just(""),
    vector=st.just(VECTOR),
    page=st.none() | st.integers(1, 3),
    heading=texts,
    metadata=st.dictionaries(st.sampled_from(["a", "b-c"]), scalars),
)


def value_of(chunk: StoredChunk, field: str) -> Scalar | None:
    return {"title": chunk.title, "ordinal": chunk.ordinal}.get(field, chunk.details.get(field))


def holds(condition: models.Filter, chunk: StoredChunk) -> bool:
    # Through JSON, as a server gets it.
    sent = models.Filter.model_validate_json(condition.model_dump_json(exclude_none=True))
    return bool(check_filter(sent, payload(chunk), point_id(chunk.tenant, chunk.chunk_id), {}))


@given(filters, chunks)
def test_qdrant_and_we_agree_on_every_filter(condition: Filter, chunk: StoredChunk) -> None:
    assert holds(within("t", condition), chunk) == matches(condition, lambda field: value_of(chunk, field))
    assert not holds(within("other", condition), chunk)


def chunk(tenant: str, chunk_id: str) -> StoredChunk:
    return StoredChunk(chunk_id, "d", tenant, "", "", 0, "", VECTOR)


def test_nobody_sees_another_tenants_chunks_by_their_ids() -> None:
    own, other = chunk("t", "c"), chunk("u", "c")
    wanted = within("t", chunk_ids=["c"])
    assert holds(wanted, own)
    assert not holds(wanted, other)
    assert not holds(within("t", chunk_ids=[]), own)
    assert not holds(within("t"), other)
    assert holds(within("t", of_document("d")), own)
    # Both would be one if tenant and ID were only joined.
    assert point_id("a", "bc") != point_id("ab", "c")


@pytest.mark.parametrize("operator", ["==", "<=", "starts_with"])
def test_the_longest_filter_is_nested_no_deeper_than_a_server_reads(operator: str) -> None:
    """Its parser of JSON goes 128 levels deep."""

    def depth(condition: object) -> int:
        if isinstance(condition, dict):
            return 1 + max((depth(value) for value in condition.values()), default=0)
        return 1 + max((depth(value) for value in condition), default=0) if isinstance(condition, list) else 0

    longest = "not " * 19 + f"title {operator} '" + "\U0010ffff" * 850 + "'"
    assert depth(within("t", parse_filter(longest)).model_dump(exclude_none=True)) < 120
