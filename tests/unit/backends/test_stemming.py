"""Words as keyword search compares them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.stemming import query_stems, stemmed, stems


def test_endings_case_and_marks_do_not_count() -> None:
    assert stems("The RUNNING Mice, studies-of_cells: 42!", "english") == [
        *("the", "run", "mice", "studi", "of", "cell", "42")
    ]
    assert stems("Die Häuser; der Häusern", "german") == ["die", "haus", "der", "haus"]
    assert stems("\ufb01ne \uff21\uff22", "english") == ["fine", "ab"]
    assert stems(" ?!…_ ", "english") == []


def test_of_a_query_only_words_count_that_tell_something() -> None:
    assert query_stems("The mice are in THE house", "english") == ["mice", "hous"]
    assert query_stems("To be, or not to be!", "english") == ["to", "be", "or", "not", "to", "be"]
    assert query_stems("in der Not", "german") == ["in", "der", "not"]
    assert query_stems("", "english") == []


@given(st.text())
def test_stems_are_words_only(text: str) -> None:
    for stem in stems(text, "english"):
        assert stem
        assert not stem.isspace()
        assert "_" not in stem


@pytest.mark.parametrize(
    ("max_bytes", "kept"), [(3, "one"), (6, "one"), (7, "one two"), (12, "one two"), (13, "one two ähre"), (2, "")]
)
def test_what_does_not_fit_is_left_out_word_by_word(max_bytes: int, kept: str) -> None:
    assert stemmed("one two ähre", "english", max_bytes) == kept
