"""The ingest client against a real broker, with one stage that stands for chunking, embedding and indexing."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from backends.errors import BackendRejectedError
from backends.kafka import KafkaSettings
from backends.references import References, ReferenceSettings
from ragline.corpus import Document, Item, Skipped
from ragline.ingest import IngestError, IngestSummary, ingest
from schemas.events import DocumentIndexed, DocumentSubmitted
from schemas.revision import document_revision
from tests.fixtures.pipeline import Pipeline, make_pipeline
from topics.names import Namespace
from topics.specs import DOCUMENTS, DOCUMENTS_INDEXED, INDEXES, MIB, TopicSpec
from workers.runtime.stage import Delivery, Outcome, Produce, RejectedError

pytestmark = pytest.mark.servers


class Indexer:
    """Says of every document that it is searchable; refuses what is called so; remembers revisions."""

    name = "chunking"
    consumes: tuple[TopicSpec, ...] = (DOCUMENTS,)
    subject: Literal["document"] = "document"
    max_in_flight = 8

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def handle(self, delivery: Delivery[DocumentSubmitted]) -> Outcome:
        event, key = delivery.event, delivery.key
        if event.text == "refuse me":
            raise RejectedError("refused", "it asked for it")
        revision = document_revision(event)
        added, removed = (0, 0) if self._known.get(key) == revision else (1, int(key in self._known))
        self._known[key] = revision
        indexed = DocumentIndexed(
            document_id=key, revision=revision, tenant="default", chunks=1, added=added, removed=removed
        )
        return Produce((indexed,))


def ignore(_: IngestSummary) -> None: ...


async def submit(pipeline: Pipeline, items: Iterator[Item] | list[Item], timeout_s: float = 30) -> IngestSummary:
    return await ingest(pipeline.kafka, pipeline.names, items, report=ignore, timeout_s=timeout_s)


async def test_every_document_is_followed_to_its_end(pipeline: Pipeline) -> None:
    documents: list[Item] = [Document(f"d{number}", f"Text {number}.") for number in range(600)]
    others: list[Item] = [
        Document("refused", "refuse me"),
        Skipped("photo.png", "no text", is_failure=False),
        Document("large", "x" * (4 * MIB)),
        Document("as large as may be", "x" * (4 * MIB - 4096)),
    ]
    async with pipeline.running(Indexer()):
        seen: list[int] = []
        summary = await ingest(
            pipeline.kafka,
            pipeline.names,
            documents + others,
            report=lambda summary: seen.append(summary.pending),
            timeout_s=30,
        )
    assert (summary.submitted, summary.indexed, summary.unchanged, summary.pending) == (602, 601, 0, 0)
    assert [(failure.document_id, failure.stage, failure.reason) for failure in summary.failed] == [
        ("refused", "chunking", "it asked for it")
    ]
    assert [item.name for item in summary.skipped] == ["photo.png", "large"]
    # Bounded: those waited for, and the one that waits for room.
    assert max(seen) <= 257
    assert not summary.ok


async def test_the_same_documents_again_change_nothing_and_a_changed_one_does(pipeline: Pipeline) -> None:
    async with pipeline.running(Indexer()):
        first = await submit(pipeline, [Document("a", "One."), Document("b", "Two.")])
        again = await submit(pipeline, [Document("a", "One."), Document("b", "Two, changed.")])
    assert (first.indexed, first.unchanged) == (2, 0)
    assert (again.indexed, again.unchanged, again.chunks_removed) == (1, 1, 1)
    assert again.ok


class Fetcher(Indexer):
    """Fetches what travels beside its record; what cannot be fetched is refused."""

    def __init__(self, references: References) -> None:
        super().__init__()
        self._references = references
        self.fetched: list[str] = []

    async def handle(self, delivery: Delivery[DocumentSubmitted]) -> Outcome:
        if uri := delivery.headers.dataref:
            assert delivery.event.text == ""
            try:
                text = await self._references.read(uri)
            except BackendRejectedError as error:
                return RejectedError("refused", str(error))
            self.fetched.append(uri)
            delivery = delivery._replace(event=delivery.event.model_copy(update={"text": text}))
        return await super().handle(delivery)


async def test_what_is_too_long_for_a_record_travels_beside_it(pipeline: Pipeline, tmp_path: Path) -> None:
    place = f"file://{tmp_path}/"
    writer = References(ReferenceSettings(allowed=(place,), write_to=place))
    items = [Document("long", "word " * MIB), Document("short", "Text.")]
    fetcher = Fetcher(writer)
    async with pipeline.running(fetcher):
        first, again = [
            await ingest(pipeline.kafka, pipeline.names, items, report=ignore, timeout_s=30, references=writer)
            for _ in range(2)
        ]
    assert (first.indexed, first.failed, first.skipped) == (2, [], [])
    assert (again.unchanged, len(set(fetcher.fetched)), len(fetcher.fetched)) == (2, 1, 2)
    async with pipeline.running(Fetcher(References(ReferenceSettings()))):
        refused = await ingest(
            pipeline.kafka, pipeline.names, items[:1], report=ignore, timeout_s=30, references=writer
        )
    assert [failure.document_id for failure in refused.failed] == ["long"]
    assert "is refused" in refused.failed[0].reason


async def test_without_workers_the_wait_ends_in_a_sentence(pipeline: Pipeline) -> None:
    with pytest.raises(IngestError, match=r"no document became searchable for 1 s, 1 of 1 are under way"):
        await submit(pipeline, [Document("a", "One.")], timeout_s=1)


async def test_missing_topics_are_told(kafka_bootstrap: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap)
    with pytest.raises(IngestError, match=r"topic empty\.rag\.indexes is missing"):
        await ingest(kafka, Namespace("empty"), [], report=ignore)


async def test_a_broker_that_is_not_there_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(IngestError, match="does not answer"):
            await ingest(kafka, Namespace(), [], report=ignore)


async def test_nothing_to_ingest_ends_at_once(pipeline: Pipeline) -> None:
    assert (await submit(pipeline, [])).ok


async def test_an_interrupted_ingest_lets_go_of_everything(kafka_bootstrap: str) -> None:
    async with make_pipeline(kafka_bootstrap, [DOCUMENTS, DOCUMENTS_INDEXED, INDEXES]) as pipeline:
        submitted = asyncio.Event()
        task = asyncio.create_task(
            ingest(
                pipeline.kafka,
                pipeline.names,
                [Document("a", "One.")],
                report=lambda summary: submitted.set() if summary.submitted else None,
            )
        )
        await asyncio.wait_for(submitted.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
