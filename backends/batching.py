"""Cuts what is sent into batches that a server takes in one call."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size_of: Callable[[T], int], max_items: int, max_bytes: int) -> Iterator[list[T]]:
    """The items in order, at most ``max_items`` and ``max_bytes`` of them at a time; one that is larger goes alone."""
    batch: list[T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if batch and (len(batch) == max_items or total + size > max_bytes):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch
