"""What the aliases of every vector store keep to: run on the twin in memory and on a real Milvus."""

import uuid
from collections.abc import Awaitable, Callable

import pytest

from backends.aliases import Aliases
from backends.errors import BackendRejectedError
from backends.memory_aliases import MemoryAliases
from backends.milvus import MilvusVectorStore
from backends.milvus_aliases import MilvusAliases
from backends.milvus_settings import MilvusSettings

Make = Callable[[str], Awaitable[None]]


@pytest.fixture(params=["memory", pytest.param("milvus", marks=pytest.mark.servers)])
def aliases_and_make(request: pytest.FixtureRequest) -> tuple[Aliases, Make]:
    """The aliases, and what makes a collection."""
    if request.param == "memory":
        collections: set[str] = set()

        async def add(name: str) -> None:
            collections.add(name)

        return MemoryAliases(collections), add
    settings = MilvusSettings(uri=request.getfixturevalue("milvus_uri"))

    async def create(name: str) -> None:
        store = MilvusVectorStore(settings.model_copy(update={"collection": name}))
        await store.prepare(4)
        await store.close()

    return MilvusAliases(settings), create


async def test_an_alias_goes_from_one_collection_to_another(aliases_and_make: tuple[Aliases, Make]) -> None:
    aliases, make = aliases_and_make
    name = f"alias_{uuid.uuid4().hex[:12]}"
    first, second = f"{name}_v1", f"{name}_v2"
    assert await aliases.target(name) is None
    with pytest.raises(BackendRejectedError):
        await aliases.point(name, first)
    await make(first)
    await make(second)
    await aliases.point(name, first)
    assert await aliases.target(name) == first
    await aliases.point(name, second)
    await aliases.point(name, second)
    assert await aliases.target(name) == second
    with pytest.raises(BackendRejectedError, match=f"alias '{name}' stands for collection|an alias stands for"):
        await aliases.drop(second)
    assert await aliases.target(name) == second
    assert await aliases.drop(first)
    assert not await aliases.drop(first)
    with pytest.raises(BackendRejectedError):
        await aliases.point(second, second)
    await aliases.close()


@pytest.mark.servers
async def test_a_store_takes_its_alias_once(milvus_uri: str) -> None:
    name = f"alias_{uuid.uuid4().hex[:12]}"
    settings = MilvusSettings(uri=milvus_uri, collection=f"{name}_v1")
    aliases = MilvusAliases(settings)
    for collection in (f"{name}_v1", f"{name}_v2"):
        store = MilvusVectorStore(settings.model_copy(update={"collection": collection}), alias=name)
        await store.prepare(4)
        await store.prepare(4)
        await store.close()
    assert await aliases.target(name) == f"{name}_v1"
    old = MilvusVectorStore(settings.model_copy(update={"collection": "any"}), alias=f"{name}_v2")
    with pytest.raises(BackendRejectedError, match="is a collection, made before there were versions of the index"):
        await old.prepare(4)
    await old.close()
