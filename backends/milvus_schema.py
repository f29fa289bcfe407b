"""How the collection of chunks looks in Milvus, and how it is asked. No I/O."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pymilvus import CollectionSchema, DataType, FieldSchema

from backends import vector_store
from backends.vector_store import StoredChunk
from schemas.values import Passage

PASSAGE_FIELDS = ("chunk_id", "document_id", "title", "source", "ordinal", "text")
# Milvus' own default; a tenant's searches then touch only its share of the partitions.
TENANT_PARTITIONS = 16
MAX_BATCH_ROWS = 1_000
# Milvus takes 64 MiB per gRPC message; one row has at most some 90 KiB.
MAX_BATCH_BYTES = 8 * 1024 * 1024
_BUILD_PARAMS: dict[str, dict[str, int]] = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": {"nlist": 128},
}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def schema(dimensions: int) -> CollectionSchema:
    """The collection's fields, for vectors of this length."""
    return CollectionSchema(
        [
            _text("chunk_id", vector_store.MAX_CHUNK_ID_BYTES, is_primary=True),
            _text("document_id", vector_store.MAX_DOCUMENT_ID_BYTES),
            _text("tenant", vector_store.MAX_TENANT_BYTES, is_partition_key=True),
            _text("title", vector_store.MAX_TITLE_BYTES),
            _text("source", vector_store.MAX_SOURCE_BYTES),
            FieldSchema("ordinal", DataType.INT64),
            _text("text", vector_store.MAX_TEXT_BYTES),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=dimensions),
        ],
        auto_id=False,
        enable_dynamic_field=False,
    )


def build_params(index_type: str) -> dict[str, int]:
    """How densely an index of this type is built."""
    return _BUILD_PARAMS.get(index_type, {})


def search_params(index_type: str, top_k: int) -> dict[str, Any]:
    """How thoroughly an index of this type is searched. HNSW needs ``ef`` of at least ``top_k``."""
    thoroughness: dict[str, int] = {}
    if index_type == "HNSW":
        thoroughness = {"ef": max(64, 2 * top_k)}
    elif index_type == "IVF_FLAT":
        thoroughness = {"nprobe": 16}
    return {"metric_type": "COSINE", "params": thoroughness}


def dimensions_of(description: dict[str, Any]) -> int:
    """Vector length of a described collection."""
    for field in description["fields"]:
        if field["name"] == "vector":
            return int(field["params"]["dim"])
    return 0


def literal(text: str) -> str:
    """Text as a string literal of a filter, whatever is in it.

    Milvus Lite has no filter templates, and knows of the escapes in Milvus' ``Plan.g4`` only these.
    """
    return f'"{text.translate(_ESCAPES)}"'


def tenant_filter(tenant: str) -> str:
    """Matches the tenant's chunks."""
    return f"tenant == {literal(tenant)}"


def document_filter(tenant: str, document_id: str) -> str:
    """Matches the chunks of the tenant's document."""
    return f"{tenant_filter(tenant)} and document_id == {literal(document_id)}"


def ids_filter(chunk_ids: Iterable[str]) -> str:
    """Matches the chunks with these IDs."""
    return f"chunk_id in [{', '.join(literal(chunk_id) for chunk_id in chunk_ids)}]"


def row(chunk: StoredChunk) -> dict[str, Any]:
    """A chunk as Milvus takes it."""
    return {
        "chunk_id": chunk.chunk_id,
        "document_id": chunk.document_id,
        "tenant": chunk.tenant,
        "title": chunk.title,
        "source": chunk.source,
        "ordinal": chunk.ordinal,
        "text": chunk.text,
        "vector": chunk.vector,
    }


def passages(hits: Iterable[dict[str, Any]], min_score: float) -> list[Passage]:
    """Read the hits of one search, best first, without those below ``min_score``."""
    # Rounding takes a cosine a little beyond 1.
    scored = ((min(1.0, max(-1.0, float(hit["distance"]))), hit["entity"]) for hit in hits)
    found = [
        Passage(score=score, **{field: entity[field] for field in PASSAGE_FIELDS})
        for score, entity in scored
        if score >= min_score
    ]
    return sorted(found, key=lambda passage: (-passage.score, passage.chunk_id))


def batches(chunks: Sequence[StoredChunk]) -> Iterator[list[StoredChunk]]:
    """Cut chunks into batches that fit one call."""
    batch: list[StoredChunk] = []
    size = 0
    for chunk in chunks:
        bytes_ = chunk.vector.nbytes + sum(len(text.encode()) for text in (chunk.title, chunk.source, chunk.text))
        if batch and (len(batch) == MAX_BATCH_ROWS or size + bytes_ > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(chunk)
        size += bytes_
    if batch:
        yield batch


def _text(name: str, max_bytes: int, **options: bool) -> FieldSchema:
    return FieldSchema(name, DataType.VARCHAR, max_length=max_bytes, **options)
