"""Errors of run folders."""


class RunError(ValueError):
    """The run cannot be made, read or gone on with; the message says which and why, in one sentence."""
