"""Where questions are searched: the collection whose vectors are of the question's embedding model."""

from dataclasses import dataclass
from typing import Protocol

from backends.vector_store import VectorStore


@dataclass(frozen=True, slots=True)
class Place:
    """A collection to search: its name, as the events give it, the length of its vectors, and which version of the
    index it is, where there are versions.
    """

    store: VectorStore
    name: str
    dimensions: int
    version: int | None = None


class Places(Protocol):
    """The collections that can be searched; they may change at any time."""

    def of(self, model: str) -> Place:
        """The place for questions that were embedded with this model.

        Raises:
            BackendUnavailableError: there is none, perhaps not yet.
        """
        ...

    async def verify(self) -> None:
        """See that what is there was made for the settings.

        Raises:
            BackendUnavailableError: the store does not answer.
            BackendRejectedError: a collection is of another embedding model or language.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class OnePlace:
    """One collection for all questions, whatever their embedding model is called."""

    def __init__(self, store: VectorStore, name: str, dimensions: int) -> None:
        self._place = Place(store, name, dimensions)

    def of(self, model: str) -> Place:  # noqa: ARG002 - as the Protocol has it
        return self._place

    async def verify(self) -> None:
        await self._place.store.verify(self._place.dimensions)

    async def close(self) -> None:
        await self._place.store.close()
