"""The in-memory twin of a vector store's aliases."""

from backends.errors import BackendRejectedError


class MemoryAliases:
    """Aliases of the ``collections``, a set of names that others may add to."""

    def __init__(self, collections: set[str]) -> None:
        self.collections = collections
        self._targets: dict[str, str] = {}

    async def target(self, alias: str) -> str | None:
        return self._targets.get(alias)

    async def point(self, alias: str, collection: str) -> None:
        if collection not in self.collections or alias in self.collections:
            raise BackendRejectedError(f"alias {alias!r} cannot stand for collection {collection!r}")
        self._targets[alias] = collection

    async def drop(self, collection: str) -> bool:
        if collection in self._targets.values():
            raise BackendRejectedError(f"an alias stands for collection {collection!r}")
        there = collection in self.collections
        self.collections.discard(collection)
        return there

    async def close(self) -> None:
        """There is nothing to let go of."""
