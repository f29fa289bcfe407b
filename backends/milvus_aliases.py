"""Aliases in Milvus."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pymilvus import MilvusClient, MilvusException

from backends.errors import BackendRejectedError
from backends.milvus_client import connect
from backends.milvus_errors import ALIAS_NOT_FOUND, COLLECTION_NOT_FOUND, translated
from backends.milvus_settings import MilvusSettings

T = TypeVar("T")


class MilvusAliases:
    """The aliases of a Milvus. Each call has a connection of its own: there are few, hours apart."""

    def __init__(self, settings: MilvusSettings) -> None:
        self._settings = settings
        self._timeout_s = settings.timeout_ms / 1000

    async def target(self, alias: str) -> str | None:
        return await self._run(lambda client: target(client, alias, self._timeout_s))

    async def point(self, alias: str, collection: str) -> None:
        await self._run(lambda client: self._point(client, alias, collection))

    async def drop(self, collection: str) -> bool:
        return await self._run(lambda client: self._drop(client, collection))

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def _run(self, call: Callable[[MilvusClient], T]) -> T:
        return await asyncio.to_thread(self._call, call)

    def _call(self, call: Callable[[MilvusClient], T]) -> T:
        with translated(self._settings.uri):
            client = connect(self._settings)
            try:
                return call(client)
            finally:
                client.close()

    def _point(self, client: MilvusClient, alias: str, collection: str) -> None:
        check_free(client, alias, self._timeout_s)
        if target(client, alias, self._timeout_s) is None:
            client.create_alias(collection, alias, timeout=self._timeout_s)
        else:
            client.alter_alias(collection, alias, timeout=self._timeout_s)

    def _drop(self, client: MilvusClient, collection: str) -> bool:
        if not client.has_collection(collection, timeout=self._timeout_s):
            return False
        # Milvus Lite would drop it, and the alias with it.
        aliases = client.list_aliases(collection, timeout=self._timeout_s)["aliases"]
        if aliases:
            raise BackendRejectedError(f"alias {aliases[0]!r} stands for collection {collection!r}")
        client.drop_collection(collection, timeout=self._timeout_s)
        return True


def target(client: MilvusClient, alias: str, timeout_s: float) -> str | None:
    """The collection that the alias stands for; None if there is no such alias. Raises what pymilvus raises."""
    try:
        return str(client.describe_alias(alias, timeout=timeout_s)["collection_name"])
    except MilvusException as error:
        if error.code not in {COLLECTION_NOT_FOUND, ALIAS_NOT_FOUND}:
            raise
        return None


def check_free(client: MilvusClient, alias: str, timeout_s: float) -> None:
    """See that no collection has the alias for its own name.

    Raises:
        BackendRejectedError: one has.
        MilvusException: Milvus does not answer, or refuses the request.
    """
    if alias in client.list_collections(timeout=timeout_s):
        raise BackendRejectedError(
            f"{alias!r} is a collection, made before there were versions of the index; drop it in Milvus, or name "
            "another (milvus.collection), and ingest again"
        )
