//! Payloads from text, processors run on them as a segment does, and the result as text again.

use component::{Drops, Refusal, SegmentCx, Tree};
use config::Section;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use wire::view::{Finished, Scratch, View};
use wire::{Context, Limits, Signal};

use crate::literal::Literal;

#[derive(Clone, Deserialize, Serialize)]
struct Wrapped {
    v: Literal,
}

/// A value in YAML's flow notation (JSON is that too).
pub(crate) fn value_of(text: &str) -> AnyValue {
    let parsed: Wrapped = Section::from_yaml(&format!("v: {text}"))
        .and_then(Section::parse)
        .unwrap();
    let mut bytes = Vec::new();
    parsed.v.encode(&mut bytes);
    AnyValue::decode(&bytes[..]).unwrap()
}

/// Attributes in YAML's flow notation.
pub(crate) fn map(text: &str) -> Vec<KeyValue> {
    match value_of(text).value {
        Some(Any::KvlistValue(list)) => list.values,
        _ => panic!("no map: {text}"),
    }
}

/// Attributes as JSON, in their order.
pub(crate) fn show(map: &[KeyValue]) -> String {
    let entries: Vec<String> = map
        .iter()
        .map(|e| format!("{}:{}", e.key, e.value.as_ref().map_or("none".into(), show_any)))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// A value as JSON.
pub(crate) fn show_any(value: &AnyValue) -> String {
    match &value.value {
        None => "null".into(),
        Some(Any::StringValue(s)) => format!("{s:?}"),
        Some(Any::BoolValue(b)) => b.to_string(),
        Some(Any::IntValue(i)) => i.to_string(),
        Some(Any::DoubleValue(d)) => format!("{d:?}"),
        Some(Any::BytesValue(b)) => format!("bytes({})", b.escape_ascii()),
        Some(Any::ArrayValue(list)) => {
            let each: Vec<String> = list.values.iter().map(show_any).collect();
            format!("[{}]", each.join(", "))
        }
        Some(Any::KvlistValue(list)) => show(&list.values),
        Some(other) => format!("{other:?}"),
    }
}

/// A request of one resource, scope and record.
pub(crate) fn logs(record: LogRecord) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// Runs stages that end no record one after another over one view, as a segment does.
pub(crate) fn run_all(
    trees: &[&dyn Tree],
    signal: Signal,
    bytes: &[u8],
    context: &Context,
) -> Result<Vec<u8>, Refusal> {
    let (bytes, mut drops) = run_booked(trees, signal, bytes, context)?;
    assert_eq!(drops.take(), [], "none of these ends a record");
    Ok(bytes)
}

/// Runs stages one after another over one view, as a segment does; with what they dropped.
pub(crate) fn run_booked(
    trees: &[&dyn Tree],
    signal: Signal,
    bytes: &[u8],
    context: &Context,
) -> Result<(Vec<u8>, Drops), Refusal> {
    let shape = wire::validate(signal, bytes, &Limits::default()).unwrap();
    let drops_unknown = trees.iter().any(|t| t.touches().drops_unknown);
    let bytes = match shape.non_canonical || shape.unknown_fields && drops_unknown {
        true => wire::normalize(signal, bytes, drops_unknown).unwrap(),
        false => bytes.to_vec(),
    };
    let depth = trees.iter().map(|t| t.touches().depth).max().unwrap();
    let mut scratch = Scratch::default();
    let mut sift = trees[0].sift(signal);
    let view = match &mut sift {
        Some(sift) => View::sifted(&mut scratch, signal, &bytes, depth, |r| sift.passes(r)),
        None => View::new(&mut scratch, signal, &bytes, depth),
    };
    let mut view = view.unwrap();
    let mut drops = Drops::default();
    for tree in trees {
        let mut cx = SegmentCx {
            context,
            tenant: None,
            drops: &mut drops,
        };
        if let Some(sift) = sift.take() {
            sift.finish(&mut cx);
        }
        tree.apply(&mut view, &mut cx)?;
    }
    assert!(!view.is_overflowed());
    let bytes = match view.finish() {
        Finished::Unchanged => bytes.clone(),
        Finished::Edited { bytes, .. } => bytes,
    };
    Ok((bytes, drops))
}

/// Runs one stage without a client.
pub(crate) fn run(tree: &dyn Tree, signal: Signal, bytes: &[u8]) -> Vec<u8> {
    run_all(&[tree], signal, bytes, &Context::default()).unwrap()
}

/// Attributes of one log record after a stage.
pub(crate) fn run_on_attributes(
    tree: &dyn Tree,
    attributes: Vec<KeyValue>,
    context: &Context,
) -> Vec<KeyValue> {
    let record = LogRecord {
        attributes,
        ..Default::default()
    };
    let bytes = logs(record).encode_to_vec();
    let out = run_all(&[tree], Signal::Logs, &bytes, context).unwrap();
    first_record(&out).attributes
}

/// The first log record of a request.
pub(crate) fn first_record(bytes: &[u8]) -> LogRecord {
    let request = ExportLogsServiceRequest::decode(bytes).unwrap();
    request.resource_logs[0].scope_logs[0].log_records[0].clone()
}
