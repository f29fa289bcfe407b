"""The command ``ragline evaluate``."""

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
from pydantic import ValidationError

from backends.errors import BackendError
from ragline.corpus import CorpusError
from ragline.ingest import IngestError
from ragline.settings import Settings
from ragline.terminal import ERR, OUT, IngestProgress, fail
from replay.evaluation.errors import EvaluationError
from replay.extra import MissingExtraError, needed
from replay.run_folder.errors import RunError
from schemas.events import QueryAsked

T = TypeVar("T")

_NOT_EVALUATED = 2
_INTERRUPTED = 130
_KNOWN = (EvaluationError, RunError, MissingExtraError, IngestError, CorpusError, ConnectionError, BackendError)

# Models, numpy and Parquet are imported when the command runs: no other command should wait for them.
# ruff: noqa: PLC0415


def evaluate(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="Name of the run, or path of its folder.")],
    against: Annotated[str | None, typer.Option(help="Run to compare it with, request by request.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="Relevance judgements, in TREC's or BEIR's form.")] = None,
    answers: Annotated[
        Path | None, typer.Option(help="Gold answers, JSON lines of id and answers; [] for what nobody can answer.")
    ] = None,
    beir: Annotated[
        Path | None, typer.Option(help="Folder in BEIR's form: put it through the pipeline as this run first.")
    ] = None,
    split: Annotated[str, typer.Option(help="With --beir: which of its qrels.")] = "test",
    ask: Annotated[
        list[str] | None, typer.Option(help="With --beir: FIELD=VALUE for every question, such as top_k=10.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="With --beir: only so many questions.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    gate: Annotated[
        list[str] | None, typer.Option(help="'ndcg10 >= -0.01': what must hold; may be given several times.")
    ] = None,
    support: Annotated[str, typer.Option(help="Who says what passages support: lexical or embedding.")] = "lexical",
    refusal: Annotated[str | None, typer.Option(help="Regular expression for answers that refuse.")] = None,
    judge: Annotated[bool, typer.Option("--judge", help="Have the pipeline's own model judge the answers.")] = False,
    judge_limit: Annotated[int | None, typer.Option(min=1, help="Judge only so many answers.")] = None,
    changes: Annotated[int, typer.Option(min=0, help="Requests to show that changed most.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of intervals and tests.")] = 7,
    timeout_s: Annotated[float, typer.Option(min=1, help="Give up after so many seconds without an answer.")] = 120,
) -> None:
    """Measure a run, and compare it with another. Status 0: every gate holds; 1: one does not; 2: no evaluation."""

    def work() -> bool:
        with needed():
            from ragline import evaluating
        wanted = evaluating.Wanted(
            run=run,
            against=against,
            qrels=qrels,
            answers=answers,
            beir=beir,
            split=split,
            fields=ask_fields(ask or []),
            limit=limit,
            html=html,
            gates=tuple(gate or ()),
            support=support,
            refusal=refusal,
            judge=judge,
            judge_limit=judge_limit,
            changes=changes,
            seed=seed,
            timeout_s=timeout_s,
        )
        if beir is None and (ask or limit):
            raise EvaluationError("--ask and --limit say how --beir asks; a run that is there is not asked again")
        settings: Settings = context.obj.settings
        with IngestProgress() as ingested, needed():
            outcome = asyncio.run(
                evaluating.evaluate(settings.with_local_addresses(), wanted, version("ragline"), ingested, _told())
            )
        if as_json:
            from replay.evaluation.outcome import as_json as document

            OUT.print(orjson.dumps(document(outcome, changes)).decode(), markup=False)
        else:
            from ragline.evaluation_text import lines

            for line in lines(outcome):
                OUT.print(line, markup=False)
        if html is not None:
            ERR.print(f"report: {html}", markup=False)
        return outcome.ok

    raise typer.Exit(0 if _one_sentence(work) else 1)


def ask_fields(items: list[str]) -> dict[str, Any]:
    """Read ``FIELD=VALUE`` items as fields of ``QueryAsked``; values are JSON, or else text.

    Raises:
        EvaluationError: there is no such field, or it takes another value.
    """
    fields: dict[str, Any] = {}
    known = QueryAsked.model_fields.keys() - {"question", "history"}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or name not in known:
            raise EvaluationError(f"--ask takes FIELD=VALUE with one of {', '.join(sorted(known))}; not {item!r}")
        try:
            fields[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            fields[name] = text
    try:
        asked = QueryAsked(question="?", **fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise EvaluationError(f"--ask {problem['loc'][0]}: {problem['msg']}") from None
    return asked.model_dump(mode="json", include=set(fields))


def _told() -> Callable[[str, int, int], None]:
    """Says on the terminal how far a part of the work is: every tenth of it."""
    last: dict[str, int] = {}

    def tell(what: str, done: int, whole: int) -> None:
        tenth = 10 * done // max(1, whole)
        if last.get(what) != tenth:
            last[what] = tenth
            ERR.print(f"{what}: {done} of {whole}", markup=False)

    return tell


def _one_sentence(work: Callable[[], T]) -> T:
    try:
        return work()
    except _KNOWN as error:
        fail(str(error))
        raise typer.Exit(_NOT_EVALUATED) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
