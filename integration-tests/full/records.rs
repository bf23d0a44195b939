//! Log records as JSON of OTLP, and the documents that `elasticsearch` makes of them.

use serde_json::{Value, json};

pub const NS: u64 = 1_760_000_000_123_456_789;
pub const TRACE: &str = "0102030405060708090a0b0c0d0e0f10";

pub fn attributes(all: &Value) -> Value {
    fn value(of: &Value) -> Value {
        match of {
            Value::String(text) => json!({"stringValue": text}),
            Value::Bool(b) => json!({"boolValue": b}),
            Value::Number(n) if n.is_i64() => json!({"intValue": n}),
            Value::Array(all) => json!({"arrayValue": {"values": all.iter().map(value).collect::<Vec<_>>()}}),
            Value::Object(_) => json!({"kvlistValue": {"values": attributes(of)}}),
            other => json!({"doubleValue": other}),
        }
    }
    let all = all.as_object().expect("a map").iter();
    all.map(|(key, of)| json!({"key": key, "value": value(of)}))
        .collect()
}

/// Log records with these bodies and attributes; record k carries the time `NS + first + k`.
pub fn logs(first: u64, records: impl IntoIterator<Item = (Value, Value)>, resource: &Value) -> Value {
    let records: Vec<Value> = records
        .into_iter()
        .zip(first..)
        .map(|((body, more), at)| {
            let body = attributes(&json!({"body": body}))[0]["value"].clone();
            json!({
                "timeUnixNano": (NS + at).to_string(), "observedTimeUnixNano": (NS + at + 1).to_string(),
                "severityNumber": 13, "severityText": "WARN", "body": body, "attributes": attributes(&more),
                "traceId": TRACE, "spanId": "0102030405060708", "flags": 1,
            })
        })
        .collect();
    let scope = json!({"name": "lib", "version": "1.2"});
    json!({"resourceLogs": [{
        "resource": {"attributes": attributes(resource)},
        "scopeLogs": [{"scope": scope, "logRecords": records}],
    }]})
}

pub fn line(at: u64) -> String {
    format!("line {at:03} said \"x\" \\ é 🌊")
}

/// What records have beside their bodies.
pub fn of_record(at: u64) -> Value {
    json!({
        "n": at as i64 - 30, "ratio": 0.5, "ok": at.is_multiple_of(2), "path": "/a\"b\\c", "tags": ["a", "b"],
        "http.method": "GET", "inner": {"k": "v", "n": 1},
    })
}

pub fn iso(at: u64) -> String {
    format!("2025-10-09T08:53:20.{:09}Z", 123_456_789 + at)
}

/// The document of a record in a mode.
pub fn document(mode: &str, at: u64) -> Value {
    let mut document = json!({});
    let put = |document: &mut Value, prefix: &str, all: &Value| {
        for (key, value) in all.as_object().expect("a map") {
            document[format!("{prefix}{key}")] = value.clone();
        }
    };
    match mode {
        "otel" => json!({
            "@timestamp": format!("{}.{:06}", (NS + at) / 1_000_000, (NS + at) % 1_000_000),
            "observed_timestamp": format!("{}.{:06}", (NS + at + 1) / 1_000_000, (NS + at + 1) % 1_000_000),
            "data_stream": {"type": "logs", "dataset": "shop.otel", "namespace": "prod"},
            "severity_text": "WARN", "severity_number": 13,
            "trace_id": TRACE, "span_id": "0102030405060708",
            "attributes": of_record(at),
            "resource": {"attributes": {"service.name": "shop", "host.name": "h1"}},
            "scope": {"name": "lib", "version": "1.2"},
            "body": {"text": line(at)},
        }),
        "ecs" => {
            document = json!({
                "@timestamp": iso(at),
                "data_stream": {"type": "logs", "dataset": "shop", "namespace": "prod"},
                "event": {"severity": 13}, "log": {"level": "WARN"}, "message": line(at),
                "trace": {"id": TRACE}, "span": {"id": "0102030405060708"},
                "service": {"name": "shop"}, "host": {"name": "h1", "hostname": "h1"},
                "http": {"method": "GET"},
            });
            let mut own = of_record(at);
            own.as_object_mut().expect("a map").remove("http.method");
            put(&mut document, "", &own);
            document
        }
        "none" | "raw" => {
            let prefix = if mode == "none" { "Attributes." } else { "" };
            document = json!({
                "@timestamp": iso(at), "Body": line(at), "SeverityNumber": 13, "SeverityText": "WARN",
                "TraceId": TRACE, "SpanId": "0102030405060708", "TraceFlags": 1,
                "Resource.service.name": "shop", "Resource.host.name": "h1",
                "Scope.name": "lib", "Scope.version": "1.2",
            });
            let mut own = of_record(at);
            own.as_object_mut().expect("a map").remove("inner");
            put(&mut document, prefix, &own);
            put(&mut document, prefix, &json!({"inner.k": "v", "inner.n": 1}));
            document
        }
        _ => json!({"@timestamp": iso(at), "message": line(at), "n": at as i64 - 30, "tags": ["a", "b"]}),
    }
}
