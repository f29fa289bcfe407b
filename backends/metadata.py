"""What a document may say of itself beyond its text: named values, which its chunks carry and filters ask for."""

import math
import re
from collections.abc import Mapping

import orjson

from schemas.values import MAX_INTEGER, MetadataValue

MAX_FIELDS = 32
MAX_NAME_CHARS = 64
MAX_BYTES = 4_096
_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_-]{{0,{MAX_NAME_CHARS - 1}}}")
_SHOWN_CHARS = 40


class MetadataError(ValueError):
    """The metadata cannot be taken; the message says in one sentence which and why."""


def checked(metadata: Mapping[str, object]) -> dict[str, MetadataValue]:
    """The same values, each of them one that can be stored and filtered by.

    Raises:
        MetadataError: there are too many, a name or a value is none that is taken, or together they are too long.
    """
    if len(metadata) > MAX_FIELDS:
        raise MetadataError(f"The metadata has {len(metadata)} fields; {MAX_FIELDS} are allowed.")
    taken = {name: _value(_name(name), value) for name, value in metadata.items()}
    size = len(orjson.dumps(taken))
    if size > MAX_BYTES:
        raise MetadataError(f"The metadata has {size} bytes as JSON; {MAX_BYTES} are allowed.")
    return taken


def is_value(value: object) -> bool:
    """Whether it is of a kind that metadata may hold: text, a number, true or false."""
    return isinstance(value, str | int | float)


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        rule = f"a letter or _ first, then letters, digits, _ and -, {MAX_NAME_CHARS} in all, without accents"
        raise MetadataError(f"The metadata's field {_shown(name)} has a name that is not taken: {rule}.")
    return name


def _value(name: str, value: object) -> MetadataValue:
    if isinstance(value, str):
        if "\x00" in value or not _is_unicode(value):
            raise MetadataError(f"The metadata's field {name} is not valid text.")
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int | float):
        raise MetadataError(f"The metadata's field {name} has a number of more than 64 bits.")
    kind = {dict: "an object", list: "a list", type(None): "null"}.get(type(value), type(value).__name__)
    raise MetadataError(f"The metadata's field {name} is {kind}; texts, numbers, true and false are taken.")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return repr(name[:_SHOWN_CHARS].encode(errors="replace").decode())
