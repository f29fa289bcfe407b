import asyncio
from collections.abc import Awaitable, Callable

import pytest

from workers.runtime.cancellation import Cancelled, RequestCancelledError


@pytest.fixture
def cancelled() -> Cancelled:
    return Cancelled(window_s=60, limit=3)


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


async def begin(cancelled: Cancelled, request_id: str, work: Callable[[], Awaitable[str]]) -> asyncio.Task[str]:
    """Work on a request, under way."""
    started = asyncio.Event()

    async def run() -> str:
        with cancelled.watching(request_id):
            started.set()
            return await work()

    task = asyncio.create_task(run())
    await started.wait()
    return task


async def forever() -> str:
    await asyncio.Event().wait()
    return "never"


def test_the_first_reason_is_kept(cancelled: Cancelled) -> None:
    cancelled.add("a", "first")
    cancelled.add("a", "second")
    found = cancelled.find("a")
    assert found
    assert found.reason == "first"
    assert cancelled.find("b") is None


def test_the_oldest_are_forgotten_when_there_are_too_many(cancelled: Cancelled) -> None:
    for name in "abcd":
        cancelled.add(name, None)
    assert [name for name in "abcd" if cancelled.find(name)] == ["b", "c", "d"]


def test_a_cancellation_counts_for_a_while(cancelled: Cancelled, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock(monkeypatch)
    cancelled.add("a", None)
    now[0] += 59
    cancelled.add("b", None)
    assert cancelled.find("a")
    now[0] += 2
    assert cancelled.find("a") is None
    assert cancelled.find("b")
    cancelled.add("c", None)
    assert len(cancelled) == 2
    cancelled.add("a", "again")
    assert cancelled.find("a")


async def test_running_work_is_stopped_and_says_why(cancelled: Cancelled) -> None:
    task = await begin(cancelled, "a", forever)
    other = await begin(cancelled, "b", forever)
    cancelled.add("a", "enough")
    with pytest.raises(RequestCancelledError) as caught:
        await task
    assert caught.value.cancellation.reason == "enough"
    assert not other.done()
    cancelled.add("b", None)
    with pytest.raises(RequestCancelledError):
        await other
    assert not cancelled._running


async def test_all_work_on_a_request_is_stopped(cancelled: Cancelled) -> None:
    tasks = [await begin(cancelled, "a", forever) for _ in range(3)]
    cancelled.add("a", None)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [RequestCancelledError] * 3


async def test_work_that_is_cancelled_by_others_is_their_s(cancelled: Cancelled) -> None:
    task = await begin(cancelled, "a", forever)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    both = await begin(cancelled, "b", forever)
    cancelled.add("b", None)
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both


async def test_work_that_ends_all_the_same_has_its_result(cancelled: Cancelled) -> None:
    async def stubborn() -> str:
        try:
            return await forever()
        except asyncio.CancelledError:
            return "done"

    async def run() -> tuple[str, int]:
        with cancelled.watching("a"):
            result = await stubborn()
        task = asyncio.current_task()
        assert task
        # What comes after it in the same task goes on.
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        return result, task.cancelling()

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    cancelled.add("a", None)
    assert await task == ("done", 0)


async def test_an_error_of_the_work_is_kept(cancelled: Cancelled) -> None:
    async def failing() -> str:
        try:
            return await forever()
        except asyncio.CancelledError as error:
            raise KeyError("bug") from error

    task = await begin(cancelled, "a", failing)
    cancelled.add("a", None)
    with pytest.raises(KeyError):
        await task
    assert task.cancelling() == 0


async def test_what_is_over_is_not_touched(cancelled: Cancelled) -> None:
    async def quick() -> str:
        return "done"

    task = await begin(cancelled, "a", quick)
    assert await task == "done"
    cancelled.add("a", None)
    assert task.result() == "done"


async def test_a_timeout_around_the_work_still_is_one(cancelled: Cancelled) -> None:
    async def run() -> str:
        async with asyncio.timeout(0):
            with cancelled.watching("a"):
                return await forever()

    with pytest.raises(TimeoutError):
        await run()
