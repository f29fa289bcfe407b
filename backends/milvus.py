"""The vector store on Milvus (a cluster, a single server, or Milvus Lite)."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar

import numpy as np
from pymilvus import MilvusClient, MilvusException

from backends import milvus_schema
from backends.errors import BackendRejectedError
from backends.filters import Filter, Scalar
from backends.milvus_aliases import check_free, target
from backends.milvus_client import connect
from backends.milvus_details import DYNAMIC, decoded, encoded
from backends.milvus_errors import COLLECTION_NOT_FOUND, COLLECTION_NOT_LOADED, translated
from backends.milvus_filters import of_chunks, of_documents, within
from backends.milvus_settings import MilvusSettings
from backends.stemming import query_stems
from backends.vector_store import NO_KEYWORD_SEARCH, Hit, Replaced, Replacement, Search, StoredChunk, check
from schemas.values import FloatArray

T = TypeVar("T")
# Ordinal, and details as they are kept.
_Place: TypeAlias = tuple[int, dict[str, Scalar]]
_NOWHERE: _Place = (-1, {})

_THREADS = 4
# A document's ID has up to 1 KiB.
_DOCUMENTS_PER_QUERY = 256


class MilvusVectorStore:
    """One collection in Milvus. ``prepare`` lets ``alias``, if there is one, stand for it where it stands for nothing.

    Calls run in threads on the blocking client: it reconnects by itself, and the asyncio one ties its connections to
    one event loop for the whole process. Reads are strongly consistent by default: a search sees the last ``replace``.
    Writes of one store happen one after the other, for Milvus Lite bears one writer per collection.
    """

    def __init__(self, settings: MilvusSettings, alias: str = "") -> None:
        self._settings = settings
        self.keyword_search = settings.keyword_search
        self._alias = alias
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

    async def verify(self, dimensions: int) -> None:
        await self._run(lambda client: self._verify(client, dimensions))

    async def search(self, searches: Sequence[Search]) -> list[list[Hit]]:
        groups: dict[tuple[bool, str, int], list[int]] = defaultdict(list)
        for position, search in enumerate(searches):
            # By the filter as Milvus reads it, for Python takes 1 and true for equal.
            condition = within(search.tenant, search.filter)
            groups[isinstance(search.query, str), condition, search.limit].append(position)
        found: list[list[Hit]] = [[] for _ in searches]

        async def search_group(positions: list[int]) -> None:
            group = [searches[position] for position in positions]
            for position, hits in zip(
                positions, await self._run(lambda client: self._search(client, group)), strict=True
            ):
                found[position] = hits

        await asyncio.gather(*map(search_group, groups.values()))
        return found

    async def select(self, tenant: str, condition: Filter, limit: int) -> list[StoredChunk]:
        return await self._run(lambda client: self._select(client, tenant, condition, limit))

    async def replace(self, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        [replaced] = await self.replace_many([Replacement(tenant, document_id, chunks)])
        return replaced

    async def replace_many(self, replacements: Sequence[Replacement]) -> list[Replaced]:
        return await self._run(lambda client: self._replace(client, replacements), self._write)

    async def vectors(self, tenant: str, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        return await self._run(lambda client: self._vectors(client, tenant, chunk_ids))

    async def flush(self) -> None:
        await self._run(self._flush, self._write)

    async def count(self, tenant: str | None = None) -> int:
        return await self._run(lambda client: self._count(client, tenant))

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _run(self, call: Callable[[MilvusClient], T], lock: AbstractContextManager[object] | None = None) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, call, lock or nullcontext())

    def _call(self, call: Callable[[MilvusClient], T], lock: AbstractContextManager[object]) -> T:
        with lock, translated(self._settings.uri):
            client = self._connected()
            try:
                return call(client)
            except MilvusException as error:
                # Milvus Lite comes back from a restart with its collections released.
                if error.code != COLLECTION_NOT_LOADED:
                    raise
                client.load_collection(self._collection, timeout=self._timeout_s)
                return call(client)

    def _connected(self) -> MilvusClient:
        with self._connect:
            if self._client is None:
                self._client = connect(self._settings)
            return self._client

    def _prepare(self, client: MilvusClient, dimensions: int) -> None:
        """Every step bears that another worker does the same at this moment."""
        settings = self._settings
        if self._alias:
            check_free(client, self._alias, self._timeout_s)
        if self._describe(client) is None:
            self._unless_there(
                lambda: client.create_collection(
                    self._collection,
                    schema=milvus_schema.schema(dimensions, settings.stems_in),
                    num_partitions=settings.tenant_partitions,
                    num_shards=settings.shards,
                    consistency_level=settings.consistency_level,
                    timeout=self._timeout_s,
                ),
                lambda: self._describe(client) is not None,
            )
        self._verify(client, dimensions)
        indexes = {milvus_schema.VECTOR: self._index_vectors}
        if settings.keyword_search:
            indexes[milvus_schema.BM25] = self._index_words
        for field, add in indexes.items():
            if not self._indexed(client, field):
                self._unless_there(lambda: add(client), lambda: self._indexed(client, field))  # noqa: B023 - called here
        client.load_collection(self._collection, replica_number=settings.replicas, timeout=self._timeout_s)
        if self._alias and target(client, self._alias, self._timeout_s) is None:
            self._unless_there(
                lambda: client.create_alias(self._collection, self._alias, timeout=self._timeout_s),
                lambda: target(client, self._alias, self._timeout_s) is not None,
            )

    def _verify(self, client: MilvusClient, dimensions: int) -> None:
        description = self._describe(client)
        if description is None:
            return
        found, language = milvus_schema.dimensions_of(description), milvus_schema.language_of(description)
        if found != dimensions:
            msg = (
                f"collection {self._collection!r} holds vectors of length {found}, not {dimensions}; "
                "use another collection for this embedding model"
            )
            raise BackendRejectedError(msg)
        if not milvus_schema.has_details(description):
            msg = (
                f"collection {self._collection!r} was made before chunks had pages, headings and metadata; "
                "use another collection (milvus.collection) and ingest again"
            )
            raise BackendRejectedError(msg)
        wanted = self._settings.stems_in
        if language != wanted:
            kept = f"is stemmed as {language}" if language else "has no words for keyword search"
            asked = f"milvus.language is {wanted}" if wanted else "milvus.keyword_search is off"
            msg = (
                f"collection {self._collection!r} {kept}, but {asked}; "
                "use another collection (milvus.collection), or change the setting"
            )
            raise BackendRejectedError(msg)

    @staticmethod
    def _unless_there(create: Callable[[], object], there: Callable[[], bool]) -> None:
        try:
            create()
        except MilvusException:
            if not there():
                raise

    def _describe(self, client: MilvusClient) -> dict[str, Any] | None:
        """What Milvus says of the collection, or None if it is missing."""
        try:
            description: dict[str, Any] = client.describe_collection(self._collection, timeout=self._timeout_s)
        except MilvusException as error:
            if error.code != COLLECTION_NOT_FOUND:
                raise
            self._dimensions = None
            return None
        self._dimensions = milvus_schema.dimensions_of(description)
        return description

    def _indexed(self, client: MilvusClient, field: str) -> bool:
        return field in client.list_indexes(self._collection, timeout=self._timeout_s)

    def _index_vectors(self, client: MilvusClient) -> None:
        settings = self._settings
        params = client.prepare_index_params()
        params.add_index(
            milvus_schema.VECTOR,
            index_type=settings.index_type,
            metric_type=settings.metric,
            params=settings.built_with,
        )
        client.create_index(self._collection, params, timeout=self._timeout_s)

    def _index_words(self, client: MilvusClient) -> None:
        params = client.prepare_index_params()
        params.add_index(
            milvus_schema.BM25,
            index_type="SPARSE_INVERTED_INDEX",
            metric_type="BM25",
            params={"bm25_k1": self._settings.bm25_k1, "bm25_b": self._settings.bm25_b},
        )
        client.create_index(self._collection, params, timeout=self._timeout_s)

    def _search(self, client: MilvusClient, searches: Sequence[Search]) -> list[list[Hit]]:
        """Searches of one tenant, of one kind, with one ``limit`` and one ``filter``."""
        words = [search.query for search in searches if isinstance(search.query, str)]
        vectors = [search.query for search in searches if not isinstance(search.query, str)]
        if words:
            return self._search_words(client, searches[0], words)
        lengths = {vector.shape for vector in vectors}
        # What is remembered may be of a collection that was dropped and made anew.
        if lengths != {(self._dimensions,)} and self._describe(client) is None:
            return [[] for _ in searches]
        if lengths != {(self._dimensions,)}:
            msg = f"query vectors have shapes {sorted(lengths)}, the collection's are ({self._dimensions},)"
            raise BackendRejectedError(msg)
        params = milvus_schema.vector_search(self._settings, searches[0].limit)
        results = self._ask(client, searches[0], milvus_schema.VECTOR, vectors, params)
        return [milvus_schema.similar(hits, self._settings.metric) for hits in results]

    def _search_words(self, client: MilvusClient, first: Search, texts: Sequence[str]) -> list[list[Hit]]:
        if not self.keyword_search:
            raise BackendRejectedError(NO_KEYWORD_SEARCH)
        queries = [" ".join(query_stems(text, self._settings.language)) for text in texts]
        asked = [query for query in queries if query]
        results = iter(self._ask(client, first, milvus_schema.BM25, asked, {"metric_type": "BM25"}) if asked else [])
        return [milvus_schema.worded(next(results)) if query else [] for query in queries]

    def _ask(
        self, client: MilvusClient, first: Search, field: str, queries: Sequence[Any], params: dict[str, Any]
    ) -> list[Any]:
        try:
            results: list[Any] = client.search(
                self._collection,
                data=queries,
                anns_field=field,
                filter=within(first.tenant, first.filter),
                limit=first.limit,
                output_fields=list(milvus_schema.CHUNK_FIELDS),
                search_params=params,
                timeout=self._timeout_s,
            )
        except MilvusException as error:
            if error.code != COLLECTION_NOT_FOUND:
                raise
            self._dimensions = None
            return [[] for _ in queries]
        return results

    def _select(self, client: MilvusClient, tenant: str, condition: Filter, limit: int) -> list[StoredChunk]:
        try:
            rows = client.query(
                self._collection,
                filter=within(tenant, condition),
                output_fields=list(milvus_schema.CHUNK_FIELDS),
                limit=limit,
                timeout=self._timeout_s,
            )
        except MilvusException as error:
            if error.code != COLLECTION_NOT_FOUND:
                raise
            return []
        return sorted(map(milvus_schema.chunk_of, rows), key=lambda chunk: (chunk.document_id, chunk.ordinal))

    def _replace(self, client: MilvusClient, replacements: Sequence[Replacement]) -> list[Replaced]:
        """No document may come twice."""
        given = [chunk for each in replacements for chunk in each.chunks]
        if self._describe(client) is None:
            if not given:
                return [Replaced(added=0, removed=0) for _ in replacements]
            self._prepare(client, given[0].vector.shape[0])
        check(given, self._dimensions or 0)
        present = self._places(client, replacements)
        changed: list[StoredChunk] = []
        surplus: dict[str, list[str]] = defaultdict(list)
        replaced = []
        for each in replacements:
            known = present[each.tenant, each.document_id]
            wanted = {chunk.chunk_id: chunk for chunk in each.chunks}
            added = [chunk for chunk in wanted.values() if chunk.chunk_id not in known]
            updated = [chunk for chunk in wanted.values() if known.get(chunk.chunk_id, _place(chunk)) != _place(chunk)]
            unwanted = sorted(known.keys() - wanted.keys())
            changed += [*added, *updated]
            surplus[each.tenant] += unwanted
            replaced.append(Replaced(added=len(added), removed=len(unwanted), updated=len(updated)))
        # New chunks come before old ones go: no search finds a document without any.
        for batch in milvus_schema.batches(changed):
            # Milvus Lite keeps what a row had in its dynamic field and is given no other value for.
            rows = [
                dict.fromkeys(present[chunk.tenant, chunk.document_id].get(chunk.chunk_id, _NOWHERE)[1])
                | milvus_schema.row(chunk, self._settings.stems_in)
                for chunk in batch
            ]
            client.upsert(self._collection, rows, timeout=self._timeout_s)
        for tenant, chunk_ids in surplus.items():
            for ids in _slices(chunk_ids, milvus_schema.MAX_BATCH_ROWS):
                client.delete(self._collection, filter=within(tenant, of_chunks(ids)), timeout=self._timeout_s)
        return replaced

    def _places(
        self, client: MilvusClient, replacements: Sequence[Replacement]
    ) -> dict[tuple[str, str], dict[str, _Place]]:
        """The chunks that the documents have now, by tenant and document, with their places."""
        documents: dict[str, list[str]] = defaultdict(list)
        for each in replacements:
            documents[each.tenant].append(each.document_id)
        found: dict[tuple[str, str], dict[str, _Place]] = defaultdict(dict)
        for tenant, document_ids in documents.items():
            for ids in _slices(document_ids, _DOCUMENTS_PER_QUERY):
                rows = client.query(
                    self._collection,
                    filter=within(tenant, of_documents(ids)),
                    output_fields=["chunk_id", "document_id", "ordinal", DYNAMIC],
                    timeout=self._timeout_s,
                )
                for row in rows:
                    place = (row["ordinal"], encoded(decoded(row)))
                    found[tenant, row["document_id"]][row["chunk_id"]] = place
        return found

    def _vectors(self, client: MilvusClient, tenant: str, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        if self._describe(client) is None:
            return {}
        found: dict[str, FloatArray] = {}
        for ids in _slices(chunk_ids, milvus_schema.MAX_BATCH_ROWS):
            rows = client.query(
                self._collection,
                filter=within(tenant, of_chunks(ids)),
                output_fields=["chunk_id", "vector"],
                timeout=self._timeout_s,
            )
            found |= {row["chunk_id"]: np.asarray(row["vector"], dtype=np.float32) for row in rows}
        return found

    def _flush(self, client: MilvusClient) -> None:
        try:
            client.flush(self._collection, timeout=self._timeout_s)
        except MilvusException as error:
            if error.code != COLLECTION_NOT_FOUND:
                raise

    def _count(self, client: MilvusClient, tenant: str | None) -> int:
        condition = "" if tenant is None else within(tenant)
        try:
            rows = client.query(self._collection, filter=condition, output_fields=["count(*)"], timeout=self._timeout_s)
        except MilvusException as error:
            if error.code != COLLECTION_NOT_FOUND:
                raise
            return 0
        return int(rows[0]["count(*)"])


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _place(chunk: StoredChunk) -> _Place:
    return chunk.ordinal, encoded(chunk.details)
