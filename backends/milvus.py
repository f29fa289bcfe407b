"""The vector store on Milvus (a cluster, a single server, or Milvus Lite)."""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import grpc  # type: ignore[import-untyped]  # ships no types
import numpy as np
from pymilvus import MilvusClient, MilvusException
from pymilvus.exceptions import ConnectError, MilvusUnavailableException

from backends import milvus_schema
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.vector_store import Replaced, Search, StoredChunk, VectorStoreSettings, check
from schemas.values import FloatArray, Passage

T = TypeVar("T")

# From merr in Milvus' pkg/util/merr/errors.go; 2 is also what pymilvus says when it cannot connect.
_SERVICE_UNAVAILABLE = 2
_RATE_LIMIT = 8
_COLLECTION_NOT_FOUND = 100
_COLLECTION_NOT_LOADED = 101
_COLLECTION_NOT_FULLY_LOADED = 103
_PASSING = (_SERVICE_UNAVAILABLE, _RATE_LIMIT, _COLLECTION_NOT_LOADED, _COLLECTION_NOT_FULLY_LOADED)
_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
)
_CHANNEL = {
    # gRPC's own backoff grows to two minutes, through which a Milvus that is back would still count as away.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    # A server that is pinged every ten seconds without calls hangs up on the client (too_many_pings).
    "grpc.keepalive_permit_without_calls": 0,
}
_THREADS = 4


class MilvusVectorStore:
    """One collection in Milvus.

    Calls run in threads on the blocking client: it reconnects by itself, and the asyncio one ties its connections to
    one event loop for the whole process. Reads are strongly consistent, so that a search sees the last ``replace``.
    Writes of one store happen one after the other, for Milvus Lite bears one writer per collection.
    """

    def __init__(self, settings: VectorStoreSettings) -> None:
        self._settings = settings
        self._collection = settings.collection
        self._timeout_s = settings.timeout_ms / 1000
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="milvus")
        # Held in the thread that writes: a cancelled caller must not let the next writer in.
        self._write = threading.Lock()
        self._connect = threading.Lock()
        self._client: MilvusClient | None = None
        self._dimensions: int | None = None

    async def prepare(self, dimensions: int) -> None:
        await self._run(lambda client: self._prepare(client, dimensions), self._write)

    async def search(self, searches: Sequence[Search]) -> list[list[Passage]]:
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        for position, search in enumerate(searches):
            groups[search.tenant, search.top_k].append(position)
        found: list[list[Passage]] = [[] for _ in searches]

        async def search_group(positions: list[int]) -> None:
            group = [searches[position] for position in positions]
            for position, hits in zip(
                positions, await self._run(lambda client: self._search(client, group)), strict=True
            ):
                found[position] = hits

        await asyncio.gather(*map(search_group, groups.values()))
        return found

    async def replace(self, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        return await self._run(lambda client: self._replace(client, tenant, document_id, chunks), self._write)

    async def vectors(self, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        return await self._run(lambda client: self._vectors(client, chunk_ids))

    async def flush(self) -> None:
        await self._run(self._flush, self._write)

    async def count(self) -> int:
        return await self._run(self._count)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _run(self, call: Callable[[MilvusClient], T], lock: AbstractContextManager[object] | None = None) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, call, lock or nullcontext())

    def _call(self, call: Callable[[MilvusClient], T], lock: AbstractContextManager[object]) -> T:
        with lock, _translated(self._settings.uri):
            client = self._connected()
            try:
                return call(client)
            except MilvusException as error:
                # Milvus Lite comes back from a restart with its collections released.
                if error.code != _COLLECTION_NOT_LOADED:
                    raise
                client.load_collection(self._collection, timeout=self._timeout_s)
                return call(client)

    def _connected(self) -> MilvusClient:
        with self._connect:
            if self._client is None:
                # It logs a traceback for every error that it raises.
                logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
                token = self._settings.token
                self._client = MilvusClient(
                    uri=self._settings.uri,
                    token=token.get_secret_value() if token else "",
                    timeout=self._timeout_s,
                    dedicated=True,
                    grpc_options=_CHANNEL,
                )
            return self._client

    def _prepare(self, client: MilvusClient, dimensions: int) -> None:
        """Every step bears that another worker does the same at this moment."""
        found = self._describe(client)
        if found is None:
            self._unless_there(
                lambda: client.create_collection(
                    self._collection,
                    schema=milvus_schema.schema(dimensions),
                    num_partitions=milvus_schema.TENANT_PARTITIONS,
                    consistency_level="Strong",
                    timeout=self._timeout_s,
                ),
                lambda: self._describe(client) is not None,
            )
            found = self._describe(client)
        if found != dimensions:
            msg = (
                f"collection {self._collection!r} holds vectors of length {found}, not {dimensions}; "
                "use another collection for this embedding model"
            )
            raise BackendRejectedError(msg)
        if not self._indexed(client):
            self._unless_there(lambda: self._index(client), lambda: self._indexed(client))
        client.load_collection(self._collection, timeout=self._timeout_s)

    @staticmethod
    def _unless_there(create: Callable[[], object], there: Callable[[], bool]) -> None:
        try:
            create()
        except MilvusException:
            if not there():
                raise

    def _describe(self, client: MilvusClient) -> int | None:
        """Length of the collection's vectors, or None if it is missing."""
        try:
            description = client.describe_collection(self._collection, timeout=self._timeout_s)
        except MilvusException as error:
            if error.code != _COLLECTION_NOT_FOUND:
                raise
            self._dimensions = None
        else:
            self._dimensions = milvus_schema.dimensions_of(description)
        return self._dimensions

    def _indexed(self, client: MilvusClient) -> bool:
        return "vector" in client.list_indexes(self._collection, timeout=self._timeout_s)

    def _index(self, client: MilvusClient) -> None:
        index_type = self._settings.index_type
        params = client.prepare_index_params()
        params.add_index(
            "vector", index_type=index_type, metric_type="COSINE", params=milvus_schema.build_params(index_type)
        )
        client.create_index(self._collection, params, timeout=self._timeout_s)

    def _search(self, client: MilvusClient, searches: Sequence[Search]) -> list[list[Passage]]:
        """Searches of one tenant with one ``top_k``."""
        lengths = {search.vector.shape for search in searches}
        # What is remembered may be of a collection that was dropped and made anew.
        if lengths != {(self._dimensions,)} and self._describe(client) is None:
            return [[] for _ in searches]
        if lengths != {(self._dimensions,)}:
            msg = f"query vectors have shapes {sorted(lengths)}, the collection's are ({self._dimensions},)"
            raise BackendRejectedError(msg)
        first = searches[0]
        try:
            results = client.search(
                self._collection,
                data=[search.vector for search in searches],
                anns_field="vector",
                filter=milvus_schema.tenant_filter(first.tenant),
                limit=first.top_k,
                output_fields=list(milvus_schema.PASSAGE_FIELDS),
                search_params=milvus_schema.search_params(self._settings.index_type, first.top_k),
                timeout=self._timeout_s,
            )
        except MilvusException as error:
            if error.code != _COLLECTION_NOT_FOUND:
                raise
            self._dimensions = None
            return [[] for _ in searches]
        return [milvus_schema.passages(hits, search.min_score) for hits, search in zip(results, searches, strict=True)]

    def _replace(self, client: MilvusClient, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        dimensions = self._describe(client)
        if dimensions is None:
            if not chunks:
                return Replaced(added=0, removed=0)
            dimensions = chunks[0].vector.shape[0]
            self._prepare(client, dimensions)
        check(chunks, dimensions)
        wanted = {chunk.chunk_id: chunk for chunk in chunks}
        present = self._ordinals(client, tenant, document_id)
        changed = [chunk for chunk in wanted.values() if present.get(chunk.chunk_id) != chunk.ordinal]
        surplus = sorted(present.keys() - wanted.keys())
        # New chunks come before old ones go: no search finds the document without any.
        for batch in milvus_schema.batches(changed):
            client.upsert(self._collection, [milvus_schema.row(chunk) for chunk in batch], timeout=self._timeout_s)
        for start in range(0, len(surplus), milvus_schema.MAX_BATCH_ROWS):
            ids = surplus[start : start + milvus_schema.MAX_BATCH_ROWS]
            client.delete(self._collection, filter=milvus_schema.ids_filter(ids), timeout=self._timeout_s)
        return Replaced(added=len(wanted.keys() - present.keys()), removed=len(surplus))

    def _ordinals(self, client: MilvusClient, tenant: str, document_id: str) -> dict[str, int]:
        rows = client.query(
            self._collection,
            filter=milvus_schema.document_filter(tenant, document_id),
            output_fields=["chunk_id", "ordinal"],
            timeout=self._timeout_s,
        )
        return {row["chunk_id"]: row["ordinal"] for row in rows}

    def _vectors(self, client: MilvusClient, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        if self._describe(client) is None:
            return {}
        found: dict[str, FloatArray] = {}
        for start in range(0, len(chunk_ids), milvus_schema.MAX_BATCH_ROWS):
            rows = client.query(
                self._collection,
                filter=milvus_schema.ids_filter(chunk_ids[start : start + milvus_schema.MAX_BATCH_ROWS]),
                output_fields=["chunk_id", "vector"],
                timeout=self._timeout_s,
            )
            found |= {row["chunk_id"]: np.asarray(row["vector"], dtype=np.float32) for row in rows}
        return found

    def _flush(self, client: MilvusClient) -> None:
        try:
            client.flush(self._collection, timeout=self._timeout_s)
        except MilvusException as error:
            if error.code != _COLLECTION_NOT_FOUND:
                raise

    def _count(self, client: MilvusClient) -> int:
        try:
            rows = client.query(self._collection, filter="", output_fields=["count(*)"], timeout=self._timeout_s)
        except MilvusException as error:
            if error.code != _COLLECTION_NOT_FOUND:
                raise
            return 0
        return int(rows[0]["count(*)"])


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Turn what pymilvus and gRPC raise into the two errors a stage decides by."""
    try:
        yield
    except grpc.RpcError as error:
        raise _decided(uri, error.code(), error.details() or "", passing=False) from error
    except MilvusException as error:
        passing = (
            error.retriable or error.code in _PASSING or isinstance(error, (ConnectError, MilvusUnavailableException))
        )
        raise _decided(uri, error.code, error.message, passing=passing) from error


def _decided(
    uri: str, code: int | grpc.StatusCode, message: str, *, passing: bool
) -> BackendUnavailableError | BackendRejectedError:
    if passing or code in _AWAY:
        return BackendUnavailableError(f"Milvus at {uri} does not answer: {message or code}")
    return BackendRejectedError(f"Milvus at {uri} refuses the request: {message or code}")
