"""What Qdrant is sent, and how it is read."""

from dataclasses import replace

import numpy as np
import pytest
from qdrant_client import models

from backends import qdrant_schema
from backends.filters import FIELDS
from backends.qdrant_settings import QdrantSettings
from backends.vector_store import Search, StoredChunk

SETTINGS = QdrantSettings(url="http://q")
CHUNK = StoredChunk(
    *("c", "d", "t", "Running", "s", 3, "Mice run, and mice rest.", np.array([0.6, 0.8], dtype=np.float32)),
    page=2,
    heading="A > B",
    metadata={"year": 2021, "share": 2.0, "is-draft": True, "page": "xii", "title": "own"},
)


def weights(vector: models.SparseVector) -> list[float]:
    return sorted(vector.values, reverse=True)


def test_a_chunk_comes_back_as_it_went() -> None:
    point = qdrant_schema.point(CHUNK, SETTINGS)
    read = qdrant_schema.chunk_of(models.Record(id=point.id, payload=point.payload, vector=point.vector))
    assert replace(read, vector=CHUNK.vector) == CHUNK
    assert repr(read.metadata) == repr(CHUNK.metadata) or sorted(map(repr, read.metadata.items())) == sorted(
        map(repr, CHUNK.metadata.items())
    )
    assert np.array_equal(read.vector, CHUNK.vector)
    assert qdrant_schema.place_in(point.payload or {}) == qdrant_schema.place_of(CHUNK)
    moved = qdrant_schema.payload(replace(CHUNK, metadata={**CHUNK.metadata, "is-draft": 1}))
    assert qdrant_schema.place_in(moved) != qdrant_schema.place_of(CHUNK)


def test_repeated_words_count_more_and_long_chunks_less() -> None:
    [words] = [v for name, v in qdrant_schema.point(CHUNK, SETTINGS).vector.items() if name == "words_english"]
    # Of run (in the title too) and mice there are two, of "and" and "rest" one.
    twice, again, once, _ = weights(words)
    assert twice == again > once > 0
    longer = replace(CHUNK, text=CHUNK.text + " Further words" * 40)
    [in_longer] = [v for name, v in qdrant_schema.point(longer, SETTINGS).vector.items() if name == "words_english"]
    assert min(weights(in_longer)) < once
    assert "words_english" not in qdrant_schema.point(replace(CHUNK, title="", text="…"), SETTINGS).vector


def test_a_search_by_words_asks_for_each_stem_once() -> None:
    request = qdrant_schema.request(Search("Mouse, running mice and a mouse", "t", 5), SETTINGS)
    assert request is not None
    assert request.using == "words_english"
    assert weights(request.query) == [2, 1, 1]
    assert qdrant_schema.request(Search("?!", "t", 5), SETTINGS) is None


@pytest.mark.parametrize(("limit", "ef"), [(5, 64), (100, 200)])
def test_more_is_looked_at_than_searched_for(limit: int, ef: int) -> None:
    request = qdrant_schema.request(Search(CHUNK.vector, "t", limit), SETTINGS)
    assert request is not None
    assert request.params == models.SearchParams(hnsw_ef=ef)
    embedded = qdrant_schema.request(Search(CHUNK.vector, "t", limit), QdrantSettings(path="q"))
    assert embedded is not None
    assert embedded.params is None


def test_a_cosine_is_at_most_one_and_equal_scores_are_in_order() -> None:
    points = []
    for name, score in {"b": 1.0000002, "a": 1.0000002, "c": -1.1}.items():
        sent = qdrant_schema.point(replace(CHUNK, chunk_id=name), SETTINGS)
        points.append(models.ScoredPoint(id=sent.id, version=0, score=score, payload=sent.payload, vector=sent.vector))
    hits = qdrant_schema.hits(Search(CHUNK.vector, "t", 3), points)
    assert [(hit.chunk.chunk_id, hit.score) for hit in hits] == [("a", 1), ("b", 1), ("c", -1)]


def test_tenants_and_all_fields_are_indexed() -> None:
    indexes = qdrant_schema.payload_indexes()
    assert indexes["tenant"] == models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    named = {key.split(".")[1] for key in indexes if key.startswith(("texts.", "numbers."))}
    assert named == set(FIELDS)


def test_batches_fit_a_request() -> None:
    assert [len(batch) for batch in qdrant_schema.batches([CHUNK] * 1_100)] == [500, 500, 100]
    large = replace(CHUNK, text="word " * 10_000)
    batches = list(qdrant_schema.batches([large] * 20))
    sizes = [sum(len(qdrant_schema.point(chunk, SETTINGS).model_dump_json()) for chunk in batch) for batch in batches]
    assert max(sizes) < 32 * 1024 * 1024
    assert sum(map(len, batches)) == 20
