"""Sends one deterministic set of traces, logs and metrics with the OpenTelemetry SDK for Python.

Every attribute type, nanosecond times, the ends of i64, odd text, nested bodies, events, links, exemplars and all
kinds of histograms. Ids and times are fixed, so two runs put the same bytes on the wire; the exit code is 0 only if
every export was taken.
"""

import argparse
import itertools
import math
import sys

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import IdGenerator, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

try:  # where exemplars live has moved between versions
    from opentelemetry.sdk.metrics import Exemplar
except ImportError:
    from opentelemetry.sdk.metrics._internal.exemplar import Exemplar

T0 = 1_700_000_000_123_456_789
I64_MIN, I64_MAX = -(2**63), 2**63 - 1
ODD = 'naïve 日本語 \U0001f600 \u202e "quoted" \\ \t\n\r\x00\x7f <&> é' + "x" * 300

FLAT = {
    "text": "plain",
    "text.empty": "",
    "text.odd": ODD,
    ODD[:20]: "odd key",
    "bool.true": True,
    "bool.false": False,
    "int.zero": 0,
    "int.min": I64_MIN,
    "int.max": I64_MAX,
    "double": 0.1,
    "double.zero": 0.0,
    "double.negative_zero": -0.0,
    "double.tiny": 5e-324,
    "double.huge": 1.7976931348623157e308,
    "double.inf": math.inf,
    "double.nan": math.nan,
    "list.text": ["a", "", ODD],
    "list.bool": [True, False],
    "list.int": [I64_MIN, -1, 0, I64_MAX],
    "list.double": [0.5, -0.0, math.inf],
    "bytes": bytes(range(256)),
    "bytes.empty": b"",
}
NESTED = {
    "map": {"a": 1, "b": {"c": ["x", 2, 3.5, True, None, b"\x00\xff", {"d": {"e": {}}}]}},
    "list.mixed": [1, "two", 3.0, False, None, [[], [[]]], {"k": "v"}],
    "nothing": None,
}
RESOURCE = Resource({"service.name": "peer", "service.instance.id": "1", **FLAT}, "https://example.com/schema/1.2.3")


class FixedIds(IdGenerator):
    def __init__(self):
        self.next = itertools.count(1)

    def generate_span_id(self):
        return 0xF0E1D2C3B4A50000 + next(self.next)

    def generate_trace_id(self):
        return 0x00112233445566778899AABBCCDD0000 + next(self.next)


class Checked:
    """An exporter that remembers whether every export was taken."""

    def __init__(self, inner, success):
        self.inner, self.success, self.failed, self.count = inner, success, 0, 0

    def export(self, *args, **kwargs):
        result = self.inner.export(*args, **kwargs)
        self.count += 1
        self.failed += result != self.success
        return result

    def __getattr__(self, name):
        return getattr(self.inner, name)


def send_traces(exporter):
    provider = TracerProvider(resource=RESOURCE, id_generator=FixedIds(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("scope", "1.0-β", "https://example.com/scope", {"scope.text": "s", "scope.int": I64_MAX})
    remote = SpanContext(
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF,
        0xFFFFFFFFFFFFFFFF,
        is_remote=True,
        trace_flags=TraceFlags(0x01),
        trace_state=TraceState([("vendor", "a:b"), ("other", "c")]),
    )
    parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    statuses = [Status(StatusCode.UNSET), Status(StatusCode.OK), Status(StatusCode.ERROR, "went wrong: " + ODD)]
    for i, kind in enumerate(SpanKind):
        span = tracer.start_span(
            f"{kind.name} {ODD}",
            context=parent if i % 2 else None,
            kind=kind,
            attributes=FLAT,
            links=[Link(remote, FLAT), Link(remote)] if i % 3 == 0 else None,
            start_time=T0 + i,
        )
        for n in range(i):
            span.add_event(f"event {n}", {**FLAT, "n": n}, timestamp=T0 + 10 + n)
        span.set_status(statuses[i % 3])
        span.end(end_time=T0 + 1_000_000_007 + i)
    empty = tracer.start_span("", start_time=0)
    empty.end(end_time=0)


def send_logs(exporter):
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("scope", "1.0", "https://example.com/scope", {"scope.bool": True})
    bodies = [*FLAT.values(), *NESTED.values(), {**NESTED, "flat": ODD, "": []}]
    for i, body in enumerate(bodies):
        severities = list(SeverityNumber)
        logger.emit(
            LogRecord(
                timestamp=T0 + i,
                observed_timestamp=T0 + 1000 + i,
                severity_number=severities[i % len(severities)],
                severity_text=["INFO", "", ODD][i % 3],
                body=body,
                attributes={**FLAT, **NESTED},
                event_name="my.event" if i % 2 else None,
            )
        )


def metrics_data():
    attributes = {"plain": "a", **FLAT}
    exemplars = [
        Exemplar({"dropped": ODD}, I64_MIN, T0 + 5, span_id=1, trace_id=2),
        Exemplar({}, 0.25, T0 + 6),
    ]
    def number(value, **more):
        return NumberDataPoint(attributes, T0, T0 + 1, value, **more)
    def histogram(counts, bounds, **more):
        values = {"count": sum(counts), "sum": 12.5, "min": -1.0, "max": 9.75, **more}
        return HistogramDataPoint(attributes, T0, T0 + 1, bucket_counts=counts, explicit_bounds=bounds, exemplars=exemplars, **values)
    def exponential(scale, positive, negative):
        return ExponentialHistogramDataPoint(
            attributes, T0, T0 + 1, count=11, sum=3.5, scale=scale, zero_count=2, positive=positive,
            negative=negative, flags=0, min=0.0, max=2.0, exemplars=exemplars,
        )
    metrics = [
        Metric("gauge.int", "all ints", "1", Gauge([number(v) for v in (0, 1, I64_MIN, I64_MAX)])),
        Metric("gauge.double", ODD, "By", Gauge([number(v, exemplars=exemplars) for v in (0.0, -0.0, 0.1, math.inf, math.nan)])),
        Metric("sum.delta", "", "", Sum([number(7)], AggregationTemporality.DELTA, True)),
        Metric("sum.cumulative", "", "{x}", Sum([number(-7.5)], AggregationTemporality.CUMULATIVE, False)),
        Metric(
            "histogram",
            "explicit",
            "ms",
            Histogram(
                [histogram([0, 2**40, 3], [0.0, 2.5]), histogram([4], []), histogram([0, 0], [1.0], sum=0.0, min=0.0, max=0.0)],
                AggregationTemporality.DELTA,
            ),
        ),
        Metric(
            "histogram.exponential",
            "base two",
            "s",
            ExponentialHistogram(
                [
                    exponential(20, Buckets(-2147483648, [1, 0, 300]), Buckets(5, [])),
                    exponential(-10, Buckets(0, []), Buckets(2147483647, [2**40])),
                ],
                AggregationTemporality.CUMULATIVE,
            ),
        ),
    ]
    scope = InstrumentationScope("scope", "2", "https://example.com/scope", {"scope.double": 0.5})
    return MetricsData(
        [
            ResourceMetrics(RESOURCE, [ScopeMetrics(scope, metrics, "https://example.com/scope")], "https://example.com/r"),
            ResourceMetrics(Resource({}), [ScopeMetrics(InstrumentationScope("bare"), metrics[:1], "")], ""),
        ]
    )


def exporters(protocol, endpoint, compression):
    if protocol == "grpc":
        from grpc import Compression
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        how = {"compression": Compression.Gzip if compression == "gzip" else Compression.NoCompression, "timeout": 10}
        kinds = (OTLPSpanExporter, OTLPLogExporter, OTLPMetricExporter)
        return [kind(endpoint=endpoint, insecure=endpoint.startswith("http:"), **how) for kind in kinds]
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    how = {"compression": Compression.Gzip if compression == "gzip" else Compression.NoCompression, "timeout": 10}
    kinds = ((OTLPSpanExporter, "traces"), (OTLPLogExporter, "logs"), (OTLPMetricExporter, "metrics"))
    return [kind(endpoint=f"{endpoint}/v1/{signal}", **how) for kind, signal in kinds]


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--endpoint", required=True, help="http://host:port, or https")
    args.add_argument("--protocol", choices=["grpc", "http"], required=True)
    args.add_argument("--compression", choices=["none", "gzip"], default="none")
    args.add_argument("--traces-only", action="store_true")
    args = args.parse_args()
    traces, logs, metrics = exporters(args.protocol, args.endpoint, args.compression)
    traces = Checked(traces, SpanExportResult.SUCCESS)
    logs = Checked(logs, LogRecordExportResult.SUCCESS)
    send_traces(traces)
    taken = True
    if not args.traces_only:
        send_logs(logs)
        taken = metrics.export(metrics_data()) == MetricExportResult.SUCCESS
    for exporter in (traces.inner, logs.inner, metrics):
        exporter.shutdown()
    failed = traces.failed + logs.failed + (not taken)
    print(f"{traces.count} spans, {logs.count} logs; {failed} not taken")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
