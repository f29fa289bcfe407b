"""When a record of a replay may go: pure, in seconds since the replay began or went on."""

from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Says when a record is due. ``number`` counts the records sent before it, ``timestamp_ms`` is its own time."""

    def due_s(self, number: int, timestamp_ms: int) -> float:
        """Seconds after the beginning."""
        ...


@dataclass(frozen=True, slots=True)
class AtOnce:
    """As fast as they are answered."""

    def due_s(self, number: int, timestamp_ms: int) -> float:  # noqa: ARG002 - as the protocol has it
        return 0.0


@dataclass(frozen=True, slots=True)
class AtRate:
    """So many a second."""

    per_second: float

    def due_s(self, number: int, timestamp_ms: int) -> float:  # noqa: ARG002
        return number / self.per_second


@dataclass(frozen=True, slots=True)
class Warped:
    """At their original pace, ``factor`` times as fast; ``first_ms`` is the time of the earliest."""

    factor: float
    first_ms: int

    def due_s(self, number: int, timestamp_ms: int) -> float:  # noqa: ARG002
        return max(0, timestamp_ms - self.first_ms) / 1000 / self.factor
