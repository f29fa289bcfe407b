import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from backends.engine import EngineDeadError, EngineSettings, GenerationRequest
from faults import traps as module
from faults.engine import FaultyEngine
from faults.traps import TrapFolder, Traps
from schemas.values import ChatMessage, Sampling

DEADLINE_S = 10
REQUEST = GenerationRequest("r", (ChatMessage(role="user", content="one two three four"),), Sampling())


@pytest.fixture
def folder(tmp_path: Path) -> TrapFolder:
    return TrapFolder(tmp_path)


@pytest.fixture
async def engine(folder: TrapFolder) -> FaultyEngine:
    settings = EngineSettings(kind="echo", timeout_ms=100)
    engine = FaultyEngine(settings, Traps(folder.folder, "generation", "generation-1"))
    await engine.start()
    return engine


async def answer(engine: FaultyEngine, pieces: list[str]) -> None:
    async with asyncio.timeout(DEADLINE_S), aclosing(engine.generate(REQUEST)) as deltas:
        async for delta in deltas:
            pieces.append(delta.text)  # noqa: PERF401 - what came before an error counts


async def test_each_attempt_says_a_word_of_its_own_first(engine: FaultyEngine) -> None:
    first, second = [], []
    await answer(engine, first)
    await answer(engine, second)
    assert first[1:] == second[1:]
    assert "".join(first[1:]) == "one two three four"
    assert first[0] != second[0]


async def test_it_dies_in_the_middle_of_an_answer(engine: FaultyEngine, folder: TrapFolder) -> None:
    folder.set("generation", "token", "engine_dead", passes=2)
    pieces: list[str] = []
    with pytest.raises(EngineDeadError, match="campaign"):
        await answer(engine, pieces)
    assert "".join(pieces[1:]) == "one two"


async def test_where_it_hangs_all_who_wait_are_told_that_it_is_dead(engine: FaultyEngine, folder: TrapFolder) -> None:
    folder.set("generation", "token", "engine_hung", passes=1)
    waiting = [answer(engine, []) for _ in range(3)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(result) for result in results] == ["engine SmolLM2-135M-Instruct has brought no token for 100 ms"] * 3
    assert all(isinstance(result, EngineDeadError) for result in results)


async def test_it_takes_its_worker_along(
    engine: FaultyEngine, folder: TrapFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(module.os, "kill", lambda _, number: sent.append(number.name))
    folder.set("generation", "token", "kill")
    await answer(engine, [])
    assert sent == ["SIGKILL"]
