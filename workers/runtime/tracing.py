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

_PROPAGATOR = TraceContextTextMapPropagator()


class RecordSpan:
    """The span of one record. ``traceparent`` makes the next stage's span a child of it."""

    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, context=trace.set_span_in_context(span))
        self.traceparent = carrier.get("traceparent")

    def end(self) -> None:
        """The record has been handled."""
        self._span.end()


class Tracing:
    """Starts a span per record; ``close`` flushes what is not yet exported."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._provider = TracerProvider(resource=Resource.create({"service.name": f"ragline-{stage}"}))
        # OpenTelemetry's own variables say whether and where to export: an operator sets them alike for every service.
        if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - slow to import
                OTLPSpanExporter,
            )

            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("ragline")

    def start(self, topic: str, key: str, traceparent: str | None) -> RecordSpan:
        """Begin the span of one record, as a child of what the record came from."""
        parent = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.kafka.message.key": key,
            "messaging.consumer.group.name": self._stage,
        }
        name = f"process {topic}"
        return RecordSpan(self._tracer.start_span(name, context=parent, kind=SpanKind.CONSUMER, attributes=attributes))

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()
