"""Workers of the ingest stages are killed in the middle of many chunks: afterwards each chunk is there exactly once.

``RAGLINE_TEST_CHUNKS=20000 pytest tests/integration/test_ingest_kills.py --timeout 1800`` tries it with so many.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from infra.local import child
from ragline import ingest as ingesting
from ragline.catalogue import read_catalogue
from ragline.corpus import Document, Item, Withdrawal
from ragline.ingest import ingest
from ragline.ledger import IngestSummary
from tests.fixtures import ingest_worker
from tests.fixtures.ingest_worker import STAGES, WORDS
from tests.fixtures.pipeline import Pipeline, make_pipeline

pytestmark = pytest.mark.servers

CHUNKS = int(os.environ.get("RAGLINE_TEST_CHUNKS", "1200"))
DOCUMENTS = 30
PARAGRAPHS = CHUNKS // DOCUMENTS
TIMEOUT_S = 120 + CHUNKS / 20
ROOT = Path(__file__).parents[2]


def text(number: int, changed: Iterable[int] = ()) -> str:
    """One paragraph is one chunk: of as many words as a chunk may have tokens."""
    changed = set(changed)
    paragraphs = [
        f"document {number} paragraph {at} is {'new' if at in changed else 'old'} and long" for at in range(PARAGRAPHS)
    ]
    assert all(len(paragraph.split()) == WORDS for paragraph in paragraphs)
    return "\n\n".join(paragraphs)


def document(number: int, changed: Iterable[int] = ()) -> Document:
    return Document(f"d{number}", text(number, changed), f"Title {number}", f"d{number}.txt")


class Workers:
    """One worker process per stage; one that is killed is started again."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, stage: str) -> None:
        with (self._logs / f"{stage}.log").open("ab") as log:
            self._processes[stage] = subprocess.Popen(  # noqa: S603 - our own program
                child.command([sys.executable, ingest_worker.__file__, stage]),
                # Static members: who comes back need not wait until the dead one is missed.
                env=self._environment | {"RAGLINE_RUNTIME__GROUP_INSTANCE_ID": stage},
                cwd=self._logs,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, stage: str) -> None:
        process = self._processes[stage]
        assert process.poll() is None, (self._logs / f"{stage}.log").read_text()[-2000:]
        os.killpg(process.pid, 9)
        process.wait()

    def end(self) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


class KillNow:
    """Kills the next stage's worker whenever so many more documents have ended."""

    def __init__(self, workers: Workers, kills: list[str], every: int) -> None:
        self._workers = workers
        self.kills = kills
        self._every = every
        self._at = every

    def __call__(self, summary: IngestSummary) -> None:
        if self.kills and summary.submitted - summary.pending >= self._at:
            stage = self.kills.pop(0)
            self._at += self._every
            self._workers.kill(stage)
            self._workers.start(stage)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return ingest_worker.save_tokenizer(tmp_path / "model")


@pytest.fixture
async def small(kafka_bootstrap: str) -> AsyncIterator[Pipeline]:
    async with make_pipeline(kafka_bootstrap) as made:
        yield made


def stored(client: MilvusClient, collection: str) -> Counter[tuple[str, str]]:
    """Document ID and text of every row."""
    found: Counter[tuple[str, str]] = Counter()
    for number in range(DOCUMENTS):
        rows: list[dict[str, Any]] = client.query(
            collection,
            filter=f'document_id == "d{number}"',
            output_fields=["document_id", "text"],
            consistency_level="Strong",
        )
        found.update((row["document_id"], row["text"]) for row in rows)
    return found


def chunks_of(documents: Iterable[Document]) -> Counter[tuple[str, str]]:
    return Counter((document.id, paragraph) for document in documents for paragraph in document.text.split("\n\n"))


@pytest.mark.timeout(TIMEOUT_S * 3)
async def test_whoever_is_killed_every_chunk_is_there_once(
    small: Pipeline, milvus_uri: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few at once, so that every stage has work left when it is killed.
    monkeypatch.setattr(ingesting, "_MAX_IN_FLIGHT", 5)
    collection = f"kills_{uuid.uuid4().hex}"
    workers = Workers(ingest_worker.environment(small, milvus_uri, collection, model), tmp_path)

    async def send(items: list[Item], kills: list[str]) -> IngestSummary:
        killer = KillNow(workers, kills, every=4)
        summary = await ingest(small.kafka, small.names, items, report=killer, timeout_s=TIMEOUT_S)
        assert not killer.kills
        assert summary.ok, summary
        return summary

    client = MilvusClient(uri=milvus_uri)
    try:
        for stage in STAGES:
            workers.start(stage)
        first = [document(number) for number in range(DOCUMENTS)]
        await send([*first], [*STAGES])
        assert await asyncio.to_thread(stored, client, collection) == chunks_of(first)

        # The same again changes nothing; then each document in two places, the last ones while workers are killed.
        assert (await send([*first], [])).unchanged == DOCUMENTS
        second = [document(number, changed=(1, PARAGRAPHS - 1)) for number in range(DOCUMENTS)]
        summary = await send([*second[:10]], [])
        assert (summary.chunks_added, summary.chunks_removed) == (20, 20)
        await send([*second[10:]], [*reversed(STAGES)])
        assert await asyncio.to_thread(stored, client, collection) == chunks_of(second)

        # The third kill of each within few records; none of these is blamed for it.
        gone = await send([Withdrawal(document.id, "default") for document in second[10:]], [*STAGES])
        assert gone.submitted == DOCUMENTS - 10
        assert await asyncio.to_thread(stored, client, collection) == chunks_of(second[:10])
        standing = {
            entry.document_id: entry.chunks for entry in await read_catalogue(small.kafka, small.names, "default")
        }
        assert standing == {document.id: PARAGRAPHS for document in second[:10]}
    finally:
        workers.end()
        client.close()
