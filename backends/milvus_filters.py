"""Filters as Milvus reads them. Every one goes through ``within``, so that no call sees another tenant's chunks."""

import sys
from collections.abc import Iterable
from decimal import Decimal

from backends.filters import COLUMNS, AllOf, AnyOf, Comparison, Filter, Not, OneOf, Operator, Scalar, StartsWith
from backends.milvus_details import DYNAMIC, key

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_SURROGATES = range(0xD800, 0xE000)
_CHUNK_ID = "chunk_id"


def within(tenant: str, condition: Filter | None = None) -> str:
    """Matches the tenant's chunks, of those the ones for which the condition holds."""
    own = f"tenant == {literal(tenant)}"
    return own if condition is None else f"{own} and ({rendered(condition)})"


def of_documents(document_ids: Iterable[str]) -> Filter:
    """Holds for the chunks of these documents."""
    return OneOf("document_id", tuple(document_ids))


def of_chunks(chunk_ids: Iterable[str]) -> Filter:
    """Holds for the chunks with these IDs."""
    return OneOf("chunk_id", tuple(chunk_ids))


def literal(value: Scalar) -> str:
    """A value as it stands in a filter, whatever is in it.

    Milvus Lite has no filter templates, and knows of the escapes in Milvus' ``Plan.g4`` only these.
    """
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    # In full, for not every parser reads exponents; a flag is kept as 0 or 1.
    return format(Decimal(str(value)), "f") if isinstance(value, float) else str(int(value))


def rendered(condition: Filter) -> str:
    """The condition in Milvus' language."""
    match condition:
        case Comparison(field, symbol, value):
            return _compared(field, symbol, value)
        case OneOf(field, values):
            return _one_of(field, values)
        case StartsWith(field, prefix):
            return _there(field, prefix, _starting_with(_place(field, prefix), prefix))
        case Not(negated):
            return f"not ({rendered(negated)})"
        case AllOf(conditions):
            return " and ".join(f"({rendered(each)})" for each in conditions)
        case AnyOf(conditions):
            return " or ".join(f"({rendered(each)})" for each in conditions)


def prefix_bounds(prefix: str) -> tuple[str, str | None]:
    """The least text that begins with the prefix, and the least one after all of those; None where there is none."""
    above = prefix.rstrip(chr(sys.maxunicode))
    if not above:
        return prefix, None
    last = ord(above[-1]) + 1
    return prefix, above[:-1] + chr(_SURROGATES.stop if last in _SURROGATES else last)


def _compared(field: str, symbol: Operator, value: Scalar) -> str:
    if symbol == "!=" and not _is_column(field):
        return f"not ({_compared(field, '==', value)})"
    return _there(field, value, f"{_place(field, value)} {symbol} {literal(value)}")


def _one_of(field: str, values: Iterable[Scalar]) -> str:
    if _is_column(field):
        return f"{field} in [{', '.join(map(literal, values))}]"
    return " or ".join(f"({_compared(field, '==', value)})" for value in values)


def _is_column(field: str) -> bool:
    return field in COLUMNS or field == _CHUNK_ID


def _place(field: str, value: Scalar) -> str:
    return field if _is_column(field) else f"{DYNAMIC}[{literal(key(field, value))}]"


def _there(field: str, value: Scalar, condition: str) -> str:
    """The condition, false where there is no such value: of those Milvus and Milvus Lite think differently."""
    # In parentheses, for Milvus 2.3 takes all that follows for what is to exist.
    return condition if _is_column(field) else f"(exists {_place(field, value)}) and {condition}"


def _starting_with(field: str, prefix: str) -> str:
    """By comparison: ``like`` would read ``%`` and ``_`` in the prefix."""
    low, high = prefix_bounds(prefix)
    from_low = f"{field} >= {literal(low)}"
    return from_low if high is None else f"{from_low} and {field} < {literal(high)}"
