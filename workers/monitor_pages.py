"""The monitor over HTTP: a page, timelines and latencies as JSON, and metrics."""

import time
from collections.abc import Iterable
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from workers.latency import Latency
from workers.timelines import Timelines

_PAGE = Path(__file__).with_name("monitor.html")
_SHOWN_REQUESTS = 50
# The page needs nothing but itself.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"


class MonitorMetrics(Collector):
    """What the monitor tells Prometheus, in a registry of its own."""

    def __init__(self, timelines: Timelines) -> None:
        self._timelines = timelines
        self.registry = CollectorRegistry()
        self.records = Counter(
            "ragline_monitor_records", "Records seen, by topic.", labelnames=("topic",), registry=self.registry
        )
        self.repeated = Counter("ragline_monitor_repeated", "Records that said nothing new.", registry=self.registry)
        self.registry.register(self)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Latencies at the moment of asking."""
        now_ms = _now_ms()
        requests = GaugeMetricFamily("ragline_monitor_requests", "Requests with a timeline.")
        requests.add_metric([], len(self._timelines))
        yield requests
        family = GaugeMetricFamily(
            "ragline_monitor_latency_seconds", "Latency in the window.", labels=("stage", "part", "quantile")
        )
        for stage, latency in self._timelines.latency(now_ms).items():
            _add(family, stage, "took", latency.took)
            _add(family, stage, "waited", latency.waited)
        _add(family, "request", "took", self._timelines.total(now_ms))
        yield family


def routes(timelines: Timelines, window_s: int) -> list[Route]:
    """The monitor's own pages."""

    async def page(_: Request) -> Response:
        return Response(_PAGE.read_bytes(), media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    async def latest(_: Request) -> Response:
        return _json(timelines.latest(_SHOWN_REQUESTS))

    async def one(request: Request) -> Response:
        request_id = request.path_params["request_id"]
        found = timelines.timeline(request_id)
        if found is None:
            return _json({"error": f"nothing was seen of request {request_id}"}, status=404)
        return _json(found)

    async def latency(_: Request) -> Response:
        now_ms = _now_ms()
        return _json({"window_s": window_s, "stages": timelines.latency(now_ms), "request": timelines.total(now_ms)})

    return [
        Route("/", page),
        Route("/requests", latest),
        Route("/requests/{request_id:path}", one),
        Route("/latency", latency),
    ]


def _add(family: GaugeMetricFamily, stage: str, part: str, latency: Latency) -> None:
    for quantile, value_ms in (("0.5", latency.p50_ms), ("0.95", latency.p95_ms)):
        if value_ms is not None:
            family.add_metric([stage, part, quantile], value_ms / 1000)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), media_type="application/json", status_code=status)


def _now_ms() -> int:
    return int(time.time() * 1000)
