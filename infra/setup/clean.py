"""Takes away everything that set-up and runs have made."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.setup.errors import SetupError
from infra.setup.install import BOOTSTRAP, ROOT, VENV
from infra.setup.peers import PEERS_VENV

MADE = (
    VENV,
    PEERS_VENV,
    BOOTSTRAP,
    *(ROOT / name for name in (".ragline", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")),
)


def clean(report: Callable[[str], None]) -> None:
    """Remove environments, data and caches. uv's own cache, which other projects share, stays.

    Raises:
        SetupError: something still runs from this folder's environment.
    """
    running = list(running_from(VENV))
    if running:
        numbers = ", ".join(str(pid) for pid in running[:5])
        msg = f"ragline still runs from this folder (process {numbers}); stop it first, then clean"
        raise SetupError(msg)
    for folder in MADE:
        if folder.exists():
            report(f"removing {folder.relative_to(ROOT)}")
            shutil.rmtree(folder)
    for folder in ROOT.rglob("__pycache__"):
        shutil.rmtree(folder, ignore_errors=True)


def running_from(venv: Path) -> Iterator[int]:
    """Find the processes that run a program of a virtual environment: Python, Java, Valkey."""
    within = f"{venv}{os.sep}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            # It ended meanwhile.
            continue
        if arguments[0].startswith(within):
            yield int(entry.name)
