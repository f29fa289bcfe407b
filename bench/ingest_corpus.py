"""Synthetic documents of chunks with vectors: as many as are wanted, the same in every run."""

from collections.abc import Iterator

import numpy as np

from schemas.events import ChunksEmbedded
from schemas.values import Chunk, Embedding, FloatArray

DIMENSIONS = 384
CHUNKS_PER_DOCUMENT = 20
TENANT = "default"
_SEED = 7
# Vectors of texts fill no more of their space than some tens of dimensions: these lie around points in as many, with a
# little noise in all. Of vectors without any order, a graph or a list of neighbours could find few.
_LATENT = 32
_TOPICS = 1_000
_SPREAD = 0.5
_NOISE = 0.02
_WORDS = 60
_VOCABULARY = 20_000


class Corpus:
    """Makes documents by their number."""

    def __init__(self) -> None:
        random = np.random.default_rng(_SEED)
        self._axes = random.standard_normal((_LATENT, DIMENSIONS), dtype=np.float32) / np.sqrt(DIMENSIONS)
        self._topics = random.standard_normal((_TOPICS, _LATENT), dtype=np.float32)

    def documents(self, first: int, count: int) -> Iterator[ChunksEmbedded]:
        """``count`` documents, each of ``CHUNKS_PER_DOCUMENT`` chunks, beginning with number ``first``."""
        for number in range(first, first + count):
            yield self._document(number)

    def queries(self, count: int) -> FloatArray:
        """Vectors to search for, (count, d), as those of the chunks but none of them."""
        return self._vectors(np.random.default_rng([_SEED, 0]), count)

    def _document(self, number: int) -> ChunksEmbedded:
        random = np.random.default_rng([_SEED, 1, number])
        vectors = self._vectors(random, CHUNKS_PER_DOCUMENT)
        # Words of a text: few are frequent, most are rare.
        words = np.minimum(random.zipf(1.3, (CHUNKS_PER_DOCUMENT, _WORDS)), _VOCABULARY)
        texts = [" ".join(f"w{word}" for word in row) for row in words]
        document_id = f"document-{number}"
        return ChunksEmbedded(
            document_id=document_id,
            revision="1",
            tenant=TENANT,
            title=f"Document {number}",
            source=f"{document_id}.txt",
            chunks=tuple(
                Chunk(chunk_id=f"{document_id}-{at}", ordinal=at, text=text, start=0, end=len(text))
                for at, text in enumerate(texts)
            ),
            embeddings=tuple(Embedding.pack("synthetic", vector) for vector in vectors),
        )

    def _vectors(self, random: np.random.Generator, count: int) -> FloatArray:
        """(count, d), rows of unit length."""
        topics = self._topics[random.integers(0, _TOPICS, count)]
        latent = topics + _SPREAD * random.standard_normal((count, _LATENT), dtype=np.float32)
        vectors = latent @ self._axes + _NOISE * random.standard_normal((count, DIMENSIONS), dtype=np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
