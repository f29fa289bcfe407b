"""The ingest stages on a real broker and a real Milvus, with what people and accidents do to them."""

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from pymilvus import MilvusClient
from typer.testing import CliRunner

from backends.errors import BackendRejectedError
from backends.filter_parser import parse_filter
from backends.milvus import MilvusVectorStore
from backends.references import References, ReferenceSettings
from backends.vector_store import StoredChunk
from ragline.catalogue import read_catalogue
from ragline.cli import app
from ragline.corpus import Document, Item
from ragline.ingest import ingest
from ragline.ledger import IngestSummary
from ragline.settings import Settings
from tests.fixtures.files import ENCRYPTED_PDF, docx, pdf
from tests.fixtures.ingest_worker import DIMENSIONS, STAGES, environment, make_stage, save_tokenizer
from tests.fixtures.milvus_server import Server
from tests.fixtures.pipeline import Pipeline, eventually, make_pipeline
from topics.specs import DOCUMENTS
from workers.runtime.worker import Worker

pytestmark = pytest.mark.servers

TENANT = "default"


@dataclass
class Running:
    """The three stages at work."""

    pipeline: Pipeline
    settings: Settings
    workers: Sequence[Worker]

    async def send(
        self, items: Sequence[Item], report: Callable[[IngestSummary], None] = lambda _: None, **options: Any
    ) -> IngestSummary:
        return await ingest(self.pipeline.kafka, self.pipeline.names, items, report=report, timeout_s=60, **options)

    async def stored(self, condition: str = "ordinal >= 0", limit: int = 10_000) -> list[StoredChunk]:
        store = MilvusVectorStore(self.settings.milvus)
        try:
            return await store.select(TENANT, parse_filter(condition), limit)
        finally:
            await store.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tokenizer(tmp_path / "model")


@asynccontextmanager
async def running(
    kafka_bootstrap: str, milvus_uri: str, model: Path, monkeypatch: pytest.MonkeyPatch, **more: str
) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(make_pipeline(kafka_bootstrap))
        collection = f"ingest_{uuid.uuid4().hex}"
        for name, value in {**environment(pipeline, milvus_uri, collection, model), **more}.items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        workers = [await stack.enter_async_context(pipeline.running(make_stage(name, settings))) for name in STAGES]
        yield Running(pipeline, settings, workers)


@pytest.fixture
async def stages(
    kafka_bootstrap: str, milvus_uri: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    async with running(kafka_bootstrap, milvus_uri, model, monkeypatch) as made:
        yield made


def long_text(word: str, paragraphs: int) -> str:
    return "\n\n".join(f"{word} says this in part {at} of it" for at in range(paragraphs))


async def test_structure_and_metadata_reach_the_store_and_follow_changes(stages: Running) -> None:
    text = "# Guide\n\nbefore all\n\n## Install\n\nput it there and go\n\n## Use\n\nstart it now"
    starts = (0, text.index("## Use"))
    guide = Document("guide", text, "Guide", "guide.md", {"year": 2021}, starts)
    first = await stages.send([guide, Document("other", "no year")], metadata={"lang": "en", "year": 1999})
    assert first.indexed == 2
    found = await stages.stored("metadata.year >= 2020 and metadata.lang == 'en'")
    assert [(chunk.heading, chunk.page, chunk.last_page) for chunk in found] == [
        ("", 1, 1),
        ("Install", 1, 1),
        ("Use", 2, 2),
    ]
    assert [chunk.document_id for chunk in await stages.stored("metadata.year == 1999")] == ["other"]
    again = await stages.send([Document("guide", text, "Guide", "guide.md", {"year": 2022}, (0,))])
    assert (again.indexed, again.chunks_added, again.chunks_removed, again.chunks_updated) == (1, 0, 0, 3)
    assert await stages.stored("metadata.year == 2021 or page == 2") == []
    [entry] = [
        entry
        for entry in await read_catalogue(stages.pipeline.kafka, stages.pipeline.names, TENANT)
        if entry.document_id == "guide"
    ]
    assert (entry.status, entry.chunks, entry.pages, entry.metadata) == ("searchable", 3, 1, {"year": 2022})


async def test_of_two_ingests_of_one_id_at_once_the_later_record_stays(stages: Running) -> None:
    texts = {long_text(word, 40) for word in ("one", "two", "three")}
    summaries = await asyncio.gather(*[stages.send([Document("same", text)]) for text in texts])
    assert all(summary.ok and summary.submitted == 1 for summary in summaries)
    records = [record for record in await stages.pipeline.read_all(DOCUMENTS) if record.key == "same"]
    stored = Counter(chunk.text for chunk in await stages.stored())
    assert stored == Counter(records[-1].body["text"].split("\n\n"))


async def test_a_collection_that_somebody_deleted_is_made_anew(stages: Running, milvus_uri: str) -> None:
    document = Document("d", long_text("it", 5))
    await stages.send([document])
    client = MilvusClient(uri=milvus_uri, dedicated=True)
    await asyncio.to_thread(client.drop_collection, stages.settings.milvus.collection)
    client.close()
    assert await stages.stored() == []
    again = await stages.send([document])
    assert (again.indexed, again.chunks_added) == (1, 5)
    assert len(await stages.stored()) == 5


async def test_files_that_fail_are_named_the_others_go_on_and_the_status_says_so(
    stages: Running, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "bomb.docx").write_bytes(docx("a", more={"word/zeros.bin": b"\0" * 300_000_000}))
    (folder / "corrupt.pdf").write_bytes(b"%PDF-1.7 and no more")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "encrypted.pdf").write_bytes(ENCRYPTED_PDF)
    (folder / "good.pdf").write_bytes(pdf("A sky", "is blue"))
    (folder / "huge.txt").write_bytes(b"")
    os.truncate(folder / "huge.txt", 500 * 1024**2)
    (folder / "latin.txt").write_bytes("Gr\u00f6\u00dfe".encode("latin-1"))
    (folder / "none.txt").write_bytes(b"\x00\x01\x02binary")
    (folder / "words.txt").write_text("just a few words")
    done = await asyncio.to_thread(
        CliRunner().invoke, app, ["ingest", "--json", "--metadata", "year=2021", str(folder)]
    )
    assert done.exit_code == 1
    summary = orjson.loads(done.stdout)
    assert (summary["ok"], summary["indexed"], summary["failed"]) == (False, 2, [])
    reasons = {item["name"]: item["reason"] for item in summary["skipped"]}
    expected = {
        "mixed/bomb.docx": "unpacks to 300,",
        "mixed/corrupt.pdf": "The PDF is damaged",
        "mixed/empty.txt": "empty",
        "mixed/encrypted.pdf": "encrypted with a password",
        "mixed/huge.txt": "larger than 16 MiB",
        "mixed/latin.txt": "not utf-8",
        "mixed/none.txt": "binary",
    }
    assert reasons.keys() == expected.keys()
    assert {name: reason for name, reason in reasons.items() if expected[name] not in reason} == {}
    assert {item["name"] for item in summary["skipped"] if not item["is_failure"]} == {"mixed/empty.txt"}
    found = await stages.stored("metadata.year == 2021")
    assert [(chunk.document_id, chunk.page) for chunk in found] == [
        ("mixed/good.pdf", 1),
        ("mixed/words.txt", None),
    ]
    refused = await asyncio.to_thread(CliRunner().invoke, app, ["ingest", "--metadata", "a b=1", str(folder)])
    assert refused.exit_code == 1
    assert "name that is not taken" in refused.stderr


async def test_stages_refuse_a_collection_of_another_embedder_at_their_start(
    stages: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGLINE_EMBEDDER__DIMENSIONS", str(DIMENSIONS * 2))
    for name in ("indexing", "retrieval"):
        with pytest.raises(BackendRejectedError, match="vectors of length 16, not 32; use another collection"):
            async with stages.pipeline.running(make_stage(name, Settings())):
                pass


async def test_a_milvus_that_goes_away_in_mid_ingest_holds_documents_back_and_loses_none(
    kafka_bootstrap: str, milvus_server: Server, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(milvus_server.start)
    documents = [Document(f"d{number}", long_text(f"n{number}", 20)) for number in range(60)]
    some_are_done = asyncio.Event()

    def report(summary: IngestSummary) -> None:
        if summary.indexed >= 5:
            some_are_done.set()

    async with running(
        kafka_bootstrap, milvus_server.uri, model, monkeypatch, RAGLINE_MILVUS__TIMEOUT_MS="2000"
    ) as stages:
        sending = asyncio.create_task(stages.send(documents, report))
        await asyncio.wait_for(some_are_done.wait(), 60)
        await asyncio.to_thread(milvus_server.stop)
        indexing = stages.workers[-1]
        await eventually(lambda: "vector_store_unavailable" in str(indexing.status()["last_error"]) or sending.done())
        assert not sending.done()
        await asyncio.to_thread(milvus_server.start)
        summary = await asyncio.wait_for(sending, 120)
        assert (summary.indexed, summary.failed, summary.ok) == (60, [], True)
        stored = Counter((chunk.document_id, chunk.text) for chunk in await stages.stored())
    assert stored == Counter((each.id, part) for each in documents for part in each.text.split("\n\n"))


@pytest.mark.timeout(180)
async def test_the_longest_document_goes_by_reference_through_all_stages(
    kafka_bootstrap: str, milvus_uri: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"file://{tmp_path}/"
    more = {
        "RAGLINE_EMBEDDER__DIMENSIONS": "384",
        "RAGLINE_CHUNKING__MAX_TOKENS": "200",
        "RAGLINE_REFERENCES__ALLOWED": orjson.dumps([place]).decode(),
    }
    text = " ".join(f"word{at % 5_000:08}" for at in range(455_000))
    assert 5_900_000 < len(text) < 6_000_000
    writer = References(ReferenceSettings(allowed=(place,), write_to=place))
    book = Document("book", text, "Book", metadata={"year": 1873})
    async with running(kafka_bootstrap, milvus_uri, model, monkeypatch, **more) as stages:
        summary = await stages.send([book], references=writer)
        assert summary.ok, summary
        assert summary.chunks_added > 2_000
        found = await stages.stored("metadata.year == 1873")
        assert [chunk.ordinal for chunk in found] == list(range(summary.chunks_added))
        assert " ".join(chunk.text for chunk in found) == text
        again = await stages.send([book], references=writer)
        assert again.unchanged == 1
