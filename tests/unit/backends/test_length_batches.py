from hypothesis import given
from hypothesis import strategies as st

from backends.length_batches import length_batches

lengths = st.lists(st.integers(1, 512), max_size=100)


@given(lengths, st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_every_text_is_in_one_batch_that_is_not_too_large(
    lengths: list[int], size: int, least: int, padding: float
) -> None:
    batches = length_batches(lengths, size, least, padding)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= size for batch in batches)


@given(lengths, st.integers(1, 40))
def test_batches_are_ordered_by_length(lengths: list[int], size: int) -> None:
    flat = [lengths[position] for batch in length_batches(lengths, size) for position in batch]
    assert flat == sorted(lengths, reverse=True)


@given(lengths, st.integers(1, 16), st.floats(0, 0.9))
def test_batches_over_the_least_size_have_little_padding(lengths: list[int], least: int, padding: float) -> None:
    for batch in length_batches(lengths, 32, least, padding):
        padded = max(lengths[position] for position in batch) * len(batch)
        if len(batch) > least:
            assert padded - sum(lengths[position] for position in batch) <= padding * padded


def test_a_long_text_does_not_pad_short_ones() -> None:
    assert length_batches([5, 500, 6, 5], 32, 1, 0.2) == [[1], [2, 0, 3]]


def test_without_a_limit_batches_fill_up() -> None:
    assert length_batches([5, 500, 6, 5], 3) == [[1, 2, 0], [3]]
