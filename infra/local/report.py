"""Progress for people: what a long step is doing and for how long it has waited."""

from collections.abc import Callable

# Takes one sentence about what goes on.
Report = Callable[[str], None]


class LocalStackError(Exception):
    """The local stack cannot start or go on; the message says why and what to do, in one sentence."""
