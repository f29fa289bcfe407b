"""What may be said of the collection."""

from typing import Any

import pytest
from pydantic import ValidationError

from backends.milvus_settings import MilvusSettings


@pytest.mark.parametrize(
    ("given", "limit", "built", "searched"),
    [
        ({}, 5, {"M": 16, "efConstruction": 200}, {"ef": 64}),
        ({}, 100, {"M": 16, "efConstruction": 200}, {"ef": 200}),
        ({"index_params": {"M": 32}, "search_params": {"ef": 500}}, 5, {"M": 32, "efConstruction": 200}, {"ef": 500}),
        ({"index_type": "IVF_FLAT", "search_params": {"nprobe": 4}}, 5, {"nlist": 128}, {"nprobe": 4}),
        ({"index_type": "IVF_SQ8", "index_params": {"nlist": 8}}, 5, {"nlist": 8}, {"nprobe": 16}),
        ({"index_type": "FLAT"}, 100, {}, {}),
        ({"index_type": "AUTOINDEX"}, 100, {}, {}),
    ],
)
def test_each_index_type_has_its_parameters(
    given: dict[str, Any], limit: int, built: dict[str, int], searched: dict[str, int]
) -> None:
    settings = MilvusSettings(**given)
    assert settings.built_with == built
    assert settings.searched_with(limit) == searched


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"index_type": "FLAT", "index_params": {"M": 1}}, "index_params has M, but FLAT knows none"),
        ({"search_params": {"nprobe": 1}}, "search_params has nprobe, but HNSW knows ef"),
        ({"search_params": {"ef": 0}}, "search_params.ef must be greater than 0"),
        ({"keyword_search": False}, "tenant_partitions must be 1 without keyword_search"),
        ({"language": "klingon"}, "language is 'klingon', but known are arabic"),
    ],
)
def test_what_does_not_fit_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        MilvusSettings(**given)
