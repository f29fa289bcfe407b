"""Looks whether a version of the index holds what it should, and finds it."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from backends.filters import Comparison
from backends.stemming import stems
from backends.vector_store import Hit, Search, StoredChunk, VectorStore
from ragline.reindex.errors import ReindexError
from ragline.reindex.reader import TallyReader
from ragline.reindex.tally import Ended, Tally
from ragline.reindex.waiting import until

# A chunk counts as found among so many. Indexes that search a part of the vectors miss one now and then.
WITHIN = 10
LEAST_FOUND = 0.95
_SAME_SCORE = 0.9999
_COUNTS_TIMEOUT_S = 30.0
_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class Checked:
    """How many sampled chunks were looked for, and found, by their vectors and by their words."""

    samples: int
    by_vector: int
    with_words: int
    by_words: int


async def verify(store: VectorStore, reader: TallyReader, samples: int, language: str) -> Checked:
    """Compare the collection with what the stages say they have put into it, and search for a sample of it.

    Documents may come and go meanwhile.

    Raises:
        ReindexError: the collection is not as it should be.
        BackendUnavailableError: the store does not answer.
    """
    await _count(store, reader)
    rng = random.Random()  # noqa: S311 - which chunks are looked at is no secret
    chosen = []
    for document, ended in reader.tally.sample(samples, rng):
        chunk = await _chunk_of(store, reader.tally, document, ended, rng)
        if chunk is not None:
            chosen.append(chunk)
    checked = await _search(store, chosen, language)
    for found, of, how in (
        (checked.by_vector, checked.samples, "vectors"),
        (checked.by_words, checked.with_words, "words"),
    ):
        if found < LEAST_FOUND * of:
            raise ReindexError(f"of {of} sampled chunks, {found} are found by their {how} among the best {WITHIN}")
    return checked


async def _count(store: VectorStore, reader: TallyReader) -> None:
    """See that each tenant has as many chunks as its documents were cut into.

    What is on its way is in the store a moment before the stage says so, thus the numbers must only meet once.
    """
    differ = ["nothing was counted"]
    try:
        async with asyncio.timeout(_COUNTS_TIMEOUT_S):
            while differ:
                tenants = [None, *reader.tally.chunks]
                ends = await reader.ends()
                found = {tenant: await store.count(tenant) for tenant in tenants}
                await until(lambda ends=ends: reader.has_read(ends), _INTERVAL_S)  # type: ignore[misc]  # a default
                differ = [
                    f"{'the collection' if tenant is None else f'tenant {tenant!r}'} has {found[tenant]} chunks "
                    f"instead of {wanted}"
                    for tenant in tenants
                    if found[tenant] != (wanted := _wanted(reader.tally, tenant))
                ]
                if differ:
                    await asyncio.sleep(_INTERVAL_S)
    except TimeoutError:
        raise ReindexError(f"the counts differ: {'; '.join(differ)}") from None


def _wanted(tally: Tally, tenant: str | None) -> int:
    return tally.chunks.total() if tenant is None else tally.chunks[tenant]


async def _chunk_of(
    store: VectorStore, tally: Tally, document: str, ended: Ended, rng: random.Random
) -> StoredChunk | None:
    """One chunk of a document that should have so many; None if it changes just now."""
    condition = Comparison("document_id", "==", document)
    rows = await store.select(ended.tenant, condition, ended.chunks + 1)
    if len(rows) == ended.chunks:
        return rng.choice(rows)
    # What is in the store may be a moment ahead of what is told.
    await asyncio.sleep(_INTERVAL_S)
    if not tally.is_still(document, ended):
        return None
    raise ReindexError(f"document {document!r} has {len(rows)} chunks instead of {ended.chunks}")


async def _search(store: VectorStore, chosen: Sequence[StoredChunk], language: str) -> Checked:
    worded = [chunk for chunk in chosen if store.keyword_search and stems(chunk.text, language)]
    by_vector = await _found(store, chosen, [Search(chunk.vector, chunk.tenant, WITHIN) for chunk in chosen])
    by_words = await _found(store, worded, [Search(chunk.text, chunk.tenant, WITHIN) for chunk in worded])
    return Checked(samples=len(by_vector), by_vector=sum(by_vector), with_words=len(by_words), by_words=sum(by_words))


async def _found(store: VectorStore, chunks: Sequence[StoredChunk], searches: Sequence[Search]) -> list[bool]:
    """Whether each chunk is found; one that is no longer there is left out."""
    results = list(map(_is_found, chunks, await store.search(searches)))
    missed = [chunk for chunk, is_found in zip(chunks, results, strict=True) if not is_found]
    gone = {chunk.chunk_id for chunk in missed if not await store.vectors(chunk.tenant, [chunk.chunk_id])}
    return [is_found for chunk, is_found in zip(chunks, results, strict=True) if chunk.chunk_id not in gone]


def _is_found(chunk: StoredChunk, hits: Sequence[Hit]) -> bool:
    """Whether the chunk is among the hits, or others are that nobody could tell from it."""
    return any(
        hit.chunk.chunk_id == chunk.chunk_id
        or hit.chunk.text == chunk.text
        or float(hit.chunk.vector @ chunk.vector) > _SAME_SCORE
        for hit in hits
    )
