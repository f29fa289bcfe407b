"""What not every chunk has, as Milvus keeps it: in the dynamic field, each value under its name and kind.

A condition on a text so meets texts alone, and what a chunk has none of the kind of is missing: of values of several
kinds under one name, each Milvus thinks in its own way.
"""

from collections.abc import Mapping
from typing import Any

from backends.filters import Kind, Scalar, kind_of

DYNAMIC = "$meta"
_KINDS: tuple[Kind, ...] = ("text", "number", "flag")
_SEPARATOR = ":"


def key(name: str, value: Scalar) -> str:
    """Under which key of the dynamic field the value is kept."""
    return kind_of(value) + _SEPARATOR + name


def encoded(details: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Details as they are kept; flags are 0 and 1."""
    return {key(name, value): int(value) if isinstance(value, bool) else value for name, value in details.items()}


def decoded(row: Mapping[str, Any]) -> dict[str, Scalar]:
    """The details in a row."""
    found: dict[str, Scalar] = {}
    for kept, value in row.items():
        kind, separator, name = kept.partition(_SEPARATOR)
        if separator and kind in _KINDS:
            found[name] = bool(value) if kind == "flag" else value
    return found
