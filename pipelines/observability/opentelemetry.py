"""A run as a trace with a span per stage, and its figures as metrics, over OTLP/HTTP.

Where they go, with which headers, certificates and time limits, say the standard variables OTEL_*. Nothing global is
set: whoever imports this project keeps the tracer and the meter of their own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pipelines.observability.figures import figures
from pipelines.records import Observed

PREFIX = "scoreline."
_UNITS = {"_timestamp_seconds": "s", "_seconds": "s", "_bytes": "By", "_byte_size": "By",
          "_milli_secs": "ms", "_micro_secs": "us"}  # fmt: skip


class NotTaken(Exception):
    """The collector has not taken what was sent; the message says what the exporter said."""


def send(seen: Observed) -> None:
    """Export the trace and the metrics.

    Raises:
        NotTaken: one of them has not arrived.
    """
    from opentelemetry.sdk.metrics.export import MetricExportResult
    from opentelemetry.sdk.trace.export import SpanExportResult

    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    with _said() as said:
        if _wanted("TRACES"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            spans = OTLPSpanExporter()
            taken: Any = spans.export(trace(seen)) is SpanExportResult.SUCCESS
            _refuse("trace", taken, said)
        if _wanted("METRICS"):
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            metrics = OTLPMetricExporter()
            taken = metrics.export(measurements(seen)) is MetricExportResult.SUCCESS
            _refuse("metrics", taken, said)


def trace(seen: Observed) -> Sequence[Any]:
    """The spans of a run, its own last: the times are those at which the stages began and ended.

    Where the environment has a TRACEPARENT, as a scheduler that traces its tasks sets it, the run is part of that
    trace.
    """
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    record, kept = seen.record, InMemorySpanExporter()
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("scoreline")
    start = datetime.fromisoformat(record.started_at).timestamp()
    above = TraceContextTextMapPropagator().extract({"traceparent": os.environ.get("TRACEPARENT", "")})
    run = tracer.start_span(
        f"scoreline {record.name}", above, attributes=_attributes(seen), start_time=_nanos(start)
    )
    within = set_span_in_context(run, above)
    for i, stage in enumerate(seen.stages):
        span = tracer.start_span(stage.name, within, start_time=_nanos(start + stage.began))
        if record.error and i == len(seen.stages) - 1:
            _fail(span, record.error)
        span.end(_nanos(start + stage.began + stage.seconds))
    if record.error:
        _fail(run, record.error)
    run.end(_nanos(start + record.seconds.get("total", 0.0)))
    return kept.get_finished_spans()


def measurements(seen: Observed) -> Any:
    """The figures of a run as gauges: a ``MetricsData`` as exporters take it."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=_resource(), shutdown_on_exit=False)
    meter = provider.get_meter("scoreline")
    for figure in figures(seen):
        unit = next((u for end, u in _UNITS.items() if figure.name.endswith(end)), "1")
        gauge = meter.create_gauge(PREFIX + figure.name, unit, figure.help)
        for labels, value in figure.values.items():
            gauge.set(value, {"pipeline": seen.record.name, **dict(labels)})
    return reader.get_metrics_data()


def _resource() -> Any:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before what is said here."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    return Resource.create({"service.name": "scoreline"}).merge(OTELResourceDetector().detect())


def _attributes(seen: Observed) -> dict[str, Any]:
    record = seen.record
    known = {
        "pipeline": record.name,
        "run_id": record.run_id,
        "run_date": record.run_date,
        "status": record.status,
        "exit_code": record.exit_code,
        **{f"model.{k}": record.model.get(k) for k in ("name", "version", "digest")},
        **{f"rows.{k}": n for k, n in record.rows.items()},
        "drift": record.drift.get("status"),
    }
    return {PREFIX + k: v for k, v in known.items() if v is not None}


def _fail(span: Any, error: Mapping[str, str]) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, error["message"]))
    span.set_attribute("error.type", error["class"])


def _nanos(seconds: float) -> int:
    return int(seconds * 1e9)


def _wanted(signal: str) -> bool:
    return os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() != "none"


def _refuse(what: str, taken: bool, said: Sequence[str]) -> None:
    if not taken:
        raise NotTaken(f"the {what} did not arrive: {said[-1] if said else 'the exporter does not say why'}")


@contextmanager
def _said() -> Iterator[list[str]]:
    """What the exporter logs in the block, which is where it says why it failed, instead of in the run's log."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, keep = logging.getLogger("opentelemetry.exporter"), Keep(logging.WARNING)
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(keep)
    try:
        yield said
    finally:
        logger.removeHandler(keep)
        logger.propagate = propagated
