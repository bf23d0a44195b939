"""Sends numbered spans and log records with the OpenTelemetry SDK for Python for a while, whatever happens meanwhile.

Batches as an application has them: background processors, the SDK's own retries. Span k has the number 2k in the
attribute `n`, log record k has 2k + 1. At the end one line of JSON: the numbers of all records whose export succeeded,
and how many exports did not.
"""

import argparse
import json
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from send import exporters

RESOURCE = Resource({"service.name": "steady"})


class Remembering:
    """An exporter that remembers the numbers of what was taken."""

    def __init__(self, inner, success, number):
        self.inner, self.success, self.number, self.taken, self.failed = inner, success, number, [], 0

    def export(self, batch):
        numbers = [self.number(item) for item in batch]
        if self.inner.export(batch) == self.success:
            self.taken += numbers
        else:
            self.failed += 1
        return self.success

    def __getattr__(self, name):
        return getattr(self.inner, name)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--endpoint", required=True, help="http://host:port")
    args.add_argument("--protocol", choices=["grpc", "http"], required=True)
    args.add_argument("--secs", type=float, required=True)
    args = args.parse_args()
    spans, logs, _ = exporters(args.protocol, args.endpoint, "none")
    spans = Remembering(spans, SpanExportResult.SUCCESS, lambda span: span.attributes["n"])
    logs = Remembering(logs, LogRecordExportResult.SUCCESS, lambda data: data.log_record.attributes["n"])
    how = {"schedule_delay_millis": 100, "max_export_batch_size": 64, "max_queue_size": 65536}
    tracers = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(spans, **how))
    loggers = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs, **how))
    tracer, logger = tracers.get_tracer("steady"), loggers.get_logger("steady")
    end, k = time.monotonic() + args.secs, 0
    while time.monotonic() < end:
        tracer.start_span(f"span {k}", attributes={"n": 2 * k}).end()
        logger.emit(
            LogRecord(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body=f"line {k}", attributes={"n": 2 * k + 1})
        )
        k += 1
        time.sleep(0.002)
    tracers.shutdown()
    loggers.shutdown()
    print(json.dumps({"taken": spans.taken + logs.taken, "failed": spans.failed + logs.failed, "made": 2 * k}))


if __name__ == "__main__":
    main()
