"""One-time steps that run as programs of their own: what they need stays out of this process, and they can be ended."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

from infra.local import child
from infra.local.report import LocalStackError, Report

_REPORT_INTERVAL_S = 5


def run_step(argv: Sequence[str], title: str, report: Report, env: Mapping[str, str] | None = None) -> None:
    """Run a program to its end; the last line it printed and the time are reported every few seconds.

    The program ends with the caller, however that ends.

    Raises:
        LocalStackError: it failed; the message ends with the last line of its errors.
    """
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(  # noqa: S603 - our own programs
            child.command(argv),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
        ) as process,
    ):
        lines = _LastLine(process)
        try:
            while process.poll() is None:
                detail = f": {lines.text}" if lines.text else ""
                report(f"{title}{detail} ({time.monotonic() - started:.0f} s)")
                try:
                    process.wait(_REPORT_INTERVAL_S)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.kill()
            raise
        finally:
            lines.join()
        if process.returncode != 0:
            errors.seek(0)
            last = [line for line in errors.read().splitlines() if line.strip()][-1:]
            msg = f"{title} failed: {last[0] if last else f'exit status {process.returncode}'}"
            raise LocalStackError(msg)


class _LastLine(threading.Thread):
    """Reads what a program prints, so that it never blocks, and keeps the last line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self.text = ""
        self._process = process
        self.start()

    def run(self) -> None:
        for line in self._process.stdout or ():
            self.text = line.strip() or self.text
