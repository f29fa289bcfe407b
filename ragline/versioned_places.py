"""Where questions are searched while versions of the index come and go."""

from collections.abc import Callable
from datetime import UTC, datetime

from backends.errors import BackendUnavailableError
from backends.index_topic import FollowedIndex
from backends.vector_store import VectorStore
from ragline.settings import Settings
from ragline.versions import state_of, with_version
from schemas.events import IndexVersion
from workers.places import Place


class VersionedPlaces:
    """The live collection, and the one before it for questions that were embedded with its model.

    ``index`` is being followed and has been read; ``make_store`` gives the collection of some settings.
    """

    def __init__(self, settings: Settings, index: FollowedIndex, make_store: Callable[[Settings], VectorStore]) -> None:
        self._settings = settings
        self._index = index
        self._make_store = make_store
        self._places: dict[int, Place] = {}

    def of(self, model: str) -> Place:
        live, *others = self._versions()
        for version in (live, *others):
            if version.embedding_model == model:
                return self._place(version)
        raise BackendUnavailableError(
            f"no collection holds vectors of the embedding model {model!r}: {live.collection!r}, which questions are "
            f"answered from, holds those of {live.embedding_model!r}"
        )

    async def verify(self) -> None:
        place = self._place(self._versions()[0])
        await place.store.verify(place.dimensions)

    async def close(self) -> None:
        # One that is no longer wanted may still be searched, so all stay open until the end.
        for place in self._places.values():
            await place.store.close()

    def _versions(self) -> list[IndexVersion]:
        state = state_of(self._settings, self._index.state, datetime.now(UTC))
        return [version for version in (state.live, state.previous) if version]

    def _place(self, version: IndexVersion) -> Place:
        place = self._places.get(version.version)
        if place is None:
            settings = with_version(self._settings, version)
            store = self._make_store(settings)
            place = Place(store, version.collection, settings.embedder.dimensions, version.version)
            self._places[version.version] = place
        return place
