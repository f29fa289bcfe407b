"""Folders that are made once: whole or not at all, by one process at a time."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.report import Report


@contextmanager
def whole_folder(target: Path, report: Report) -> Iterator[Path | None]:
    """Yield an empty folder to fill, which becomes ``target`` at the end; None where ``target`` is there already.

    What an interrupted attempt left is thrown away. Another process that makes the same folder is waited for.
    """
    if target.is_dir():
        yield None
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # The system lets go of the lock when the process ends.
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another process that makes {target}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            yield None
            return
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        partial.rename(target)
