//! What tests of commands share.

use std::ops::Range;

use evidence::digest::sha256;
use evidence::entry::Obj;
use evidence::time::Time;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::logs::Named;

/// Log records of these numbers, of service `shop`: their severity is their number, and their body says it.
pub(super) fn logs(numbers: Range<u64>) -> Vec<u8> {
    let text = |text: String| {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        })
    };
    let record = |n: u64| LogRecord {
        time_unix_nano: 1_763_647_500_000_000_000 + n * 1_000_000_000,
        severity_number: (n % 25) as i32,
        body: text(format!("record {n}")),
        ..LogRecord::default()
    };
    let resource = Resource {
        attributes: vec![KeyValue {
            key: "service.name".to_owned(),
            value: text("shop".to_owned()),
            ..KeyValue::default()
        }],
        ..Resource::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs {
                // As what is read from JSON has it.
                scope: Some(InstrumentationScope::default()),
                log_records: numbers.map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
    .encode_to_vec()
}

/// An object of three records as its entry names it, and its bytes.
pub(super) fn named() -> (Named, Vec<u8>) {
    let plain = logs(0..3);
    let stored = zstd::encode_all(plain.as_slice(), 1).expect("compressed");
    let at = |text: &str| -> Time { text.parse().expect("a time") };
    let (first, last) = (at("2025-11-20T14:05:00.000Z"), at("2025-11-20T14:05:02.000Z"));
    let obj = Obj {
        seq: 3,
        key: "data/v1/class=std/tenant=acme/signal=logs/dt=2025-11-20/hour=14/logs_gw-0_0123456789ab_0000000003.binpb.zst"
            .to_owned(),
        ver: None,
        size: stored.len() as u64,
        sha256: sha256(&stored),
        fmt: "otlp_proto".to_owned(),
        cmp: "zstd".to_owned(),
        enc: None,
        tenant: "acme".to_owned(),
        signal: "logs".to_owned(),
        n: 3,
        raw: plain.len() as u64,
        ev: Some([first, last]),
        ad: [first, last],
        sev: Some([1, 2, 0, 0, 0, 0, 0]),
        svc: Some(vec!["shop".to_owned()]),
        svc_more: false,
        class: None,
        lock: None,
        of: None,
        adopted: None,
    };
    let named = Named {
        writer: "gw-0".into(),
        session: "019aa1c2-5be0-7abc-8def-0123456789ab".into(),
        index: 5,
        obj,
    };
    (named, stored)
}
