"""Puts a data set in BEIR's form through the pipeline: its documents by ingest, its questions as events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uuid_utils

from backends.references import References
from ragline.corpus import read_all
from ragline.ingest import ingest
from ragline.ledger import IngestSummary
from ragline.question_run import Questions, ask_all
from ragline.settings import Settings
from replay.beir import read_qrels, read_queries
from replay.evaluation.errors import EvaluationError
from replay.evaluation.gold import DataError, Qrels
from replay.run_folder.errors import RunError
from replay.run_folder.manifest import FILE, Manifest, RunSource, check_name
from replay.run_folder.writer import RunWriter
from topics.specs import QUERIES


@dataclass(frozen=True)
class BeirSet:
    """A data set in BEIR's form, with the questions that a split of it judges."""

    folder: Path
    split: str
    questions: Mapping[str, str]
    qrels: Qrels

    @property
    def selection(self) -> dict[str, Any]:
        """What a run of it says it was made from."""
        return {"beir": self.folder.resolve().name, "split": self.split}


@dataclass(frozen=True)
class Asked:
    """How its questions are asked: fields of ``QueryAsked``."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 120


def read_beir(folder: Path, split: str, limit: int | None) -> BeirSet:
    """Read questions and judgements; ``limit`` takes only the first questions.

    Raises:
        DataError: the folder holds no such data set or split, or the split judges none of its questions.
    """
    queries, qrels = read_queries(folder), read_qrels(folder, split)
    if not (folder / "corpus.jsonl").is_file():
        raise DataError(f"{folder} has no corpus.jsonl")
    judged = [query for query in qrels if query in queries][:limit]
    if not judged:
        raise DataError(f"the split {split} of {folder} judges none of its questions")
    return BeirSet(
        folder, split, {query: queries[query] for query in judged}, {query: qrels[query] for query in judged}
    )


async def run_beir(
    settings: Settings,
    name: str,
    data: BeirSet,
    asked: Asked,
    version: str,
    *,
    ingested: Callable[[IngestSummary], None],
    answered: Callable[[int, int], None],
) -> None:
    """Make the run ``name``, or go on with it where it was interrupted.

    Raises:
        RunError: the name is in use by another run.
        EvaluationError: a document could not be made searchable, or the answers stopped coming.
        IngestError: the ingest could not be finished.
        ConnectionError: Kafka does not answer.
    """
    folder = settings.replay.runs_folder / check_name(name)
    selection = data.selection | {"questions": len(data.questions), **asked.fields}
    if (folder / FILE).exists():
        _check_is_same(Manifest.read(folder), selection)
    summary = await ingest(
        settings.kafka,
        settings.names,
        read_all([str(data.folder)]),
        tenant=asked.fields.get("tenant"),
        report=ingested,
        timeout_s=asked.timeout_s,
        conversion=settings.bridge.conversion,
        references=References(settings.references),
    )
    if summary.failed:
        first = summary.failed[0]
        raise EvaluationError(
            f"{len(summary.failed)} documents of {data.folder} could not be made searchable, the first of them "
            f"{first.document_id} in {first.stage}: {first.reason}"
        )
    manifest = Manifest(
        name=name,
        ragline_version=version,
        source=RunSource(topic=settings.names.topic(QUERIES), selection=selection),
        settings={f"ask.{field_name}": value for field_name, value in asked.fields.items()},
        position={"nonce": str(uuid_utils.uuid7())},
    )
    is_new = not (folder / FILE).exists()
    with RunWriter.create(folder, manifest) if is_new else RunWriter.resume(folder) as writer:
        await ask_all(
            settings,
            writer,
            Questions(data.questions, asked.fields),
            report=answered,
            timeout_s=asked.timeout_s,
        )


def _check_is_same(manifest: Manifest, selection: dict[str, Any]) -> None:
    if manifest.state == "complete":
        raise RunError(
            f"there is a run {manifest.name} already; name another, or evaluate that one with --qrels instead of --beir"
        )
    if manifest.source is None or manifest.source.selection != selection:
        raise RunError(f"the run {manifest.name} was begun from something else; name another, or delete that one")
