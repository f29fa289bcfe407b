"""What clients may ask of the fields of a chunk."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.filter_parser import FilterError, parse_filter
from backends.filters import FIELDS, AllOf, AnyOf, Comparison, Filter, Not, OneOf, Scalar, StartsWith, matches

CHUNK: dict[str, Scalar] = {
    "document_id": "d",
    "title": "Yield",
    "source": "docs/a.md",
    "ordinal": 3,
    "page": 7,
    "metadata.year": 2021,
    "metadata.is_draft": False,
    "metadata.lang": "en",
}

texts = st.text(max_size=8)
fields = st.sampled_from([*sorted(FIELDS), "metadata.year", "metadata._a-b9"])
integers = st.integers(-(2**63) + 1, 2**63 - 1)
decimals = st.decimals(-(10**9), 10**9, places=3).map(float)


def values(field: str) -> st.SearchStrategy[Scalar]:
    if field not in FIELDS:
        return texts | integers | decimals
    return texts if FIELDS[field] is str else integers


symbols = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
conditions = st.one_of(
    fields.flatmap(lambda field: st.builds(Comparison, st.just(field), symbols, values(field))),
    fields.flatmap(
        lambda field: st.builds(OneOf, st.just(field), st.lists(values(field), min_size=1, max_size=3).map(tuple))
    ),
    st.builds(Comparison, st.just("metadata.is_draft"), st.sampled_from(["==", "!="]), st.booleans()),
    st.builds(StartsWith, st.sampled_from(["title", "source", "heading", "metadata.lang"]), texts),
)
filters = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda some: AllOf(tuple(some))),
        st.lists(inner, min_size=2, max_size=3).map(lambda some: AnyOf(tuple(some))),
    ),
    max_leaves=4,
)


def written(condition: Filter) -> str:
    """The condition as a person would write it."""
    match condition:
        case Comparison(field, symbol, value):
            return f"{field} {symbol} {quoted(value)}"
        case OneOf(field, several):
            return f"{field} in [{', '.join(map(quoted, several))}]"
        case StartsWith(field, prefix):
            return f"{field} starts_with {quoted(prefix)}"
        case Not(negated):
            return f"not ({written(negated)})"
        case AllOf(several):
            return " and ".join(f"({written(each)})" for each in several)
        case AnyOf(several):
            return " or ".join(f"({written(each)})" for each in several)


def quoted(value: Scalar) -> str:
    if isinstance(value, str):
        return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@given(filters)
def test_what_is_written_is_read(condition: Filter) -> None:
    assert parse_filter(written(condition)) == condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title == 'Yield'", True),
        ('title=="yield"', False),
        ("ordinal >= 3 and ordinal < 4", True),
        ("ordinal > 3 or source starts_with 'docs/'", True),
        ("not ordinal == 3", False),
        ("not not ordinal == 3", True),
        ("ordinal in [1, 2, 3]", True),
        ("ordinal not in [1, 2, 3]", False),
        ("title == 'a' or title == 'Yield' and ordinal == 4", False),
        ("(title == 'a' or title == 'Yield') and not ordinal == 4", True),
        ("page == 7 and page <= 7", True),
        ("last_page < 100 or last_page >= 0", False),
        ("not last_page < 100 and last_page != 7", True),
        ("heading == ''", False),
        ("metadata.year >= 2020.5", True),
        ("metadata.year == 2021.0", True),
        ("metadata.year == '2021' or metadata.year > '2'", False),
        ("metadata.year != '2021'", True),
        ("metadata.is_draft == false and metadata.is_draft != true", True),
        ("metadata.is_draft == 0", False),
        ("metadata.lang in ['de', 'en', 3]", True),
        ("metadata.lang starts_with 'e'", True),
        ("metadata.none starts_with '' or metadata.year starts_with '2'", False),
    ],
)
def test_filters_hold_or_do_not(text: str, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert matches(parse_filter(text), CHUNK.get) is expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "colour == 'red'",
            r"The filter's field 'colour' is not known; known are document_id, title, source, ordinal, page, "
            r"last_page, heading and metadata\.NAME\.",
        ),
        ("tenant == 'other'", r"field 'tenant' is not known"),
        ("", r"has its end at character 1, where a field, not or \( should be\."),
        ("title", "where a comparison, in or starts_with should be"),
        ("title == ", "where a text in quotes should be"),
        ("title == 3", "has '3' at character 10, where a text in quotes should be"),
        ("ordinal == '3'", "where a whole number should be"),
        ("ordinal starts_with 3", "ordinal holds a number"),
        ("ordinal == 3.5", "where a whole number should be"),
        ("ordinal == 3.", "cannot be read at character 12"),
        ("metadata == 'a'", "field 'metadata' is not known"),
        ("metadata. == 'a'", "where a comparison|cannot be read"),
        ("metadata.a.b == 'a'", "cannot be read at character 11"),
        ("metadata.ä == 'a'", "cannot be read|is not known"),
        ("metadata." + "a" * 65 + " == 1", "is not known"),
        ("metadata.a == b", "where a text in quotes, a number, true or false should be"),
        ("metadata.a < true", "true at character 14 is equal or not"),
        ("metadata.a starts_with 3", "where a text in quotes should be"),
        ("page starts_with 'a'", "page holds a number"),
        ("title == true", "where a text in quotes should be"),
        ("metadata.a == " + "9" * 400 + ".0", "more than 64 bits"),
        ("title == 'open", "cannot be read at character 10"),
        ("title == 'a' title == 'b'", "where and, or, or its end should be"),
        ("(title == 'a'", r"where '\)' should be"),
        ("title in []", "where a text in quotes should be"),
        ("title in ['a'", r"where ']' should be"),
        ("title not == 'a'", "where 'in' should be"),
        ("and", "where a field"),
        ("title == 'a' && title == 'b'", "cannot be read at character 14"),
        ("title == 'a'; drop", "cannot be read"),
        ("ordinal == 99999999999999999999", "more than 64 bits"),
        ("(" * 30 + "ordinal == 1" + ")" * 30, "deeper than 20"),
        ("not " * 30 + "ordinal == 1", "deeper than 20"),
        ("title == '" + "x" * 1_000 + "'", "has 1011 characters; at most 1000"),
    ],
)
def test_what_is_no_filter_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(FilterError, match=sentence) as caught:
        parse_filter(text)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 200


@given(st.text())
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    try:
        condition = parse_filter(text)
    except FilterError:
        return
    matches(condition, CHUNK.get)
