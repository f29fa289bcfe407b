"""Between events and record values. Values are JSON; the type is in the ``ce_type`` header."""

from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from schemas.events import EVENT_BY_TYPE, DocumentWithdrawn, Event
from schemas.headers import CONTENT_TYPE

E = TypeVar("E", bound=Event)


class UndecodableError(ValueError):
    """A record's value is not an event of a type its topic carries; the message says why in one sentence."""


def encode(event: Event) -> bytes | None:
    """Write an event as JSON with fields in the order of their definition: equal events, equal bytes.

    A ``DocumentWithdrawn`` is a null value, which a compacted topic takes as a deletion. A lone surrogate, which UTF-8
    cannot say, becomes a question mark.
    """
    if isinstance(event, DocumentWithdrawn):
        return None
    try:
        return event.__pydantic_serializer__.to_json(event)
    except PydanticSerializationError:
        return orjson.dumps(_without_surrogates(event.model_dump(mode="json")))


def decode(value: bytes | None, ce_type: str | None, expected: tuple[type[E], ...]) -> E:
    """Read an event.

    ``ce_type`` chooses among ``expected``; without one the first is taken, which lets a producer that knows
    nothing of CloudEvents write plain JSON.

    Raises:
        UndecodableError: empty value, unknown or unexpected type, not JSON, or JSON of the wrong shape.
    """
    if value is None:
        for kind in expected:
            if kind is DocumentWithdrawn:
                return kind()
    kind = _kind(ce_type, expected)
    if value is None:
        msg = f"the record has no value, but {kind.TYPE} needs one"
        raise UndecodableError(msg)
    try:
        event: E = kind.__pydantic_validator__.validate_json(value)
    except ValidationError as error:
        raise UndecodableError(_sentence(kind, error)) from error
    return event


def _without_surrogates(document: Any) -> Any:
    if isinstance(document, str):
        return document.encode("utf-8", "replace").decode()
    if isinstance(document, list):
        return [_without_surrogates(item) for item in document]
    if isinstance(document, dict):
        return {name: _without_surrogates(item) for name, item in document.items()}
    return document


def _kind(ce_type: str | None, expected: tuple[type[E], ...]) -> type[E]:
    if ce_type is None:
        return expected[0]
    for kind in expected:
        if ce_type == kind.TYPE:
            return kind
    known = "belongs to another topic" if ce_type in EVENT_BY_TYPE else "is unknown"
    msg = f"event type {ce_type[:100]!r} {known}; expected {', '.join(kind.TYPE for kind in expected)}"
    raise UndecodableError(msg)


def _sentence(kind: type[Event], error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"the value is not {CONTENT_TYPE}: {first['ctx']['error']}"
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)[:3]
    ]
    return f"the value is not a {kind.TYPE}: {'; '.join(problems)}"
