"""Requests are explained from a real broker's topics alone, however they ended."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from aiokafka.partitioner import DefaultPartitioner
from typer.testing import CliRunner, Result

from backends.echo_engine import EchoEngine
from backends.engine import EngineSettings
from backends.live_view import LiveViewSettings
from backends.memory_embedder import HashedEmbedder
from backends.memory_live_view import MemoryLiveView
from backends.memory_vector_store import MemoryVectorStore
from backends.tokenizer import WordTokenizer
from backends.vector_store import StoredChunk
from ragline.cli import Context
from ragline.explain_cli import explain
from ragline.settings import Settings
from ragline.stamps import stamping
from schemas import codec
from schemas.events import CancellationRequested
from schemas.headers import derive_id
from tests.fixtures.pipeline import Pipeline, make_pipeline
from topics.specs import ANSWERS, CONTROL, QUERIES
from workers.embedding import EmbeddingStage
from workers.generation import GenerationStage
from workers.places import OnePlace
from workers.prompt import PromptStage
from workers.query import QueryStage
from workers.retrieval import RetrievalStage
from workers.settings import EmbeddingSettings, GenerationSettings, PromptSettings, QuerySettings, RetrievalSettings
from workers.template import load_templates

pytestmark = pytest.mark.servers

TENANT = "default"
QUESTION = "What makes a generator?"
CHUNK = "A yield expression makes a generator."


@pytest.fixture
async def pipeline(kafka_bootstrap: str) -> AsyncIterator[Pipeline]:
    async with make_pipeline(kafka_bootstrap, partitions=2) as made:
        # Its markers are offsets without a record.
        made.guarantee = "exactly_once"
        yield made


def settings_of(pipeline: Pipeline) -> Settings:
    return Settings.model_validate(
        {"kafka": pipeline.kafka.model_dump(), "namespace": pipeline.names.prefix, "engine": {"kind": "echo"}}
    )


@contextlib.asynccontextmanager
async def stages(pipeline: Pipeline) -> AsyncIterator[None]:
    store, embedder, templates = MemoryVectorStore(), HashedEmbedder(), load_templates()
    [vector] = await embedder.embed([CHUNK])
    await store.replace(TENANT, "d", [StoredChunk("c", "d", TENANT, "Yield", "docs/yield.md", 0, CHUNK, vector)])
    place = OnePlace(store, "kept", embedder.dimensions)
    view = MemoryLiveView(LiveViewSettings())
    made = (
        QueryStage(QuerySettings(min_score=-1), templates),
        EmbeddingStage(EmbeddingSettings(), embedder),
        RetrievalStage(RetrievalSettings(), place, {}),
        PromptStage(PromptSettings(), WordTokenizer(), templates, 4_096),
        GenerationStage(GenerationSettings(delta_interval_ms=0), EchoEngine(EngineSettings(kind="echo")), view),
    )
    async with contextlib.AsyncExitStack() as running:
        for stage in made:
            await running.enter_async_context(pipeline.running(stage, stamping(stage.name, settings_of(pipeline))))
        yield


async def explained(pipeline: Pipeline, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(explain)
    context = Context(settings_of(pipeline), None)
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, obj=context)


async def as_json(pipeline: Pipeline, *arguments: str) -> Any:
    result = await explained(pipeline, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return orjson.loads(result.stdout)


def uuid7(at: datetime) -> str:
    """RFC 9562, section 5.7."""
    ms = int(at.timestamp() * 1000)
    return str(uuid.UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | (uuid.uuid4().int & ((1 << 62) - 1))))


async def ask_all(pipeline: Pipeline, timed: str) -> str:
    """Ask questions that end in every way; gives the ID of the one that has no key."""
    topic, question = pipeline.names.topic(QUERIES), orjson.dumps({"question": QUESTION})

    async def ask(key: str, **options: Any) -> None:
        await pipeline.produce(QUERIES, orjson.dumps({"question": QUESTION} | options), key)

    cancellation = CancellationRequested(request_id="stopped", reason="enough")
    await pipeline.produce(CONTROL, codec.encode(cancellation), "stopped")
    async with stages(pipeline):
        await ask(timed, seed=7)
        await ask("plain")
        await ask("stopped")
        await ask("late", deadline_at=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
        await ask("odd", template="nowhere")
        await pipeline.produce(QUERIES, b"no JSON", "broken")
        keyless = await pipeline.producer.send_and_wait(topic, question, partition=1)
        # As a producer does that chooses partitions otherwise.
        other = 1 - DefaultPartitioner()(b"foreign", [0, 1], [0, 1])
        await pipeline.producer.send_and_wait(topic, question, b"foreign", partition=other)
        await pipeline.read_count(ANSWERS, 8)
    return derive_id(topic, 1, keyless.offset)


async def test_every_request_is_explained_and_an_unknown_one_is_a_sentence(pipeline: Pipeline, tmp_path: Path) -> None:
    timed = uuid7(datetime.now(UTC))
    made = await ask_all(pipeline, timed)

    told = await as_json(pipeline, timed)
    assert (told["state"], told["question"], told["options"]["sampling"]["seed"]) == ("answered", QUESTION, 7)
    steps = {step["stage"]: step["stamp"] for step in told["steps"]}
    assert list(steps) == ["query", "embedding", "retrieval", "prompt", "generation"]
    assert all("ragline" in stamp for stamp in steps.values())
    assert steps["embedding"]["embedder_backend"] == "torch"
    assert (steps["retrieval"]["collection"], steps["retrieval"]["collection_rows"]) == ("kept", 1)
    assert (steps["prompt"]["template"], steps["prompt"]["template_version"]) == ("default", "1")
    assert (steps["generation"]["engine"], steps["generation"]["seed"]) == ("echo", 7)
    [passage] = told["passages"]
    assert (passage["number"], passage["passage"]["text"]) == (1, CHUNK)
    assert QUESTION in told["prompt"][-1]["content"]
    assert CHUNK in told["ending"]["answer"]
    assert len(told["records"]) == 6

    ends = {key: await as_json(pipeline, key) for key in ("plain", "stopped", "late", "odd", "broken", "foreign", made)}
    assert {key: told["state"] for key, told in ends.items()} == {
        "plain": "answered",
        "stopped": "cancelled",
        "late": "expired",
        "odd": "failed",
        "broken": "failed",
        "foreign": "answered",
        made: "answered",
    }
    assert {told["question"] for key, told in ends.items() if key != "broken"} == {QUESTION}
    assert ends["stopped"]["notes"] == ["Somebody asked for its cancellation: enough"]
    assert (ends["odd"]["ending"]["stage"], ends["odd"]["ending"]["code"]) == ("query", "unknown_template")
    assert "ragline" in ends["odd"]["steps"][0]["stamp"]
    assert [letter["code"] for letter in ends["broken"]["dead_letters"]] == ["undecodable"]
    assert ends[made]["asked_at"] is not None

    shown = await explained(pipeline, timed, "--html", str(tmp_path / "it.html"))
    assert shown.exit_code == 0, shown.output
    assert "engine echo" in (tmp_path / "it.html").read_text()
    assert "[1] Yield (d)" in (await explained(pipeline, timed)).stdout

    for unknown, sentence in (
        ("nobody", "no topic holds anything of the request 'nobody'"),
        (uuid7(datetime.now(UTC)), "the time in its ID; with --whole"),
    ):
        result = await explained(pipeline, unknown)
        assert result.exit_code == 1
        assert sentence in result.stderr
    # The ID of a clock that was wrong.
    wrong = uuid7(datetime.now(UTC) - timedelta(days=3))
    await pipeline.produce(QUERIES, orjson.dumps({"question": QUESTION}), wrong)
    assert (await explained(pipeline, wrong)).exit_code == 1
    assert (await as_json(pipeline, wrong, "--whole"))["state"] == "open"
