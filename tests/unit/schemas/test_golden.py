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
def test_the_schema_of_a_published_version_is_frozen(file: Path) -> None:
    assert file.stem in EVENT_BY_TYPE, f"{file.stem} is published: its class must stay, for its records may still come"
    now = _without_words(json_schema(EVENT_BY_TYPE[file.stem]))
    published = _without_words(orjson.loads(file.read_bytes()))
    assert now == published, (
        f"{file.stem} is published and its schema has changed: leave it as it was and make a class with the next "
        f"version, then {WRITE}"
    )


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
