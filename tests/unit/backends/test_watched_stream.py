import asyncio
from collections.abc import AsyncGenerator

import pytest

from backends.engine import EngineDeadError
from backends.token_watch import TokenWatch
from backends.watched_stream import next_watched


class Stream:
    """Numbers, each when it is let."""

    def __init__(self) -> None:
        self.numbers: asyncio.Queue[int | None] = asyncio.Queue()
        self.closed = False

    async def read(self) -> AsyncGenerator[int, None]:
        try:
            while (number := await self.numbers.get()) is not None:
                yield number
        finally:
            self.closed = True


async def test_outputs_come_one_by_one_and_none_after_the_last() -> None:
    stream = Stream()
    for number in (1, 2, None):
        stream.numbers.put_nowait(number)
    reading = stream.read()
    watch = TokenWatch(10)
    assert [await next_watched(reading, watch, "e") for _ in range(4)] == [1, 2, None, None]


async def test_silence_ends_the_wait_and_the_stream() -> None:
    stream = Stream()
    with pytest.raises(EngineDeadError, match="engine e has brought no token for 20 ms"):
        await next_watched(stream.read(), TokenWatch(0.02), "e")
    assert stream.closed


async def test_who_waits_goes_on_waiting_while_others_get_tokens() -> None:
    waiting, busy = Stream(), Stream()
    watch = TokenWatch(0.2)
    task = asyncio.create_task(next_watched(waiting.read(), watch, "e"))
    others = busy.read()
    # Twice as long in all as anybody may wait for a token.
    for number in range(20):
        busy.numbers.put_nowait(number)
        assert await next_watched(others, watch, "e") == number
        await asyncio.wait({task}, timeout=0.02)
    assert not task.done()
    waiting.numbers.put_nowait(7)
    assert await task == 7


async def test_cancelling_the_wait_closes_the_stream() -> None:
    stream = Stream()
    reading = stream.read()
    task = asyncio.create_task(next_watched(reading, TokenWatch(10), "e"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.closed
