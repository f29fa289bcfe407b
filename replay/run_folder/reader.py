"""Reads runs, finds and deletes them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from replay.run_folder.errors import RunError
from replay.run_folder.manifest import FILE, Manifest
from replay.run_folder.rows import TABLE_OF, Row
from replay.run_folder.tables import R, from_arrow

_BATCH_ROWS = 4_096


class Run:
    """A run as its last checkpoint left it; it may grow meanwhile, which is not seen.

    Raises:
        RunError: there is no such run, or its manifest is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = Manifest.read(folder)

    @property
    def name(self) -> str:
        return self.manifest.name

    def count(self, kind: type[Row]) -> int:
        """The number of rows of a table."""
        return sum(part.rows for part in self.manifest.parts.get(TABLE_OF[kind], ()))

    def rows(self, kind: type[R], without: tuple[str, ...] = ()) -> Iterator[R]:
        """The rows of a table, in the order in which they were added, a few thousand in memory at once.

        Columns named in ``without`` are not read and have their default.

        Raises:
            RunError: a file is missing or damaged.
        """
        wanted = [name for name in kind._fields if name not in without]
        for part in self.manifest.parts.get(TABLE_OF[kind], ()):
            path = self.folder / part.file
            try:
                for batch in _batches(path, wanted):
                    yield from from_arrow(kind, batch)
            except FileNotFoundError:
                raise RunError(f"the run {self.name} is damaged: {part.file} is missing") from None
            except (OSError, pa.ArrowException) as error:
                raise RunError(f"the run {self.name} is damaged: {part.file}: {error}") from error
            except KeyError as error:
                raise RunError(f"the run {self.name} is damaged: {part.file} has no column {error.args[0]}") from None


def _batches(path: Path, wanted: list[str]) -> Iterator[Any]:
    with pq.ParquetFile(path) as file:
        columns = [name for name in wanted if name in file.schema_arrow.names]
        yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)


def find_run(name: str, runs_folder: Path) -> Run:
    """The run of that name in the folder of runs, or the one in the folder that ``name`` is the path of.

    Raises:
        RunError: there is none.
    """
    if "/" in name:
        return Run(Path(name))
    if not (runs_folder / name / FILE).is_file():
        there = ", ".join(run.name for run in list_runs(runs_folder)) or "none"
        raise RunError(f"there is no run {name} in {runs_folder}; there are: {there}")
    return Run(runs_folder / name)


def list_runs(runs_folder: Path) -> list[Manifest]:
    """The manifests of all runs in a folder, oldest first; one that cannot be read is left out."""
    found = []
    for path in runs_folder.glob(f"[!.]*/{FILE}"):
        try:
            found.append(Manifest.read(path.parent))
        except RunError:
            continue
    return sorted(found, key=lambda manifest: manifest.created_at)


def delete_run(folder: Path) -> None:
    """Remove a run. Cut short, it leaves no run behind, at most files that are none.

    Raises:
        RunError: the folder is no run, or cannot be removed.
    """
    Manifest.read(folder)
    try:
        hidden = folder.with_name(f".deleted-{folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        folder.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise RunError(f"the run {folder.name} cannot be removed: {error.strerror}") from error
