"""Become another program that dies with its parent: ``python child.py PARENT_PID PROGRAM ARGUMENT…``.

Runs before every process of the local stack, so that even a parent that was killed with SIGKILL leaves none behind.
It is a program of its own, not a ``preexec_fn``: code between fork and exec may deadlock in a threaded parent.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

# linux/prctl.h. The setting survives exec, and is tied to the thread that started this process.
_PR_SET_PDEATHSIG = 1


def command(argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` and ends it when the calling process ends."""
    # -I and -S: no site packages, so that this costs a few milliseconds.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent, *argv = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):
        # The parent died before the setting took effect.
        sys.exit(1)
    # Whoever started this one may ignore signals (nohup, a shell's &, Python itself); programs would inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the whole point
    except OSError as error:
        sys.exit(f"cannot run {argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
