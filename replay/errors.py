"""Errors of replays."""


class ReplayError(Exception):
    """A replay cannot be made or gone on with; the message says why and what to do, in one sentence."""
