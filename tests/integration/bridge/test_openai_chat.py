"""Chat completions, asked for with OpenAI's own client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from backends.live_view import Entry
from bridge import following
from schemas.events import CancellationRequested, QueryAsked
from tests.fixtures.bridges import DEADLINE_S, Bridge, delta, running_bridge, terminal
from tests.fixtures.keys import HeldKeys
from tests.fixtures.openai_client import sdk
from tests.fixtures.pipeline import eventually
from tests.fixtures.small_pipeline import MODELS, SmallPipeline, small_pipeline

HELLO = [{"role": "user", "content": "Why is the sky blue?"}]
URL = "/v1/chat/completions"
STREAM = {"model": "small", "messages": HELLO, "stream": True}


def valid(kind: type[BaseModel], value: Any) -> None:
    """Hold an object of the client, which takes anything, to its own types."""
    kind.model_validate(value.model_dump(mode="json", exclude_unset=True), strict=True)


async def chat(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    return await client.chat.completions.create(**({"model": "small", "messages": HELLO} | fields))


# --- answers ----------------------------------------------------------------------------------------------


async def test_models_are_listed_and_seen(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == list(MODELS)
    assert (await client.models.retrieve("lab/large")).owned_by == "ragline"
    with pytest.raises(openai.NotFoundError) as refused:
        await client.models.retrieve("gpt-9")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_an_answer_comes_whole(client: openai.AsyncOpenAI, pipeline: SmallPipeline) -> None:
    completion = await chat(client, temperature=0, max_tokens=30)
    valid(ChatCompletion, completion)
    (choice,) = completion.choices
    assert choice.message.content.startswith("Passages:\n\n[1] Title 1: The sky is blue.")
    assert choice.finish_reason == "length"
    assert completion.usage.completion_tokens == 30
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 30
    assert [source["passage"]["document_id"] for source in completion.sources] == ["docs/1", "docs/2"]
    (asked,) = pipeline.asked
    assert (asked.question, asked.model, asked.max_tokens, asked.temperature) == (HELLO[0]["content"], "small", 30, 0)
    assert completion.id.startswith("chatcmpl-")
    assert completion.created > 1_700_000_000


async def test_an_answer_comes_as_it_is_generated(client: openai.AsyncOpenAI) -> None:
    whole = await chat(client)
    stream = await chat(client, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    for chunk in chunks:
        valid(ChatCompletionChunk, chunk)
    *pieces, last, usage = chunks
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content
    assert len(pieces) > 5
    assert pieces[0].choices[0].delta.role == "assistant"
    assert len(pieces[0].sources) == 2
    assert not any(hasattr(piece, "sources") for piece in pieces[1:])
    assert last.choices[0].finish_reason == "stop"
    assert (usage.choices, usage.usage) == ([], whole.usage)
    assert all(chunk.usage is None for chunk in [*pieces, last])


async def test_without_include_usage_no_piece_has_it(client: openai.AsyncOpenAI) -> None:
    chunks = [chunk async for chunk in await chat(client, stream=True)]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_stop_ends_the_answer_and_is_not_part_of_it(client: openai.AsyncOpenAI) -> None:
    for stop in ("Title 2", ["never", "Title 2"]):
        completion = await chat(client, stop=stop)
        assert completion.choices[0].message.content.rstrip().endswith("[2]")
        assert completion.choices[0].finish_reason == "stop"


async def test_earlier_messages_are_the_conversation(client: openai.AsyncOpenAI, pipeline: SmallPipeline) -> None:
    messages = [
        {"role": "developer", "content": "In French."},
        {"role": "user", "content": [{"type": "text", "text": "Who "}, {"type": "text", "text": "are you?"}]},
        {"role": "assistant", "content": "A machine."},
        {"role": "assistant", "content": None},
        *HELLO,
    ]
    await chat(client, messages=messages)
    (prompt,) = pipeline.prompts
    assert [message.role for message in prompt.messages] == ["system", "user", "assistant", "user"]
    assert prompt.messages[0].content.endswith("In French.")
    assert [message.content for message in prompt.messages[1:3]] == ["Who are you?", "A machine."]
    assert prompt.messages[3].content.endswith("Why is the sky blue?")


async def test_everything_that_the_pipeline_can_be_told(client: openai.AsyncOpenAI, pipeline: SmallPipeline) -> None:
    await chat(
        client,
        max_completion_tokens=7,
        max_tokens=9,
        top_p=0.5,
        seed=3,
        tools=[{"type": "function", "function": {"name": "f"}}],
        tool_choice="auto",
        user="u",
        presence_penalty=0.5,
        extra_body={"ragline": {"top_k": 3, "min_score": 0.5, "lane": "batch", "timeout_ms": 60_000}},
    )
    (asked,) = pipeline.asked
    assert (asked.max_tokens, asked.top_p, asked.seed) == (7, 0.5, 3)
    assert (asked.top_k, asked.min_score, asked.lane, asked.timeout_ms) == (3, 0.5, "batch", 60_000)


async def test_json_can_be_asked_for(client: openai.AsyncOpenAI, pipeline: SmallPipeline) -> None:
    completion = await chat(client, response_format={"type": "json_object"})
    assert completion.choices[0].message.content.startswith('{"echo":')
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="JSON Schema") as refused:
        await chat(client, response_format=form)
    assert refused.value.code == "response_format_refused"
    asked = pipeline.asked[-1].response_format
    assert asked is not None
    assert asked.json_schema == schema


async def test_nothing_found_is_an_answer(client: openai.AsyncOpenAI, pipeline: SmallPipeline) -> None:
    pipeline.passages = ()
    completion = await chat(client)
    assert completion.choices[0].message.content == "Nothing was found that answers this question."
    assert (completion.choices[0].finish_reason, completion.sources) == ("stop", [])


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "gpt-9"}, 404, "model_not_found", "model"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, 400, "invalid_value", "messages"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "a"}]}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, 400, "invalid_value", "messages.0.role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://h/i"}}]}]},
            400,
            "invalid_value",
            None,
        ),
        ({"temperature": 3}, 400, "invalid_value", "temperature"),
        ({"top_p": 0}, 400, "invalid_value", "top_p"),
        ({"n": 2}, 400, "invalid_value", "n"),
        ({"logprobs": True}, 400, "invalid_value", "logprobs"),
        ({"tool_choice": "required"}, 400, "invalid_value", None),
        ({"stop": ["x"] * 9}, 400, "invalid_value", None),
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
        ({"max_tokens": 2**70}, 400, "invalid_value", "max_tokens"),
        ({"messages": [{"role": "user", "content": "a" * 9_000}]}, 400, "context_length_exceeded", None),
        ({"messages": [{"role": "user", "content": "a" * 90_000}]}, 400, "context_length_exceeded", "messages"),
        ({"messages": [{"role": "system", "content": "a" * 90_000}, *HELLO]}, 400, "context_length_exceeded", None),
        ({"messages": [{"role": "user", "content": "a\x00b"}]}, 400, "binary_question", None),
        ({"max_tokens": 5_000}, 400, "context_length_exceeded", None),
        ({"extra_body": {"ragline": {"template": "mine"}}}, 400, "unknown_template", None),
        ({"extra_body": {"ragline": {"top_k": 0}}}, 400, "invalid_value", "ragline.top_k"),
        ({"extra_body": {"ragline": {"expansion": "magic"}}}, 400, "invalid_value", "ragline.expansion"),
        ({"extra_body": {"ragline": {"variants": 6}}}, 400, "invalid_value", "ragline.variants"),
        ({"extra_body": {"ragline": {"filter": "colour == 'red'"}}}, 400, "invalid_filter", None),
        ({"response_format": {"type": "json_schema"}}, 400, "invalid_value", "response_format"),
        ({"response_format": {"type": "xml"}}, 400, "invalid_value", "response_format.type"),
    ],
)
async def test_what_cannot_be_served_is_refused_in_openais_words(
    client: openai.AsyncOpenAI, fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as refused:
            await chat(client, stream=stream, **fields)
        error = refused.value
        assert (error.status_code, error.code, error.type) == (status, code, "invalid_request_error")
        assert param is None or error.param == param
        assert error.body["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 50_000, b'"a"', b"1e999", b'{"model": NaN}'])
async def test_a_body_that_is_not_a_request(pipeline: SmallPipeline, body: bytes) -> None:
    async with pipeline.bridge.http() as http:
        response = await http.post(URL, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_who_has_no_key_gets_openais_401() -> None:
    async with (
        running_bridge(keys=HeldKeys(), models=MODELS) as bridge,
        sdk(bridge) as client,
    ):
        for call in (client.models.list(), chat(client), client.responses.create(model="small", input="a")):
            with pytest.raises(openai.AuthenticationError) as refused:
                await call
            assert (refused.value.code, refused.value.type) == ("invalid_api_key", "authentication_error")


async def test_too_many_questions_are_429_with_retry_after() -> None:
    async with small_pipeline(limits={"asks_per_minute": 1}) as pipeline, sdk(pipeline.bridge) as client:
        await chat(client)
        with pytest.raises(openai.RateLimitError) as refused:
            await chat(client)
        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "rate_limit_error")
        assert int(refused.value.response.headers["retry-after"]) > 0


async def test_kafka_down_is_503_and_the_client_tries_again(pipeline: SmallPipeline) -> None:
    pipeline.bridge.publisher.available = False
    async with sdk(pipeline.bridge) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            await chat(client)
    assert (refused.value.status_code, refused.value.type) == (503, "server_error")
    assert refused.value.response.headers["retry-after"]


async def test_an_engine_that_fails_is_not_asked_again_and_again(bridge: Bridge) -> None:
    bridge.core.models = MODELS
    failed = {"type": "ragline.request.failed.v1", "timeline": []}
    async with sdk(bridge, max_retries=3) as client:
        asking = asyncio.create_task(chat(client))
        published = await bridge.published()
        event = {"request_id": published.key, "stage": "generation", "code": "crash_loop", "message": "It crashed."}
        await bridge.show(published.key, Entry("terminal", failed | {"event": event}))
        with pytest.raises(openai.InternalServerError, match="It crashed") as refused:
            await asking
    assert (refused.value.status_code, refused.value.code) == (500, "crash_loop")
    assert bridge.publisher.published.empty()


# --- what happens on the way ------------------------------------------------------------------------------


@asynccontextmanager
async def streaming(bridge: Bridge) -> AsyncIterator[tuple[Any, str]]:
    """A stream that has begun, and its request ID."""
    bridge.core.models = MODELS
    async with sdk(bridge) as client:
        asking = asyncio.create_task(chat(client, stream=True))
        published = await bridge.published()
        await bridge.show(published.key, delta(0, "It is "), delta(1, "blue"))
        yield await asking, published.key


async def test_a_stream_opens_though_there_is_nothing_to_say_yet(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PING_S", 0.05)
    bridge.core.models = MODELS
    async with bridge.http() as http, http.stream("POST", URL, json=STREAM) as response:
        lines = response.aiter_lines()
        assert '"role":"assistant"' in await anext(lines)
        assert await anext(lines) == ""
        assert (await anext(lines)).startswith(":")
        published = await bridge.published()
        await bridge.show(published.key, terminal(published.key, "Here."))
        rest = [line async for line in lines if line.startswith("data")]
    assert '"content":"Here."' in rest[0]
    assert rest[-1] == "data: [DONE]"


async def test_a_retried_generation_goes_on_where_it_repeats_itself(bridge: Bridge) -> None:
    async with streaming(bridge) as (stream, request_id):
        await bridge.show(request_id, delta(0, "It is", attempt=2), delta(1, " blue, yes", attempt=2))
        await bridge.show(request_id, terminal(request_id, "It is blue, yes."))
        text = [chunk.choices[0].delta.content async for chunk in stream]
    assert [piece for piece in text if piece] == ["It is ", "blue", ", yes", "."]


async def test_one_that_says_something_else_ends_the_stream_with_an_error(bridge: Bridge) -> None:
    async with streaming(bridge) as (stream, request_id):
        await bridge.show(request_id, delta(0, "No idea", attempt=2))
        with pytest.raises(openai.APIError, match="begun anew") as ended:
            async for _ in stream:
                pass
    assert ended.value.code == "answer_restarted"


async def test_a_failure_after_the_first_word_ends_the_stream_with_an_error(bridge: Bridge) -> None:
    async with streaming(bridge) as (stream, request_id):
        event = {"request_id": request_id, "stage": "generation", "deadline_at": "2026-01-01T00:00:00Z"}
        await bridge.show(
            request_id, Entry("terminal", {"type": "ragline.request.expired.v1", "event": event, "timeline": []})
        )
        with pytest.raises(openai.APIError, match="deadline") as ended:
            async for _ in stream:
                pass
    assert ended.value.code == "timeout"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_cancels_its_question(*, stream: bool) -> None:
    async with small_pipeline(word_ms=50) as pipeline, sdk(pipeline.bridge) as client:
        asking = asyncio.create_task(first_of(chat(client, stream=stream)))
        await eventually(lambda: bool(pipeline.prompts), DEADLINE_S)
        if stream:
            assert (await asking).choices
        else:
            asking.cancel()
        await eventually(lambda: bool(pipeline.cancelled), DEADLINE_S)
    assert pipeline.cancelled[0].reason == "The client closed its connection."


async def first_of(creating: Any) -> Any:
    created = await creating
    async with created:
        return await anext(aiter(created))


async def test_one_that_may_come_back_does_not(bridge: Bridge) -> None:
    bridge.core.models = MODELS
    headers = {"Idempotency-Key": "k"}
    async with sdk(bridge) as client:
        asking = asyncio.create_task(chat(client, extra_headers=headers))
        published = await bridge.published()
        asking.cancel()
        await asyncio.wait({asking})
        await bridge.show(published.key, terminal(published.key, "Here."))
        completion = await chat(client, extra_headers=headers)
    assert completion.choices[0].message.content == "Here."
    assert completion.id == f"chatcmpl-{published.key}"
    assert isinstance(published.event, QueryAsked)
    assert bridge.publisher.published.empty()


async def test_a_bridge_that_stops_says_so_and_cancels_nothing(bridge: Bridge) -> None:
    async with streaming(bridge) as (stream, _):
        bridge.server.should_exit = True
        with pytest.raises(openai.APIError, match="about to stop"):
            async for _chunk in stream:
                pass
    await asyncio.wait_for(asyncio.shield(bridge.serving), DEADLINE_S)
    assert not any(
        isinstance(bridge.publisher.published.get_nowait().event, CancellationRequested)
        for _ in range(bridge.publisher.published.qsize())
    )


async def test_so_many_streams_and_no_more() -> None:
    async with small_pipeline(word_ms=100, max_streams=1) as pipeline, sdk(pipeline.bridge) as client:
        async with await chat(client, stream=True) as stream:
            await anext(aiter(stream))
            with pytest.raises(openai.InternalServerError) as refused:
                await chat(client, stream=True)
        assert (refused.value.status_code, refused.value.code) == (503, "overloaded")
