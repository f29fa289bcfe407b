"""Evaluates runs: what is asked of the systems outside, around the pure measures of ``replay.evaluation``."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragline.beir_run import Asked, BeirSet, read_beir, run_beir
from ragline.judging import judge
from ragline.ledger import IngestSummary
from ragline.settings import Settings
from replay.evaluation.cases import Cases, read_cases
from replay.evaluation.errors import EvaluationError
from replay.evaluation.evaluation import Evaluation, Options
from replay.evaluation.evaluation import evaluate as measure
from replay.evaluation.gates import parse_gate
from replay.evaluation.gold import Gold, read_answers, read_qrels
from replay.evaluation.outcome import Outcome, conclude
from replay.evaluation.refusal import DEFAULT_PATTERN, refusal_pattern
from replay.evaluation.sentences import sentences
from replay.evaluation.support import EmbeddingSupport, LexicalSupport, Support, embedded
from replay.report.page import Shown, write_page
from replay.run_folder.reader import Run, find_run

# What is under way, how much of it is done, and how much there is.
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be evaluated, as it was said at the command line."""

    run: str
    against: str | None
    qrels: Path | None
    answers: Path | None
    beir: Path | None
    split: str
    fields: Mapping[str, Any]
    limit: int | None
    html: Path | None
    gates: tuple[str, ...]
    support: str
    refusal: str | None
    judge: bool
    judge_limit: int | None
    changes: int
    seed: int
    timeout_s: float


async def evaluate(
    settings: Settings, wanted: Wanted, version: str, ingested: Callable[[IngestSummary], None], tell: Tell
) -> Outcome:
    """Evaluate, after a data set was put through the pipeline where that is wanted; writes the report.

    Everything that can be refused is refused before anything is asked or written.

    Raises:
        EvaluationError: it cannot be evaluated like this.
        RunError: a run is missing, damaged, or its name in use.
        ConnectionError, IngestError: the pipeline does not answer.
    """
    gates = [parse_gate(text, is_compared=wanted.against is not None) for text in wanted.gates]
    if wanted.support not in {"lexical", "embedding"}:
        raise EvaluationError(f"--support takes lexical or embedding, not {wanted.support!r}")
    if wanted.html is not None and not wanted.html.absolute().parent.is_dir():
        raise EvaluationError(f"there is no folder {wanted.html.parent} for the report")
    refusal = refusal_pattern(wanted.refusal if wanted.refusal is not None else DEFAULT_PATTERN)
    runs_folder = settings.replay.runs_folder
    data = read_beir(wanted.beir, wanted.split, wanted.limit) if wanted.beir else None
    gold = _gold(wanted, data)
    other = find_run(wanted.against, runs_folder) if wanted.against is not None else None
    other_cases = read_cases(other) if other is not None else None
    if data is not None:
        asked = Asked(wanted.fields, wanted.timeout_s)
        await run_beir(
            settings,
            wanted.run,
            data,
            asked,
            version,
            ingested=ingested,
            answered=lambda done, whole: tell("answered", done, whole),
        )
    run = find_run(wanted.run, runs_folder)
    all_cases = [read_cases(run), *([other_cases] if other_cases else [])]
    support = await _support(settings, wanted.support, all_cases)
    evaluations: list[Evaluation] = []
    for cases in all_cases:
        verdicts = None
        if wanted.judge:
            verdicts = await judge(
                settings,
                cases,
                gold,
                limit=wanted.judge_limit,
                report=_judged(tell, cases.name),
                timeout_s=wanted.timeout_s,
            )
        evaluations.append(measure(cases, gold, Options(support, refusal), verdicts))
    outcome = conclude(evaluations[0], evaluations[1] if other_cases else None, gates, wanted.seed)
    if wanted.html is not None:
        write_page(wanted.html, outcome, _shown(run, other, gold, wanted.changes))
    return outcome


def _gold(wanted: Wanted, data: BeirSet | None) -> Gold:
    qrels = data.qrels if data else None
    if wanted.qrels is not None:
        qrels = read_qrels(wanted.qrels)
    return Gold(qrels, read_answers(wanted.answers) if wanted.answers is not None else None)


async def _support(settings: Settings, kind: str, all_cases: Iterable[Cases]) -> Support:
    if kind == "lexical":
        return LexicalSupport(settings.milvus.language)
    # Loading a model takes seconds, and torch.
    from backends.sentence_transformers_embedder import SentenceTransformersEmbedder  # noqa: PLC0415
    from ragline.stages import with_local_models  # noqa: PLC0415

    embedder = SentenceTransformersEmbedder(with_local_models(settings).embedder)
    try:
        await embedder.start()
        vectors = await embedded(_texts(all_cases), embedder.embed)
    finally:
        await embedder.close()
    return EmbeddingSupport(vectors, embedder.model)


def _texts(all_cases: Iterable[Cases]) -> Iterable[str]:
    """Every sentence of answers and of passages that were in a prompt."""
    for cases in all_cases:
        for case in cases.cases.values():
            yield from (sentence.text for sentence in sentences(case.text))
            for text in cases.source_texts(case).values():
                yield from (sentence.text for sentence in sentences(text))


def _judged(tell: Tell, name: str) -> Callable[[int, int], None]:
    return lambda done, whole: tell(f"{name} judged", done, whole)


def _shown(run: Run, other: Run | None, gold: Gold, changes: int) -> Shown:
    return Shown(run.manifest, other.manifest if other else None, gold, changes)
