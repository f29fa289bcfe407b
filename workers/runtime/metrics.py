"""Prometheus metrics of a worker, all labelled by stage."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LABELS = ("stage",)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One worker's metrics, in a registry of their own."""

    def __init__(self, stage: str) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str) -> Counter:
            return Counter(f"ragline_{name}", text, _LABELS, registry=registry).labels(stage)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"ragline_{name}", text, _LABELS, registry=registry).labels(stage)

        self.fetched = counter("records_fetched", "Records fetched.")
        self.produced = counter("records_produced", "Records produced and acknowledged.")
        self.processed = counter("records_processed", "Records finished, whatever the end.")
        self.failed = counter("records_failed", "Records that ended in a failure.")
        self.dead_letters = counter("dead_letters", "Records sent to dead letters.")
        self.retries = counter("retries", "Attempts after the first.")
        self.duplicates = counter("duplicates", "Records dropped as duplicates.")
        self.expired = counter("expired", "Requests whose deadline had passed.")
        self.cancelled = counter("cancelled", "Requests that somebody cancelled.")
        self.commits = counter("commits", "Offset commits.")
        self.rebalances = counter("rebalances", "Assignments received.")
        self.queued = gauge("records_queued", "Records fetched and not begun.")
        self.in_flight = gauge("records_in_flight", "Records being handled.")
        self.partitions = gauge("partitions_assigned", "Partitions assigned.")
        self.loop_lag = gauge("event_loop_lag_seconds", "Lateness of a timer on the event loop.")
        self.duration = Histogram(
            "ragline_stage_duration_seconds", "From fetch to outcome.", _LABELS, buckets=_BUCKETS, registry=registry
        ).labels(stage)
