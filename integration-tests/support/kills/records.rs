//! Numbered records: each has its number in the attribute `n`, and no number is given twice.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// What one request carries: logs or spans with consecutive numbers.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub first: u64,
    pub records: u64,
    pub is_trace: bool,
    /// The sink may hold fast to it.
    pub is_marked: bool,
    /// Bytes of text in each record.
    pub text: usize,
}

/// What a request is found to carry.
pub struct Read {
    pub numbers: Vec<u64>,
    pub is_marked: bool,
}

const NUMBER: &str = "n";
const MARK: &str = "marked";

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

impl Batch {
    /// The record of this number, whoever made it.
    pub fn of_one(first: u64) -> Batch {
        Batch {
            first,
            records: 1,
            is_trace: false,
            is_marked: false,
            text: 0,
        }
    }

    pub fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.records
    }

    /// The request's path over HTTP or gRPC.
    pub fn path(&self, grpc: bool) -> &'static str {
        match (grpc, self.is_trace) {
            (true, false) => super::super::client::LOGS,
            (true, true) => super::super::client::TRACES,
            (false, false) => "/v1/logs",
            (false, true) => "/v1/traces",
        }
    }

    /// The request.
    pub fn message(&self) -> Vec<u8> {
        let attributes = |n: u64| {
            let mut all = vec![attribute(NUMBER, Value::IntValue(n as i64))];
            if self.is_marked {
                all.push(attribute(MARK, Value::BoolValue(true)));
            }
            all
        };
        let text = || "x".repeat(self.text);
        if self.is_trace {
            let span = |n: u64| Span {
                trace_id: vec![1; 16],
                span_id: (n + 1).to_be_bytes().to_vec(),
                name: text(),
                attributes: attributes(n),
                ..Span::default()
            };
            let scope_spans = vec![ScopeSpans {
                spans: self.numbers().map(span).collect(),
                ..ScopeSpans::default()
            }];
            let resource_spans = vec![ResourceSpans {
                scope_spans,
                ..ResourceSpans::default()
            }];
            ExportTraceServiceRequest { resource_spans }.encode_to_vec()
        } else {
            let record = |n: u64| LogRecord {
                time_unix_nano: 1_760_000_000_000_000_000 + n,
                body: Some(AnyValue {
                    value: Some(Value::StringValue(text())),
                }),
                attributes: attributes(n),
                ..LogRecord::default()
            };
            let scope_logs = vec![ScopeLogs {
                log_records: self.numbers().map(record).collect(),
                ..ScopeLogs::default()
            }];
            let resource_logs = vec![ResourceLogs {
                scope_logs,
                ..ResourceLogs::default()
            }];
            ExportLogsServiceRequest { resource_logs }.encode_to_vec()
        }
    }
}

/// The numbers in a request of either signal.
pub fn read(path: &str, message: Bytes) -> Read {
    let mut found = Read {
        numbers: Vec::new(),
        is_marked: false,
    };
    let mut note = |attributes: &[KeyValue]| {
        for attribute in attributes {
            let value = attribute.value.as_ref().and_then(|v| v.value.as_ref());
            match (attribute.key.as_str(), value) {
                (NUMBER, Some(Value::IntValue(n))) => found.numbers.push(*n as u64),
                (MARK, Some(Value::BoolValue(true))) => found.is_marked = true,
                _ => {}
            }
        }
    };
    if path.to_lowercase().contains("trace") {
        let request = ExportTraceServiceRequest::decode(message).expect("a sink gets valid protobuf");
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        scopes
            .flat_map(|s| &s.spans)
            .for_each(|span| note(&span.attributes));
    } else {
        let request = ExportLogsServiceRequest::decode(message).expect("a sink gets valid protobuf");
        let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
        scopes
            .flat_map(|s| &s.log_records)
            .for_each(|record| note(&record.attributes));
    }
    found
}
