"""One bad item of a call fails alone."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from backends.errors import BackendRejectedError, BackendUnavailableError
from workers.isolation import call_isolated
from workers.runtime.stage import PoisonError, UnavailableError


@given(st.lists(st.booleans(), max_size=40))
async def test_only_the_bad_ones_are_poison(good: list[bool]) -> None:
    async def call(items: Sequence[tuple[int, bool]]) -> list[int]:
        if not all(fine for _, fine in items):
            msg = "no"
            raise BackendRejectedError(msg)
        return [number for number, _ in items]

    results = await call_isolated(list(enumerate(good)), call, "thing")
    assert [result if isinstance(result, int) else type(result) for result in results] == [
        number if fine else PoisonError for number, fine in enumerate(good)
    ]
    assert all(result.code == "thing_rejected" for result in results if isinstance(result, PoisonError))


async def test_one_good_call_is_all_it_takes() -> None:
    calls: list[int] = []

    async def call(items: Sequence[int]) -> Sequence[int]:
        calls.append(len(items))
        return items

    assert await call_isolated([1, 2, 3], call, "thing") == [1, 2, 3]
    assert calls == [3]


async def test_a_backend_that_is_away_fails_all_for_now() -> None:
    async def call(_: Sequence[int]) -> Sequence[int]:
        msg = "it is away"
        raise BackendUnavailableError(msg)

    results = await call_isolated([1, 2], call, "thing")
    assert [(type(result), str(result)) for result in results] == [(UnavailableError, "it is away")] * 2


async def test_a_backend_that_goes_away_keeps_what_was_done() -> None:
    async def call(items: Sequence[int]) -> Sequence[int]:
        if len(items) > 1:
            msg = "too many"
            raise BackendRejectedError(msg)
        if items[0] == 2:
            msg = "it is away"
            raise BackendUnavailableError(msg)
        return items

    first, second = await call_isolated([1, 2], call, "thing")
    assert first == 1
    assert isinstance(second, UnavailableError)
