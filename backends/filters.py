"""Conditions on the fields of a chunk: what a client may ask for, whichever store evaluates it."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Scalar: TypeAlias = str | bool | int | float
Kind: TypeAlias = Literal["text", "number", "flag"]
Operator = Literal["==", "!=", "<", "<=", ">", ">="]

# Fields that may be asked for, and what they hold; not every chunk has those that are no column of its own.
COLUMNS: Mapping[str, type[str] | type[int]] = {"document_id": str, "title": str, "source": str, "ordinal": int}
FIELDS: Mapping[str, type[str] | type[int]] = {**COLUMNS, "page": int, "last_page": int, "heading": str}
# Before the names of a document's own fields, which hold what the document says.
METADATA_PREFIX = "metadata."

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Field and value compare so; texts compare by code points.

    A field that the chunk does not have, or that holds another kind of value, is unequal and in no order.
    """

    field: str
    operator: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field has one of the values."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class StartsWith:
    """The field's text begins so."""

    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    condition: "Filter"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every condition holds."""

    conditions: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one condition holds."""

    conditions: tuple["Filter", ...]


Filter: TypeAlias = Comparison | OneOf | StartsWith | Not | AllOf | AnyOf


def kind_of(value: Scalar) -> Kind:
    """Which kind of value it is: values of different kinds are never equal."""
    if isinstance(value, str):
        return "text"
    return "flag" if isinstance(value, bool) else "number"


def matches(condition: Filter, value_of: Callable[[str], Scalar | None]) -> bool:
    """Whether the condition holds; ``value_of`` gives the value of a field, None where there is none."""
    match condition:
        case Comparison(field, "==" | "!=" as symbol, value):
            return _are_equal(value_of(field), value) == (symbol == "==")
        case Comparison(field, symbol, value):
            found = value_of(field)
            return found is not None and kind_of(found) == kind_of(value) and _ORDERS[symbol](found, value)
        case OneOf(field, values):
            found = value_of(field)
            return any(_are_equal(found, value) for value in values)
        case StartsWith(field, prefix):
            found = value_of(field)
            return isinstance(found, str) and found.startswith(prefix)
        case Not(negated):
            return not matches(negated, value_of)
        case AllOf(conditions):
            return all(matches(each, value_of) for each in conditions)
        case AnyOf(conditions):
            return any(matches(each, value_of) for each in conditions)


def _are_equal(found: Scalar | None, value: Scalar) -> bool:
    return found is not None and kind_of(found) == kind_of(value) and found == value
