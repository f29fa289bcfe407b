"""What ``ragline reindex`` does and shows."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiokafka.errors import KafkaError
from rich.progress import TimeRemainingColumn

from backends.errors import BackendError
from ragline.reindex.errors import ReindexError
from ragline.reindex.fleet import child_workers, own_command
from ragline.reindex.options import Options
from ragline.reindex.run import Preview, Summary, Systems, preview, reindex, rollback
from ragline.reindex.session import Change
from ragline.reindex.tally import Tally
from ragline.settings import Settings, SettingsError
from ragline.stack import parse_scale
from ragline.stages import create_aliases, create_store
from ragline.terminal import ERR, OUT, ShownProgress, fail, user
from ragline.versions import differences
from topics.cluster import TopicsError

_INTERRUPTED = 130
_KNOWN = (ReindexError, SettingsError, BackendError, TopicsError, KafkaError, OSError)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    options: Options
    rollback: bool
    dry_run: bool
    scale: tuple[str, ...]
    samples: int
    timeout_s: float
    as_json: bool


def execute(settings: Settings, config_file: Path | None, request: Request) -> int:
    """Do what was asked for and say what came of it; the exit status."""
    try:
        if request.rollback and (request.options != Options() or request.dry_run):
            raise SettingsError("--rollback takes no other settings, and no --dry-run")
        if request.dry_run:
            _print_preview(asyncio.run(preview(settings, request.options)), as_json=request.as_json)
        else:
            _print_summary(_work(settings, config_file, request), as_json=request.as_json)
    except _KNOWN as error:
        sentence = str(error) or type(error).__name__
        fail(sentence)
        if request.as_json:
            _print_json({"ok": False, "error": sentence})
        return 1
    except KeyboardInterrupt:
        ERR.print("stopped; the same command goes on from here", markup=False)
        return _INTERRUPTED
    return 0


def _work(settings: Settings, config_file: Path | None, request: Request) -> Summary:
    scale: Mapping[str, int] = parse_scale(list(request.scale))
    with _Shown() as shown:
        systems = Systems(
            make_store=create_store,
            fleet=child_workers(settings, own_command(config_file), scale, shown.say),
            report=shown.say,
            progress=shown.show_tally,
            samples=request.samples,
            timeout_s=request.timeout_s,
        )
        change = Change(settings, create_aliases(settings), user())
        work = rollback(change, systems) if request.rollback else reindex(change, systems, request.options)
        return asyncio.run(work)


class _Shown(ShownProgress):
    """Shows a re-index while it runs."""

    time_column = TimeRemainingColumn

    def __init__(self) -> None:
        super().__init__("reindex", "documents")
        self._began: tuple[float, int] | None = None

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        ERR.print(f"reindex: {sentence}", markup=False)

    def show_tally(self, tally: Tally) -> None:
        """Show how many documents are in."""
        done, now = tally.records - tally.pending, time.monotonic()
        self.show(done, tally.records, self._rate(done, tally.pending, now))
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
