"""The chunks around those that were found: pure functions."""

from collections.abc import Iterable, Sequence

from backends.filters import AllOf, AnyOf, Comparison, Filter
from backends.vector_store import StoredChunk


def around(chunks: Iterable[StoredChunk], reach: int) -> Filter:
    """Holds for chunks of the same documents, ``reach`` before to ``reach`` after."""
    return AnyOf(
        tuple(
            AllOf(
                (
                    Comparison("document_id", "==", chunk.document_id),
                    Comparison("ordinal", ">=", chunk.ordinal - reach),
                    Comparison("ordinal", "<=", chunk.ordinal + reach),
                )
            )
            for chunk in chunks
        )
    )


def widened(found: Sequence[StoredChunk], near: Iterable[StoredChunk], reach: int) -> list[StoredChunk]:
    """Each found chunk in its turn, amid those of ``near`` that are within reach, in reading order; each chunk once."""
    by_document: dict[str, dict[str, StoredChunk]] = {}
    for chunk in (*near, *found):
        by_document.setdefault(chunk.document_id, {})[chunk.chunk_id] = chunk
    chosen: dict[str, StoredChunk] = {}
    for chunk in found:
        document = by_document[chunk.document_id].values()
        within = (other for other in document if abs(other.ordinal - chunk.ordinal) <= reach)
        for other in sorted(within, key=lambda other: (other.ordinal, other.chunk_id)):
            chosen.setdefault(other.chunk_id, other)
    return list(chosen.values())
