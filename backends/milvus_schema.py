"""How the collection of chunks looks in Milvus, and how it is asked. No I/O.

What every chunk has is in columns, what only some have in the dynamic field (``milvus_details``).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson
from pymilvus import CollectionSchema, DataType, FieldSchema, Function, FunctionType

from backends import vector_store
from backends.batching import batched
from backends.milvus_details import DYNAMIC, decoded, encoded
from backends.milvus_settings import Metric, MilvusSettings
from backends.stemming import stemmed
from backends.vector_store import Hit, StoredChunk, fields_of

_COLUMNS = ("chunk_id", "document_id", "tenant", "title", "source", "ordinal", "text", "vector")
CHUNK_FIELDS = (*_COLUMNS, DYNAMIC)
VECTOR = "vector"
# The field's name ends with the language of the stems: Milvus Lite forgets how fields are described.
_STEMS = "stems_"
# What Milvus makes of them.
BM25 = "bm25"
_MAX_STEMS_BYTES = 65_535
# Words are cut and stemmed before; what is left to do is to part them.
_ANALYZER = {"type": "standard"}
# As Milvus numbers them (common.proto).
CONSISTENCY_LEVELS = {0: "Strong", 1: "Session", 2: "Bounded", 3: "Eventually"}
MAX_BATCH_ROWS = 1_000
# Milvus takes 64 MiB per gRPC message; one row has at most some 150 KiB.
MAX_BATCH_BYTES = 8 * 1024 * 1024


def schema(dimensions: int, language: str | None) -> CollectionSchema:
    """The collection's fields, for vectors of this length and words of this language; None keeps no words."""
    made = CollectionSchema(
        [
            _text("chunk_id", vector_store.MAX_CHUNK_ID_BYTES, is_primary=True),
            _text("document_id", vector_store.MAX_DOCUMENT_ID_BYTES),
            _text("tenant", vector_store.MAX_TENANT_BYTES, is_partition_key=True),
            _text("title", vector_store.MAX_TITLE_BYTES),
            _text("source", vector_store.MAX_SOURCE_BYTES),
            FieldSchema("ordinal", DataType.INT64),
            _text("text", vector_store.MAX_TEXT_BYTES),
            FieldSchema(VECTOR, DataType.FLOAT_VECTOR, dim=dimensions),
        ],
        auto_id=False,
        enable_dynamic_field=True,
    )
    if language is not None:
        stems = _STEMS + language
        options = {"enable_analyzer": True, "analyzer_params": _ANALYZER}
        made.add_field(stems, DataType.VARCHAR, max_length=_MAX_STEMS_BYTES, **options)
        made.add_field(BM25, DataType.SPARSE_FLOAT_VECTOR)
        made.add_function(Function(BM25, FunctionType.BM25, [stems], [BM25]))
    return made


def dimensions_of(description: dict[str, Any]) -> int:
    """Vector length of a described collection; 0 if it has no such vectors."""
    fields = (field for field in description["fields"] if field["name"] == VECTOR)
    return next((int(field["params"]["dim"]) for field in fields), 0)


def language_of(description: dict[str, Any]) -> str | None:
    """Language of a described collection's stems; None if it has none."""
    names = (str(field["name"]) for field in description["fields"])
    return next((name.removeprefix(_STEMS) for name in names if name.startswith(_STEMS)), None)


def has_details(description: dict[str, Any]) -> bool:
    """Whether a described collection takes pages, headings and metadata."""
    return bool(description.get("enable_dynamic_field"))


def vector_search(settings: MilvusSettings, limit: int) -> dict[str, Any]:
    """How vectors are searched for ``limit`` chunks."""
    return {"metric_type": settings.metric, "params": settings.searched_with(limit)}


def row(chunk: StoredChunk, language: str | None) -> dict[str, Any]:
    """A chunk as Milvus takes it, with the stems of its words in this language."""
    fields = encoded(chunk.details) | {field: getattr(chunk, field) for field in _COLUMNS}
    if language is None:
        return fields
    return fields | {_STEMS + language: stemmed(f"{chunk.title} {chunk.text}", language, _MAX_STEMS_BYTES)}


def chunk_of(entity: dict[str, Any]) -> StoredChunk:
    """A row as Milvus gives it."""
    fields = {field: entity[field] for field in _COLUMNS}
    vector = np.asarray(entity[VECTOR], dtype=np.float32)
    return StoredChunk(**fields | {VECTOR: vector}, **fields_of(decoded(entity)))


def similar(hits: Iterable[dict[str, Any]], metric: Metric) -> list[Hit]:
    """Read the hits of one search of vectors, best first; the scores are cosine similarities."""
    # Of unit vectors: |a - b|² = 2 - 2ab, and Milvus gives the square. Rounding takes a cosine a little beyond 1.
    scored = ((_cosine(float(hit["distance"]), metric), hit["entity"]) for hit in hits)
    return _sorted(Hit(chunk_of(entity), min(1.0, max(-1.0, score))) for score, entity in scored)


def worded(hits: Iterable[dict[str, Any]]) -> list[Hit]:
    """Read the hits of one search of words, best first."""
    # Milvus gives the score, Milvus Lite its negative.
    return _sorted(Hit(chunk_of(hit["entity"]), abs(float(hit["distance"]))) for hit in hits if hit["distance"])


def batches(chunks: Sequence[StoredChunk]) -> Iterator[list[StoredChunk]]:
    """Cut chunks into batches that fit one call."""
    return batched(chunks, _size_of, MAX_BATCH_ROWS, MAX_BATCH_BYTES)


def _size_of(chunk: StoredChunk) -> int:
    # The text twice, for its stems.
    texts = (chunk.title, chunk.source, chunk.text, chunk.text)
    return chunk.vector.nbytes + sum(len(text.encode()) for text in texts) + len(orjson.dumps(chunk.details))


def _cosine(distance: float, metric: Metric) -> float:
    return 1 - distance / 2 if metric == "L2" else distance


def _sorted(hits: Iterable[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.chunk.chunk_id))


def _text(name: str, max_bytes: int, **options: Any) -> FieldSchema:
    return FieldSchema(name, DataType.VARCHAR, max_length=max_bytes, **options)
