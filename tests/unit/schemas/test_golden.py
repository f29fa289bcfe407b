"""What was once published is read for ever, and written the same."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas import codec
from schemas.events import EVENT_BY_TYPE, EVENTS, Event
from schemas.export import json_schema
from schemas.headers import Headers

GOLDEN = Path(__file__).parents[2] / "golden"
RECORDS = sorted(GOLDEN.glob("ragline.*/*.headers.json"))
PUBLISHED = sorted((GOLDEN / "schemas").glob("*.json"))
WRITE = "run `python tests/golden/write.py` once the new type is as it should be"
# What a schema says to people may be reworded at any time.
WORDS = {"title", "description", "examples"}


@pytest.fixture(params=RECORDS, ids=[f"{path.parent.name}/{path.name.split('.')[0]}" for path in RECORDS])
def record(request: pytest.FixtureRequest) -> tuple[str, bytes | None, list[tuple[str, bytes]]]:
    path: Path = request.param
    value_file = path.with_name(path.name.replace(".headers.json", ".json"))
    headers = [(name, text.encode()) for name, text in orjson.loads(path.read_bytes())]
    return path.parent.name, value_file.read_bytes() if value_file.exists() else None, headers


def test_a_published_record_is_still_read(record: tuple[str, bytes | None, list[tuple[str, bytes]]]) -> None:
    type_name, value, raw = record
    headers = Headers.decode(raw)
    assert headers.type == type_name
    event: Event = codec.decode(value, headers.type, (EVENT_BY_TYPE[type_name],))
    assert type_name == event.TYPE


def test_a_published_record_is_still_written_the_same(
    record: tuple[str, bytes | None, list[tuple[str, bytes]]],
) -> None:
    type_name, value, raw = record
    event: Event = codec.decode(value, type_name, (EVENT_BY_TYPE[type_name],))
    assert codec.encode(event) == value, f"{type_name} is published: make a new version of it for another shape"
    assert Headers.decode(raw).encode() == raw


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.TYPE)
def test_every_event_has_golden_files(kind: type[Event]) -> None:
    assert any(path.parent.name == kind.TYPE for path in RECORDS), f"{kind.TYPE} has no golden record: {WRITE}"
    assert (GOLDEN / "schemas" / f"{kind.TYPE}.json").exists(), f"{kind.TYPE} has no golden schema: {WRITE}"


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_the_schema_of_a_published_version_grows_by_optional_fields_only(file: Path) -> None:
    assert file.stem in EVENT_BY_TYPE, f"{file.stem} is published: its class must stay, for its records may still come"
    published = _without_words(orjson.loads(file.read_bytes()))
    now = _without_additions(_without_words(json_schema(EVENT_BY_TYPE[file.stem])), published)
    assert now == published, (
        f"{file.stem} is published and its schema has changed by more than optional fields: leave it as it was and "
        f"make a class with the next version, then {WRITE}"
    )


def test_what_may_be_added_to_a_schema() -> None:
    published = {"properties": {"a": {"type": "string"}}, "required": ["a"], "type": "object"}
    optional = {"properties": {"a": {"type": "string"}, "b": {"$ref": "#/$defs/B"}}, "$defs": {"B": {}}}
    assert _without_additions(published | optional, published) == published
    assert _without_additions(published | optional | {"required": ["a", "b"]}, published) != published
    assert _without_additions({"properties": {"b": {}}, "type": "object"}, published) != published
    assert _without_additions(published | {"properties": {"a": {"type": "integer"}}}, published) != published


def _without_additions(now: Any, published: Any) -> Any:
    """The schema as it is now, without optional fields and definitions that were not published."""
    if not isinstance(now, dict) or not isinstance(published, dict):
        return now
    required = now.get("required", [])
    kept: dict[str, Any] = {}
    for key, value in now.items():
        if key == "properties":
            known = published.get(key, {})
            kept[key] = {
                name: _without_additions(field, known.get(name))
                for name, field in value.items()
                if name in known or name in required
            }
        elif key == "$defs":
            known = published.get(key, {})
            kept[key] = {name: _without_additions(item, known[name]) for name, item in value.items() if name in known}
        else:
            kept[key] = value
    return {key: value for key, value in kept.items() if value != {} or key in published}


def _without_words(schema: Any, *, names: bool = False) -> Any:
    """Leave out what is for people; where ``names`` holds, the keys are names of fields and all stay."""
    if isinstance(schema, dict):
        return {
            key: _without_words(value, names=key in {"properties", "$defs"} and not names)
            for key, value in schema.items()
            if names or key not in WORDS
        }
    if isinstance(schema, list):
        return [_without_words(item) for item in schema]
    return schema
