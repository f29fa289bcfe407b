"""Names that stand for collections, so that another collection can take a name over in one step."""

from typing import Protocol


class Aliases(Protocol):
    """The aliases of a vector store.

    All methods raise ``BackendUnavailableError`` while the store does not answer and ``BackendRejectedError`` when it
    refuses the request.
    """

    async def target(self, alias: str) -> str | None:
        """The collection that the alias stands for; None if there is no such alias."""
        ...

    async def point(self, alias: str, collection: str) -> None:
        """Let the alias stand for the collection, at once for everybody, whatever it stood for before.

        Raises:
            BackendRejectedError: there is no such collection, or one has the alias for its own name.
        """
        ...

    async def drop(self, collection: str) -> bool:
        """Remove a collection and all that is in it; False if it was not there.

        Raises:
            BackendRejectedError: an alias stands for it.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
