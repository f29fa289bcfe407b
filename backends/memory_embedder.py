"""The in-memory twin of an embedder: texts that share words are near each other."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from backends.errors import BackendRejectedError
from schemas.values import FloatArray

_WORD = re.compile(r"\w+")
# Words with the same beginning count as related, which stands in for stemming.
_STEM_CHARS = 5


class HashedEmbedder:
    """Bags of words, each word hashed to a signed place in the vector. The same text gives the same vector on every
    machine.
    """

    def __init__(self, dimensions: int = 384, model: str = "hashed-bag-of-words") -> None:
        self._dimensions = dimensions
        self._model = model

    @property
    def model(self) -> str:
        return self._model

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def start(self) -> None:
        """There is nothing to load."""

    async def embed(self, texts: Sequence[str], prompt: str = "") -> FloatArray:
        vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            self._fill(row, prompt + text)
        return vectors

    async def close(self) -> None:
        """There is nothing to free."""

    def _fill(self, row: FloatArray, text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            msg = f"the text is not valid Unicode at character {error.start}"
            raise BackendRejectedError(msg) from error
        for word in _WORD.findall(text.casefold()):
            for feature in {word, word[:_STEM_CHARS]}:
                number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big")
                row[number % self._dimensions] += 1 if number >> 63 else -1
        length = float(np.linalg.norm(row))
        if length:
            row /= length
        else:
            row[0] = 1
