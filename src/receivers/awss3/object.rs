//! What an object holds, by its name.

use bytes::Bytes;
use component::prelude::*;
use wire::view::{Depth, Finished, Kind, NewValue, NodeId, Scratch, View};
use wire::{Encoding, Limits, NOWHERE, Part};

/// Bytes of an object, as it lies in its bucket.
pub(super) const OBJECT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of an object, inflated.
const INFLATED_BYTES_MAX: usize = 256 << 20;

/// How an object is written, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    is_json: bool,
    compression: Option<Encoding>,
}

impl Form {
    pub(super) fn of(key: &str) -> Option<Form> {
        let (name, compression) = if let Some(name) = key.strip_suffix(".gz") {
            (name, Some(Encoding::Gzip))
        } else if let Some(name) = key.strip_suffix(".zst") {
            (name, Some(Encoding::Zstd))
        } else {
            (key, None)
        };
        let is_json = name.ends_with(".json");
        (is_json || name.ends_with(".binpb")).then_some(Form { is_json, compression })
    }

    /// What an object holds. `records`: the records' times that are wanted, nanoseconds since 1970.
    pub(super) fn payload(
        self,
        signal: Signal,
        receiver: &str,
        records: Option<(u64, u64)>,
        bytes: &Bytes,
    ) -> Result<Payload, String> {
        let mut bytes = match self.compression {
            None => bytes.clone(),
            Some(encoding) => {
                let inflated = net::compression::decode(encoding, bytes, INFLATED_BYTES_MAX);
                inflated.map_err(|e| e.to_string())?.bytes
            }
        };
        if self.is_json {
            let mut out = Vec::new();
            codec::otlp_json::read(signal, &bytes, &mut out).map_err(|e| e.to_string())?;
            bytes = out.into();
        }
        let shape = wire::validate(signal, &bytes, &Limits::default()).map_err(|e| e.to_string())?;
        let mut chunk = Chunk::new(bytes, shape);
        if let Some(records) = records {
            chunk = within(records, signal, chunk)?;
        }
        let context = Context {
            receiver: Some(receiver.into()),
            ..Context::default()
        };
        Ok(Payload::new(signal, chunk, Arc::new(context)))
    }
}

/// Adds to each resource who read it, and of which object: the attributes that `weir archive restore --mark` adds.
pub(super) fn mark(payload: &mut Payload, receiver: &str, key: &str) -> Result<(), String> {
    for chunk in &mut payload.chunks {
        chunk.make_canonical(payload.signal).map_err(|e| e.to_string())?;
        let bytes = chunk.make_whole();
        let mut scratch = Scratch::default();
        let view = View::new(&mut scratch, payload.signal, &bytes, Depth::Resource);
        let mut view = view.map_err(|e| e.to_string())?;
        for n in view.nodes() {
            view.put(n, b"weir.replay.id", NewValue::Str(receiver.as_bytes()));
            view.put(n, b"weir.replay.object", NewValue::Str(key.as_bytes()));
        }
        if let Finished::Edited { bytes, .. } = view.finish() {
            chunk.set_bytes(bytes.into());
        }
    }
    Ok(())
}

/// The records of a range of time; an empty chunk if there are none.
fn within((start, end): (u64, u64), signal: Signal, mut chunk: Chunk) -> Result<Chunk, String> {
    chunk.make_canonical(signal).map_err(|e| e.to_string())?;
    let bytes = chunk.bytes();
    let mut scratch = Scratch::default();
    let view = View::new(&mut scratch, signal, &bytes, Depth::Record).map_err(|e| e.to_string())?;
    let is_wanted = |time: u64| time == 0 || (start..end).contains(&time);
    let items = view.nodes().filter(|n| view.kind(*n).is_item());
    let label = |n| if is_wanted(time(&view, n)) { 0 } else { NOWHERE };
    let labels: Vec<u16> = items.map(label).collect();
    let mut divided = wire::divide(signal, &chunk, Part::Item, &labels);
    let kept = divided.pop().map(|(_, kept)| kept);
    Ok(kept.unwrap_or_else(|| Chunk::new(Bytes::new(), wire::Shape::default())))
}

/// When a record was, in its own time; 0 if it does not say. A log record without a time was when it was observed.
fn time(view: &View<'_>, n: NodeId) -> u64 {
    const LOG: u32 = 1;
    const OBSERVED: u32 = 11;
    const SPAN_START: u32 = 7;
    const POINT: u32 = 3;
    let number = |field| view.number(n, field).unwrap_or(0);
    match view.kind(n) {
        Kind::LogRecord if number(LOG) == 0 => number(OBSERVED),
        Kind::LogRecord => number(LOG),
        Kind::Span => number(SPAN_START),
        _ => number(POINT),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
    };
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    use super::*;

    #[test]
    fn a_name_says_how_its_object_is_written() {
        let check = |key: &str, expected: Option<(bool, Option<Encoding>)>| {
            let found = Form::of(key).map(|form| (form.is_json, form.compression));
            assert_eq!(found, expected, "{key}");
        };
        check("a/logs_1.json", Some((true, None)));
        check("a/logs_1.json.gz", Some((true, Some(Encoding::Gzip))));
        check("a/logs_1.binpb", Some((false, None)));
        check("a/logs_1.binpb.zst", Some((false, Some(Encoding::Zstd))));
        check("a/logs_1.txt", None);
        check("a/logs_1.gz", None);
        check("a/logs_1", None);
        check("a/logs_1.json.gz.gz", None);
    }

    /// Two log records in two resources each with a time and an observed one.
    fn logs(times: &[(u64, u64)]) -> ExportLogsServiceRequest {
        let group = |(time, observed): &(u64, u64)| ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![LogRecord {
                    time_unix_nano: *time,
                    observed_time_unix_nano: *observed,
                    ..LogRecord::default()
                }],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        };
        ExportLogsServiceRequest {
            resource_logs: times.iter().map(group).collect(),
        }
    }

    fn spans(starts: &[u64]) -> ExportTraceServiceRequest {
        let span = |start: &u64| Span {
            start_time_unix_nano: *start,
            end_time_unix_nano: 1000,
            ..Span::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans: starts.iter().map(span).collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    fn points(times: &[u64]) -> ExportMetricsServiceRequest {
        let point = |time: &u64| NumberDataPoint {
            start_time_unix_nano: 1,
            time_unix_nano: *time,
            ..NumberDataPoint::default()
        };
        let gauge = Gauge {
            data_points: times.iter().map(point).collect(),
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![Metric {
                        data: Some(Data::Gauge(gauge)),
                        ..Metric::default()
                    }],
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        }
    }

    #[test]
    fn a_mark_says_who_read_a_resource_and_where() {
        let bytes = Bytes::from(logs(&[(1, 0), (2, 0)]).encode_to_vec());
        let form = Form::of("x.binpb").expect("a name");
        let mut payload = form
            .payload(Signal::Logs, "awss3/a", None, &bytes)
            .expect("it is valid");
        mark(&mut payload, "awss3/a", "03/logs_1.binpb").expect("it is marked");
        assert_eq!(payload.items, 2);
        let marked = ExportLogsServiceRequest::decode(payload.to_bytes()).expect("logs");
        let mut expected = logs(&[(1, 0), (2, 0)]);
        for group in &mut expected.resource_logs {
            let attribute = |(key, value): (&str, &str)| KeyValue {
                key: key.to_owned(),
                value: Some(AnyValue {
                    value: Some(Value::StringValue(value.to_owned())),
                }),
                ..KeyValue::default()
            };
            let marks = [
                ("weir.replay.id", "awss3/a"),
                ("weir.replay.object", "03/logs_1.binpb"),
            ];
            group.resource = Some(Resource {
                attributes: marks.map(attribute).to_vec(),
                ..Resource::default()
            });
        }
        assert_eq!(marked, expected);
    }

    #[test]
    fn records_are_kept_by_their_own_time() {
        fn check<M: Message>(signal: Signal, given: &M, expected: &M, items: usize) {
            let form = Form::of("x.binpb").expect("a name");
            let bytes = Bytes::from(given.encode_to_vec());
            let kept = form
                .payload(signal, "r", Some((20, 40)), &bytes)
                .expect("it is valid");
            assert_eq!(
                (kept.items, kept.to_bytes()),
                (items, expected.encode_to_vec().into())
            );
        }
        // The time itself, the observed one without it, and neither.
        let given = [(19, 30), (20, 0), (39, 99), (40, 30), (0, 30), (0, 40), (0, 0)];
        let expected = [(20, 0), (39, 99), (0, 30), (0, 0)];
        check(Signal::Logs, &logs(&given), &logs(&expected), 4);
        check(Signal::Logs, &logs(&[(1, 30)]), &logs(&[]), 0);
        check(Signal::Traces, &spans(&[10, 20, 50, 30]), &spans(&[20, 30]), 2);
        check(Signal::Metrics, &points(&[10, 20, 40, 0]), &points(&[20, 0]), 2);
    }
}
