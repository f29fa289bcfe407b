"""What is said of retrieval must fit together."""

from typing import Any

import pytest
from pydantic import ValidationError

from ragline.settings import Settings

WORDLESS = {"keyword_search": False, "tenant_partitions": 1}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"query": {"rerank": "late_interaction"}},
            r"query\.rerank is late_interaction, which retrieval\.rerankers does not name",
        ),
        (
            {"query": {"tenants": {"default": {"rerank": "late_interaction"}}}},
            r"query\.tenants\.default\.rerank is late_interaction",
        ),
        ({"retrieval": {"rerankers": ["cross_encoder"]}}, r"cross_encoder\.path is not set"),
        ({"milvus": {"index_type": "HNSW", "index_params": {"nlist": 1}}}, "HNSW knows M, efConstruction"),
        ({"vector_store": "qdrant"}, r"vector_store is qdrant, but neither qdrant\.url nor qdrant\.path is set"),
        ({"milvus": WORDLESS}, r"query\.mode is hybrid, which needs milvus\.keyword_search"),
        (
            {
                "milvus": WORDLESS,
                "query": {"mode": "dense", "tenants": {"default": {"mode": "sparse"}}},
            },
            r"query\.tenants\.default\.mode is sparse, which needs milvus\.keyword_search",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings.model_validate(given)


def test_a_reranker_that_is_loaded_may_be_the_default() -> None:
    settings = Settings.model_validate(
        {
            "query": {"rerank": "cross_encoder"},
            "retrieval": {"rerankers": ["late_interaction", "cross_encoder"]},
            "cross_encoder": {"path": "/models/reranker"},
        }
    )
    assert settings.query.rerank == "cross_encoder"


def test_the_store_that_is_named_has_the_collection_and_its_server() -> None:
    milvus = Settings.model_validate({"milvus": {"collection": "m", **WORDLESS}, "query": {"mode": "dense"}})
    assert milvus.collection == "m"
    assert milvus.local_servers == ("kafka", "milvus", "redis")
    qdrant = Settings.model_validate({"vector_store": "qdrant", "qdrant": {"url": "http://q", "collection": "q"}})
    assert qdrant.collection == "q"
    assert qdrant.local_servers == ("kafka", "redis")
