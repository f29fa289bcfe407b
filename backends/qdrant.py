"""The vector store on Qdrant: a server, or the embedded one in a folder."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from backends import qdrant_schema
from backends.errors import BackendRejectedError
from backends.filters import Filter
from backends.qdrant_connection import QdrantConnection
from backends.qdrant_errors import NOT_FOUND, translated
from backends.qdrant_filters import ORDER, TENANT, of_document, within
from backends.qdrant_schema import Place, place_in, place_of
from backends.qdrant_settings import QdrantSettings
from backends.vector_store import Hit, Replaced, Replacement, Search, StoredChunk, check
from schemas.values import FloatArray

T = TypeVar("T")

_THREADS = 4
_PAGE = 1_000


class QdrantVectorStore:
    """One collection in Qdrant.

    Calls run in threads on the blocking client, for the embedded Qdrant has no other; it bears one thread at a time.
    Writes wait until they are seen by searches, and those of one store happen one after the other.
    """

    keyword_search = True

    def __init__(self, settings: QdrantSettings) -> None:
        self._settings = settings
        self._collection = settings.collection
        threads = 1 if settings.path else _THREADS
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="qdrant")
        # Held in the thread that writes: a cancelled caller must not let the next writer in.
        self._write = threading.Lock()
        self._connect = threading.Lock()
        self._connection: QdrantConnection | None = None

    async def prepare(self, dimensions: int) -> None:
        await self._run(lambda client: self._prepare(client, dimensions), self._write)

    async def verify(self, dimensions: int) -> None:
        await self._run(lambda client: self._verify(self._describe(client), dimensions))

    async def search(self, searches: Sequence[Search]) -> list[list[Hit]]:
        return await self._run(lambda client: self._search(client, searches))

    async def select(self, tenant: str, condition: Filter, limit: int) -> list[StoredChunk]:
        return await self._run(lambda client: self._select(client, tenant, condition, limit))

    async def replace(self, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        return await self._run(lambda client: self._replace(client, tenant, document_id, chunks), self._write)

    async def replace_many(self, replacements: Sequence[Replacement]) -> list[Replaced]:
        return [await self.replace(each.tenant, each.document_id, each.chunks) for each in replacements]

    async def vectors(self, tenant: str, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        return await self._run(lambda client: self._vectors(client, tenant, chunk_ids))

    async def flush(self) -> None:
        # Qdrant brings what was written into its index by itself; what is left is to see that it answers.
        await self._run(self._describe)

    async def count(self, tenant: str | None = None) -> int:
        return await self._run(lambda client: self._count(client, tenant))

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        with self._connect:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def _run(self, call: Callable[[QdrantClient], T], lock: AbstractContextManager[object] | None = None) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, call, lock or nullcontext())

    def _call(self, call: Callable[[QdrantClient], T], lock: AbstractContextManager[object]) -> T:
        with lock, translated(self._settings.place):
            return call(self._connected())

    def _connected(self) -> QdrantClient:
        with self._connect:
            if self._connection is None:
                self._connection = QdrantConnection(self._settings)
            return self._connection.client

    def _prepare(self, client: QdrantClient, dimensions: int) -> models.CollectionInfo:
        """Every step bears that another worker does the same at this moment."""
        info = self._describe(client)
        if info is None:
            info = self._create(client, dimensions)
        self._verify(info, dimensions)
        if not self._settings.path:
            for key, index in qdrant_schema.payload_indexes().items():
                if key not in info.payload_schema:
                    client.create_payload_index(self._collection, key, index, wait=True)
        return info

    def _create(self, client: QdrantClient, dimensions: int) -> models.CollectionInfo:
        try:
            client.create_collection(
                self._collection,
                vectors_config=qdrant_schema.vectors_config(dimensions, self._settings),
                sparse_vectors_config=qdrant_schema.words_config(self._settings),
            )
        except UnexpectedResponse:
            info = self._describe(client)
            if info is None:
                raise
            return info
        return client.get_collection(self._collection)

    def _verify(self, info: models.CollectionInfo | None, dimensions: int) -> None:
        if info is None:
            return
        found, language = qdrant_schema.dimensions_of(info), qdrant_schema.language_of(info)
        if found != dimensions:
            msg = (
                f"collection {self._collection!r} holds vectors of length {found}, not {dimensions}; "
                "use another collection for this embedding model"
            )
            raise BackendRejectedError(msg)
        if language != self._settings.language:
            kept = f"is stemmed as {language}" if language else "has no words for keyword search"
            msg = (
                f"collection {self._collection!r} {kept}, but qdrant.language is {self._settings.language}; "
                "use another collection (qdrant.collection) for this language"
            )
            raise BackendRejectedError(msg)

    def _describe(self, client: QdrantClient) -> models.CollectionInfo | None:
        """What Qdrant says of the collection, or None if it is missing."""
        return self._unless_missing(client, lambda: client.get_collection(self._collection), None)

    def _unless_missing(self, client: QdrantClient, call: Callable[[], T], otherwise: T) -> T:
        """What the call gives, or ``otherwise`` if there is no collection."""
        try:
            return call()
        except UnexpectedResponse as error:
            if error.status_code != NOT_FOUND:
                raise
        except ValueError:
            # The embedded Qdrant refuses everything with this one.
            if client.collection_exists(self._collection):
                raise
        return otherwise

    def _search(self, client: QdrantClient, searches: Sequence[Search]) -> list[list[Hit]]:
        requests = [qdrant_schema.request(search, self._settings) for search in searches]
        asked = [request for request in requests if request is not None]
        if not asked:
            return [[] for _ in searches]
        nothing: list[list[models.ScoredPoint]] = [[] for _ in asked]
        results = iter(self._unless_missing(client, lambda: self._ask(client, asked), nothing))
        return [
            qdrant_schema.hits(search, next(results)) if request else []
            for search, request in zip(searches, requests, strict=True)
        ]

    def _ask(self, client: QdrantClient, requests: Sequence[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        return [response.points for response in client.query_batch_points(self._collection, requests)]

    def _select(self, client: QdrantClient, tenant: str, condition: Filter, limit: int) -> list[StoredChunk]:
        records = self._records(client, within(tenant, condition), limit)
        return sorted(map(qdrant_schema.chunk_of, records), key=lambda chunk: (chunk.document_id, chunk.ordinal))

    def _records(self, client: QdrantClient, wanted: models.Filter, limit: int) -> list[models.Record]:
        nothing: list[models.Record] = []
        return self._unless_missing(
            client,
            lambda: client.scroll(
                self._collection, scroll_filter=wanted, limit=limit, with_vectors=[qdrant_schema.VECTOR]
            )[0],
            nothing,
        )

    def _replace(self, client: QdrantClient, tenant: str, document_id: str, chunks: Sequence[StoredChunk]) -> Replaced:
        info = self._describe(client)
        if info is None:
            if not chunks:
                return Replaced(added=0, removed=0)
            info = self._prepare(client, chunks[0].vector.shape[0])
        check(chunks, qdrant_schema.dimensions_of(info))
        wanted = {chunk.chunk_id: chunk for chunk in chunks}
        present = self._places(client, tenant, document_id)
        added = [chunk for chunk in wanted.values() if chunk.chunk_id not in present]
        updated = [
            chunk for chunk in wanted.values() if present.get(chunk.chunk_id, place_of(chunk)) != place_of(chunk)
        ]
        surplus = sorted(present.keys() - wanted.keys())
        # New chunks come before old ones go: no search finds the document without any.
        for batch in qdrant_schema.batches([*added, *updated]):
            points = [qdrant_schema.point(chunk, self._settings) for chunk in batch]
            client.upsert(self._collection, points, wait=True)
        for start in range(0, len(surplus), _PAGE):
            gone = models.FilterSelector(filter=within(tenant, chunk_ids=surplus[start : start + _PAGE]))
            client.delete(self._collection, gone, wait=True)
        return Replaced(added=len(added), removed=len(surplus), updated=len(updated))

    def _places(self, client: QdrantClient, tenant: str, document_id: str) -> dict[str, Place]:
        """Where in the document each of its chunks is, by ID."""
        found: dict[str, Place] = {}
        offset: models.ExtendedPointId | None = None
        while True:
            records, offset = client.scroll(
                self._collection,
                scroll_filter=within(tenant, of_document(document_id)),
                limit=_PAGE,
                offset=offset,
                with_payload=models.PayloadSelectorExclude(exclude=["text", TENANT, ORDER]),
            )
            found |= {payload["chunk_id"]: place_in(payload) for record in records if (payload := record.payload)}
            if offset is None:
                return found

    def _vectors(self, client: QdrantClient, tenant: str, chunk_ids: Sequence[str]) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        for start in range(0, len(chunk_ids), _PAGE):
            records = self._records(client, within(tenant, chunk_ids=chunk_ids[start : start + _PAGE]), _PAGE)
            found |= {
                payload["chunk_id"]: qdrant_schema.vector_of(each) for each in records if (payload := each.payload)
            }
        return found

    def _count(self, client: QdrantClient, tenant: str | None) -> int:
        wanted = None if tenant is None else within(tenant)
        return self._unless_missing(
            client, lambda: client.count(self._collection, count_filter=wanted, exact=True).count, 0
        )
