"""Responses, asked for with OpenAI's own client."""

from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from backends.live_view import LiveViewSettings
from tests.fixtures.bridges import DEADLINE_S, Bridge, answered, delta, running_bridge, terminal
from tests.fixtures.keys import HeldKeys
from tests.fixtures.openai_client import sdk
from tests.fixtures.pipeline import eventually
from tests.fixtures.small_pipeline import MODELS, SmallPipeline, small_pipeline

EVENT: TypeAdapter[BaseModel] = TypeAdapter(ResponseStreamEvent)
QUESTION = "Why is the sky blue?"


async def respond(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    return await client.responses.create(**({"model": "small", "input": QUESTION} | fields))


async def ended(client: openai.AsyncOpenAI, response_id: str) -> Any:
    async def has_ended() -> bool:
        return (await client.responses.retrieve(response_id)).status not in {"queued", "in_progress"}

    await eventually(has_ended, DEADLINE_S)
    return await client.responses.retrieve(response_id)


def valid(response: Any) -> None:
    Response.model_validate(response.model_dump(mode="json", exclude_unset=True, by_alias=True))


# --- answers ----------------------------------------------------------------------------------------------


async def test_a_response_comes_whole_and_can_be_had_again(client: openai.AsyncOpenAI) -> None:
    response = await respond(client, instructions="Be brief.", metadata={"a": "b"}, temperature=0)
    valid(response)
    assert response.status == "completed"
    assert response.output_text.startswith("Passages:\n\n[1] Title 1: The sky is blue.")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert len(response.sources) == 2
    cited = response.output[0].content[0].annotations
    assert [(citation.file_id, citation.filename) for citation in cited[:2]] == [
        ("docs/1", "Title 1"),
        ("docs/2", "Title 2"),
    ]
    assert response.output_text[: cited[0].index].endswith("[1]")
    assert (response.instructions, response.metadata, response.temperature) == ("Be brief.", {"a": "b"}, 0)
    assert await client.responses.retrieve(response.id) == response


async def test_one_that_reaches_its_limit_is_incomplete(client: openai.AsyncOpenAI) -> None:
    response = await respond(client, max_output_tokens=5)
    valid(response)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[0].status == "incomplete"


async def test_a_response_comes_as_events_that_are_numbered(client: openai.AsyncOpenAI) -> None:
    events = [event async for event in await respond(client, stream=True)]
    for event in events:
        EVENT.validate_python(event.model_dump(mode="json", exclude_unset=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds.count("output_text.delta") > 5
    assert [kind for kind in kinds[-5:] if "annotation" not in kind] == [
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert len(events[2].sources) == 2
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    whole = events[-1].response
    assert whole.output_text == text
    assert whole == await client.responses.retrieve(whole.id)


async def test_going_on_after_any_event_gives_exactly_the_rest(client: openai.AsyncOpenAI) -> None:
    events = [event async for event in await respond(client, stream=True, max_output_tokens=12)]
    response_id = events[0].response.id
    again = [event async for event in await client.responses.retrieve(response_id, stream=True)]
    assert again == events
    for number in (0, 3, 7, len(events) - 2, len(events) - 1, 10**9):
        rest = await client.responses.retrieve(response_id, stream=True, starting_after=number)
        assert [event async for event in rest] == events[number + 1 :]


async def test_a_client_may_leave_and_go_on_at_another_bridge(bridge: Bridge) -> None:
    bridge.core.models = MODELS
    async with running_bridge(models=MODELS) as other, sdk(bridge) as client, sdk(other) as elsewhere:
        # Two bridges, one Redis.
        other.core.live_view = bridge.live_view
        stream = await respond(client, stream=True)
        published = await bridge.published()
        await bridge.show(published.key, delta(0, "It is "), delta(1, "blue"))
        seen = [await anext(aiter(stream)) for _ in range(5)]
        await stream.close()
        await bridge.show(published.key, delta(2, " and"), terminal(published.key, "It is blue and wide."))
        response_id = seen[0].response.id
        rest = await elsewhere.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number)
        heard = [event.delta async for event in rest if event.type == "response.output_text.delta"]
        assert [event.delta for event in seen if event.type == "response.output_text.delta"] + heard == [
            "It is ",
            "blue",
            " and",
            " wide.",
        ]
        assert bridge.publisher.published.empty()


async def test_a_response_in_the_background(client: openai.AsyncOpenAI) -> None:
    response = await respond(client, background=True)
    valid(response)
    assert (response.status, response.background, response.output) == ("queued", True, [])
    done = await ended(client, response.id)
    valid(done)
    assert (done.status, done.background, done.id) == ("completed", True, response.id)
    assert done.output_text


async def test_cancelling_ends_it() -> None:
    async with small_pipeline(word_ms=50) as slow, sdk(slow.bridge) as client:
        stream = await respond(client, background=True, stream=True)
        events = aiter(stream)
        created = await anext(events)
        await eventually(lambda: bool(slow.prompts), DEADLINE_S)
        cancelled = await client.responses.cancel(created.response.id)
        valid(cancelled)
        assert cancelled.status == "cancelled"
        *_, last = [event async for event in events]
        assert (last.type, last.response.status) == ("response.failed", "cancelled")
        assert (await client.responses.cancel(created.response.id)).status == "cancelled"


async def test_a_conversation_goes_on_from_a_response(client: openai.AsyncOpenAI, pipeline: SmallPipeline) -> None:
    first = await respond(client, max_output_tokens=6, instructions="Once.")
    second = await respond(client, input="And grass?", previous_response_id=first.id, max_output_tokens=6)
    await respond(client, input=[{"role": "user", "content": "Why?"}], previous_response_id=second.id)
    assert pipeline.asked[1].history is not None
    assert [message.role for message in pipeline.asked[1].history] == ["user", "assistant"]
    history = pipeline.asked[2].history
    assert history is not None
    assert [message.content for message in history] == [QUESTION, first.output_text, "And grass?", second.output_text]


async def test_what_is_not_stored_cannot_be_gone_on_from(client: openai.AsyncOpenAI) -> None:
    response = await respond(client, store=False)
    for response_id in (response.id, "resp_nobody", "chatcmpl-x"):
        with pytest.raises(openai.BadRequestError) as refused:
            await respond(client, previous_response_id=response_id)
        assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_leaving_one_that_is_not_stored_cancels_it() -> None:
    async with small_pipeline(word_ms=50) as pipeline, sdk(pipeline.bridge) as client:
        async with await respond(client, store=False, stream=True) as stream:
            await anext(aiter(stream))
            await eventually(lambda: bool(pipeline.prompts), DEADLINE_S)
        await eventually(lambda: bool(pipeline.cancelled), DEADLINE_S)


async def test_json_can_be_asked_for(client: openai.AsyncOpenAI) -> None:
    response = await respond(client, text={"format": {"type": "json_object"}})
    assert response.output_text.startswith('{"echo":')
    assert response.text.format.type == "json_object"
    schema = {"type": "object", "properties": {}}
    refused = await respond(client, text={"format": {"type": "json_schema", "name": "a", "schema": schema}})
    valid(refused)
    assert (refused.status, refused.error.code) == ("failed", "invalid_prompt")
    assert refused.text.format.schema_ == schema
    assert "response_format_refused" in refused.error.message


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "gpt-9"}, 404, "model_not_found", "model"),
        ({"input": ""}, 400, "invalid_value", "input"),
        ({"input": []}, 400, "invalid_value", None),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "o"}]}, 400, "invalid_value", None),
        ({"input": "a" * 90_000}, 400, "context_length_exceeded", "input"),
        ({"background": True, "store": False}, 400, "invalid_value", None),
        ({"conversation": "conv_1"}, 400, "invalid_value", "conversation"),
        ({"metadata": {"k": "v" * 600}}, 400, "invalid_value", None),
        ({"max_output_tokens": -1}, 400, "invalid_value", "max_output_tokens"),
        ({"tool_choice": "required"}, 400, "invalid_value", "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, 400, "invalid_value", "text.format"),
    ],
)
async def test_what_cannot_be_served_is_refused(
    client: openai.AsyncOpenAI, fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        await respond(client, **fields)
    assert (refused.value.status_code, refused.value.code) == (status, code)
    assert param is None or refused.value.param == param


async def test_what_the_pipeline_refuses_is_a_response_that_failed(client: openai.AsyncOpenAI) -> None:
    response = await respond(client, input="a" * 9_000)
    valid(response)
    assert (response.status, response.error.code) == ("failed", "invalid_prompt")
    assert "question_too_long" in response.error.message
    events = [event async for event in await respond(client, input="a" * 9_000, stream=True)]
    assert events[-1].type == "response.failed"
    assert events[-1].response.error == response.error


async def test_a_response_that_is_not_there(client: openai.AsyncOpenAI) -> None:
    for response_id in ("resp_nobody", "nobody", "resp_", "chatcmpl-1"):
        for call in (
            client.responses.retrieve(response_id),
            client.responses.retrieve(response_id, stream=True),
            client.responses.cancel(response_id),
        ):
            with pytest.raises(openai.NotFoundError):
                await call


async def test_another_tenants_response_is_not_there() -> None:
    keys = HeldKeys()
    ours, theirs = keys.make("ours"), keys.make("theirs")
    async with running_bridge(keys=keys, models=MODELS) as bridge:
        async with sdk(bridge, api_key=ours) as client:
            response = await respond(client, background=True)
        async with sdk(bridge, api_key=theirs) as client:
            for call in (
                client.responses.retrieve(response.id),
                client.responses.retrieve(response.id, stream=True),
                client.responses.cancel(response.id),
            ):
                with pytest.raises(openai.NotFoundError):
                    await call
            with pytest.raises(openai.BadRequestError) as refused:
                await respond(client, previous_response_id=response.id)
            assert refused.value.code == "previous_response_not_found"
        published = await bridge.published()
        assert published.tenant == "ours"
        assert bridge.publisher.published.empty()


async def test_an_answer_begun_anew_ends_the_stream_but_not_the_response(bridge: Bridge) -> None:
    bridge.core.models = MODELS
    async with sdk(bridge) as client:
        stream = await respond(client, stream=True)
        published = await bridge.published()
        await bridge.show(published.key, delta(0, "It is green"), delta(0, "It is blue", attempt=2))
        *_, delta_event, last = [event async for event in stream]
        assert (last.type, last.code) == ("error", "answer_restarted")
        assert last.sequence_number == delta_event.sequence_number
        await bridge.show(published.key, terminal(published.key, "It is blue."))
        response_id = f"resp_{published.key}"
        assert (await client.responses.retrieve(response_id)).output_text == "It is blue."


async def test_a_bridge_that_stops_tells_where_to_go_on(bridge: Bridge) -> None:
    bridge.core.models = MODELS
    async with sdk(bridge) as client:
        stream = await respond(client, stream=True)
        published = await bridge.published()
        await bridge.show(published.key, delta(0, "It is"))
        events = aiter(stream)
        seen = [await anext(events) for _ in range(5)]
        bridge.server.should_exit = True
        (last,) = [event async for event in events]
    assert (last.type, last.code, last.sequence_number) == ("error", "overloaded", seen[-1].sequence_number)


async def test_events_that_are_no_longer_kept(bridge: Bridge) -> None:
    bridge.core.models = MODELS
    now = [1_000_000.0]
    bridge.live_view._clock = lambda: now[0]
    async with sdk(bridge) as client:
        response = await respond(client, background=True)
        request_id = response.id.removeprefix("resp_")
        await bridge.show(request_id, terminal(request_id, "It is blue."))
        assert (await client.responses.retrieve(response.id)).output_text == "It is blue."
        now[0] += LiveViewSettings().ttl_s + 1
        bridge.answers.endings["default", request_id] = (answered(request_id, "It is blue."), ())
        late = await client.responses.retrieve(response.id)
        valid(late)
        assert (late.status, late.output_text, late.model) == ("completed", "It is blue.", "m")
        with pytest.raises(openai.BadRequestError, match="no longer kept"):
            await client.responses.retrieve(response.id, stream=True)


async def test_without_the_live_view_a_response_is_still_asked_for(bridge: Bridge) -> None:
    bridge.core.models = MODELS
    bridge.live_view.available = False
    async with sdk(bridge) as client:
        response = await respond(client, background=True)
        assert response.status == "queued"
        with pytest.raises(openai.InternalServerError) as refused:
            await client.responses.retrieve(response.id)
    assert (refused.value.status_code, refused.value.code) == (503, "unavailable")
