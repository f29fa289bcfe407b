"""Uploads on real Kafka and Valkey: any bridge knows what has become of them, also one that starts later."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from backends.live_view import LiveViewSettings
from bridge.server import BridgeServer, connected
from bridge.settings import BridgeSettings
from schemas import codec
from schemas.events import DocumentFailed, DocumentIndexed, DocumentSubmitted
from schemas.headers import Headers
from schemas.revision import document_revision
from tests.fixtures.pipeline import Pipeline, eventually, make_pipeline
from topics.specs import DOCUMENTS, DOCUMENTS_INDEXED
from workers.settings import QuerySettings

pytestmark = pytest.mark.servers

DEADLINE_S = 60
KEY = "default/skies.md"
PATH = f"/v1/documents/{KEY}"
TEXT = b"# Skies\n\nThey are blue."


@pytest.fixture
async def pipeline(kafka_bootstrap: str) -> AsyncIterator[Pipeline]:
    async with make_pipeline(kafka_bootstrap) as made:
        yield made


@asynccontextmanager
async def bridge(pipeline: Pipeline, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a replica of its own."""
    redis = LiveViewSettings(url=redis_url)
    async with connected(BridgeSettings(port=0), pipeline.kafka, redis, pipeline.names, QuerySettings()) as core:
        server = BridgeServer(core)
        serving = asyncio.create_task(server.serve())
        try:
            await asyncio.wait_for(server.ready.wait(), DEADLINE_S)
            async with httpx.AsyncClient(base_url=server.address, trust_env=False, timeout=DEADLINE_S) as http:
                yield http
        finally:
            server.should_exit = True
            await serving


async def has_status(http: httpx.AsyncClient, path: str, status: str | int) -> bool:
    response = await http.get(path)
    return status in {response.status_code, response.json().get("status")}


async def end(pipeline: Pipeline, event: DocumentIndexed | DocumentFailed) -> None:
    """Say how a document ended, as a stage does."""
    headers = Headers(id=f"{event.document_id}/{event.revision}", type=event.TYPE)
    await pipeline.produce(DOCUMENTS_INDEXED, codec.encode(event), event.document_id, headers)


def indexed(revision: str, chunks: int) -> DocumentIndexed:
    return DocumentIndexed(document_id=KEY, revision=revision, tenant="default", chunks=chunks, added=chunks, removed=0)


async def test_an_upload_is_known_to_every_bridge_until_it_is_taken_away(pipeline: Pipeline, redis_url: str) -> None:
    async with bridge(pipeline, redis_url) as one, bridge(pipeline, redis_url) as two:
        response = await one.post("/v1/documents", files={"file": ("skies.md", TEXT)})
        assert (response.status_code, response.json()["document_id"]) == (202, KEY)
        (record,) = await pipeline.read_count(DOCUMENTS, 1)
        assert (record.key, record.headers.tenant, record.headers.type) == (KEY, "default", DocumentSubmitted.TYPE)
        submitted = DocumentSubmitted.model_validate(record.body)
        assert submitted == DocumentSubmitted(text=TEXT.decode(), title="Skies", source="skies.md", tenant="default")
        for http in (one, two):
            assert await has_status(http, PATH, "processing")
        await end(pipeline, indexed(document_revision(submitted), chunks=2))
        for http in (one, two):
            await eventually(lambda http=http: has_status(http, PATH, "searchable"), DEADLINE_S)
        assert (await two.delete(PATH)).status_code == 202
        withdrawn = (await pipeline.read_count(DOCUMENTS, 2))[1]
        assert (withdrawn.key, withdrawn.value, withdrawn.headers.tenant) == (KEY, None, "default")
        assert await has_status(one, PATH, "removing")
        await end(pipeline, indexed(document_revision(DocumentSubmitted(text="")), chunks=0))
        for http in (one, two):
            await eventually(lambda http=http: has_status(http, PATH, 404), DEADLINE_S)


async def test_a_bridge_that_starts_later_reads_how_documents_ended(pipeline: Pipeline, redis_url: str) -> None:
    failed = DocumentFailed(
        document_id="bad",
        revision="r",
        tenant="default",
        stage="chunking",
        code="bad_document",
        message="It is bad.",
    )
    await end(pipeline, indexed("r", chunks=7))
    await end(pipeline, failed)
    await pipeline.produce(DOCUMENTS_INDEXED, b"not an event", "x")
    async with bridge(pipeline, redis_url) as http:
        await eventually(lambda: has_status(http, PATH, "searchable"), DEADLINE_S)
        assert (await http.get(PATH)).json()["chunks"] == 7
        assert (await http.get("/v1/documents/bad")).json()["failure"]["message"] == "It is bad."
        assert (await http.get("/v1/documents/nobodys")).status_code == 404


async def test_a_large_upload_is_a_record(pipeline: Pipeline, redis_url: str, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_bytes(b"A line of a long book.\n" * 100_000)
    async with bridge(pipeline, redis_url) as http:
        response = await http.post("/v1/documents", files={"file": ("book.txt", book.read_bytes())})
        assert (response.status_code, response.json()["characters"]) == (202, 2_299_999)
        refused = await http.post("/v1/documents", files={"file": ("book.txt", "\u65e5\u672c\n".encode() * 700_000)})
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
    (record,) = await pipeline.read_count(DOCUMENTS, 1)
    assert len(record.body["text"]) == 2_299_999
