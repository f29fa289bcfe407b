import asyncio
from contextlib import aclosing

import pytest

from backends.echo_engine import EchoEngine
from backends.engine import EngineSettings, GenerationRequest, create_engine
from backends.errors import BackendUnavailableError
from schemas.values import ChatMessage, Sampling


def ask(text: str, **sampling: object) -> GenerationRequest:
    message = ChatMessage(role="user", content=text)
    return GenerationRequest("id", (message,), Sampling.model_validate(sampling))


async def test_it_repeats_the_last_message() -> None:
    engine = EchoEngine(EngineSettings(kind="echo"))
    await engine.start()
    deltas = [delta async for delta in engine.generate(ask("one  two\nthree"))]
    assert [delta.text for delta in deltas] == ["one", "  two", "\nthree", ""]
    assert deltas[-1].finish_reason == "stop"


async def test_it_counts_what_runs() -> None:
    engine = EchoEngine(EngineSettings(kind="echo", echo_delay_ms=1))
    await engine.start()
    async with aclosing(engine.generate(ask("one two three"))) as deltas:
        await anext(deltas)
        assert engine.running == 1
    assert engine.running == 0


async def test_it_runs_no_more_than_its_slots() -> None:
    engine = EchoEngine(EngineSettings(kind="echo", max_num_seqs=1))
    await engine.start()
    first, second = engine.generate(ask("one two")), engine.generate(ask("three"))
    await anext(first)
    waiting = asyncio.create_task(anext(second))
    await asyncio.sleep(0)
    assert not waiting.done()
    await first.aclose()
    assert (await asyncio.wait_for(waiting, 5)).text == "three"
    await second.aclose()


async def test_an_engine_that_has_not_started_does_not_answer() -> None:
    with pytest.raises(BackendUnavailableError, match="not started"):
        await anext(EchoEngine(EngineSettings(kind="echo")).generate(ask("one")))


@pytest.mark.parametrize("kind", ["vllm", "transformers", "openai", "echo"])
def test_settings_choose_the_engine(kind: str) -> None:
    engine = create_engine(EngineSettings.model_validate({"kind": kind, "model": "name"}))
    assert type(engine).__name__.lower() == f"{kind}engine"
    assert engine.model == "name"
