"""What comes of asking the engine for texts to search for: the request goes on, whatever the engine does."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from backends.echo_engine import EchoEngine
from backends.engine import Delta, EngineDeadError, EngineSettings, GenerationRequest
from backends.errors import BackendRejectedError, BackendUnavailableError
from schemas.events import ExpansionPromptBuilt, QueryExpanded
from schemas.examples import EXAMPLE_BY_TYPE
from schemas.values import Sampling, Usage
from workers.expander import NOTHING_USABLE, Expander

PASSAGES = (
    "A yield expression hands a value to whoever iterates.",
    "The generator pauses at each yield until it is asked again.",
)


class Scripted(EchoEngine):
    """Writes a text for each seed; an exception is raised, and None never ends."""

    def __init__(self, *script: str | Exception | None) -> None:
        super().__init__(EngineSettings(kind="echo"))
        self.script = script
        self.requests: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        self.running += 1
        try:
            said = self.script[request.sampling.seed or 0]
            if isinstance(said, Exception):
                raise said
            if said is None:
                await asyncio.Event().wait()
            yield Delta(str(said))
            yield Delta("", "stop", Usage(prompt_tokens=10, completion_tokens=2))
        finally:
            self.running -= 1


def prompt(expansion: str = "hyde", texts: int = 2) -> ExpansionPromptBuilt:
    built = EXAMPLE_BY_TYPE[ExpansionPromptBuilt.TYPE]
    assert isinstance(built, ExpansionPromptBuilt)
    options = built.query.options
    retrieval = options.retrieval.model_copy(update={"expansion": expansion, "variants": 2})
    query = built.query.model_copy(update={"options": options.model_copy(update={"retrieval": retrieval})})
    samplings = tuple(Sampling(max_tokens=9, seed=seed) for seed in range(texts))
    return built.model_copy(update={"query": query, "samplings": samplings})


async def expand(*script: str | Exception | None, timeout_ms: int = 60_000) -> tuple[Expander, QueryExpanded]:
    engine = Scripted(*script)
    expander = Expander(engine, timeout_ms)
    expanded = await expander.expand(prompt(texts=len(script)))
    assert engine.running == 0
    return expander, expanded


def count(expander: Expander, outcome: str) -> float:
    return float(expander.counter.labels("hyde", outcome)._value.get())


async def test_all_texts_are_written_at_once_and_given_in_order() -> None:
    expander, expanded = await expand(*PASSAGES)
    assert expanded == QueryExpanded(
        query=prompt().query, texts=PASSAGES, usage=Usage(prompt_tokens=20, completion_tokens=4)
    )
    assert (count(expander, "expanded"), count(expander, "fallback")) == (1, 0)


async def test_the_engine_is_asked_as_the_prompt_says() -> None:
    engine = Scripted(*PASSAGES)
    event = prompt()
    await Expander(engine, 1_000).expand(event)
    await Expander(engine, 1_000).expand(event)
    assert {request.messages for request in engine.requests} == {event.messages}
    assert [request.sampling for request in engine.requests] == [*event.samplings] * 2
    assert {request.lane for request in engine.requests} == {event.query.lane}
    assert len({request.id for request in engine.requests}) == 4


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (BackendUnavailableError("it is down"), "The engine did not expand the question: it is down"),
        (BackendRejectedError("too long"), "The engine did not expand the question: too long"),
        (KeyError("bug"), "The engine did not expand the question: 'bug'"),
        ("I do not know.", NOTHING_USABLE),
        ("", NOTHING_USABLE),
    ],
)
async def test_whatever_goes_wrong_the_question_goes_on_alone(error: str | Exception, why: str) -> None:
    expander, expanded = await expand(error)
    assert (expanded.texts, expanded.fallback) == ((), why)
    assert (count(expander, "expanded"), count(expander, "fallback")) == (0, 1)


async def test_what_could_be_written_is_taken() -> None:
    _, expanded = await expand(BackendUnavailableError("down"), PASSAGES[1])
    assert (expanded.texts, expanded.fallback) == ((PASSAGES[1],), None)


async def test_what_was_written_in_time_is_taken() -> None:
    _, expanded = await expand(PASSAGES[0], None, timeout_ms=50)
    assert (expanded.texts, expanded.fallback) == ((PASSAGES[0],), None)


async def test_an_engine_that_hangs_costs_so_much_time_and_no_more() -> None:
    _, expanded = await asyncio.wait_for(expand(None, None, timeout_ms=50), 5)
    assert expanded.fallback == "The engine did not expand the question within 0.05 s."


async def test_a_dead_engine_ends_the_worker() -> None:
    engine = Scripted(EngineDeadError("gone"), None)
    with pytest.raises(EngineDeadError):
        await Expander(engine, 60_000).expand(prompt())
    assert engine.running == 0


async def test_cancelling_stops_the_engine() -> None:
    engine = Scripted(None, None)
    task = asyncio.create_task(Expander(engine, 60_000).expand(prompt()))
    while engine.running < 2:  # noqa: ASYNC110 - a few turns of the loop; the test's timeout bounds them
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.running == 0


async def test_an_engine_that_breaks_off_has_said_what_it_said() -> None:
    class BrokenOff(EchoEngine):
        async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:  # noqa: ARG002
            yield Delta("How does yield work?\nWhat is the differ")

    expanded = await Expander(BrokenOff(EngineSettings(kind="echo")), 1_000).expand(prompt("multi_query", 1))
    assert expanded.texts == ("How does yield work?",)
