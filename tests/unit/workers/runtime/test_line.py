import asyncio
from typing import Any

import pytest

from workers.runtime.line import Line
from workers.runtime.partition import LostPartitionError


class Turns:
    """A line whose turns wait for the gate; ``error`` breaks the next one."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.taken: list[list[Any]] = []
        self.errors: list[tuple[Exception, list[Any]]] = []
        self.error: Exception | None = None
        self.line = Line(self._turn, lambda error, undelivered: self.errors.append((error, undelivered)))

    async def _turn(self, completions: list[Any]) -> None:
        self.taken.append(completions)
        await self.gate.wait()
        if self.error is not None:
            raise self.error


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - whatever it is, it takes a few steps of the loop
            await asyncio.sleep(0)


async def test_what_finishes_during_a_turn_goes_into_the_next() -> None:
    turns = Turns()
    turns.line.open()
    turns.gate.clear()
    turns.line.put("a")  # type: ignore[arg-type]
    await until(lambda: turns.taken)
    for one in "bcd":
        turns.line.put(one)  # type: ignore[arg-type]
    turns.gate.set()
    await turns.line.flush()
    assert turns.taken[:2] == [["a"], ["b", "c", "d"]]
    assert await turns.line.close() == []


async def test_an_error_ends_the_line_and_gives_back_everything() -> None:
    turns = Turns()
    turns.line.open()
    turns.gate.clear()
    turns.line.put("a")  # type: ignore[arg-type]
    await until(lambda: turns.taken)
    turns.line.put("b")  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(turns.line.flush())
    await asyncio.sleep(0)
    turns.error = KeyError("broken")
    turns.gate.set()
    with pytest.raises(LostPartitionError):
        await waiting
    assert turns.errors == [(turns.error, ["a", "b"])]
    assert turns.line.closed
    with pytest.raises(LostPartitionError):
        await turns.line.flush()


async def test_closing_in_the_middle_of_a_turn_gives_back_everything() -> None:
    turns = Turns()
    turns.line.open()
    turns.gate.clear()
    turns.line.put("a")  # type: ignore[arg-type]
    await until(lambda: turns.taken)
    turns.line.put("b")  # type: ignore[arg-type]
    assert await turns.line.close() == ["a", "b"]
    assert not turns.errors
