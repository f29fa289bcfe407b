"""What is said of retrieval must fit together."""

from typing import Any

import pytest
from pydantic import ValidationError

from ragline.settings import Settings


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
