"""The command ``ragline reindex``."""

import asyncio
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Annotated, Any, Self

import orjson
import typer
from aiokafka.errors import KafkaError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from backends.errors import BackendError
from ragline.reindex.errors import ReindexError
from ragline.reindex.fleet import child_workers, own_command
from ragline.reindex.options import Options
from ragline.reindex.run import Preview, Summary, Systems, preview, reindex, rollback
from ragline.reindex.session import Change
from ragline.reindex.tally import Tally
from ragline.settings import Settings, SettingsError
from ragline.stack import parse_scale
from ragline.terminal import ERR, OUT, fail, user
from ragline.versions import differences
from topics.cluster import TopicsError

_INTERRUPTED = 130
_LOG_INTERVAL_S = 5.0
_KNOWN = (ReindexError, SettingsError, BackendError, TopicsError, KafkaError, OSError)


def run(
    context: typer.Context,
    embedder: Annotated[
        str | None, typer.Option(help="Embedding model: a folder, or path=…,model=NAME,dimensions=N.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="Index: HNSW, IVF_FLAT, …, with parameters, as in IVF_FLAT,nlist=256.")
    ] = None,
    chunking: Annotated[str | None, typer.Option(help="Chunking, as in max_tokens=300,overlap_tokens=40.")] = None,
    go_back: Annotated[
        bool, typer.Option("--rollback", help="Make the version live again that was so before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    scale: Annotated[
        list[str] | None, typer.Option(help="Own workers of an ingest stage, as STAGE=N; may be given several times.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Chunks that must be found before the new version is live.")] = 50,
    timeout_s: Annotated[float, typer.Option(min=1, help="Give up after so many seconds without progress.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Fill a new version of the index with all documents, and let it take over; questions are answered meanwhile."""
    settings: Settings = context.obj.settings.with_local_addresses()
    options = Options(embedder, index, chunking)
    try:
        if go_back and (options != Options() or dry_run):
            raise SettingsError("--rollback takes no other settings, and no --dry-run")
        if dry_run:
            _print_preview(asyncio.run(preview(settings, options)), as_json=as_json)
            return
        with _Shown() as shown:
            summary = _work(context, settings, options, parse_scale(scale or []), shown, samples, timeout_s, go_back)
    except _KNOWN as error:
        sentence = str(error) or type(error).__name__
        fail(sentence)
        if as_json:
            _print_json({"ok": False, "error": sentence})
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        ERR.print("stopped; questions are answered as before, and the same command goes on from here", markup=False)
        raise typer.Exit(_INTERRUPTED) from None
    _print_summary(summary, as_json=as_json)


def _work(
    context: typer.Context,
    settings: Settings,
    options: Options,
    scale: dict[str, int],
    shown: "_Shown",
    samples: int,
    timeout_s: float,
    go_back: bool,  # noqa: FBT001 - it is the command's own flag
) -> Summary:
    # Milvus' client takes a second to load, and only this needs it.
    from ragline.stages import create_aliases, create_store  # noqa: PLC0415

    systems = Systems(
        make_store=create_store,
        fleet=child_workers(settings, own_command(context.obj.config_file), scale, shown.say),
        report=shown.say,
        progress=shown.show,
        samples=samples,
        timeout_s=timeout_s,
    )
    change = Change(settings, create_aliases(settings), user())
    return asyncio.run(rollback(change, systems) if go_back else reindex(change, systems, options))


class _Shown(AbstractContextManager["_Shown"]):
    """Shows a re-index while it runs: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None
        self._shown_at = time.monotonic()
        self._bar: Progress | None = None
        if ERR.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=ERR, transient=True)
            self._task = self._bar.add_task("documents", total=None)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        ERR.print(f"reindex: {sentence}", markup=False)

    def show(self, tally: Tally) -> None:
        """Show how many documents are in."""
        done, now = tally.records - tally.pending, time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=done, total=tally.records)
        elif now - self._shown_at >= _LOG_INTERVAL_S:
            self._shown_at = now
            self.say(f"{done} of {tally.records} documents{self._rate(done, tally.pending, now)}")
        self._began = self._began or (now, done)

    def _rate(self, done: int, pending: int, now: float) -> str:
        began_at, before = self._began or (now, done)
        if now <= began_at or done <= before:
            return ""
        rate = (done - before) / (now - began_at)
        return f", {rate:.1f}/s, {pending / rate:.0f} s left"


def _print_preview(found: Preview, *, as_json: bool) -> None:
    plan, tally = found.plan, found.tally
    changes = differences(found.live, found.wanted)
    if as_json:
        _print_json(
            {
                "ok": True,
                "collection": plan.target.collection,
                "resumes": plan.resumes,
                "removes": plan.removes.collection if plan.removes else None,
                "changes": {name: list(values) for name, values in changes.items()},
                "documents": tally.documents,
            }
        )
        return
    if plan.removes:
        OUT.print(f"{plan.removes.collection}, begun with other settings, would be removed", markup=False)
    verb = "gone on with" if plan.resumes else "made"
    OUT.print(f"{plan.target.collection} would be {verb}, for {tally.documents} documents", markup=False)
    for name, (before, after) in changes.items():
        OUT.print(f"  {name}: {before} -> {after}", markup=False)
    if not changes:
        OUT.print("  with the settings of the live version", markup=False)


def _print_summary(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        _print_json(summary.document())
        return
    for document, reason in summary.failed.items():
        ERR.print(f"failed {document}: {reason}", markup=False)
    OUT.print(
        f"{summary.collection} is live: {summary.documents} documents, {summary.chunks} chunks, {len(summary.failed)} "
        f"failed, {summary.seconds:g} s; {summary.previous} is kept for ragline reindex --rollback",
        markup=False,
    )


def _print_json(document: dict[str, Any]) -> None:
    OUT.print(orjson.dumps(document).decode(), markup=False)
