"""What every engine keeps to, whatever is behind it."""

import asyncio
from contextlib import aclosing

import orjson
import pytest

from backends.engine import Delta, Engine, GenerationRequest
from backends.errors import BackendRejectedError
from schemas.values import ChatMessage, Sampling

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

QUESTION = "Write down the numbers: one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
DEADLINE_S = 60


@pytest.fixture(
    params=[
        "echo",
        "openai",
        pytest.param("transformers", marks=pytest.mark.models),
        pytest.param("vllm", marks=pytest.mark.models),
    ]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(f"{request.param}_engine")
    return engine


_count = iter(range(1_000_000))


def ask(question: str = QUESTION, **sampling: object) -> GenerationRequest:
    message = ChatMessage(role="user", content=question)
    return GenerationRequest(
        f"request-{next(_count)}", (message,), Sampling.model_validate({"max_tokens": 24} | sampling)
    )


async def answer(engine: Engine, request: GenerationRequest) -> tuple[str, Delta]:
    async with asyncio.timeout(DEADLINE_S), aclosing(engine.generate(request)) as deltas:
        received = [delta async for delta in deltas]
    assert [delta.finish_reason for delta in received[:-1]] == [None] * (len(received) - 1)
    return "".join(delta.text for delta in received), received[-1]


async def test_an_answer_comes_in_pieces_and_ends_with_reason_and_usage(engine: Engine) -> None:
    async with asyncio.timeout(DEADLINE_S), aclosing(engine.generate(ask())) as deltas:
        received = [delta async for delta in deltas]
    assert len([delta for delta in received if delta.text]) > 1
    last = received[-1]
    assert last.finish_reason in ("stop", "length")
    assert last.usage
    assert last.usage.prompt_tokens > 10
    assert 0 < last.usage.completion_tokens <= 24


async def test_max_tokens_ends_the_answer(engine: Engine) -> None:
    text, last = await answer(engine, ask(max_tokens=3))
    assert text
    assert last.finish_reason == "length"
    assert last.usage
    assert last.usage.completion_tokens == 3


async def test_greedy_answers_repeat(engine: Engine) -> None:
    first, _ = await answer(engine, ask())
    again, _ = await answer(engine, ask())
    assert first == again


async def test_a_seed_makes_sampled_answers_repeat(engine: Engine) -> None:
    first, _ = await answer(engine, ask(temperature=1.0, top_p=0.9, seed=7))
    again, _ = await answer(engine, ask(temperature=1.0, top_p=0.9, seed=7))
    assert first == again


async def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(engine: Engine) -> None:
    whole, _ = await answer(engine, ask())
    stop = whole[len(whole) // 2 :][:4]
    text, last = await answer(engine, ask(stop=[stop]))
    assert text == whole[: whole.index(stop)]
    assert last.finish_reason == "stop"


async def test_a_prompt_that_is_too_long_is_rejected_and_others_are_not(engine: Engine) -> None:
    with pytest.raises(BackendRejectedError, match="tokens"):
        await answer(engine, ask("word " * 600))
    text, _ = await answer(engine, ask())
    assert text


async def test_an_answer_ends_where_the_context_does(engine: Engine) -> None:
    _, last = await answer(engine, ask("Go on counting: " + "one two three " * 150, max_tokens=10_000))
    assert last.usage
    assert last.usage.prompt_tokens + last.usage.completion_tokens <= 512


async def test_a_cancelled_consumer_leaves_room_for_the_next(engine: Engine) -> None:
    begun = asyncio.Event()

    async def consume() -> None:
        async with aclosing(engine.generate(ask(max_tokens=400))) as deltas:
            async for _ in deltas:
                begun.set()

    for _ in range(3):
        begun.clear()
        task = asyncio.create_task(consume())
        async with asyncio.timeout(DEADLINE_S):
            await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    text, _ = await answer(engine, ask())
    assert text


async def test_a_closed_generator_leaves_room_for_the_next(engine: Engine) -> None:
    for _ in range(3):
        async with asyncio.timeout(DEADLINE_S), aclosing(engine.generate(ask(max_tokens=400))) as deltas:
            await anext(deltas)
    text, _ = await answer(engine, ask())
    assert text


async def test_more_requests_than_slots_are_all_answered(engine: Engine) -> None:
    answers = await asyncio.gather(*(answer(engine, ask(max_tokens=8)) for _ in range(5)))
    assert all(text for text, _ in answers)


SCHEMA = {
    "type": "object",
    "properties": {"number": {"enum": ["one", "two", "three"]}},
    "required": ["number"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("form", [{"type": "json_object"}, {"type": "json_schema", "json_schema": SCHEMA}])
async def test_an_answer_keeps_to_its_form_or_is_refused(engine: Engine, form: dict[str, object]) -> None:
    try:
        text, last = await answer(engine, ask(response_format=form, max_tokens=64))
    except BackendRejectedError:
        # Not every engine can.
        return
    # A small model may fill any other object with more than there is room for.
    if last.finish_reason == "stop" or "json_schema" in form:
        value = orjson.loads(text)
        assert isinstance(value, dict)
        assert "json_schema" not in form or value["number"] in {"one", "two", "three"}
