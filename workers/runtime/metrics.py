"""Prometheus metrics of a worker, all labelled by stage."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_LABELS = ("stage",)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_COUNTERS = {
    "fetched": ("records_fetched", "Records fetched."),
    "produced": ("records_produced", "Records produced and acknowledged."),
    "processed": ("records_processed", "Records finished, whatever the end."),
    "failed": ("records_failed", "Records that ended in a failure."),
    "dead_letters": ("dead_letters", "Records sent to dead letters."),
    "retries": ("retries", "Attempts after the first."),
    "duplicates": ("duplicates", "Records dropped as duplicates."),
    "expired": ("expired", "Requests whose deadline had passed."),
    "cancelled": ("cancelled", "Requests that somebody cancelled."),
    "commits": ("commits", "Offset commits."),
    "rebalances": ("rebalances", "Assignments received."),
}
_GAUGES = {
    "queued": ("records_queued", "Records fetched and not begun."),
    "in_flight": ("records_in_flight", "Records being handled."),
    "partitions": ("partitions_assigned", "Partitions assigned."),
    "loop_lag": ("event_loop_lag_seconds", "Lateness of a timer on the event loop."),
}


class Metrics(Collector):
    """One worker's metrics, and the stage's own, in a registry of their own.

    Plain numbers, counted on the event loop alone: the client library's own take a lock for every record.
    """

    def __init__(self, stage: str, collectors: Iterable[Collector] = ()) -> None:
        self._stage = stage
        self.fetched = self.produced = self.processed = self.failed = self.dead_letters = self.retries = 0
        self.duplicates = self.expired = self.cancelled = self.commits = self.rebalances = 0
        self.queued = self.in_flight = self.partitions = 0
        self.loop_lag = 0.0
        self._durations = [0] * (len(_BUCKETS) + 1)
        self._duration_sum = 0.0
        self.registry = CollectorRegistry()
        for collector in (self, *collectors):
            self.registry.register(collector)

    def finished(self, duration_s: float) -> None:
        """Count a record that was finished, so long after it was fetched."""
        self.processed += 1
        self._durations[bisect_left(_BUCKETS, duration_s)] += 1
        self._duration_sum += duration_s

    def collect(self) -> Iterator[Metric]:
        for field, (name, text) in _COUNTERS.items():
            counter = CounterMetricFamily(f"ragline_{name}", text, labels=_LABELS)
            counter.add_metric([self._stage], getattr(self, field))
            yield counter
        for field, (name, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"ragline_{name}", text, labels=_LABELS)
            gauge.add_metric([self._stage], getattr(self, field))
            yield gauge
        duration = HistogramMetricFamily("ragline_stage_duration_seconds", "From fetch to outcome.", labels=_LABELS)
        duration.add_metric([self._stage], self._buckets(), self._duration_sum)
        yield duration

    def _buckets(self) -> list[tuple[str, float]]:
        count = 0
        buckets = []
        for bound, inside in zip([*map(str, map(float, _BUCKETS)), "+Inf"], self._durations, strict=True):
            count += inside
            buckets.append((bound, float(count)))
        return buckets
