"""Ends whole process groups when their supervisor is gone, however it went.

``child.py`` ties each process to the supervisor; this program takes care of what those processes have started. It reads
``+GROUP`` and ``-GROUP`` lines from a pipe, whose end means that the supervisor has ended.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self


class Guard:
    """The guard's side in the supervisor: a context within which groups are watched."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def watch(self, group: int) -> None:
        """End ``group`` if this process ends first."""
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """``group`` has ended."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        # A guard that somebody killed is no reason to stop: only what a killed supervisor leaves would be missed.
        with suppress(BrokenPipeError):
            os.write(self._pipe, line.encode())

    @property
    def _pipe(self) -> int:
        if self._process.stdin is None:
            msg = "the guard has no pipe"
            raise RuntimeError(msg)
        return self._process.stdin.fileno()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Keep the list of groups until the pipe ends, then end those that are on it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set()
    for line in sys.stdin:
        change, group = line[0], int(line[1:])
        if change == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
