"""What collections there are in Qdrant, and what is in them. Blocking: for the command line."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from qdrant_client import QdrantClient, models

from backends import qdrant_schema
from backends.collection_reports import Collection, Description, Index, Stats
from backends.errors import BackendRejectedError
from backends.qdrant_connection import QdrantConnection
from backends.qdrant_errors import translated
from backends.qdrant_filters import within
from backends.qdrant_settings import QdrantSettings

T = TypeVar("T")


def list_collections(settings: QdrantSettings) -> list[Collection]:
    """All collections, by name.

    Raises:
        BackendUnavailableError: Qdrant does not answer.
        BackendRejectedError: Qdrant refuses the request, or its folder is open elsewhere.
    """

    def collect(client: QdrantClient) -> list[Collection]:
        found = []
        for name in sorted(each.name for each in client.get_collections().collections):
            aliases = _aliases(client, name)
            is_live = settings.collection in {name, *aliases}
            found.append(Collection(name=name, aliases=aliases, chunks=_count(client, name), is_live=is_live))
        return found

    return _with_client(settings, collect)


def describe(settings: QdrantSettings, name: str) -> Description:
    """How the collection of this name or alias is kept.

    Raises:
        BackendUnavailableError: Qdrant does not answer.
        BackendRejectedError: there is no such collection, or Qdrant's folder is open elsewhere.
    """

    def collect(client: QdrantClient) -> Description:
        real_name = _real_name(client, name)
        info = client.get_collection(real_name)
        return Description(
            name=real_name,
            aliases=_aliases(client, real_name),
            dimensions=qdrant_schema.dimensions_of(info),
            language=qdrant_schema.language_of(info),
            shards=info.config.params.shard_number or 1,
            indexes=tuple(_indexes(info)),
        )

    return _with_client(settings, collect)


def stats(settings: QdrantSettings, name: str, tenants: Iterable[str]) -> Stats:
    """What is in the collection of this name or alias.

    Raises:
        BackendUnavailableError: Qdrant does not answer.
        BackendRejectedError: there is no such collection, or Qdrant's folder is open elsewhere.
    """

    def collect(client: QdrantClient) -> Stats:
        real_name = _real_name(client, name)
        return Stats(
            name=real_name,
            chunks=_count(client, real_name),
            load_state=client.get_collection(real_name).status.value,
            tenants={tenant: _count(client, real_name, within(tenant)) for tenant in tenants},
        )

    return _with_client(settings, collect)


def _with_client(settings: QdrantSettings, collect: Callable[[QdrantClient], T]) -> T:
    with translated(settings.place):
        connection = QdrantConnection(settings)
        try:
            return collect(connection.client)
        finally:
            connection.close()


def _real_name(client: QdrantClient, name: str) -> str:
    """The collection's own name, where it may be an alias."""
    names = {each.name for each in client.get_collections().collections}
    aliases = {each.alias_name: each.collection_name for each in client.get_aliases().aliases}
    found = name if name in names else aliases.get(name)
    if found is None:
        msg = f"there is no collection {name!r} in Qdrant; see: ragline collections list"
        raise BackendRejectedError(msg)
    return found


def _aliases(client: QdrantClient, name: str) -> tuple[str, ...]:
    return tuple(sorted(each.alias_name for each in client.get_collection_aliases(name).aliases))


def _count(client: QdrantClient, name: str, wanted: models.Filter | None = None) -> int:
    return client.count(name, count_filter=wanted, exact=True).count


def _indexes(info: models.CollectionInfo) -> list[Index]:
    """Of what ragline makes in a collection."""
    rows, indexed = info.points_count or 0, info.indexed_vectors_count or 0
    found = []
    vectors = info.config.params.vectors
    if isinstance(vectors, dict):
        for name, params in vectors.items():
            hnsw = params.hnsw_config or models.HnswConfigDiff()
            asked = {"m": hnsw.m, "ef_construct": hnsw.ef_construct}
            shown = {key: str(value) for key, value in asked.items() if value is not None}
            found.append(_index(name, "HNSW", params.distance.value.upper(), shown, rows, indexed))
    for name, sparse in (info.config.params.sparse_vectors or {}).items():
        weighed = {"modifier": sparse.modifier.value} if sparse.modifier else {}
        found.append(_index(name, "SPARSE", "DOT", weighed, rows, rows))
    return found


def _index(field: str, kind: str, metric: str, params: dict[str, str], rows: int, indexed: int) -> Index:
    return Index(field=field, index_type=kind, metric=metric, params=params, rows=rows, indexed_rows=min(indexed, rows))
