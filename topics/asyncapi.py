"""The AsyncAPI 3 document: every Kafka topic and the websocket, with what travels on them.

Source: AsyncAPI Specification 3.0.0; its Kafka bindings 0.5.0.
"""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from schemas.codec import encode
from schemas.events import (
    EVENTS,
    ApiKeyEvent,
    DeadLetterEvent,
    DocumentStageEvent,
    DocumentSubmitted,
    DocumentWithdrawn,
    Event,
)
from schemas.examples import EXAMPLE_BY_TYPE, example_headers
from schemas.export import dump, headers_schema
from topics.plan import wanted_configs
from topics.specs import CONSUMED, TOPICS, TopicSpec, dead_letters

UPSTREAM = "upstream"
_WEBSOCKET = "websocket"
_DEAD_LETTER = "DeadLetter"
_KAFKA_BINDING = "0.5.0"
_OF_DOCUMENT = (DocumentSubmitted, DocumentWithdrawn, DocumentStageEvent)


@dataclass(frozen=True, slots=True)
class Websocket:
    """The websocket ``/v1/ws``: an example of each message, and what each close code says."""

    from_client: Sequence[BaseModel]
    to_client: Sequence[BaseModel]
    close_codes: Mapping[int, str]


def asyncapi(version: str, websocket: Websocket | None = None) -> dict[str, Any]:
    """Describe ragline from its own side: it receives what upstreams and clients send, and sends the rest.

    Without ``websocket`` there is no such channel.
    """
    examples = [*websocket.from_client, *websocket.to_client] if websocket else []
    kinds = [*(kind for kind in EVENTS if kind is not DocumentWithdrawn), *map(type, examples)]
    schemas, refs = _schemas(kinds)
    messages = {kind.__name__: _event_message(kind, refs) for kind in EVENTS}
    messages[_DEAD_LETTER] = _dead_letter_message()
    messages |= {_ws_name(example): _websocket_message(example, refs) for example in examples}
    channels = {_channel_id(spec): _topic_channel(spec) for spec in TOPICS}
    channels |= {_channel_id(spec): _topic_channel(spec) for spec in map(dead_letters, CONSUMED)}
    operations = dict(_topic_operation(spec) for spec in TOPICS)
    if websocket:
        channels[_WEBSOCKET] = _websocket_channel(websocket)
        operations["receiveFromClient"] = _operation("receive", _WEBSOCKET, map(_ws_name, websocket.from_client))
        operations["sendToClient"] = _operation("send", _WEBSOCKET, map(_ws_name, websocket.to_client))
    return {
        "asyncapi": "3.0.0",
        "id": "urn:ragline",
        "info": {
            "title": "ragline",
            "version": version,
            "description": "Retrieval-augmented generation as an event pipeline on Kafka. The request ID is the record "
            "key in every topic from rag.queries to rag.answers; the document ID is in those of ingest.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(with_websocket=bool(websocket)),
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": schemas | {"Headers": headers_schema()},
            "messages": messages,
            "messageTraits": {"recordHeaders": {"headers": {"$ref": "#/components/schemas/Headers"}}},
        },
    }


def export_asyncapi(file: Path, version: str, websocket: Websocket | None = None) -> None:
    """Write the document as JSON; the folder is made if it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(dump(asyncapi(version, websocket)))


def _schemas(kinds: Sequence[type[BaseModel]]) -> tuple[dict[str, Any], dict[type[BaseModel], dict[str, Any]]]:
    """Schemas by component name, and the reference to each model's own."""
    mode: JsonSchemaMode = "validation"
    refs, shared = models_json_schema([(kind, mode) for kind in kinds], ref_template="#/components/schemas/{model}")
    return shared["$defs"], {kind: refs[kind, mode] for kind in kinds}


def _event_message(kind: type[Event], refs: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    event = EXAMPLE_BY_TYPE[kind.TYPE]
    value = encode(event)
    headers = {name: text.decode() for name, text in example_headers(event).encode()}
    return {
        "name": kind.TYPE,
        "title": kind.__name__,
        "summary": inspect.getdoc(kind),
        "contentType": "application/json",
        "payload": refs.get(kind, {"type": "null"}),
        "traits": [{"$ref": "#/components/messageTraits/recordHeaders"}],
        "bindings": {"kafka": {"key": _key(kind), "bindingVersion": _KAFKA_BINDING}},
        "examples": [{"headers": headers, "payload": None if value is None else orjson.loads(value)}],
    }


def _dead_letter_message() -> dict[str, Any]:
    return {
        "name": "ragline.dead-letter",
        "title": "Dead letter",
        "summary": "A record that could not be handled: its key, value and headers as they came, with the cause, the "
        "attempts and the place it came from in headers named ragline_dead_letter_*.",
        "contentType": "application/octet-stream",
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _KAFKA_BINDING}},
    }


def _websocket_message(example: BaseModel, refs: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    kind = type(example)
    return {
        "name": kind.__name__,
        "title": kind.__name__,
        "summary": inspect.getdoc(kind) or kind.__name__,
        "contentType": "application/json",
        "payload": refs[kind],
        "examples": [{"payload": example.model_dump(mode="json", exclude_none=True)}],
    }


def _topic_channel(spec: TopicSpec) -> dict[str, Any]:
    names = [kind.__name__ for kind in spec.events] or [_DEAD_LETTER]
    configs = wanted_configs(spec)
    return {
        "address": spec.name,
        "title": spec.name,
        "description": f"Written by {spec.owner}."
        if spec.events
        else f"What {spec.owner} wrote and nobody could handle.",
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": spec.name,
                **({"partitions": spec.partitions} if spec.partitions else {}),
                "topicConfiguration": {
                    "cleanup.policy": configs["cleanup.policy"].split(","),
                    "retention.ms": spec.retention_ms,
                    "max.message.bytes": spec.max_message_bytes,
                },
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }


def _websocket_channel(websocket: Websocket) -> dict[str, Any]:
    examples = [*websocket.from_client, *websocket.to_client]
    closes = "".join(f"\n- {code}: {what}" for code, what in websocket.close_codes.items())
    return {
        "address": "/v1/ws",
        "title": "Websocket of the bridge",
        "description": "Asks questions and shows each answer as it comes: progress, sources, deltas, terminal event. "
        "A credential is an Authorization header of the handshake, or the subprotocol ragline.bearer.CREDENTIAL beside "
        f"ragline.v1. The bridge closes with these codes:{closes}",
        "servers": [{"$ref": "#/servers/bridge"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in map(_ws_name, examples)},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
    }


def _topic_operation(spec: TopicSpec) -> tuple[str, dict[str, Any]]:
    action = "receive" if spec.owner == UPSTREAM else "send"
    channel = _channel_id(spec)
    return action + channel[0].upper() + channel[1:], _operation(
        action, channel, [kind.__name__ for kind in spec.events]
    )


def _operation(action: str, channel: str, messages: Iterable[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _servers(*, with_websocket: bool) -> dict[str, Any]:
    kafka = {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "The local stack's broker."}
    bridge = {"host": "127.0.0.1:8080", "protocol": "ws", "description": "The local stack's bridge."}
    return {"kafka": kafka} | ({"bridge": bridge} if with_websocket else {})


def _key(kind: type[Event]) -> dict[str, Any]:
    subject = "request"
    if issubclass(kind, _OF_DOCUMENT):
        subject = "document"
    elif issubclass(kind, DeadLetterEvent):
        subject = "dead letter's"
    elif issubclass(kind, ApiKeyEvent):
        subject = "API key's"
    return {"type": "string", "description": f"The {subject} ID."}


def _channel_id(spec: TopicSpec) -> str:
    first, *rest = re.split(r"[.-]", spec.name.removeprefix("rag."))
    return first + "".join(word.capitalize() for word in rest)


def _ws_name(example: BaseModel) -> str:
    return f"Ws{type(example).__name__}"
