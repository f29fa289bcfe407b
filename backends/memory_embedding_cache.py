"""The in-memory twin of the cache of embeddings, which forgets nothing."""

from collections.abc import Mapping, Sequence


class MemoryEmbeddingCache:
    """A dictionary."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._values.get(key) for key in keys]

    async def put(self, values: Mapping[str, bytes]) -> None:
        self._values |= values

    async def close(self) -> None:
        """There is nothing to free."""
