"""What is said of an answer's sources."""

from typing import Any

import pytest

from ragline.asking import place_of
from schemas.values import Passage


@pytest.mark.parametrize(
    ("details", "place"),
    [
        ({}, []),
        ({"page": 3, "last_page": 3}, ["page 3"]),
        ({"page": 3, "last_page": 5, "heading": "Guide > Use"}, ["pages 3-5", "Guide > Use"]),
        ({"heading": "Guide"}, ["Guide"]),
    ],
)
def test_a_source_says_where_in_its_document_it_is(details: dict[str, Any], place: list[str]) -> None:
    passage = Passage(chunk_id="c", document_id="d", title="T", text="x", source="s", ordinal=0, score=0.5, **details)
    assert place_of(passage) == place
