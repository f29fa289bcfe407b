"""The AsyncAPI and OpenAPI documents, against the running bridge."""

from collections.abc import Callable
from typing import Any, get_args

import httpx
import jsonschema
import orjson
import pytest

from bridge.document import openapi, websocket
from bridge.examples import FROM_CLIENT, TO_CLIENT
from bridge.messages import ClientMessage, ServerMessage
from bridge.settings import LimitSettings
from tests.fixtures.bridges import Bridge, delta, hear, hear_until, progress, running_bridge, say, terminal
from topics.asyncapi import asyncapi

Check = Callable[[Any], None]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi("1", websocket())


@pytest.fixture(scope="module")
def check(document: dict[str, Any]) -> Check:
    """Holds a message of the bridge against the document."""
    names = {kind.model_fields["kind"].default: f"Ws{kind.__name__}" for kind in get_args(ServerMessage)}

    def check(message: Any) -> None:
        validate(document, names[message["kind"]], message)

    return check


def validate(document: dict[str, Any], name: str, message: Any) -> None:
    schema = document["components"]["messages"][name]["payload"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(message)


def test_every_message_has_an_example() -> None:
    assert {type(example) for example in FROM_CLIENT} == set(get_args(ClientMessage))
    assert {type(example) for example in TO_CLIENT} == set(get_args(ServerMessage))


async def test_the_examples_are_understood(bridge: Bridge, document: dict[str, Any], check: Check) -> None:
    channel = document["channels"]["websocket"]["messages"]
    sent = document["operations"]["receiveFromClient"]["messages"]
    names = [reference["$ref"].rpartition("/")[2] for reference in sent]
    assert set(names) < set(channel)
    examples = {name: document["components"]["messages"][name]["examples"][0]["payload"] for name in names}
    for name, example in examples.items():
        validate(document, name, example)
    async with bridge.connect() as socket:
        await say(socket, **examples["WsAsk"])
        check(await hear(socket))
        check(await hear(socket))
        await say(socket, **examples["WsCancel"])
        check(cancelling := await hear(socket))
        assert cancelling["kind"] == "cancelling"
    async with bridge.connect() as socket:
        # Its place is long before what is there.
        await say(socket, **examples["WsResume"])
        assert (await hear(socket))["kind"] == "progress"


async def test_what_the_bridge_says_is_what_the_document_says(check: Check) -> None:
    async with running_bridge(limits=LimitSettings(asks_per_minute=2)) as bridge, bridge.connect() as socket:
        await say(socket, kind="ask", id="r", question="q")
        heard = await hear_until(socket, "progress")
        await bridge.show("r", progress("query"), delta(0, "a"), terminal("r", "a"))
        heard += await hear_until(socket, "terminal")
        for message in (
            {"kind": "resume", "request_id": "x"},
            {"kind": "cancel", "request_id": "x"},
            {},
            {"kind": "ask"},
        ):
            await say(socket, **message)
            heard.append(await hear(socket))
        for name in ("s", "t"):
            await say(socket, kind="ask", id=name, question="q")
        heard += await hear_until(socket, "error")
    assert {message["kind"] for message in heard} >= {"accepted", "progress", "delta", "terminal", "error"}
    for message in heard:
        check(message)


async def test_the_document_is_the_one_that_is_served(http: httpx.AsyncClient) -> None:
    served = (await http.get("/openapi.json")).json()
    assert served == orjson.loads(orjson.dumps(openapi()))


async def test_answers_over_http_are_those_of_the_document(bridge: Bridge, http: httpx.AsyncClient) -> None:
    document = openapi()
    await bridge.show("r", progress("query"), delta(0), terminal("r"))
    bridge.answers.endings.clear()
    for method, path, template, body in (
        ("POST", "/v1/queries", "/v1/queries", {"question": "q"}),
        ("POST", "/v1/queries", "/v1/queries", {"question": 1}),
        ("POST", "/v1/queries", "/v1/queries", {"question": "q" * 70_000}),
        ("POST", "/v1/queries", "/v1/queries", {"question": "q", "tenant": "other"}),
        ("GET", "/v1/queries/r", "/v1/queries/{request_id}", None),
        ("GET", "/v1/queries/none", "/v1/queries/{request_id}", None),
        ("GET", f"/v1/queries/{'x' * 200}", "/v1/queries/{request_id}", None),
        ("DELETE", "/v1/queries/r", "/v1/queries/{request_id}", None),
        ("DELETE", "/v1/queries/none", "/v1/queries/{request_id}", None),
        ("GET", "/v1/queries/none/events", "/v1/queries/{request_id}/events", None),
    ):
        response = await http.request(method, path, json=body)
        described = document["paths"][template][method.lower()]["responses"][str(response.status_code)]
        schema = described["content"]["application/json"]["schema"] | {"components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(response.json())
