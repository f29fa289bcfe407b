"""Rows as Arrow tables, and back."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from replay.run_folder.rows import AnswerRow, PassageRow, RequestRow, Row, SourceRef, StampRow

R = TypeVar("R", RequestRow, PassageRow, AnswerRow, StampRow)

_TEXT, _WHOLE, _SMALL = pa.string(), pa.int64(), pa.int32()

SCHEMAS: dict[type[Row], Any] = {
    RequestRow: pa.schema(
        [
            ("request_id", _TEXT),
            ("query_id", _TEXT),
            ("tenant", _TEXT),
            ("question", _TEXT),
            ("asked_at_ms", _WHOLE),
            ("lane", _TEXT),
            ("options", _TEXT),
            ("history", _TEXT),
            ("partition", _SMALL),
            ("offset", _WHOLE),
        ]
    ),
    PassageRow: pa.schema(
        [
            ("request_id", _TEXT),
            ("rank", _SMALL),
            ("chunk_id", _TEXT),
            ("document_id", _TEXT),
            ("title", _TEXT),
            ("text", _TEXT),
            ("source", _TEXT),
            ("ordinal", _WHOLE),
            ("score", pa.float64()),
        ]
    ),
    AnswerRow: pa.schema(
        [
            ("request_id", _TEXT),
            ("state", _TEXT),
            ("text", _TEXT),
            ("finish_reason", _TEXT),
            ("stage", _TEXT),
            ("code", _TEXT),
            ("message", _TEXT),
            ("model", _TEXT),
            ("prompt_tokens", _WHOLE),
            ("completion_tokens", _WHOLE),
            ("attempt", _WHOLE),
            ("answered_at_ms", _WHOLE),
            ("sources", pa.list_(pa.struct([("number", _WHOLE), ("chunk_id", _TEXT)]))),
        ]
    ),
    StampRow: pa.schema(
        [
            ("request_id", _TEXT),
            ("stage", _TEXT),
            ("started_ms", _WHOLE),
            ("finished_ms", _WHOLE),
            ("attempt", _WHOLE),
            ("stamp", _TEXT),
        ]
    ),
}


def to_arrow(kind: type[Row], rows: Sequence[Row]) -> Any:
    """The rows as a ``pyarrow.Table``."""
    schema = SCHEMAS[kind]
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    return pa.Table.from_arrays(
        [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def from_arrow(kind: type[R], batch: Any) -> Iterator[R]:
    """The rows of a ``pyarrow.RecordBatch``; a column that is not there has its default.

    Raises:
        KeyError: a column without a default is not there.
    """
    there = set(batch.schema.names)
    missing = set(kind._fields) - there - kind._field_defaults.keys()
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    columns = [
        _values(name, batch.column(name)) if name in there else [kind._field_defaults[name]] * batch.num_rows
        for name in kind._fields
    ]
    # One object for each of very many rows, without a look at each field's name.
    yield from map(kind._make, zip(*columns, strict=True))


def _values(name: str, column: Any) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if name == "sources":
        return [tuple(SourceRef(source["number"], source["chunk_id"]) for source in value or ()) for value in values]
    return values
