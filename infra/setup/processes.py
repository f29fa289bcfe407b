"""Runs programs so that none outlives this one."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from infra.local import child
from infra.setup.errors import SetupError

Command: TypeAlias = Sequence[str | Path]

_GRACE_S = 10


def run(argv: Command, environ: Mapping[str, str], cwd: Path, *, what: str) -> None:
    """Run a program to its end, its output on ours. When we are stopped, it and its children are.

    Raises:
        SetupError: it failed; the message begins with ``what``.
    """
    with _started(argv, environ, cwd, None) as process:
        _wait(process)
    if process.returncode != 0:
        msg = (
            f"{what} failed (exit status {process.returncode}, the cause is above); what was done is kept: run it again"
        )
        raise SetupError(msg)


def output_of(argv: Command, environ: Mapping[str, str], cwd: Path) -> str:
    """Run a program and give back what it prints; empty if it fails."""
    with _started(argv, environ, cwd, subprocess.PIPE) as process:
        text = _wait(process)
    return text if process.returncode == 0 else ""


def _started(argv: Command, environ: Mapping[str, str], cwd: Path, stdout: int | None) -> subprocess.Popen[str]:
    # A session of its own, so that one signal reaches the children of the child too.
    return subprocess.Popen(  # noqa: S603 - programs of this project's set-up
        child.command([str(part) for part in argv]),
        env=dict(environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        text=True,
        start_new_session=True,
    )


def _wait(process: subprocess.Popen[str]) -> str:
    try:
        text, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        raise
    return text or ""
