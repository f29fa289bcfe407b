"""A question that the engine expands, from rag.queries to rag.answers on a real broker."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from backends.echo_engine import EchoEngine
from backends.engine import Delta, EngineDeadError, EngineSettings, GenerationRequest
from backends.live_view import Entry, LiveViewSettings, stream_of
from backends.memory_embedder import HashedEmbedder
from backends.memory_live_view import MemoryLiveView
from backends.memory_vector_store import MemoryVectorStore
from backends.tokenizer import WordTokenizer
from backends.vector_store import StoredChunk
from schemas.events import ExpansionPromptBuilt, PromptBuilt, QueryAccepted, QueryExpanded
from tests.fixtures.pipeline import Pipeline, Record, eventually, make_pipeline
from tests.fixtures.servers import free_port
from topics.specs import ANSWERS, PROMPTS_BUILT, QUERIES, QUERIES_ACCEPTED, QUERIES_EMBEDDED, dead_letters
from workers.embedding import EmbeddingStage
from workers.generation import GenerationStage
from workers.places import OnePlace
from workers.projector import ProjectorStage
from workers.prompt import PromptStage
from workers.query import QueryStage
from workers.retrieval import RetrievalStage
from workers.runtime.settings import RuntimeSettings
from workers.runtime.worker import Worker
from workers.settings import (
    EmbeddingSettings,
    GenerationSettings,
    ProjectorSettings,
    PromptSettings,
    QuerySettings,
    RetrievalSettings,
)
from workers.template import load_templates

pytestmark = pytest.mark.servers

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
TENANT = "default"
QUESTION = "How are values handed out lazily?"
PARROTED = "What is a yield expression?"
WORDING = "What does a yield expression do?"
CHUNK = "A yield expression makes a generator."


class Writer(EchoEngine):
    """Words questions anew, but repeats what a parrot would, and all prompts for an answer; ``dies`` at the first."""

    def __init__(self, *, dies: bool = False) -> None:
        super().__init__(EngineSettings(kind="echo"))
        self.dies = dies
        self.expansions = 0

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        text = request.messages[-1].content
        if text.startswith("Write ") and PARROTED not in text:
            self.expansions += 1
            if self.dies:
                raise EngineDeadError("gone")
            yield Delta(f"1. {WORDING}")
            yield Delta("", "stop")
            return
        async for delta in super().generate(request):
            yield delta


class HeardView(MemoryLiveView):
    """Also keeps what came behind a terminal entry, for topics are fetched in no order."""

    def __init__(self) -> None:
        super().__init__(LiveViewSettings())
        self.heard: list[tuple[str, Entry]] = []

    async def append(self, stream: str, entries: Sequence[Entry], *, once: str | None = None) -> bool:
        self.heard += [(stream, entry) for entry in entries]
        return await super().append(stream, entries, once=once)

    def notes(self, stream: str, stage: str) -> set[object]:
        return {
            entry.body.get("note") for name, entry in self.heard if name == stream and entry.body.get("stage") == stage
        }


@contextlib.asynccontextmanager
async def stages(pipeline: Pipeline, engine: Writer, view: MemoryLiveView) -> AsyncIterator[Worker]:
    """All stages of a request, on one chunk that the question's own words do not find; gives generation's worker."""
    store, embedder, templates = MemoryVectorStore(), HashedEmbedder(), load_templates()
    [vector] = await embedder.embed([CHUNK])
    await store.replace(TENANT, "d", [StoredChunk("c", "d", TENANT, "Yield", "docs/yield.md", 0, CHUNK, vector)])
    others = (
        QueryStage(QuerySettings(mode="sparse", min_score=-1), templates),
        EmbeddingStage(EmbeddingSettings(), embedder),
        RetrievalStage(RetrievalSettings(), OnePlace(store, "c", embedder.dimensions), {}),
        PromptStage(PromptSettings(), WordTokenizer(), templates, 4_096),
        ProjectorStage(ProjectorSettings(), view, TENANT),
    )
    async with contextlib.AsyncExitStack() as running:
        generation = GenerationStage(GenerationSettings(delta_interval_ms=0), engine, view)
        worker = await running.enter_async_context(pipeline.running(generation))
        for stage in others:
            await running.enter_async_context(pipeline.running(stage))
        yield worker


async def run_the_command_of_the_document(pipeline: Pipeline) -> str:
    """What ``ragline ask`` says, asked as docs/clients.md shows it; without a live view."""
    section = DOCUMENT.read_text().split("\n## What is searched\n")[1].split("\n## ")[0]
    *_, command = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", command.replace("ragline", f"{sys.executable} -m ragline", 1)),
        env=os.environ
        | {
            "RAGLINE_KAFKA__BOOTSTRAP_SERVERS": pipeline.kafka.bootstrap_servers,
            "RAGLINE_NAMESPACE": pipeline.names.prefix,
            "RAGLINE_REDIS__URL": f"redis://127.0.0.1:{free_port()}/0",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    return said.decode()


async def ask(pipeline: Pipeline, key: str, question: str = QUESTION, **options: Any) -> None:
    body = {"question": question, "expansion": "multi_query", "variants": 1} | options
    await pipeline.produce(QUERIES, orjson.dumps(body), key)


def of(records: list[Record], key: str) -> list[Record]:
    return [record for record in records if record.key == key]


async def test_what_the_engine_writes_is_searched_for_and_what_is_of_no_use_is_done_without(
    kafka_bootstrap: str,
) -> None:
    view = HeardView()
    async with make_pipeline(kafka_bootstrap, partitions=2) as pipeline:
        async with stages(pipeline, Writer(), view) as worker:
            await ask(pipeline, "plain", expansion="none")
            await ask(pipeline, "expanded")
            await ask(pipeline, "parroted", question=PARROTED)
            await pipeline.read_count(ANSWERS, 3)
            said = await run_the_command_of_the_document(pipeline)
            counted = {
                sample.labels["outcome"]: sample.value
                for family in worker._metrics.registry.collect()
                for sample in family.samples
                if sample.name == "ragline_expansions_total"
            }

            async def all_shown() -> bool:
                streams = [stream_of(TENANT, key) for key in ("plain", "expanded", "parroted")]
                return all([(last := await view.last(stream)) and last.entry.kind == "terminal" for stream in streams])

            await eventually(all_shown)
            parroted = stream_of(TENANT, "parroted")
            await eventually(
                lambda: view.notes(parroted, "expansion") == {"The engine wrote nothing that can be searched for."}
            )
        answers, prompts, accepted, embedded = [
            await pipeline.read_all(spec) for spec in (ANSWERS, PROMPTS_BUILT, QUERIES_ACCEPTED, QUERIES_EMBEDDED)
        ]
        assert await pipeline.read_all(dead_letters(PROMPTS_BUILT)) == []
    assert "[1] Yield" in said
    assert " · expansion " in said
    ends = {record.key: record for record in answers if record.key in {"plain", "expanded", "parroted"}}
    assert {key: record.body["finish_reason"] for key, record in ends.items()} == {
        "plain": "nothing_found",
        "expanded": "stop",
        "parroted": "stop",
    }
    assert len(answers) == 4
    assert [record.headers.type for record in of(prompts, "expanded")] == [ExpansionPromptBuilt.TYPE, PromptBuilt.TYPE]
    assert [record.headers.type for record in of(accepted, "plain")] == [QueryAccepted.TYPE]
    for key, texts, fallback in (("expanded", [WORDING], False), ("parroted", [], True)):
        [record] = of(accepted, key)
        assert record.headers.type == QueryExpanded.TYPE
        assert (record.body["texts"], "fallback" in record.body) == (texts, fallback)
        steps = [time.stage for time in ends[key].headers.timeline]
        assert steps == ["query", "expansion", "embedding", "retrieval", "prompt", "generation"]
    [record] = of(embedded, "expanded")
    assert [beside["text"] for beside in record.body["expansions"]] == [WORDING]
    assert counted == {"expanded": 2, "fallback": 1}


async def test_an_expansion_that_kills_its_workers_costs_the_expansion_and_no_request(kafka_bootstrap: str) -> None:
    view = MemoryLiveView(LiveViewSettings())
    engine = Writer(dies=True)
    async with make_pipeline(kafka_bootstrap, partitions=1) as pipeline:
        async with pipeline.running(QueryStage(QuerySettings(), load_templates())):
            await ask(pipeline, "killer")
            await pipeline.read_count(PROMPTS_BUILT, 1)
        for _ in range(4):
            stage = GenerationStage(GenerationSettings(), engine, view)
            worker = Worker(stage, pipeline.kafka, pipeline.names, RuntimeSettings())
            with pytest.raises(ExceptionGroup) as died:
                await asyncio.wait_for(worker.run(asyncio.Event()), 60)
            assert died.group_contains(EngineDeadError)
        async with pipeline.running(GenerationStage(GenerationSettings(), engine, view)):
            [record] = await pipeline.read_count(QUERIES_ACCEPTED, 1)
        assert await pipeline.read_all(ANSWERS) == []
    assert engine.expansions == 4
    assert record.key == "killer"
    assert record.body["fallback"] == "The question could not be expanded: Its worker died each time it was handled."
