import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import SecretStr

from backends.engine import Delta, Engine, GenerationRequest
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.openai_engine import OpenAIEngine, read_deltas
from schemas.values import ChatMessage, Sampling, Usage
from tests.fixtures.engines import OpenAIServer, chunk, engine_settings, event, started


def ask(**sampling: Any) -> GenerationRequest:
    message = ChatMessage(role="user", content="one two three")
    return GenerationRequest("id", (message,), Sampling.model_validate(sampling))


async def collect(engine: Engine, request: GenerationRequest) -> list[Delta]:
    return [delta async for delta in engine.generate(request)]


async def read(events: Sequence[str]) -> list[Delta]:
    async def stream() -> AsyncIterator[str]:
        for data in events:
            yield data

    return [delta async for delta in read_deltas(stream())]


def data(text: str, finish_reason: str | None = None) -> str:
    return chunk(text, finish_reason).decode().removeprefix("data: ").strip()


async def test_the_usage_after_the_last_text_belongs_to_the_last_delta() -> None:
    usage = '{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}'
    deltas = await read([data("Hé"), data("llo"), data("", "length"), usage, "[DONE]", data("never")])
    assert deltas == [Delta("Hé"), Delta("llo"), Delta("", "length", Usage(prompt_tokens=3, completion_tokens=2))]


async def test_a_server_may_say_no_usage_and_no_done() -> None:
    assert await read([data("a", "stop")]) == [Delta("a"), Delta("", "stop", None)]


async def test_a_role_without_content_is_no_text() -> None:
    role = '{"choices": [{"delta": {"role": "assistant", "content": null}, "finish_reason": null}]}'
    assert await read([role, data("a", "stop")]) == [Delta("a"), Delta("", "stop", None)]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([data("a")], "ended in the middle"),
        ([data("a"), "[DONE]"], "ended in the middle"),
        (["not json"], "not a chat completion"),
        (["[]"], "not a chat completion"),
        (['{"choices": [{}]}'], "not a chat completion"),
        (['{"error": {"message": "out of memory"}}'], "out of memory"),
    ],
)
async def test_a_broken_stream_is_an_engine_that_does_not_answer(events: list[str], message: str) -> None:
    with pytest.raises(BackendUnavailableError, match=message):
        await read(events)


async def test_a_withheld_answer_is_refused() -> None:
    with pytest.raises(BackendRejectedError, match="content filter"):
        await read([data("a", "content_filter")])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BackendRejectedError),
        (401, BackendRejectedError),
        (404, BackendRejectedError),
        (422, BackendRejectedError),
        (408, BackendUnavailableError),
        (429, BackendUnavailableError),
        (500, BackendUnavailableError),
        (503, BackendUnavailableError),
        (302, BackendUnavailableError),
    ],
)
async def test_a_status_says_whether_it_may_work_later(status: int, error: type[Exception]) -> None:
    async def reply(_: dict[str, Any]) -> Response:
        return JSONResponse({"error": {"message": "because"}}, status)

    async with OpenAIServer() as server, started(engine_settings("openai", base_url=server.base_url)) as engine:
        server.reply = reply
        with pytest.raises(error, match=f"{status}: because"):
            await collect(engine, ask())


async def test_an_error_that_is_not_json_is_quoted() -> None:
    async def reply(_: dict[str, Any]) -> Response:
        return Response("Bad Gateway", 502)

    async with OpenAIServer() as server, started(engine_settings("openai", base_url=server.base_url)) as engine:
        server.reply = reply
        with pytest.raises(BackendUnavailableError, match="502: Bad Gateway"):
            await collect(engine, ask())


async def test_the_request_is_as_the_api_wants_it() -> None:
    settings_key = SecretStr("secret")
    async with (
        OpenAIServer() as server,
        started(engine_settings("openai", base_url=server.base_url, api_key=settings_key, model="m")) as engine,
    ):
        await collect(engine, ask(max_tokens=9, temperature=0.5, top_p=0.9, seed=3, stop=["x"]))
        await collect(engine, ask())
    (first, key), (second, _) = server.requests
    assert key == "Bearer secret"
    assert first == {
        "model": "m",
        "messages": [{"role": "user", "content": "one two three"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "frequency_penalty": 0.5,
        "seed": 3,
        "stop": ["x"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "seed" not in second
    assert "stop" not in second


async def test_nobody_at_the_address() -> None:
    async with OpenAIServer() as server:
        address = server.base_url
    async with started(engine_settings("openai", base_url=address)) as engine:
        with pytest.raises(BackendUnavailableError, match="does not answer"):
            await collect(engine, ask())


async def test_a_server_that_falls_silent() -> None:
    async def reply(_: dict[str, Any]) -> Response:
        async def events() -> AsyncIterator[bytes]:
            yield chunk("a")
            await asyncio.Event().wait()

        return StreamingResponse(events())

    settings = engine_settings("openai", timeout_ms=100)
    async with OpenAIServer() as server:
        server.reply = reply
        async with started(settings.model_copy(update={"base_url": server.base_url})) as engine:
            with pytest.raises(BackendUnavailableError, match="does not answer"):
                await collect(engine, ask())


async def test_a_connection_that_breaks() -> None:
    async def reply(_: dict[str, Any]) -> Response:
        return Response(chunk("a") + event({})[:3], headers={"content-length": "1000"}, media_type="text/event-stream")

    async with OpenAIServer() as server, started(engine_settings("openai", base_url=server.base_url)) as engine:
        server.reply = reply
        with pytest.raises(BackendUnavailableError):
            await collect(engine, ask())


async def test_leaving_closes_the_connection() -> None:
    async with OpenAIServer() as server, started(engine_settings("openai", base_url=server.base_url)) as engine:
        deltas = engine.generate(
            GenerationRequest("id", (ChatMessage(role="user", content="word " * 400),), Sampling(max_tokens=400))
        )
        await anext(deltas)
        await deltas.aclose()
        await asyncio.wait_for(server.left.wait(), 5)


async def test_an_engine_that_has_not_started_does_not_answer() -> None:
    with pytest.raises(BackendUnavailableError, match="not started"):
        await collect(OpenAIEngine(engine_settings("openai")), ask())
