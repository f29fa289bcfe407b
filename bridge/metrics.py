"""Prometheus metrics of the bridge."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

KINDS = ("accepted", "cancelling", "progress", "sources", "delta", "terminal", "error")
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class BridgeMetrics:
    """One bridge's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.sockets = Gauge("ragline_bridge_sockets", "Open websockets.", registry=registry)
        self.following = Gauge("ragline_bridge_requests_following", "Requests being followed.", registry=registry)
        self.questions = Counter(
            "ragline_bridge_questions", "Questions taken or refused.", ("via", "outcome"), registry=registry
        )
        sent = Counter("ragline_bridge_messages_sent", "Websocket messages sent.", ("kind",), registry=registry)
        # A look-up by labels takes as long as all else that is done to count a message.
        self.sent = {kind: sent.labels(kind) for kind in KINDS}
        self.problems = Counter("ragline_bridge_problems", "Errors told to clients.", ("code",), registry=registry)
        self.closed = Counter(
            "ragline_bridge_sockets_closed", "Websockets that the bridge closed, by code.", ("code",), registry=registry
        )
        self.streams = Gauge("ragline_bridge_streams", "Open streams over HTTP.", registry=registry)
        self.first_delta = Histogram(
            "ragline_bridge_first_delta_seconds",
            "From a question on a websocket to the first piece of its answer.",
            buckets=_BUCKETS,
            registry=registry,
        )
