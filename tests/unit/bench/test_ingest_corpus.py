"""The synthetic chunks."""

import numpy as np
import pytest

from bench.ingest_corpus import CHUNKS_PER_DOCUMENT, DIMENSIONS, Corpus
from workers.indexing import stored_chunks


def test_documents_are_the_same_in_every_run_and_differ_from_each_other() -> None:
    some = list(Corpus().documents(3, 2))
    assert some == list(Corpus().documents(0, 5))[3:]
    assert some[0].embeddings != some[1].embeddings
    assert len({chunk.chunk_id for event in some for chunk in event.chunks}) == 2 * CHUNKS_PER_DOCUMENT


def test_chunks_can_be_stored_and_their_vectors_have_unit_length() -> None:
    [event] = Corpus().documents(0, 1)
    chunks = stored_chunks(event)
    assert len(chunks) == CHUNKS_PER_DOCUMENT
    assert {chunk.vector.shape for chunk in chunks} == {(DIMENSIONS,)}
    assert np.linalg.norm([chunk.vector for chunk in chunks], axis=1) == pytest.approx(np.ones(20), abs=1e-5)


def test_queries_lie_where_chunks_are() -> None:
    corpus = Corpus()
    vectors = np.stack([chunk.vector for event in corpus.documents(0, 100) for chunk in stored_chunks(event)])
    nearest = (corpus.queries(20) @ vectors.T).max(axis=1)
    assert nearest.min() > 0.5
