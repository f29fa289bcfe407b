"""JSON Schema of every event, for those who write or read them in another language."""

import inspect
from pathlib import Path
from typing import Any

import orjson

from schemas.codec import encode
from schemas.events import EVENTS, DocumentWithdrawn, Event
from schemas.examples import EXAMPLE_BY_TYPE

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_STRING = {"type": "string"}
_DATE_TIME = {"type": "string", "format": "date-time"}
_DIGITS = {"type": "string", "pattern": "^[0-9]{1,18}$"}


def json_schema(kind: type[Event]) -> dict[str, Any]:
    """The schema of an event's record value (JSON Schema 2020-12). Fields it does not name are allowed and ignored."""
    if kind is DocumentWithdrawn:
        return _head(kind) | {"description": inspect.getdoc(kind), "type": "null"}
    schema = kind.model_json_schema(mode="validation")
    example = encode(EXAMPLE_BY_TYPE[kind.TYPE])
    if example is not None:
        schema["examples"] = [orjson.loads(example)]
    return _head(kind) | schema


def headers_schema() -> dict[str, Any]:
    """The schema of the record headers, as an object of their texts. None is required of an upstream."""
    described: dict[str, tuple[dict[str, Any], str]] = {
        "ce_specversion": ({"type": "string", "const": "1.0"}, "Version of CloudEvents."),
        "ce_id": (_STRING, "ID of the event; the same when the same input is handled again."),
        "ce_type": ({"type": "string", "enum": [kind.TYPE for kind in EVENTS]}, "Type of the event, with its version."),
        "ce_source": (_STRING, "Who wrote it: ragline/STAGE, or what the upstream calls itself."),
        "ce_time": (_DATE_TIME, "When it happened."),
        "ce_subject": (_STRING, "The record key: the request ID or the document ID."),
        "ce_dataref": (_STRING, "Where the text of a document is that does not fit in its record: file:// or s3://."),
        "content-type": ({"type": "string", "const": "application/json"}, "How the value is written."),
        "traceparent": (_STRING, "W3C Trace Context."),
        "tracestate": (_STRING, "W3C Trace Context."),
        "ragline_tenant": (_STRING, "Tenant, where the value does not say."),
        "ragline_deadline": (_DATE_TIME, "When the answer stops being wanted."),
        "ragline_attempt": ({"type": "string", "pattern": "^[1-9][0-9]{0,8}$"}, "Attempt at the work, from 1."),
        "ragline_redrives": (
            {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
            "How often the request or document was taken out of dead letters so far.",
        ),
        "ragline_redriven_for": (_STRING, "Stage that failed, on a redriven record: other stages leave it alone."),
        "ragline_redriven_by": (_STRING, "Who redrove the record."),
        "ragline_redriven_at": (_DATE_TIME, "When it was redriven."),
        "ragline_redriven_from_topic": (_STRING, "Topic of the dead letter it was."),
        "ragline_redriven_from_partition": (_DIGITS, "Partition of the dead letter."),
        "ragline_redriven_from_offset": (_DIGITS, "Offset of the dead letter."),
        "ragline_replay": (_STRING, "Run of a replay that the record belongs to; then no deadline counts."),
        "ragline_replayed_from": (_STRING, "topic/partition/offset of the recorded request that this record repeats."),
        "ragline_source_topic": (_STRING, "Topic of the record that this one follows from."),
        "ragline_source_partition": (_DIGITS, "Partition of that record."),
        "ragline_source_offset": (_DIGITS, "Offset of that record."),
        "ragline_stamp": (
            _STRING | {"contentMediaType": "application/json"},
            "What decided the event: models, engine, template, collection, sampling, versions of each; a JSON object.",
        ),
        "ragline_timeline": (
            _STRING | {"contentMediaType": "application/json"},
            "Stages passed so far: [[stage, started, finished, attempt], …], times in Unix milliseconds.",
        ),
    }
    return {
        "type": "object",
        "description": "Record headers: CloudEvents 1.0 in binary mode, W3C Trace Context, and ragline's own.",
        "properties": {name: schema | {"description": sentence} for name, (schema, sentence) in described.items()},
    }


def export_schemas(folder: Path) -> list[Path]:
    """Write one ``TYPE.json`` per event into ``folder``, made if it is missing; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind in EVENTS:
        file = folder / f"{kind.TYPE}.json"
        file.write_bytes(dump(json_schema(kind)))
        files.append(file)
    return files


def dump(document: dict[str, Any]) -> bytes:
    """JSON for people, the same bytes each time."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _head(kind: type[Event]) -> dict[str, Any]:
    return {"$schema": DIALECT, "$id": f"urn:{kind.TYPE.replace('.', ':')}", "title": kind.__name__}
