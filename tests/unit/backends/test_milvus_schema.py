"""What Milvus is sent, without a Milvus."""

import numpy as np
import pytest

from backends import milvus_schema
from backends.milvus_settings import Metric
from backends.vector_store import StoredChunk


def chunk(text: str = "text") -> StoredChunk:
    return StoredChunk("c", "d", "t", "title", "source", 0, text, np.ones(4, dtype=np.float32))


def hit(name: str, distance: float) -> dict[str, object]:
    entity = dict(zip(milvus_schema.CHUNK_FIELDS, (name, "d", "t", "", "", 0, "", [0.6, 0.8], {}), strict=True))
    return {"distance": distance, "entity": entity}


@pytest.mark.parametrize(
    ("metric", "distances"),
    [
        ("COSINE", {"low": 0.1, "b": 0.5, "a": 0.5, "best": 1.0000001}),
        ("IP", {"low": 0.1, "b": 0.5, "a": 0.5, "best": 1.0000001}),
        ("L2", {"low": 1.8, "b": 1.0, "a": 1.0, "best": -0.0000001}),
    ],
)
def test_hits_of_vectors_are_sorted_and_scored_by_cosine(metric: Metric, distances: dict[str, float]) -> None:
    found = milvus_schema.similar([hit(name, distance) for name, distance in distances.items()], metric)
    assert [hit.chunk.chunk_id for hit in found] == ["best", "a", "b", "low"]
    assert [hit.score for hit in found] == pytest.approx([1, 0.5, 0.5, 0.1])
    assert found[0].score <= 1
    assert found[0].chunk.vector.dtype == np.float32


def test_hits_of_words_share_at_least_one() -> None:
    for sign in (1, -1):
        found = milvus_schema.worded(
            [hit("b", 2.5 * sign), hit("a", 2.5 * sign), hit("none", 0), hit("best", 30 * sign)]
        )
        assert [(hit.chunk.chunk_id, hit.score) for hit in found] == [("best", 30), ("a", 2.5), ("b", 2.5)]


def test_a_row_has_the_stems_of_title_and_text() -> None:
    assert milvus_schema.row(chunk("Running mice."), "english")["stems_english"] == "titl run mice"


def test_batches_stay_within_rows_and_bytes() -> None:
    assert [len(batch) for batch in milvus_schema.batches([chunk()] * 2_100)] == [1_000, 1_000, 100]
    large = chunk("x" * 60_000)
    batches = list(milvus_schema.batches([large] * 300))
    assert sum(map(len, batches)) == 300
    assert len(batches) == 5
    assert list(milvus_schema.batches([])) == []
