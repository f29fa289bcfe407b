"""How the collection of chunks looks in Qdrant, and how it is asked. No I/O.

A chunk is a point with two named vectors, the embedding and the words, and a payload in which filters find its fields.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import orjson
from qdrant_client import models

from backends.batching import batched
from backends.filters import COLUMNS, FIELDS, METADATA_PREFIX, Scalar, kind_of
from backends.qdrant_filters import ORDER, PLACES, TENANT, order_keys, point_id, within
from backends.qdrant_settings import QdrantSettings
from backends.stemming import query_stems, stems
from backends.vector_store import Hit, Search, StoredChunk, fields_of

VECTOR = "vector"
# The name of the words ends with the language of their stems.
_WORDS = "words_"
_METADATA = METADATA_PREFIX.rstrip(".")
# Of the numbers that texts are compared by, those of the first 24 bytes are indexed: what comes after is looked up in
# the few chunks that are left.
_INDEXED_PIECES = 4
MAX_BATCH_POINTS = 500
# Qdrant takes 32 MiB per request.
_MAX_BATCH_BYTES = 8 * 1024 * 1024
_JSON_BYTES_PER_NUMBER = 24
Place: TypeAlias = tuple[int, str]


def vectors_config(dimensions: int, settings: QdrantSettings) -> dict[str, models.VectorParams]:
    """The embeddings of a new collection. Of unit vectors the dot product is the cosine; Qdrant would scale those of a
    collection that compares by cosine, and give back others than it got.
    """
    hnsw = models.HnswConfigDiff(m=settings.hnsw_m, ef_construct=settings.hnsw_ef_construct)
    return {VECTOR: models.VectorParams(size=dimensions, distance=models.Distance.DOT, hnsw_config=hnsw)}


def words_config(settings: QdrantSettings) -> dict[str, models.SparseVectorParams]:
    """The words of a new collection; Qdrant weighs them by their rarity."""
    return {_WORDS + settings.language: models.SparseVectorParams(modifier=models.Modifier.IDF)}


def payload_indexes() -> dict[str, models.PayloadSchemaType | models.KeywordIndexParams]:
    """Keys of the payload that are indexed, and as what."""
    texts = [field for field, holds in FIELDS.items() if holds is str]
    numbers = [field for field, holds in FIELDS.items() if holds is int]
    pieces = [f"{ORDER}.{field}.p{place}" for field in texts for place in range(_INDEXED_PIECES)]
    return {
        TENANT: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
        **{f"{PLACES['text']}.{field}": models.PayloadSchemaType.KEYWORD for field in texts},
        **{f"{PLACES['number']}.{field}": models.PayloadSchemaType.INTEGER for field in numbers},
        **dict.fromkeys(pieces, models.PayloadSchemaType.INTEGER),
    }


def dimensions_of(info: models.CollectionInfo) -> int:
    """Vector length of a described collection; 0 if it has no such vectors."""
    vectors = info.config.params.vectors
    params = vectors.get(VECTOR) if isinstance(vectors, Mapping) else None
    return params.size if params and params.distance == models.Distance.DOT else 0


def language_of(info: models.CollectionInfo) -> str | None:
    """Language of a described collection's stems; None if it has none."""
    names = info.config.params.sparse_vectors or {}
    return next((name.removeprefix(_WORDS) for name in names if name.startswith(_WORDS)), None)


def point(chunk: StoredChunk, settings: QdrantSettings) -> models.PointStruct:
    """A chunk as Qdrant takes it."""
    vectors: dict[str, Any] = {VECTOR: chunk.vector.tolist()}
    words = _weighed(stems(f"{chunk.title} {chunk.text}", settings.language), settings)
    if words is not None:
        vectors[_WORDS + settings.language] = words
    return models.PointStruct(id=point_id(chunk.tenant, chunk.chunk_id), vector=vectors, payload=payload(chunk))


def payload(chunk: StoredChunk) -> dict[str, Any]:
    """What is kept of a chunk besides its vectors."""
    kept: dict[str, Any] = {place: {} for place in (*PLACES.values(), ORDER)}
    fields: dict[str, Scalar] = {field: getattr(chunk, field) for field in COLUMNS}
    for field, value in (fields | chunk.details).items():
        _put(kept[PLACES[kind_of(value)]], field, value)
        if isinstance(value, str):
            _put(kept[ORDER], field, order_keys(value))
    return {TENANT: chunk.tenant, "chunk_id": chunk.chunk_id, "text": chunk.text, **kept}


def chunk_of(found: models.Record | models.ScoredPoint) -> StoredChunk:
    """A point as Qdrant gives it."""
    kept = found.payload or {}
    fields = _fields(kept)
    columns: dict[str, Any] = {field: fields.pop(field) for field in COLUMNS}
    return StoredChunk(
        chunk_id=kept["chunk_id"],
        tenant=kept[TENANT],
        text=kept["text"],
        vector=vector_of(found),
        **columns,
        **fields_of(fields),
    )


def vector_of(found: models.Record | models.ScoredPoint) -> Any:
    """The embedding of a point, shape (d,)."""
    vectors: Any = found.vector
    return np.asarray(vectors[VECTOR], dtype=np.float32)


def place_in(kept: Mapping[str, Any]) -> Place:
    """Ordinal and details in a payload, for comparison with another's."""
    fields = _fields(kept)
    details = {field: value for field, value in fields.items() if field not in COLUMNS}
    # Written out, for Python takes True and 1 for equal.
    return int(fields["ordinal"]), repr(sorted(details.items()))


def place_of(chunk: StoredChunk) -> Place:
    """The same of a chunk."""
    return chunk.ordinal, repr(sorted(chunk.details.items()))


def request(search: Search, settings: QdrantSettings) -> models.QueryRequest | None:
    """A search as Qdrant takes it; None for a text without words."""
    query: Any
    params: models.SearchParams | None = None
    if isinstance(search.query, str):
        counts = Counter(query_stems(search.query, settings.language))
        query, using = _sparse({stem: float(count) for stem, count in counts.items()}), _WORDS + settings.language
    else:
        query, using = search.query.tolist(), VECTOR
        # The embedded Qdrant compares with every vector, and warns of being told how.
        if not settings.path:
            params = models.SearchParams(hnsw_ef=max(settings.hnsw_ef, 2 * search.limit))
    if query is None:
        return None
    return models.QueryRequest(
        query=query,
        using=using,
        filter=within(search.tenant, search.filter),
        params=params,
        limit=search.limit,
        with_payload=models.PayloadSelectorExclude(exclude=[ORDER]),
        with_vector=[VECTOR],
    )


def hits(search: Search, points: Iterable[models.ScoredPoint]) -> list[Hit]:
    """Read what a search found, best first."""
    found = (Hit(chunk_of(each), _score(search, each.score)) for each in points)
    return sorted(found, key=lambda hit: (-hit.score, hit.chunk.chunk_id))


def batches(chunks: Iterable[StoredChunk]) -> Iterator[list[StoredChunk]]:
    """Cut chunks into batches that fit one call."""
    return batched(chunks, _size_of, MAX_BATCH_POINTS, _MAX_BATCH_BYTES)


def _size_of(chunk: StoredChunk) -> int:
    """Roughly the bytes of a chunk as JSON; each of its words may be one of a kind, and is two numbers then."""
    texts = sum(len(text.encode()) for text in (chunk.title, chunk.source, chunk.text)) + len(
        orjson.dumps(chunk.details)
    )
    words = len(chunk.text) // 2
    return 8 * texts + _JSON_BYTES_PER_NUMBER * (chunk.vector.size + 2 * words)


def _score(search: Search, score: float) -> float:
    # Rounding takes a cosine a little beyond 1.
    return score if isinstance(search.query, str) else min(1.0, max(-1.0, score))


def _weighed(words: Sequence[str], settings: QdrantSettings) -> models.SparseVector | None:
    """What BM25 says of each word's number in a chunk (Robertson and Zaragoza 2009); its rarity is Qdrant's part."""
    k1, b = settings.bm25_k1, settings.bm25_b
    norm = k1 * (1 - b + b * len(words) / settings.bm25_average_words)
    return _sparse({word: count * (k1 + 1) / (count + norm) for word, count in Counter(words).items()})


def _sparse(weights: Mapping[str, float]) -> models.SparseVector | None:
    """The words as a sparse vector, each by the first 32 bits of its hash; None without any."""
    if not weights:
        return None
    found: dict[int, float] = {}
    for word, weight in weights.items():
        index = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest())
        found[index] = found.get(index, 0.0) + weight
    return models.SparseVector(indices=list(found), values=list(found.values()))


def _put(kept: dict[str, Any], field: str, value: object) -> None:
    name = field.removeprefix(METADATA_PREFIX)
    if name == field:
        kept[field] = value
    else:
        kept.setdefault(_METADATA, {})[name] = value


def _fields(kept: Mapping[str, Any]) -> dict[str, Scalar]:
    """The fields in a payload, by the names that filters have for them."""
    found: dict[str, Scalar] = {}
    for place in PLACES.values():
        own = dict(kept.get(place) or {})
        metadata = own.pop(_METADATA, {})
        found |= own | {METADATA_PREFIX + name: value for name, value in metadata.items()}
    return found
