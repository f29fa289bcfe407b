"""How passages are found can be said wherever a question can be asked."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.fixtures.bridges import hear_until, say
from tests.fixtures.openai_client import sdk
from tests.fixtures.pipeline import eventually
from tests.fixtures.small_pipeline import SmallPipeline, small_pipeline

SEARCH = {
    "top_k": 7,
    "min_score": 0.5,
    "mode": "dense",
    "rerank": "none",
    "diversity": 0.25,
    "neighbours": 2,
    "filter": "ordinal < 9",
    "expansion": "hyde",
    "variants": 2,
}


@pytest.fixture
async def pipeline() -> AsyncIterator[SmallPipeline]:
    async with small_pipeline() as running:
        yield running


async def ask_over_http(pipeline: SmallPipeline, search: dict[str, Any]) -> dict[str, Any]:
    """Ask, and give what has become of it when it has ended."""
    state: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=pipeline.bridge.address) as http:
        request_id = (await http.post("/v1/queries", json={"question": "Why?"} | search)).json()["request_id"]

        async def has_ended() -> bool:
            state.update((await http.get(f"/v1/queries/{request_id}")).json())
            return state["state"] not in {"queued", "running"}

        await eventually(has_ended)
    return state


async def ask_over_the_websocket(pipeline: SmallPipeline, search: dict[str, Any]) -> dict[str, Any]:
    async with pipeline.bridge.connect() as socket:
        await say(socket, kind="ask", question="Why?", **search)
        (*_, last) = await hear_until(socket, "terminal")
    event: dict[str, Any] = last["event"]
    return event


async def test_every_option_by_every_way(pipeline: SmallPipeline) -> None:
    assert (await ask_over_http(pipeline, SEARCH))["state"] == "answered"
    assert (await ask_over_the_websocket(pipeline, SEARCH))["finish_reason"] == "stop"
    async with sdk(pipeline.bridge) as client:
        body = {"ragline": SEARCH}
        await client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "Why?"}], extra_body=body
        )
        await client.responses.create(model="small", input="Why?", extra_body=body)
    assert [asked.model_dump(include=set(SEARCH)) for asked in pipeline.asked] == [SEARCH] * 4


async def test_the_timeline_tells_of_an_expansion_and_of_what_it_lacks(pipeline: SmallPipeline) -> None:
    state = await ask_over_http(pipeline, {"expansion": "multi_query"})
    notes = {stage["stage"]: stage.get("note") for stage in state["stages"]}
    assert state["state"] == "answered"
    assert notes["generation"] is None
    # The echo of a prompt is nothing to search for.
    assert "The engine wrote nothing that can be searched for." in notes.values()


@pytest.mark.parametrize(
    ("search", "sentence"),
    [
        ({"mode": "magic"}, "mode must be 'dense', 'sparse' or 'hybrid', not 'magic'."),
        ({"expansion": "magic"}, "expansion must be 'none', 'multi_query' or 'hyde', not 'magic'."),
        ({"variants": 9}, "variants must be from 1 to 5, not 9."),
        ({"neighbours": 9}, "neighbours must be less than or equal to 3, not 9."),
        ({"diversity": -1}, "diversity must be greater than or equal to 0, not -1.0."),
    ],
)
async def test_what_cannot_be_served_ends_in_one_sentence(
    pipeline: SmallPipeline, search: dict[str, Any], sentence: str
) -> None:
    over_http = await ask_over_http(pipeline, search)
    assert (over_http["failure"]["code"], over_http["failure"]["message"]) == ("invalid_option", sentence)
    over_the_websocket = await ask_over_the_websocket(pipeline, search)
    assert (over_the_websocket["code"], over_the_websocket["message"]) == ("invalid_option", sentence)
