"""What may be said of Qdrant."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backends.qdrant_settings import QdrantSettings


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"url": "http://q", "path": "folder"}, "set one of them"),
        ({"language": "klingon"}, "language is 'klingon', but known are arabic"),
    ],
)
def test_what_does_not_fit_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        QdrantSettings(**given)


def test_it_is_somewhere() -> None:
    assert QdrantSettings(url="http://q").place == "http://q"
    assert QdrantSettings(path=Path("folder")).place == "folder"
    assert not QdrantSettings().place
