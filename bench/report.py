"""What a benchmark tells while it runs: on standard error, for standard output is the figures'."""

import sys


def say(line: str) -> None:
    """Tell the person what goes on."""
    print(line, file=sys.stderr, flush=True)
