from pathlib import Path

import jsonschema
import orjson
import pytest

from schemas.codec import encode
from schemas.events import EVENTS, DocumentWithdrawn, Event
from schemas.examples import EXAMPLES, example_headers
from schemas.export import export_schemas, headers_schema, json_schema

KINDS = pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.TYPE)


@KINDS
def test_schemas_are_valid(kind: type[Event]) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(kind))


@KINDS
def test_schemas_say_what_the_event_is(kind: type[Event]) -> None:
    schema = json_schema(kind)
    assert schema["$id"] == "urn:" + kind.TYPE.replace(".", ":")
    assert schema["title"] == kind.__name__
    assert schema["description"]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.TYPE)
def test_examples_fit_their_schema(event: Event) -> None:
    value = encode(event)
    document = None if value is None else orjson.loads(value)
    jsonschema.Draft202012Validator(json_schema(type(event))).validate(document)


def test_there_is_one_example_of_each_event() -> None:
    assert [type(example) for example in EXAMPLES] == list(EVENTS)


@KINDS
def test_schemas_show_an_example(kind: type[Event]) -> None:
    assert ("examples" in json_schema(kind)) == (kind is not DocumentWithdrawn)


def test_a_plain_question_fits_and_an_unknown_field_is_allowed() -> None:
    schema = json_schema(EVENTS[0])
    jsonschema.validate({"question": "Why?", "mood": "curious"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"query": "Why?"}, schema)


def test_headers_fit_their_schema_and_are_all_described() -> None:
    schema = headers_schema()
    headers = {name: text.decode() for name, text in example_headers(EXAMPLES[1]).encode()}
    jsonschema.Draft202012Validator(schema).validate(headers)
    assert set(headers) <= set(schema["properties"])


def test_the_files_are_the_same_each_time(tmp_path: Path) -> None:
    first = export_schemas(tmp_path / "a" / "deep")
    second = export_schemas(tmp_path / "b")
    assert [file.name for file in first] == [f"{kind.TYPE}.json" for kind in EVENTS]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
