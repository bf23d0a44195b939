// Sends one deterministic set of traces, logs and metrics with the OpenTelemetry SDK for JavaScript.
//
//   send.js grpc|http-json|http-protobuf
//
// Whole numbers stay within 64 bits: the SDK writes greater ones as an intValue that no reader of JSON takes.
// Where to, with which certificates, headers and compression is said by the standard OTEL_EXPORTER_OTLP_* variables. Ids
// and times are fixed, so two runs say the same; the exit code is 0 only if every export was taken.
'use strict';

const { createRequire } = require('node:module');
const path = require('node:path');

const [, , protocol, modules] = process.argv;
const load = createRequire(path.join(modules, 'package.json'));

const { SpanKind, SpanStatusCode, TraceFlags, ROOT_CONTEXT, trace } = load('@opentelemetry/api');
const { SeverityNumber } = load('@opentelemetry/api-logs');
const { ExportResultCode } = load('@opentelemetry/core');
const { resourceFromAttributes } = load('@opentelemetry/resources');
const { AggregationTemporality, DataPointType } = load('@opentelemetry/sdk-metrics');
const sdkTrace = load('@opentelemetry/sdk-trace');
const sdkLogs = load('@opentelemetry/sdk-logs');

const kind = { grpc: 'grpc', 'http-json': 'http', 'http-protobuf': 'proto' }[protocol];
const { OTLPTraceExporter } = load(`@opentelemetry/exporter-trace-otlp-${kind}`);
const { OTLPLogExporter } = load(`@opentelemetry/exporter-logs-otlp-${kind}`);
const { OTLPMetricExporter } = load(`@opentelemetry/exporter-metrics-otlp-${kind}`);

const T0 = [1_700_000_000, 123_456_789];
const later = (nanos) => [T0[0], T0[1] + nanos];
const ODD = 'naïve 日本語 😀 "quoted" \\ \t\n\u0000 <&> ' + 'x'.repeat(300);
const ATTRIBUTES = {
  text: 'plain',
  'text.empty': '',
  'text.odd': ODD,
  yes: true,
  no: false,
  zero: 0,
  negative: -42,
  'int.safe': Number.MAX_SAFE_INTEGER,
  double: 0.1,
  tiny: 5e-324,
  'list.text': ['a', '', ODD],
  'list.int': [1, 2, -3],
  'list.bool': [true, false],
};
const resource = resourceFromAttributes({ 'service.name': 'peer', ...ATTRIBUTES });

let failed = 0;
const send = (exporter, items) =>
  new Promise((done) =>
    exporter.export(items, (result) => {
      if (result.code !== ExportResultCode.SUCCESS) {
        failed += 1;
        console.error(result.error);
      }
      done();
    }),
  );

function spans() {
  let next = 0;
  const idGenerator = {
    generateTraceId: () => '00112233445566778899aabbccdd' + String((next += 1)).padStart(4, '0'),
    generateSpanId: () => 'f0e1d2c3b4a5' + String((next += 1)).padStart(4, '0'),
  };
  const ended = [];
  const keep = {
    onStart() {},
    onEnd: (span) => ended.push(span),
    shutdown: async () => {},
    forceFlush: async () => {},
  };
  const Provider = sdkTrace.TracerProvider ?? sdkTrace.BasicTracerProvider;
  const provider = new Provider({ resource, idGenerator, spanProcessors: [keep] });
  const tracer = provider.getTracer('scope', '1.0-β');
  const remote = {
    traceId: 'ffffffffffffffffffffffffffffffff',
    spanId: 'ffffffffffffffff',
    isRemote: true,
    traceFlags: TraceFlags.SAMPLED,
  };
  Object.values(SpanKind)
    .filter(Number.isInteger)
    .forEach((kind, n) => {
      const parent = n % 2 ? trace.setSpanContext(ROOT_CONTEXT, remote) : ROOT_CONTEXT;
      const options = { kind, attributes: ATTRIBUTES, startTime: later(n), links: [{ context: remote, attributes: ATTRIBUTES }] };
      const span = tracer.startSpan(`${n} ${ODD}`, options, parent);
      span.addEvent('event', { ...ATTRIBUTES, n }, later(10 + n));
      span.setStatus({ code: [SpanStatusCode.UNSET, SpanStatusCode.OK, SpanStatusCode.ERROR][n % 3], message: n % 3 == 2 ? ODD : undefined });
      span.end(later(1000 + n));
    });
  return ended;
}

function logs() {
  const emitted = [];
  const keep = { onEmit: (record) => emitted.push(record), shutdown: async () => {}, forceFlush: async () => {} };
  const provider = new sdkLogs.LoggerProvider({ resource, processors: [keep] });
  const logger = provider.getLogger('scope', '1.0');
  const bodies = ['', ODD, 7, 0.5, true, ['a', 1, [true]], { a: 1, b: { c: ['x', 2, 3.5, null] } }, new Uint8Array([0, 255, 1])];
  bodies.forEach((body, n) =>
    logger.emit({
      body,
      timestamp: later(n),
      observedTimestamp: later(100 + n),
      severityNumber: [SeverityNumber.INFO, SeverityNumber.FATAL4][n % 2],
      severityText: ['INFO', ODD][n % 2],
      attributes: { ...ATTRIBUTES, nested: { deep: [1, { deeper: 'x' }] }, bytes: new Uint8Array([1, 2, 3]) },
    }),
  );
  return emitted;
}

function metrics() {
  const descriptor = (name, unit) => ({ name, unit, description: ODD, valueType: 1, advice: {} });
  const point = (value) => ({ startTime: T0, endTime: later(1), attributes: ATTRIBUTES, value });
  const temporality = { aggregationTemporality: AggregationTemporality.CUMULATIVE };
  const histogram = { buckets: { boundaries: [0, 2.5], counts: [1, 0, 3] }, sum: 12.5, count: 4, min: -1, max: 9.75 };
  const exponential = {
    count: 11, sum: 3.5, scale: 20, zeroCount: 2, min: 0, max: 2,
    positive: { offset: -7, bucketCounts: [1, 0, 300] }, negative: { offset: 5, bucketCounts: [] },
  };
  return {
    resource,
    scopeMetrics: [
      {
        scope: { name: 'scope', version: '2' },
        metrics: [
          { descriptor: descriptor('gauge', '1'), dataPointType: DataPointType.GAUGE, ...temporality, dataPoints: [0, -7, 0.1].map(point) },
          { descriptor: descriptor('sum', 'By'), dataPointType: DataPointType.SUM, isMonotonic: true, ...temporality, dataPoints: [point(7)] },
          { descriptor: descriptor('histogram', 'ms'), dataPointType: DataPointType.HISTOGRAM, ...temporality, dataPoints: [point(histogram)] },
          { descriptor: descriptor('exponential', 's'), dataPointType: DataPointType.EXPONENTIAL_HISTOGRAM, ...temporality, dataPoints: [point(exponential)] },
        ],
      },
    ],
  };
}

async function main() {
  const [traceExporter, logExporter, metricExporter] = [new OTLPTraceExporter(), new OTLPLogExporter(), new OTLPMetricExporter()];
  for (const span of spans()) await send(traceExporter, [span]);
  for (const record of logs()) await send(logExporter, [record]);
  await send(metricExporter, metrics());
  for (const exporter of [traceExporter, logExporter, metricExporter]) await exporter.shutdown();
  process.exitCode = failed ? 1 : 0;
}

main();
