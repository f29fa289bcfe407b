"""OpenTelemetry: one span a stage, carried on by ``traceparent`` headers.

Names follow OpenTelemetry's messaging conventions (``process {destination}``, ``messaging.*``). The exporter is
configured by OpenTelemetry's own environment variables; without an endpoint nothing is exported.
"""

import os

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas.events import Event
from workers.runtime.stage import Delivery

_PROPAGATOR = TraceContextTextMapPropagator()


class RecordSpan:
    """The span of one record, if spans are exported. ``traceparent`` makes the next stage's span a child of it."""

    def __init__(self, span: Span | None = None, traceparent: str | None = None) -> None:
        self._span = span
        self.traceparent = traceparent

    def end(self) -> None:
        """The record has been handled."""
        if self._span is not None:
            self._span.end()


_NO_SPAN = RecordSpan()


class Tracing:
    """Starts a span per record, where spans are exported; ``close`` flushes what is not yet exported."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._provider: TracerProvider | None = None
        # OpenTelemetry's own variables say whether and where to export: an operator sets them alike for every service.
        if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - slow to import
                OTLPSpanExporter,
            )

            self._provider = TracerProvider(resource=Resource.create({"service.name": f"ragline-{stage}"}))
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def start(self, delivery: Delivery[Event]) -> RecordSpan:
        """Begin the span of one record, as a child of what the record came from."""
        if self._provider is None:
            # A span that nobody sees would cost more than the rest of the runtime's work on the record.
            return _NO_SPAN
        topic, traceparent = delivery.origin.topic, delivery.headers.traceparent
        parent = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.kafka.message.key": delivery.key,
            "messaging.consumer.group.name": self._stage,
        }
        tracer = self._provider.get_tracer("ragline")
        span = tracer.start_span(f"process {topic}", context=parent, kind=SpanKind.CONSUMER, attributes=attributes)
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, context=trace.set_span_in_context(span))
        return RecordSpan(span, carrier.get("traceparent"))

    def close(self) -> None:
        """Export what is left."""
        if self._provider is not None:
            self._provider.shutdown()
