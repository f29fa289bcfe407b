"""Which collection a question is searched in."""

from datetime import UTC, datetime

import pytest

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.index_topic import FollowedIndex
from backends.kafka import KafkaSettings
from backends.memory_vector_store import MemoryVectorStore
from backends.vector_store import VectorStore
from ragline.reindex.options import Options, with_options
from ragline.reindex.plan import activated, plan_reindex, without
from ragline.settings import Settings
from ragline.versioned_places import VersionedPlaces
from ragline.versions import state_of
from topics.names import Namespace

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = with_options(Settings(), Options(embedder="model=first,dimensions=4"))


@pytest.fixture
async def index() -> FollowedIndex:
    return FollowedIndex(KafkaSettings(), Namespace())


async def test_a_question_finds_the_collection_of_its_model(index: FollowedIndex) -> None:
    made: dict[str, MemoryVectorStore] = {}

    def make_store(settings: Settings) -> VectorStore:
        return made.setdefault(settings.milvus.collection, MemoryVectorStore())

    places = VersionedPlaces(SETTINGS, index, make_store)
    assert (places.of("first").name, places.of("first").dimensions) == ("ragline_v1", 4)
    with pytest.raises(BackendUnavailableError, match="no collection holds vectors of the embedding model 'second'"):
        places.of("second")

    first = state_of(SETTINGS, None, NOW)
    wanted = with_options(SETTINGS, Options(embedder="model=second,dimensions=8"))
    index.state = activated(first, plan_reindex(first, wanted, NOW).target, "me", NOW)
    assert (places.of("first").name, places.of("second").name) == ("ragline_v1", "ragline_v2")
    assert places.of("second").dimensions == 8
    await made["ragline_v2"].prepare(4)
    with pytest.raises(BackendRejectedError, match="holds vectors of length 4, not 8"):
        await places.verify()

    index.state = without(index.state, "ragline_v1", "me", NOW)
    with pytest.raises(BackendUnavailableError):
        places.of("first")
    await places.close()


async def test_of_two_with_the_same_model_the_live_one_is_searched(index: FollowedIndex) -> None:
    places = VersionedPlaces(SETTINGS, index, lambda _: MemoryVectorStore())
    before = places.of("first")
    first = state_of(SETTINGS, None, NOW)
    wanted = with_options(SETTINGS, Options(chunking="max_tokens=300"))
    index.state = activated(first, plan_reindex(first, wanted, NOW).target, "me", NOW)
    assert (before.name, places.of("first").name) == ("ragline_v1", "ragline_v2")
