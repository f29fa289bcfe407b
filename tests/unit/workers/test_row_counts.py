"""Rows are counted now and then, and nobody waits for it twice."""

import asyncio

import pytest

from backends.errors import BackendUnavailableError
from backends.memory_vector_store import MemoryVectorStore
from workers.row_counts import RowCounts


class Counted(MemoryVectorStore):
    """Says how many chunks it is told to; ``None`` never answers, an error is raised."""

    def __init__(self, *answers: int | Exception | None) -> None:
        super().__init__()
        self.answers = list(answers)

    async def count(self, tenant: str | None = None) -> int:  # noqa: ARG002 - as the Protocol has it
        answer = self.answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer


async def test_the_first_count_is_waited_for_by_all_and_a_later_one_by_nobody() -> None:
    now = [0.0]
    rows, store = RowCounts(max_age_s=30, clock=lambda: now[0]), Counted(5, 7)
    assert await asyncio.gather(rows.of("c", store), rows.of("c", store)) == [5, 5]
    now[0] = 29.0
    assert await rows.of("c", store) == 5
    now[0] = 30.0
    assert await rows.of("c", store) == 5
    await asyncio.sleep(0)
    assert await rows.of("c", store) == 7
    assert not store.answers
    await rows.close()


async def test_a_store_that_does_not_count_costs_a_moment_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.row_counts._FIRST_WAIT_S", 0.01)
    now = [0.0]
    rows = RowCounts(clock=lambda: now[0])
    assert await rows.of("slow", Counted(None)) is None
    now[0] = 1.0
    assert await rows.of("slow", Counted()) is None
    away = Counted(BackendUnavailableError("away"), 3)
    assert await rows.of("away", away) is None
    now[0] = 60.0
    assert await rows.of("away", away) is None
    await asyncio.sleep(0)
    assert await rows.of("away", away) == 3
    await rows.close()
