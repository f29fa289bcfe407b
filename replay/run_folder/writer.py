"""Writes a run so that a kill at any moment leaves what the last checkpoint said, and nothing else counts.

Rows go to files that the manifest does not name yet. A checkpoint closes them, makes them last, and then puts a
manifest in place that names them and says where to go on, in one rename: rows and position agree always.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from replay.run_folder.errors import RunError
from replay.run_folder.manifest import FILE, Manifest, Part, check_name, sync_folder
from replay.run_folder.rows import TABLE_OF, Row
from replay.run_folder.tables import SCHEMAS, to_arrow

_LOCK = ".lock"
# Rows of a table that are held in memory, and make a row group.
ROW_GROUP_ROWS = 2_048


class RunWriter:
    """Adds rows to a run; use it as a context manager. What follows the last checkpoint is dropped at the end.

    Every method may wait for the disk; one thread at a time may use it.
    """

    def __init__(self, folder: Path, lock: IO[bytes]) -> None:
        self.folder = folder
        self._lock = lock
        self.manifest = Manifest.read(folder)
        self._open: dict[type[Row], _OpenPart] = {}
        self._remove_what_does_not_count()
        # pyarrow loads pandas, where that is installed, for its first array: now, not after hours of answers.
        pa.array(())

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> Self:
        """Begin a run in a folder that does not exist yet.

        Raises:
            RunError: the name is in use, or no name for a run; or the folder cannot be made.
        """
        check_name(manifest.name)
        if folder.exists():
            raise RunError(f"there is a run {folder.name} already; name another, or delete that one")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                # Not for the owner alone, as mkdtemp makes it.
                beside.chmod(0o755)
                manifest.write(beside)
                beside.rename(folder)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
        except OSError as error:
            raise RunError(f"the run cannot be made in {folder}: {error.strerror}") from error
        sync_folder(folder.parent)
        return cls(folder, _locked(folder))

    @classmethod
    def resume(cls, folder: Path) -> Self:
        """Go on with a run from its last checkpoint: ``manifest.position`` says where that is.

        Raises:
            RunError: there is no such run, it is complete, or another process writes it.
        """
        if Manifest.read(folder).state == "complete":
            raise RunError(f"the run {folder.name} is complete; nothing can be added to it")
        return cls(folder, _locked(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows, of any table; they count from the next checkpoint on.

        Raises:
            OSError: the disk is full.
        """
        for row in rows:
            kind = type(row)
            part = self._open.get(kind)
            if part is None:
                part = self._open[kind] = self._begin(kind)
            part.add(row)

    def checkpoint(self, position: Mapping[str, JsonValue] | None = None) -> None:
        """Make everything that was added count, together with ``position`` (None leaves it as it is).

        Raises:
            OSError: the disk is full; what the checkpoint before said still holds.
        """
        self._commit({} if position is None else {"position": dict(position)})

    def finish(self, position: Mapping[str, JsonValue] | None = None) -> None:
        """A last checkpoint; the run is complete, and is never written to again."""
        update: dict[str, Any] = {"state": "complete", "finished_at": datetime.now(UTC)}
        self._commit(update if position is None else update | {"position": dict(position)})

    def close(self) -> None:
        """Let go of the run; it stays partial, unless it was finished. May be called twice."""
        for part in self._open.values():
            part.abandon()
        self._open.clear()
        if not self._lock.closed:
            with contextlib.suppress(RunError, OSError):
                # A checkpoint that failed may have done so after its manifest was in place.
                self.manifest = Manifest.read(self.folder)
                self._remove_what_does_not_count()
            self._lock.close()

    def _begin(self, kind: type[Row]) -> "_OpenPart":
        table = TABLE_OF[kind]
        number = len(self.manifest.parts.get(table, ()))
        folder = self.folder / table
        folder.mkdir(exist_ok=True)
        return _OpenPart(kind, folder / f"part-{number:06}.parquet")

    def _commit(self, update: dict[str, Any]) -> None:
        parts = dict(self.manifest.parts)
        for kind, part in self._open.items():
            table = TABLE_OF[kind]
            rows = part.close()
            sync_folder(part.path.parent)
            parts[table] = (*parts.get(table, ()), Part(file=f"{table}/{part.path.name}", rows=rows))
        if self._open:
            sync_folder(self.folder)
        manifest = self.manifest.model_copy(update={"parts": parts, **update})
        manifest.write(self.folder)
        self.manifest = manifest
        self._open.clear()

    def _remove_what_does_not_count(self) -> None:
        named = {part.file for parts in self.manifest.parts.values() for part in parts}
        for path in self.folder.glob("*/*.parquet"):
            if path.relative_to(self.folder).as_posix() not in named:
                path.unlink()
        with contextlib.suppress(FileNotFoundError):
            (self.folder / f".{FILE}").unlink()


class _OpenPart:
    """A file that rows are written to."""

    def __init__(self, kind: type[Row], path: Path) -> None:
        self.path = path
        self._kind = kind
        self._rows: list[Row] = []
        self._written = 0
        self._writer = pq.ParquetWriter(path, SCHEMAS[kind], compression="zstd")

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP_ROWS:
            self._write()

    def close(self) -> int:
        """Make the file last; gives its number of rows. A second time, after a manifest that failed, does no harm."""
        if self._writer is not None:
            self._write()
            self._writer.close()
            self._writer = None
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
        return self._written

    def abandon(self) -> None:
        """Let go of the file."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(to_arrow(self._kind, self._rows), row_group_size=ROW_GROUP_ROWS)
            self._written += len(self._rows)
            self._rows.clear()


def _locked(folder: Path) -> IO[bytes]:
    """The run's lock, which the system lets go of when the process ends, however it ends."""
    lock = (folder / _LOCK).open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise RunError(f"another process writes the run {folder.name}; wait for it, or stop it") from None
    return lock
