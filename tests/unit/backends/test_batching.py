"""Batches that fit one call."""

from hypothesis import given
from hypothesis import strategies as st

from backends.batching import batched


@given(st.lists(st.integers(0, 12), max_size=30))
def test_nothing_is_lost_and_nothing_too_large(sizes: list[int]) -> None:
    batches = list(batched(sizes, lambda size: size, max_items=4, max_bytes=10))
    assert [size for batch in batches for size in batch] == sizes
    assert all(batch and len(batch) <= 4 and (sum(batch) <= 10 or len(batch) == 1) for batch in batches)
