"""Conditions on the fields of a chunk: what a client may ask for, whichever store evaluates it."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Scalar: TypeAlias = str | int
Operator = Literal["==", "!=", "<", "<=", ">", ">="]

# Fields that may be asked for, and what they hold.
FIELDS: Mapping[str, type[str] | type[int]] = {"document_id": str, "title": str, "source": str, "ordinal": int}

_OPERATORS: Mapping[str, Callable[[Scalar, Scalar], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Field and value compare so; texts compare by code points."""

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


def matches(condition: Filter, value_of: Callable[[str], Scalar]) -> bool:
    """Whether the condition holds; ``value_of`` gives the value of a field."""
    match condition:
        case Comparison(field, symbol, value):
            return _OPERATORS[symbol](value_of(field), value)
        case OneOf(field, values):
            return value_of(field) in values
        case StartsWith(field, prefix):
            return str(value_of(field)).startswith(prefix)
        case Not(negated):
            return not matches(negated, value_of)
        case AllOf(conditions):
            return all(matches(each, value_of) for each in conditions)
        case AnyOf(conditions):
            return any(matches(each, value_of) for each in conditions)
