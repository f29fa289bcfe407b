"""Calls a backend so that what it cannot do fails alone, as an error of the stage."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from backends.errors import BackendRejectedError, BackendUnavailableError
from workers.runtime.stage import PoisonError, StageError, UnavailableError

T = TypeVar("T")
R = TypeVar("R")


async def call_isolated(
    items: Sequence[T], call: Callable[[Sequence[T]], Awaitable[Sequence[R]]], code: str
) -> list[R | StageError]:
    """Give each item its own result of ``call``, or its own error.

    A refused call is made again with either half, down to the items that the backend refuses: those are poison, under
    ``code``. While the backend does not answer, everything not yet done is unavailable.
    """
    if not items:
        return []
    try:
        return list(await call(items))
    except BackendUnavailableError as error:
        return [UnavailableError(f"{code}_unavailable", str(error)) for _ in items]
    except BackendRejectedError as error:
        if len(items) == 1:
            return [PoisonError(f"{code}_rejected", str(error))]
    middle = len(items) // 2
    return [
        *await call_isolated(items[:middle], call, code),
        *await call_isolated(items[middle:], call, code),
    ]


@contextmanager
def as_stage_errors(code: str) -> Iterator[None]:
    """Raise what a backend raises as the stage's error: unavailable, or poison under ``code``."""
    try:
        yield
    except BackendUnavailableError as error:
        raise UnavailableError(f"{code}_unavailable", str(error)) from error
    except BackendRejectedError as error:
        raise PoisonError(f"{code}_rejected", str(error)) from error
