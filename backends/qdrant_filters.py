"""Filters as Qdrant reads them, and points' IDs. Every filter goes through ``within`` and every ID is made of the
tenant, so that no call sees another tenant's chunks.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from qdrant_client import models

from backends.filters import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Kind,
    Not,
    OneOf,
    Operator,
    Scalar,
    StartsWith,
    kind_of,
)
from backends.text_order import pieces, prefix_pieces

Condition: TypeAlias = models.FieldCondition | models.HasIdCondition | models.Filter

TENANT = "tenant"
# Keys of the payload that filters ask for. Values are kept apart by kind, for Qdrant takes 1 and true for equal.
PLACES: dict[Kind, str] = {"text": "texts", "number": "numbers", "flag": "flags"}
# The texts once more, as numbers.
ORDER = "order"
_BOUNDS: dict[Operator, str] = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_STRICT: dict[Operator, Operator] = {"<": "<", "<=": "<", ">": ">", ">=": ">"}
_CHUNKS = uuid.UUID("4b1f3c58-5a0e-4d4e-9a37-0d2c6f0a8e11")
# Qdrant compares numbers as 64-bit floats, which hold every whole number up to here.
_MAX_EXACT = 2**53
_NOTHING = models.HasIdCondition(has_id=[])


def within(tenant: str, condition: Filter | None = None, chunk_ids: Iterable[str] | None = None) -> models.Filter:
    """Matches the tenant's chunks, of those the ones for which the condition holds and that have one of the IDs."""
    must: list[Condition] = [_matching(TENANT, tenant)]
    if condition is not None:
        must.append(rendered(condition))
    if chunk_ids is not None:
        must.append(models.HasIdCondition(has_id=[point_id(tenant, chunk_id) for chunk_id in chunk_ids]))
    return models.Filter(must=must)


def point_id(tenant: str, chunk_id: str) -> str:
    """The ID of a tenant's chunk in Qdrant, which takes UUIDs and numbers only."""
    return str(uuid.uuid5(_CHUNKS, f"{len(tenant)}:{tenant}{chunk_id}"))


def of_document(document_id: str) -> Filter:
    """Holds for the chunks of the document."""
    return Comparison("document_id", "==", document_id)


def order_keys(text: str) -> dict[str, int]:
    """A text as it is kept under ``ORDER``, by which texts are compared."""
    return {_piece(place): number for place, number in enumerate(pieces(text))}


def rendered(condition: Filter) -> Condition:
    """The condition in Qdrant's language."""
    match condition:
        case Comparison(field, symbol, value):
            return _compared(field, symbol, value)
        case OneOf(field, values):
            return _any_of([_equal(field, value) for value in values])
        case StartsWith(field, prefix):
            return _starting_with(field, prefix)
        case Not(negated):
            return models.Filter(must_not=[rendered(negated)])
        case AllOf(conditions):
            return models.Filter(must=[rendered(each) for each in conditions])
        case AnyOf(conditions):
            return _any_of([rendered(each) for each in conditions])


def _compared(field: str, symbol: Operator, value: Scalar) -> Condition:
    if symbol == "==":
        return _equal(field, value)
    if symbol == "!=":
        return models.Filter(must_not=[_equal(field, value)])
    if isinstance(value, str):
        return _in_order([(_order(field, place), number) for place, number in enumerate(pieces(value))], symbol)
    return _bounded(_place(field, value), **{_BOUNDS[symbol]: value})


def _equal(field: str, value: Scalar) -> Condition:
    place = _place(field, value)
    if isinstance(value, str | bool):
        return _matching(place, value)
    if isinstance(value, int) and abs(value) > _MAX_EXACT:
        return _matching(place, value)
    # A whole number equals the decimal of its value; matched by value it would not.
    return _bounded(place, gte=value, lte=value)


def _in_order(places: Sequence[tuple[str, int]], symbol: Operator) -> Condition:
    """The numbers at the places come so before or after these ones: the first that differs decides.

    By halves, for a filter may be nested only so deep.
    """
    if len(places) == 1:
        key, number = places[0]
        return _bounded(key, **{_BOUNDS[symbol]: number})
    first, second = places[: len(places) // 2], places[len(places) // 2 :]
    same = [_bounded(key, gte=number, lte=number) for key, number in first]
    return _any_of([_in_order(first, _STRICT[symbol]), models.Filter(must=[*same, _in_order(second, symbol)])])


def _starting_with(field: str, prefix: str) -> Condition:
    first, (low, high) = prefix_pieces(prefix)
    same = [_bounded(_order(field, place), gte=number, lte=number) for place, number in enumerate(first)]
    return models.Filter(must=[*same, _bounded(_order(field, len(first)), gte=low, lte=high)])


def _any_of(conditions: Sequence[Condition]) -> Condition:
    # An empty list would match everything.
    return models.Filter(should=list(conditions)) if conditions else _NOTHING


def _matching(key: str, value: str | bool | int) -> models.FieldCondition:  # noqa: FBT001 - a value to compare with
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _bounded(key: str, **bounds: float) -> models.FieldCondition:
    return models.FieldCondition(key=key, range=models.Range(**bounds))


def _place(field: str, value: Scalar) -> str:
    return f"{PLACES[kind_of(value)]}.{field}"


def _order(field: str, place: int) -> str:
    return f"{ORDER}.{field}.{_piece(place)}"


def _piece(place: int) -> str:
    return f"p{place}"
