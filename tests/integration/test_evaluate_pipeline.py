"""BEIR folders through the pipeline on a real broker, with stages of which one stands for the index."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from backends.echo_engine import EchoEngine
from backends.engine import EngineSettings
from backends.live_view import LiveViewSettings
from backends.memory_live_view import MemoryLiveView
from backends.tokenizer import WordTokenizer
from ragline.evaluating import Wanted, evaluate
from ragline.settings import Settings
from replay.evaluation.cases import read_cases
from replay.evaluation.errors import EvaluationError
from replay.evaluation.outcome import Outcome
from replay.run_folder.errors import RunError
from replay.run_folder.reader import Run, find_run
from replay.run_folder.rows import AnswerRow, PassageRow, RequestRow
from schemas.events import DocumentIndexed, DocumentSubmitted, PassagesRetrieved, QueryAccepted
from schemas.revision import document_revision
from schemas.values import Passage
from tests.fixtures.pipeline import Pipeline, eventually, make_pipeline
from topics.specs import DOCUMENTS, QUERIES, QUERIES_ACCEPTED, TopicSpec
from workers.generation import GenerationStage
from workers.prompt import PromptStage
from workers.query import QueryStage
from workers.runtime.stage import Delivery, Produce, RejectedError
from workers.runtime.stage import Outcome as StageOutcome
from workers.settings import GenerationSettings, PromptSettings, QuerySettings
from workers.template import load_templates

pytestmark = pytest.mark.servers

COUNT = 30
MODEL = "SmolLM2-135M-Instruct"


class Index:
    """Keeps documents, and finds those that share words with a question; one that says so fails."""

    def __init__(self) -> None:
        self.documents: dict[str, DocumentSubmitted] = {}

    def find(self, question: str, top_k: int) -> list[Passage]:
        words = set(re.findall(r"\w+", question))
        shared = {key: len(words & set(re.findall(r"\w+", event.text))) for key, event in self.documents.items()}
        best = sorted((key for key in shared if shared[key]), key=lambda key: (-shared[key], key))[:top_k]
        return [
            Passage(
                chunk_id=f"{key}#0",
                document_id=key,
                title=self.documents[key].title,
                text=self.documents[key].text,
                source="",
                ordinal=0,
                score=0.5,
            )
            for key in best
        ]


class Indexing:
    """Stands for the three stages of ingest."""

    name = "chunking"
    consumes: tuple[TopicSpec, ...] = (DOCUMENTS,)
    subject: Literal["document"] = "document"
    max_in_flight = 8

    def __init__(self, index: Index) -> None:
        self._index = index

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def handle(self, delivery: Delivery[DocumentSubmitted]) -> StageOutcome:
        event, key = delivery.event, delivery.key
        self._index.documents[key] = event
        revision = document_revision(event)
        return Produce(
            (DocumentIndexed(document_id=key, revision=revision, tenant="default", chunks=1, added=1, removed=0),)
        )


class Finding:
    """Stands for embedding and retrieval. While ``held`` is set, only ``before`` questions pass."""

    name = "retrieval"
    consumes: tuple[TopicSpec, ...] = (QUERIES_ACCEPTED,)
    subject: Literal["request"] = "request"
    max_in_flight = 8

    def __init__(self, index: Index, before: int | None = None) -> None:
        self._index = index
        self.open = asyncio.Event()
        self._before = before
        if before is None:
            self.open.set()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def handle(self, delivery: Delivery[QueryAccepted]) -> StageOutcome:
        query = delivery.event
        if self._before:
            self._before -= 1
        else:
            await self.open.wait()
        if "impossible" in query.question:
            return RejectedError("impossible", "It cannot be found.")
        passages = tuple(self._index.find(query.question, query.options.top_k))
        return Produce((PassagesRetrieved(query=query, collection="c", embedding_model="e", passages=passages),))


@contextlib.asynccontextmanager
async def serving(pipeline: Pipeline, before: int | None = None) -> AsyncIterator[Finding]:
    """All stages, as small as they can be."""
    index, live_view, templates = Index(), MemoryLiveView(LiveViewSettings()), load_templates()
    finding = Finding(index, before)
    engine = EchoEngine(EngineSettings(kind="echo", model=MODEL))
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(
            *(
                stack.enter_async_context(pipeline.running(stage))
                for stage in (
                    Indexing(index),
                    QueryStage(QuerySettings(), templates),
                    finding,
                    PromptStage(PromptSettings(), WordTokenizer(), templates, 4_096),
                    GenerationStage(GenerationSettings(delta_interval_ms=0), engine, live_view),
                )
            )
        )
        try:
            yield finding
        finally:
            finding.open.set()


@pytest.fixture
async def pipeline(kafka_bootstrap: str) -> AsyncIterator[Pipeline]:
    async with make_pipeline(kafka_bootstrap) as made:
        yield made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of which each question is answered by one document, but for one that cannot be asked."""
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    documents = [f'{{"_id": "d{at}", "title": "Title {at}", "text": "All about topic{at}."}}' for at in range(COUNT)]
    (folder / "corpus.jsonl").write_text("\n".join(documents))
    questions = [f'{{"_id": "q{at}", "text": "What of topic{at}?"}}' for at in range(COUNT - 1)]
    questions.append(f'{{"_id": "q{COUNT - 1}", "text": "What of impossible topic{COUNT - 1}?"}}')
    (folder / "queries.jsonl").write_text("\n".join([*questions, '{"_id": "unjudged", "text": "Who?"}']))
    rows = [f"q{at}\td{at}\t1" for at in range(COUNT)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]))
    return folder


WANTED = Wanted(
    run="first",
    against=None,
    qrels=None,
    answers=None,
    beir=None,
    split="test",
    fields={"top_k": 3},
    limit=None,
    html=None,
    gates=(),
    support="lexical",
    refusal=None,
    judge=False,
    judge_limit=None,
    changes=5,
    seed=7,
    timeout_s=30,
)


async def run(pipeline: Pipeline, tmp_path: Path, wanted: Wanted) -> Outcome:
    settings = Settings.model_validate(
        {
            "namespace": pipeline.names.prefix,
            "kafka": pipeline.kafka.model_dump(),
            "replay": {"runs_folder": tmp_path / "runs"},
        }
    )
    return await evaluate(settings, wanted, "0", lambda _: None, lambda *_: None)


async def test_a_data_set_goes_through_the_pipeline_and_is_judged(
    pipeline: Pipeline, tmp_path: Path, data: Path
) -> None:
    async with serving(pipeline):
        outcome = await run(pipeline, tmp_path, replace(WANTED, beir=data, gates=("run.ndcg10 > 0.9",)))
        # A second time with another name, against the first, with the pipeline's own model as the judge.
        again = replace(WANTED, run="second", against="first", beir=data, html=tmp_path / "r.html", judge=True)
        second = await run(pipeline, tmp_path, again)
    assert outcome.ok
    assert outcome.summaries["ndcg10"].value == pytest.approx((COUNT - 1) / COUNT)
    assert outcome.run.counts["answered"] == COUNT - 1
    found = find_run("first", tmp_path / "runs")
    assert found.manifest.state == "complete"
    cases = read_cases(found)
    case = cases.cases["q3"]
    assert case.request.tenant == "default"
    assert [cases.chunks[chunk].document_id for chunk in case.passages] == [
        "d3",
        *case_others(cases.cases["q3"].passages),
    ]
    assert "topic3" in case.text
    assert set(case.stage_ms) == {"query", "retrieval", "prompt", "generation"}
    assert {"retrieval", "prompt", "generation"} == set(cases.stamps)
    failed = cases.cases[f"q{COUNT - 1}"]
    assert failed.answer is not None
    assert (failed.answer.state, failed.answer.stage, failed.answer.code) == ("failed", "retrieval", "impossible")
    assert second.comparison is not None
    assert (second.comparison.shared, second.comparison.same_answers) == (COUNT, COUNT)
    # The echo is JSON, as it was asked to be, but no verdict.
    assert second.run.counts["judge_unparsable"] == COUNT - 1
    assert "judge" not in second.summaries
    assert (tmp_path / "r.html").is_file()


def case_others(passages: list[str]) -> list[str]:
    """The documents after the first."""
    return [chunk.removesuffix("#0") for chunk in passages[1:]]


async def test_a_run_that_was_interrupted_goes_on_and_repeats_nothing(
    pipeline: Pipeline, tmp_path: Path, data: Path
) -> None:
    wanted = replace(WANTED, beir=data)
    folder = tmp_path / "runs" / "first"
    async with serving(pipeline, before=10) as finding:
        first = asyncio.create_task(run(pipeline, tmp_path, wanted))
        # As many as may pass have, and the others are asked.
        await eventually(folder.is_dir)
        topic = pipeline.names.topic(QUERIES)
        await pipeline.read(topic, lambda records: len(records) >= COUNT)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        kept = Run(folder)
        assert kept.manifest.state == "partial"
        with pytest.raises(RunError, match="was begun from something else"):
            await run(pipeline, tmp_path, replace(wanted, limit=3))
        # What was held is answered while nobody looks.
        finding.open.set()
        outcome = await run(pipeline, tmp_path, wanted)
        with pytest.raises(RunError, match="there is a run first already"):
            await run(pipeline, tmp_path, wanted)
    assert outcome.run.counts == {
        "requests": COUNT,
        "ended": COUNT,
        "answered": COUNT - 1,
        "repeated": 0,
        "with_qrels": COUNT,
        "qrels_without_request": 0,
    }
    done = Run(folder)
    assert done.count(RequestRow) == done.count(AnswerRow) == COUNT
    assert done.count(PassageRow) == len({(row.request_id, row.rank) for row in done.rows(PassageRow)})


async def test_silence_is_one_sentence_and_what_has_ended_is_kept(
    pipeline: Pipeline, tmp_path: Path, data: Path
) -> None:
    async with serving(pipeline, before=10):
        with pytest.raises(EvaluationError, match=rf"no request ended for 3 s, {COUNT - 10} of {COUNT} are open"):
            await run(pipeline, tmp_path, replace(WANTED, beir=data, timeout_s=3))
    assert Run(tmp_path / "runs" / "first").count(AnswerRow) == 10
