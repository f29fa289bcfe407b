"""What people see of a command: consoles, the error sentence, progress that suits a terminal and a log file."""

import contextlib
import dataclasses
import getpass
import os
import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from backends.metadata import MetadataError
from ragline.corpus import CorpusError
from ragline.ingest import IngestError
from ragline.ledger import IngestSummary

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(highlight=False, soft_wrap=True, stderr=True)

_LOG_INTERVAL_S = 5


def fail(sentence: str) -> None:
    """Tell of an error, in one sentence."""
    ERR.print(f"[bold red]error:[/] {escape(sentence)}")


def user() -> str:
    """Who runs the command, as user@machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # In a container the user may have no name.
        name = f"uid-{os.getuid()}"
    return f"{name}@{socket.gethostname()}"


class ShownProgress:
    """Shows how far something has come: a bar on a terminal, a line every few seconds elsewhere. A context manager.

    ``task`` says in a word what goes on, ``counted`` what is counted; ``time_column`` tells the time on a terminal.
    """

    time_column: type[ProgressColumn] = TimeElapsedColumn

    def __init__(self, task: str, counted: str, total: int | None = None) -> None:
        self._text = task
        self._counted = counted
        self._shown_at = time.monotonic()
        self._bar: Progress | None = None
        if ERR.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TextColumn(counted), self.time_column(), console=ERR, transient=True)
            self._task = self._bar.add_task(task, total=total)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, done: int, total: int, note: str = "") -> None:
        """Show that so many of so many are done; ``note`` follows on a line."""
        if self._bar:
            self._bar.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._shown_at >= _LOG_INTERVAL_S:
            self._shown_at = time.monotonic()
            ERR.print(f"{self._text}: {done} of {total} {self._counted}{note}", markup=False)


class IngestProgress(ShownProgress):
    """Shows an ingest while it runs.

    ``total`` is the number of documents, where it is known; ``done`` says what becomes of them.
    """

    def __init__(self, total: int | None = None, done: str = "searchable") -> None:
        super().__init__("ingest", f"documents {done}", total)
        self._total = total

    def __call__(self, summary: IngestSummary) -> None:
        """Show where the ingest stands."""
        # Without a known total, what has been read so far is the best guess.
        self.show(summary.submitted - summary.pending, self._total or summary.submitted)


def print_summary(summary: IngestSummary, *, as_json: bool = False) -> None:
    """Say what has become of the documents: counts, and a line for each that is not searchable; or all of it as one
    JSON object, for programs.
    """
    if as_json:
        document = {"ok": summary.ok, "pending": summary.pending} | dataclasses.asdict(summary)
        OUT.print(orjson.dumps(document).decode(), markup=False, soft_wrap=True)
        return
    for item in summary.skipped:
        style = "red" if item.is_failure else "dim"
        ERR.print(f"[{style}]skipped {escape(item.name)}: {escape(item.reason)}[/]")
    for failure in summary.failed:
        ERR.print(f"[red]failed {escape(failure.document_id)} in {failure.stage}: {escape(failure.reason)}[/]")
    counts = {"indexed": summary.indexed, "unchanged": summary.unchanged, "failed": len(summary.failed)}
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    chunks = f"{summary.chunks_added} chunks added, {summary.chunks_removed} removed"
    if summary.chunks_updated:
        chunks += f", {summary.chunks_updated} updated"
    OUT.print(f"{listed}, {len(summary.skipped)} skipped ({chunks})")


@contextlib.contextmanager
def error_as_json(wanted: bool) -> Iterator[None]:  # noqa: FBT001 - it is the command's own flag
    """Where it is wanted, also print the error that ends an ingest as the JSON object that its summary would be."""
    try:
        yield
    except (IngestError, CorpusError, MetadataError) as error:
        if wanted:
            OUT.print(orjson.dumps({"ok": False, "error": str(error)}).decode(), markup=False)
        raise
