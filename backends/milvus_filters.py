"""Filters as Milvus reads them. Every one goes through ``within``, so that no call sees another tenant's chunks."""

import sys
from collections.abc import Iterable

from backends.filters import AllOf, AnyOf, Comparison, Filter, Not, OneOf, Scalar, StartsWith

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_SURROGATES = range(0xD800, 0xE000)


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
    return str(value) if isinstance(value, int) else f'"{value.translate(_ESCAPES)}"'


def rendered(condition: Filter) -> str:
    """The condition in Milvus' language."""
    match condition:
        case Comparison(field, symbol, value):
            return f"{field} {symbol} {literal(value)}"
        case OneOf(field, values):
            return f"{field} in [{', '.join(map(literal, values))}]"
        case StartsWith(field, prefix):
            return _starting_with(field, prefix)
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


def _starting_with(field: str, prefix: str) -> str:
    """By comparison: ``like`` would read ``%`` and ``_`` in the prefix."""
    low, high = prefix_bounds(prefix)
    from_low = f"{field} >= {literal(low)}"
    return from_low if high is None else f"{from_low} and {field} < {literal(high)}"
