"""What collections there are in Milvus, and what is in them. Blocking: for the command line."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pymilvus import MilvusClient, MilvusException

from backends import milvus_schema
from backends.collection_reports import Collection, Description, Index, Stats
from backends.errors import BackendRejectedError
from backends.milvus_client import connect
from backends.milvus_errors import COLLECTION_NOT_FOUND, translated
from backends.milvus_filters import within
from backends.milvus_settings import MilvusSettings

T = TypeVar("T")


def list_collections(settings: MilvusSettings) -> list[Collection]:
    """All collections, by name.

    Raises:
        BackendUnavailableError: Milvus does not answer.
        BackendRejectedError: Milvus refuses the request.
    """

    def collect(client: MilvusClient) -> list[Collection]:
        found = []
        for name in sorted(client.list_collections()):
            aliases = _aliases(client, name)
            is_live = settings.collection in {name, *aliases}
            found.append(Collection(name=name, aliases=aliases, chunks=_count(client, name, ""), is_live=is_live))
        return found

    return _with_client(settings, collect)


def describe(settings: MilvusSettings, name: str) -> Description:
    """How the collection of this name or alias is kept.

    Raises:
        BackendUnavailableError: Milvus does not answer.
        BackendRejectedError: there is no such collection.
    """

    def collect(client: MilvusClient) -> Description:
        described = client.describe_collection(name)
        real_name = described["collection_name"]
        return Description(
            name=real_name,
            aliases=_aliases(client, real_name),
            dimensions=milvus_schema.dimensions_of(described),
            language=milvus_schema.language_of(described),
            consistency_level=milvus_schema.CONSISTENCY_LEVELS.get(described.get("consistency_level", -1), "unknown"),
            shards=int(described.get("num_shards", 1)),
            partitions=len(client.list_partitions(name)),
            indexes=tuple(_index(client.describe_index(name, index)) for index in client.list_indexes(name)),
        )

    return _with_client(settings, collect, name)


def stats(settings: MilvusSettings, name: str, tenants: Iterable[str]) -> Stats:
    """What is in the collection of this name or alias.

    Raises:
        BackendUnavailableError: Milvus does not answer.
        BackendRejectedError: there is no such collection, or it is not loaded.
    """

    def collect(client: MilvusClient) -> Stats:
        state = client.get_load_state(name)["state"]
        return Stats(
            name=client.describe_collection(name)["collection_name"],
            chunks=_count(client, name, ""),
            load_state=getattr(state, "name", str(state)),
            tenants={tenant: _count(client, name, within(tenant)) for tenant in tenants},
        )

    return _with_client(settings, collect, name)


def _with_client(settings: MilvusSettings, collect: Callable[[MilvusClient], T], name: str | None = None) -> T:
    with translated(settings.uri):
        client = connect(settings)
        try:
            return collect(client)
        except MilvusException as error:
            if error.code != COLLECTION_NOT_FOUND or name is None:
                raise
            msg = f"there is no collection {name!r} in Milvus at {settings.uri}; see: ragline collections list"
            raise BackendRejectedError(msg) from error
        finally:
            client.close()


def _aliases(client: MilvusClient, name: str) -> tuple[str, ...]:
    return tuple(sorted(client.list_aliases(name)["aliases"]))


def _count(client: MilvusClient, name: str, expression: str) -> int:
    return int(client.query(name, filter=expression, output_fields=["count(*)"])[0]["count(*)"])


def _index(described: dict[str, Any]) -> Index:
    known = {
        "field_name",
        "index_name",
        "index_type",
        "metric_type",
        "total_rows",
        "indexed_rows",
        "pending_index_rows",
    }
    return Index(
        field=described["field_name"],
        index_type=described["index_type"],
        metric=described["metric_type"],
        params={key: str(value) for key, value in described.items() if key not in {*known, "state"}},
        rows=int(described["total_rows"]),
        indexed_rows=int(described["indexed_rows"]),
    )
