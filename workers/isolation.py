"""Calls a backend with many items so that a bad one fails alone."""

from collections.abc import Awaitable, Callable, Sequence
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
