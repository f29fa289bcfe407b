"""The chunk embedding stage."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.memory_embedder import HashedEmbedder
from backends.memory_vector_store import MemoryVectorStore
from schemas.events import ChunksEmbedded, DocumentChunked
from schemas.headers import Headers, Origin, derive_id
from schemas.values import Chunk, FloatArray
from workers.chunk_embedding import MAX_TITLE_CHARS, ChunkEmbeddingStage
from workers.indexing import stored_chunks
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, UnavailableError
from workers.settings import ChunkEmbeddingSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Recorder(HashedEmbedder):
    """Keeps the texts of each call; ``calls_left`` is how many it answers before it goes away."""

    def __init__(self, calls_left: int = 1_000) -> None:
        super().__init__(16)
        self.calls: list[list[str]] = []
        self.calls_left = calls_left

    async def embed(self, texts: Sequence[str], prompt: str = "") -> FloatArray:
        if len(self.calls) == self.calls_left:
            msg = "the embedder is away"
            raise BackendUnavailableError(msg)
        self.calls.append([prompt + text for text in texts])
        return await super().embed(texts, prompt)


@pytest.fixture
def store() -> MemoryVectorStore:
    return MemoryVectorStore()


def deliver(*texts: str, title: str = "", document_id: str = "d") -> Delivery[DocumentChunked]:
    event = DocumentChunked(
        document_id=document_id,
        revision="r",
        tenant="t",
        title=title,
        source="s",
        chunks=tuple(
            Chunk(chunk_id=derive_id(document_id, title, text), ordinal=at, text=text, start=0, end=0)
            for at, text in enumerate(texts)
        ),
    )
    return Delivery(document_id, event, Headers(), Origin("rag.chunks", 0, 0), NOW)


def make_stage(
    embedder: HashedEmbedder, slice_chunks: int = 64, store: MemoryVectorStore | None = None
) -> ChunkEmbeddingStage:
    return ChunkEmbeddingStage(
        ChunkEmbeddingSettings(slice_chunks=slice_chunks), embedder, store or MemoryVectorStore()
    )


def embedded(outcome: Outcome) -> ChunksEmbedded:
    assert isinstance(outcome, Produce), outcome
    [event] = outcome.events
    assert isinstance(event, ChunksEmbedded)
    return event


async def test_each_chunk_gets_the_vector_of_title_and_text() -> None:
    delivery = deliver("one", "two", title="Title")
    [outcome] = await make_stage(HashedEmbedder(16)).handle([delivery])
    event = embedded(outcome)
    vectors = await HashedEmbedder(16).embed(["Title\n\none", "Title\n\ntwo"])
    assert event.chunks == delivery.event.chunks
    assert np.array_equal([embedding.unpack() for embedding in event.embeddings], vectors)
    assert (event.document_id, event.revision, event.tenant) == ("d", "r", "t")
    assert (event.title, event.source) == ("Title", "s")


async def test_a_title_stays_short_and_may_be_missing() -> None:
    embedder = Recorder()
    await make_stage(embedder).handle([deliver("one"), deliver("two", title="t" * 1_000), deliver("three", title=" ")])
    assert embedder.calls == [["one", "t" * MAX_TITLE_CHARS + "\n\ntwo", "three"]]


async def test_a_chunk_with_a_context_is_embedded_with_it() -> None:
    embedder = Recorder()
    delivery = deliver("one", "two", "three", title="Title")
    chunks = [
        chunk.model_copy(update={"context": context})
        for chunk, context in zip(delivery.event.chunks, ["Title > Part", "", None], strict=True)
    ]
    [outcome] = await make_stage(embedder).handle(
        [delivery._replace(event=delivery.event.model_copy(update={"chunks": tuple(chunks)}))]
    )
    assert embedder.calls == [["Title > Part\n\none", "two", "Title\n\nthree"]]
    assert [chunk.text for chunk in embedded(outcome).chunks] == ["one", "two", "three"]


async def test_the_prompt_comes_first_and_is_told(store: MemoryVectorStore) -> None:
    embedder = Recorder()
    stage = ChunkEmbeddingStage(ChunkEmbeddingSettings(), embedder, store, "passage: ")
    [first] = await stage.handle([deliver("one", title="Title")])
    assert embedder.calls == [["passage: Title\n\none"]]
    assert [embedding.prompt for embedding in embedded(first).embeddings] == ["passage: "]
    await index(store, first)
    assert await stage.handle([deliver("one", title="Title")]) == [first]


async def test_many_chunks_are_embedded_in_slices_across_documents() -> None:
    embedder = Recorder()
    outcomes = await make_stage(embedder, slice_chunks=2).handle(
        [deliver("a", "b", "c", document_id="d"), deliver(document_id="gone"), deliver("e", document_id="f")]
    )
    assert embedder.calls == [["a", "b"], ["c", "e"]]
    assert [[chunk.text for chunk in embedded(outcome).chunks] for outcome in outcomes] == [["a", "b", "c"], [], ["e"]]
    assert [len(embedded(outcome).embeddings) for outcome in outcomes] == [3, 0, 1]


async def test_a_bad_chunk_fails_its_document_alone() -> None:
    outcomes = await make_stage(HashedEmbedder(16)).handle([deliver("a"), deliver("b", "\ud800", "c"), deliver("d")])
    assert [type(outcome) for outcome in outcomes] == [Produce, PoisonError, Produce]


async def test_documents_done_before_the_embedder_went_away_are_done() -> None:
    outcomes = await make_stage(Recorder(calls_left=1), slice_chunks=2).handle([deliver("a"), deliver("b", "c")])
    assert [type(outcome) for outcome in outcomes] == [Produce, UnavailableError]


async def index(store: MemoryVectorStore, outcome: Outcome) -> None:
    await store.replace("t", "d", stored_chunks(embedded(outcome)))


async def test_what_is_stored_is_not_embedded_again(store: MemoryVectorStore) -> None:
    embedder = Recorder()
    stage = make_stage(embedder, store=store)
    [first] = await stage.handle([deliver("one", "two")])
    await index(store, first)
    [again] = await stage.handle([deliver("one", "two")])
    assert again == first
    assert embedder.calls == [["one", "two"]]
    [more] = await stage.handle([deliver("one", "two", "three")])
    assert embedder.calls == [["one", "two"], ["three"]]
    assert embedded(more).embeddings[:2] == embedded(first).embeddings


async def test_the_same_chunk_twice_in_a_batch_is_embedded_once() -> None:
    embedder = Recorder()
    outcomes = await make_stage(embedder).handle([deliver("one"), deliver("one", "two")])
    assert embedder.calls == [["one", "two"]]
    assert [len(embedded(outcome).embeddings) for outcome in outcomes] == [1, 2]


async def test_without_the_store_all_is_embedded(store: MemoryVectorStore) -> None:
    embedder = Recorder()
    stage = make_stage(embedder, store=store)
    [first] = await stage.handle([deliver("one")])
    await index(store, first)
    store.away = True
    assert await stage.handle([deliver("one")]) == [first]
    assert embedder.calls == [["one"], ["one"]]


async def test_vectors_of_another_length_are_not_taken(store: MemoryVectorStore) -> None:
    short = embedded((await make_stage(HashedEmbedder(8)).handle([deliver("one")]))[0])
    await store.replace("t", "d", stored_chunks(short))
    [outcome] = await make_stage(HashedEmbedder(16), store=store).handle([deliver("one")])
    assert embedded(outcome).embeddings[0].dimensions == 16


async def test_a_collection_of_another_embedding_model_is_refused_at_the_start(store: MemoryVectorStore) -> None:
    await store.prepare(3)
    stage = make_stage(HashedEmbedder(16), store=store)
    with pytest.raises(BackendRejectedError, match="vectors of length 3, not 16"):
        await stage.start()
    store.away = True
    await stage.start()
    await stage.stop()
