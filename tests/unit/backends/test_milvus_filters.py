"""Filters as Milvus is sent them."""

from hypothesis import given
from hypothesis import strategies as st

from backends import milvus_filters
from backends.filter_parser import parse_filter
from backends.filters import AnyOf, Comparison
from backends.milvus_filters import of_chunks, of_documents, within


@given(st.text())
def test_a_literal_ends_where_it_should(text: str) -> None:
    literal = milvus_filters.literal(text)
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


def test_every_filter_is_within_the_tenant() -> None:
    assert within("t") == 'tenant == "t"'
    assert within('a"b', of_documents(["d"])) == 'tenant == "a\\"b" and (document_id in ["d"])'
    assert within("t", of_chunks(["a", "\\"])) == 'tenant == "t" and (chunk_id in ["a", "\\\\"])'
    wide = AnyOf((Comparison("ordinal", ">=", 0), Comparison("title", "!=", "x")))
    assert within("t", wide) == 'tenant == "t" and ((ordinal >= 0) or (title != "x"))'


def test_each_condition_has_its_form() -> None:
    text = "not source in ['a', 'b'] and (ordinal < -3 or title starts_with 'x')"
    assert milvus_filters.rendered(parse_filter(text)) == (
        '(not (source in ["a", "b"])) and ((ordinal < -3) or (title >= "x" and title < "y"))'
    )


def test_what_is_no_column_is_asked_for_only_where_it_is() -> None:
    def rendered(text: str) -> str:
        return milvus_filters.rendered(parse_filter(text))

    assert rendered("page >= 3") == '(exists $meta["number:page"]) and $meta["number:page"] >= 3'
    assert rendered("metadata.a != 'x'") == (
        'not ((exists $meta["text:metadata.a"]) and $meta["text:metadata.a"] == "x")'
    )
    assert rendered("metadata.a in [1, true]") == (
        '((exists $meta["number:metadata.a"]) and $meta["number:metadata.a"] == 1) or '
        '((exists $meta["flag:metadata.a"]) and $meta["flag:metadata.a"] == 1)'
    )
    assert rendered("heading starts_with 'x'") == (
        '(exists $meta["text:heading"]) and $meta["text:heading"] >= "x" and $meta["text:heading"] < "y"'
    )
    assert rendered("metadata.a < 0.0000001").endswith("< 0.0000001")


@given(st.text(max_size=5), st.text(max_size=8))
def test_the_bounds_of_a_prefix_hold_what_begins_with_it(prefix: str, text: str) -> None:
    low, high = milvus_filters.prefix_bounds(prefix)
    for candidate in (text, prefix + text):
        assert (candidate >= low and (high is None or candidate < high)) == candidate.startswith(prefix)
