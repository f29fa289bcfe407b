from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from schemas import codec
from schemas.events import QueryAsked
from schemas.values import MAX_JSON_SCHEMA_BYTES, ResponseFormat

DEEP: dict[str, Any] = {}
_inner = DEEP
for _ in range(40):
    _inner["items"] = {}
    _inner = _inner["items"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"type": "json_schema"}, "belongs to"),
        ({"type": "json_object", "json_schema": {}}, "belongs to"),
        ({"type": "json_schema", "json_schema": {"const": 2**70}}, "64-bit"),
        ({"type": "json_schema", "json_schema": {"const": float("inf")}}, "finite"),
        ({"type": "json_schema", "json_schema": {"const": "x" * MAX_JSON_SCHEMA_BYTES}}, "bytes"),
        ({"type": "json_schema", "json_schema": DEEP}, "nested"),
        ({"type": "regex"}, "json_object"),
    ],
)
def test_a_form_that_no_engine_could_follow_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ResponseFormat.model_validate(fields)


def test_optional_fields_are_left_out_of_the_json_where_they_are_not_set() -> None:
    plain = orjson.loads(codec.encode(QueryAsked(question="q")) or b"")
    assert not {"history", "response_format"} & plain.keys()
    whole = QueryAsked.model_validate(
        {"question": "q", "history": [{"role": "user", "content": "a"}], "response_format": {"type": "json_object"}}
    )
    assert codec.decode(codec.encode(whole), None, (QueryAsked,)) == whole
