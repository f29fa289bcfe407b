"""OpenAI's client and plain HTTP on the whole stack: everything real, from an upload to an answer that cites it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import orjson
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionChunk

from tests.fixtures.pipeline import eventually
from tests.fixtures.stack import Stack

pytestmark = [
    pytest.mark.servers,
    pytest.mark.models,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]

DEADLINE_S = 240
NOTE = (
    "The ferry to Nettle Island leaves from the northern quay at a quarter past six every evening. "
    "Tickets to Nettle Island are sold by the harbour cat."
)
QUESTION = "When does the ferry to Nettle Island leave?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    address = f"http://127.0.0.1:{stack.settings.bridge.port}"
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=DEADLINE_S) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(http: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as transport:
        yield openai.AsyncOpenAI(base_url=f"{http.base_url}/v1/", api_key="any", http_client=transport, max_retries=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def note(http: httpx.AsyncClient) -> str:
    """A document that is searchable."""
    page = f"<html><head><title>Ferries</title></head><body><h1>Ferries</h1><p>{NOTE}</p></body></html>"
    uploaded = await http.post("/v1/documents", files={"file": ("ferries.html", page, "text/html")})
    assert uploaded.status_code == 202, uploaded.text
    document_id = uploaded.json()["document_id"]
    path = f"/v1/documents/{document_id}"

    async def is_searchable() -> bool:
        return bool((await http.get(path)).json().get("status") == "searchable")

    await eventually(is_searchable, DEADLINE_S)
    return document_id


async def model_of(client: openai.AsyncOpenAI) -> str:
    return (await client.models.list()).data[0].id


def cited(answer: Any) -> set[str]:
    return {source["passage"]["document_id"] for source in answer.sources}


async def test_an_upload_is_cited_in_a_chat(client: openai.AsyncOpenAI, note: str) -> None:
    model = await model_of(client)
    asked: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "user", "content": "Who sells the tickets?"},
            {"role": "assistant", "content": "The harbour cat [1]."},
            {"role": "user", "content": QUESTION},
        ],
        "max_tokens": 40,
    }
    answer = await client.chat.completions.create(**asked)
    assert note in cited(answer)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0
    chunks: list[ChatCompletionChunk] = [
        chunk
        async for chunk in await client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    ]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer.choices[0].message.content
    assert len(chunks) > 5
    assert chunks[-1].usage == answer.usage


async def test_a_response_in_the_background_is_come_back_to_and_gone_on_from(
    client: openai.AsyncOpenAI, note: str
) -> None:
    model = await model_of(client)
    begun = await client.responses.create(
        model=model, input=QUESTION, max_output_tokens=60, background=True, stream=True
    )
    seen = [await anext(aiter(begun)) for _ in range(3)]
    await begun.close()
    rest = await client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    events = [*seen, *[event async for event in rest]]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    whole = events[-1].response
    assert note in cited(whole)
    assert whole.output_text == "".join(event.delta for event in events if event.type == "response.output_text.delta")
    more = await client.responses.create(
        model=model, input="And who sells tickets?", previous_response_id=whole.id, max_output_tokens=20
    )
    assert more.status in {"completed", "incomplete"}


async def test_cancelling_a_response_stops_the_engine(client: openai.AsyncOpenAI, note: str) -> None:
    assert note
    stream = await client.responses.create(
        model=await model_of(client),
        input="Tell me everything about Nettle Island, at length.",
        max_output_tokens=1_500,
        temperature=1.0,
        background=True,
        stream=True,
    )
    async with asyncio.timeout(DEADLINE_S):
        async for event in stream:
            if event.type == "response.created":
                response_id = event.response.id
            elif event.type == "response.output_text.delta":
                break
        cancelled = await client.responses.cancel(response_id)
        *_, last = [event async for event in stream]
    assert last.response.status == "cancelled"
    assert cancelled.status in {"cancelled", "in_progress"}


async def test_the_engine_keeps_to_a_json_schema(client: openai.AsyncOpenAI, note: str) -> None:
    assert note
    schema = {
        "type": "object",
        "properties": {"leaves": {"enum": ["morning", "noon", "evening"]}},
        "required": ["leaves"],
        "additionalProperties": False,
    }
    answer = await client.chat.completions.create(
        model=await model_of(client),
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "ferry", "schema": schema}},
    )
    assert orjson.loads(answer.choices[0].message.content or "")["leaves"] in {"morning", "noon", "evening"}


async def test_a_client_that_leaves_a_chat_stops_the_engine(
    client: openai.AsyncOpenAI, note: str, stack: Stack
) -> None:
    assert note
    stream = await client.chat.completions.create(
        model=await model_of(client),
        messages=[{"role": "user", "content": "Tell me everything about Nettle Island, at length."}],
        max_tokens=1_500,
        temperature=1.0,
        stream=True,
    )
    request_id = stream.response.headers["x-request-id"]
    async with stream:
        await anext(aiter(stream))

    async def is_cancelled() -> bool:
        ended = {record.key: record.headers.type for record in await stack.records("rag.answers")}
        return ended.get(request_id) == "ragline.request.cancelled.v1"

    await eventually(is_cancelled, DEADLINE_S)


async def test_what_is_taken_away_is_cited_no_more(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient, note: str
) -> None:
    path = f"/v1/documents/{note}"
    assert (await http.delete(path)).status_code == 202

    async def is_gone() -> bool:
        return (await http.get(path)).status_code == 404

    await eventually(is_gone, DEADLINE_S)
    messages = [{"role": "user", "content": QUESTION}]
    answer: Any = await client.chat.completions.create(
        model=await model_of(client), messages=messages, max_tokens=5, temperature=0
    )
    assert note not in cited(answer)
