"""Numbers that stand for texts are in the texts' order."""

from hypothesis import example, given
from hypothesis import strategies as st

from backends.text_order import pieces, prefix_pieces

texts = st.text(max_size=20) | st.text("ab\x00\U0010ffff", max_size=14)


@given(texts, texts)
@example("", "\x00")
@example("abcdef", "abcdef\x00")
@example("abcdef", "abcdeg")
@example("\ud7ff", "\ue000")
def test_the_first_number_that_differs_decides(one: str, other: str) -> None:
    pairs = list(zip(pieces(one), pieces(other), strict=False))
    first = next(((a, b) for a, b in pairs if a != b), None)
    assert (first is None) == (one == other)
    if first is not None:
        assert (first[0] < first[1]) == (one < other)


@given(st.text(max_size=40))
def test_every_number_is_exact_as_a_float(text: str) -> None:
    assert all(0 <= number < 2**53 for number in pieces(text))


@given(texts, texts)
@example("abcdefg", "abcdef")
@example("", "")
@example("x", "")
def test_the_texts_that_begin_so_are_found(text: str, prefix: str) -> None:
    numbers = pieces(text)
    first, (low, high) = prefix_pieces(prefix)
    place = len(first)
    found = numbers[:place] == first and len(numbers) > place and low <= numbers[place] <= high
    assert found == text.startswith(prefix)
    begun = pieces(prefix + text)
    assert begun[:place] == first
    assert low <= begun[place] <= high
