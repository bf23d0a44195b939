//! OTLP/JSON to protobuf and back, per record; serde on prost types beside it for comparison.
//!
//! `cargo bench -p weir-wire --bench json [-- ROW...]`; see `support.rs` for the payload. Sizes and rates are of the JSON
//! text, in either direction.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

mod counting;
mod support;

use std::hint::black_box;

use codec::otlp_json;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use wire::{Limits, Signal};

use support::{Payloads, Row, measure};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() {
    let encoded = support::payloads();
    let texts: Vec<Vec<u8>> = encoded.requests.iter().map(|request| text(request)).collect();
    let payloads = Payloads {
        bytes: texts.iter().map(Vec::len).sum(),
        requests: texts,
        records: encoded.records,
    };
    let mut rows: Vec<Row> = Vec::new();

    let mut out = Vec::new();
    measure(&mut rows, "copy, for comparison", &payloads, |json| {
        out.clear();
        out.extend_from_slice(json);
        black_box(&out);
    });
    measure(&mut rows, "read", &payloads, |json| {
        out.clear();
        otlp_json::read(Signal::Logs, json, &mut out).expect("the texts are well formed");
        black_box(&out);
    });
    measure(&mut rows, "read as the door does", &payloads, |json| {
        let mut out = Vec::with_capacity(json.len() / 2);
        otlp_json::read(Signal::Logs, json, &mut out).expect("the texts are well formed");
        out.shrink_to_fit();
        let shape = wire::validate(Signal::Logs, &out, &Limits::default());
        black_box((shape, out)).0.expect("what is read is well formed");
    });
    measure(&mut rows, "serde: parse", &payloads, |json| {
        let request: ExportLogsServiceRequest =
            serde_json::from_slice(json).expect("the texts are well formed");
        black_box(request);
    });
    measure(&mut rows, "serde: parse, prost: encode", &payloads, |json| {
        let request: ExportLogsServiceRequest =
            serde_json::from_slice(json).expect("the texts are well formed");
        black_box(request.encode_to_vec());
    });
    let write = |rows: &mut Vec<Row>, name, work: &mut dyn FnMut(&[u8])| {
        let mut requests = encoded.requests.iter().cycle();
        // Called with a text, works on a request: as many of one as of the other.
        measure(rows, name, &payloads, |_| {
            work(requests.next().expect("a cycle has no end"));
        });
    };
    write(&mut rows, "write", &mut |request| {
        out.clear();
        otlp_json::write(Signal::Logs, request, &mut out).expect("the requests are well formed");
        black_box(&out);
    });
    write(&mut rows, "prost: decode, serde: print", &mut |request| {
        let request = ExportLogsServiceRequest::decode(request).expect("the requests are well formed");
        black_box(serde_json::to_vec(&request)).expect("requests can be printed");
    });
    support::print(&payloads, &rows);
    support::print(&payloads, &dear());
}

/// Texts made to be dear, a mebibyte each; look at the rate.
fn dear() -> Vec<Row> {
    let within = |open: &str, fill: &str, close: &str| {
        let fill = fill.repeat(((1 << 20) - open.len() - close.len()) / fill.len());
        format!("{open}{fill}{close}").into_bytes()
    };
    let lists = r#"{"arrayValue":{"values":["#;
    let attribute = r#"{"resourceLogs":[{"resource":{"attributes":[{"value":"#;
    let deep_open = format!(r#"{attribute}{}{{"stringValue":""#, lists.repeat(60));
    let deep_close = format!(r#""}}{}}}]}}}}]}}"#, "]}}".repeat(60));
    let texts = [
        (
            "dear: a string 60 levels down",
            within(&deep_open, "a", &deep_close),
        ),
        (
            "dear: small groups",
            within(r#"{"resourceLogs":["#, "{},", "{}]}"),
        ),
        ("dear: brackets", within(r#"{"x":"#, "[", "")),
        (
            "dear: escapes",
            within(r#"{"resourceLogs":[{"schemaUrl":""#, r"\u00e9", r#""}]}"#),
        ),
        ("dear: unknown keys", within("{", r#""unknown":0,"#, r#""x":0}"#)),
        ("dear: escaped keys", within("{", r#""\u0075":0,"#, r#""x":0}"#)),
        (
            "dear: digits of a double",
            within(&format!(r#"{attribute}{{"doubleValue":0."#), "7", "}}]}}]}"),
        ),
        (
            "dear: digits of an integer",
            within(
                r#"{"resourceLogs":[{"resource":{"droppedAttributesCount":1."#,
                "0",
                "}}]}",
            ),
        ),
    ];
    let mut rows = Vec::new();
    let mut out = Vec::new();
    for (name, text) in texts {
        let payloads = Payloads {
            bytes: text.len(),
            requests: vec![text],
            records: 1,
        };
        measure(&mut rows, name, &payloads, |json| {
            out.clear();
            let _ = black_box(otlp_json::read(Signal::Logs, json, &mut out));
        });
    }
    rows
}

fn text(request: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    otlp_json::write(Signal::Logs, request, &mut out).expect("the requests are well formed");
    out
}
