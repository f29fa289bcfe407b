from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import orjson
import pytest
from pydantic import BaseModel

from schemas.events import EVENTS
from topics.asyncapi import Websocket, asyncapi, export_asyncapi
from topics.specs import all_topics


class Ask(BaseModel):
    """Asks a question."""

    type: Literal["ask"] = "ask"
    question: str


class Answered(BaseModel):
    """Has the name of an event, and is not one."""

    text: str


WEBSOCKET = Websocket((Ask(question="q"),), (Answered(text="t"),), {1012: "the bridge stops"})


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi("1.2.3", WEBSOCKET)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_it_says_which_version_of_what(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["title"] == "ragline"
    assert document["info"]["version"] == "1.2.3"
    assert set(document) <= {
        *("asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components")
    }


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        assert resolve(document, reference) is not None, reference


def test_every_topic_is_a_channel_with_its_key_and_limits(document: dict[str, Any]) -> None:
    channels = {channel["address"]: channel for channel in document["channels"].values()}
    assert set(channels) == {spec.name for spec in all_topics()} | {"/v1/ws"}
    for spec in all_topics():
        kafka = channels[spec.name]["bindings"]["kafka"]
        assert kafka["topicConfiguration"]["max.message.bytes"] == spec.max_message_bytes
        assert kafka["topicConfiguration"]["cleanup.policy"] == [spec.cleanup_policy]
        for reference in channels[spec.name]["messages"].values():
            assert resolve(document, reference["$ref"])["bindings"]["kafka"]["key"]["type"] == "string"


def test_servers_channels_and_operations_have_what_the_specification_requires(document: dict[str, Any]) -> None:
    for server in document["servers"].values():
        assert server["host"]
        assert server["protocol"]
    for identifier, channel in document["channels"].items():
        assert identifier.isalnum()
        assert channel["messages"]
        assert all(reference["$ref"].startswith("#/servers/") for reference in channel["servers"])
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        # AsyncAPI 3: an operation's messages point into its channel, not at the components.
        assert all(
            message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/") for message in operation["messages"]
        )


def test_ragline_receives_what_upstreams_write_and_sends_the_rest(document: dict[str, Any]) -> None:
    received = {
        resolve(document, operation["channel"]["$ref"])["address"]
        for operation in document["operations"].values()
        if operation["action"] == "receive"
    }
    assert received == {"rag.queries", "rag.control", "rag.documents", "/v1/ws"}


def test_every_event_is_a_message_whose_example_fits_its_payload(document: dict[str, Any]) -> None:
    messages = {message["name"]: message for message in document["components"]["messages"].values()}
    for kind in EVENTS:
        message = messages[kind.TYPE]
        assert message["title"] == kind.__name__
        for example in message["examples"]:
            schema = {**message["payload"], "components": document["components"]}
            jsonschema.Draft202012Validator(schema).validate(example["payload"])


def test_every_payload_is_a_valid_schema(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_websocket_carries_the_messages_it_was_given(document: dict[str, Any]) -> None:
    messages = document["channels"]["websocket"]["messages"]
    assert set(messages) == {"WsAsk", "WsAnswered"}
    ask = document["components"]["messages"]["WsAsk"]
    assert ask["summary"] == "Asks a question."
    assert ask["examples"] == [{"payload": {"type": "ask", "question": "q"}}]
    assert "- 1012: the bridge stops" in document["channels"]["websocket"]["description"]
    assert "question" in resolve(document, ask["payload"]["$ref"])["properties"]
    answered = resolve(document, document["components"]["messages"]["WsAnswered"]["payload"]["$ref"])
    event = resolve(document, document["components"]["messages"]["Answered"]["payload"]["$ref"])
    assert set(answered["properties"]) == {"text"}
    assert "request_id" in event["properties"]


def test_without_messages_there_is_no_websocket() -> None:
    document = asyncapi("1")
    assert "websocket" not in document["channels"]
    assert set(document["servers"]) == {"kafka"}


def test_the_file_is_the_same_each_time(tmp_path: Path, document: dict[str, Any]) -> None:
    first, second = tmp_path / "a" / "asyncapi.json", tmp_path / "b.json"
    for file in (first, second):
        export_asyncapi(file, "1.2.3", WEBSOCKET)
    assert first.read_bytes() == second.read_bytes()
    assert orjson.loads(first.read_bytes()) == document
