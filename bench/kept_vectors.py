"""An embedder that keeps what it has embedded in a file, so that a second run need not."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backends.embedder import Embedder
from schemas.values import FloatArray

_SAVE_EVERY = 512


class KeptVectors:
    """Asks ``embedder`` for what ``path``, an .npz file, does not hold yet. The file belongs to one model."""

    def __init__(self, embedder: Embedder, path: Path) -> None:
        self._embedder = embedder
        self._path = path
        self._vectors: dict[str, FloatArray] = {}
        self._unsaved = 0
        if path.exists():
            with np.load(path) as kept:
                self._vectors = dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))

    @property
    def model(self) -> str:
        return self._embedder.model

    @property
    def dimensions(self) -> int:
        return self._embedder.dimensions

    async def start(self) -> None:
        await self._embedder.start()

    async def embed(self, texts: Sequence[str], prompt: str = "") -> FloatArray:
        keys = [hashlib.blake2b((prompt + text).encode(), digest_size=16).hexdigest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        vectors = await self._embedder.embed(list(new.values()), prompt)
        self._vectors |= dict(zip(new, vectors, strict=True))
        self._unsaved += len(new)
        if self._unsaved >= _SAVE_EVERY:
            self.save()
        return np.stack([self._vectors[key] for key in keys]) if keys else vectors

    async def close(self) -> None:
        self.save()
        await self._embedder.close()

    def save(self) -> None:
        """Write the file."""
        if self._unsaved:
            partial = self._path.with_suffix(".partial.npz")
            np.savez(partial, keys=np.array(list(self._vectors)), vectors=np.stack(list(self._vectors.values())))
            partial.replace(self._path)
            self._unsaved = 0
