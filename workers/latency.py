"""Latencies of the last while: counts and percentiles over a sliding window."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

MAX_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Latency:
    """What a window holds; the percentiles are None while it is empty."""

    count: int
    p50_ms: int | None
    p95_ms: int | None


class LatencyWindow:
    """Durations by the moment they ended, as far back as ``window_ms``; of more than ``max_samples`` the latest."""

    def __init__(self, window_ms: int, max_samples: int = MAX_SAMPLES) -> None:
        self._window_ms = window_ms
        self._max_samples = max_samples
        self._samples: list[tuple[int, int]] = []

    def add(self, ended_ms: int, took_ms: int) -> None:
        """Add one duration, in any order of time."""
        insort(self._samples, (ended_ms, took_ms))
        if len(self._samples) > self._max_samples:
            del self._samples[0]

    def latency(self, now_ms: int) -> Latency:
        """The durations that ended within the window before ``now_ms``."""
        del self._samples[: bisect_left(self._samples, (now_ms - self._window_ms,))]
        durations = sorted(took_ms for _, took_ms in self._samples)
        return Latency(len(durations), percentile(durations, 50), percentile(durations, 95))


def percentile(ascending: Sequence[int], percent: int) -> int | None:
    """The least value that at least ``percent`` of the values do not exceed (nearest rank); None of nothing."""
    return ascending[max(0, ceil(len(ascending) * percent / 100) - 1)] if ascending else None
