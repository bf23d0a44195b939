//! Reading, writing, cutting and joining OTLP bytes, per record; prost beside it for comparison.
//!
//! `cargo bench -p weir-wire --bench wire [-- ROW...]`; see `support.rs` for the payload.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

mod counting;
mod support;

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use wire::scan::{ByteSet, ClassRun, Gate, Literal, Scan};
use wire::view::{Depth, Finished, Kind, NewValue, Scratch, View};
use wire::{Chunk, Context, Cut, Limits, Part, Payload, Signal};

use support::{Row, measure};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() {
    let payloads = support::payloads();
    let limits = Limits::default();
    let scratch = &mut Scratch::default();
    let mut rows: Vec<Row> = Vec::new();

    let mut copy = Vec::new();
    measure(&mut rows, "copy, for comparison", &payloads, |bytes| {
        copy.clear();
        copy.extend_from_slice(bytes);
        black_box(&copy);
    });
    let gates = |scan: fn(Vec<Gate>) -> Scan| {
        let class = |bytes: &[u8], min_len| {
            let class = ByteSet::of(bytes);
            Gate::Run(ClassRun {
                class,
                min_len,
                needs: Vec::new(),
            })
        };
        let literals = ["@", "Bearer ", "eyJ", "sk_live_", "AKIA", "-----BEGIN "];
        let literals = literals.map(|l| Gate::Literal(Literal::new(l.as_bytes())));
        let mut gates = literals.to_vec();
        gates.push(Gate::LiteralAnyCase(Literal::new(b"password")));
        gates.push(class(b"0123456789 -", 16));
        gates.push(class(b"0123456789-", 11));
        scan(gates)
    };
    let mut hits = Vec::new();
    for (name, scan) in [
        ("scan, nine gates", gates(Scan::new)),
        ("scan, scalar", gates(Scan::new_scalar)),
    ] {
        measure(&mut rows, name, &payloads, |bytes| {
            hits.clear();
            scan.find(bytes, &mut hits);
            black_box(&hits);
        });
    }
    measure(&mut rows, "validate", &payloads, |bytes| {
        black_box(wire::validate(Signal::Logs, bytes, &limits)).expect("payloads are well formed");
    });
    measure(&mut rows, "validate, strict utf-8", &payloads, |bytes| {
        let limits = Limits {
            strict_utf8: true,
            ..limits
        };
        black_box(wire::validate(Signal::Logs, bytes, &limits)).expect("payloads are text");
    });
    measure(&mut rows, "count", &payloads, |bytes| {
        black_box(wire::count_items(Signal::Logs, bytes));
    });
    measure(&mut rows, "index, resources", &payloads, |bytes| {
        black_box(&index(scratch, bytes, Depth::Resource));
    });
    measure(&mut rows, "index, all", &payloads, |bytes| {
        black_box(&index(scratch, bytes, Depth::All));
    });
    measure(&mut rows, "index, find one attribute", &payloads, |bytes| {
        let view = index(scratch, bytes, Depth::All);
        for n in records(&view) {
            black_box(view.find(n, b"user_agent"));
        }
    });
    measure(&mut rows, "index, edit 10 %", &payloads, |bytes| {
        let mut view = index(scratch, bytes, Depth::All);
        for n in view.nodes() {
            if n % 10 == 0 && view.kind(n) == Kind::LogRecord {
                view.put(n, b"user_agent", NewValue::Str(b"[REDACTED]"));
            }
        }
        assert!(matches!(black_box(view.finish()), Finished::Edited { .. }));
    });
    measure(&mut rows, "index, edit all", &payloads, |bytes| {
        let mut view = index(scratch, bytes, Depth::All);
        for n in view.nodes() {
            if view.kind(n) == Kind::LogRecord {
                view.put(n, b"user_agent", NewValue::Str(b"[REDACTED]"));
            }
        }
        black_box(view.finish());
    });
    measure(&mut rows, "index, insert in all", &payloads, |bytes| {
        let mut view = index(scratch, bytes, Depth::All);
        for n in view.nodes() {
            if view.kind(n) == Kind::LogRecord {
                view.put(n, b"environment", NewValue::Str(b"production"));
            }
        }
        black_box(view.finish());
    });
    measure(&mut rows, "index, delete in all", &payloads, |bytes| {
        let mut view = index(scratch, bytes, Depth::All);
        for n in view.nodes() {
            if let Some(i) = view.find(n, b"user_agent") {
                view.remove(n, i);
            }
        }
        black_box(view.finish());
    });
    measure(&mut rows, "index, drop half", &payloads, |bytes| {
        let mut view = index(scratch, bytes, Depth::All);
        for n in view.nodes() {
            if n % 2 == 0 && view.kind(n) == Kind::LogRecord {
                view.remove_node(n);
            }
        }
        black_box(view.finish());
    });
    measure(&mut rows, "normalise", &payloads, |bytes| {
        black_box(wire::normalize(Signal::Logs, bytes, true)).expect("payloads are well formed");
    });

    let chunks: Vec<Chunk> = payloads
        .requests
        .iter()
        .map(|bytes| {
            let shape = wire::validate(Signal::Logs, bytes, &limits).expect("payloads are well formed");
            Chunk::new(Bytes::copy_from_slice(bytes), shape)
        })
        .collect();
    let context = Arc::new(Context::default());
    let payload = |i: usize| Payload::new(Signal::Logs, chunks[i].clone(), context.clone());
    let mut i = 0;
    let mut next = || {
        i = (i + 1) % chunks.len();
        payload(i)
    };
    for (name, cut) in [
        ("split, 100 items", (Some(100), None)),
        ("split, 64 KiB", (None, Some(64 << 10))),
    ] {
        let cut = Cut {
            items_max: cut.0,
            bytes_max: cut.1,
        };
        measure(&mut rows, name, &payloads, |_| {
            black_box(wire::split(next(), cut));
        });
    }
    for (name, by) in [
        ("divide, resources of two tenants", Part::Resource),
        ("divide, every second record", Part::Item),
    ] {
        let labels: Vec<Vec<u16>> = chunks
            .iter()
            .map(|chunk| {
                let bytes = chunk.bytes();
                let view = index(scratch, &bytes, Depth::Record);
                let parts = view.nodes().filter(|n| by.is(view.kind(*n)));
                parts.enumerate().map(|(at, _)| (at % 2) as u16).collect()
            })
            .collect();
        let mut i = 0;
        measure(&mut rows, name, &payloads, |_| {
            i = (i + 1) % chunks.len();
            black_box(wire::divide(Signal::Logs, &chunks[i], by, &labels[i]));
        });
    }
    measure(&mut rows, "join, 16 requests", &payloads, {
        let mut held = Vec::new();
        let chunks = &chunks;
        move |_| {
            held.push(next());
            if held.len() == chunks.len() {
                let joined = wire::join(std::mem::take(&mut held));
                black_box(joined).expect("one signal");
            }
        }
    });
    measure(&mut rows, "prost: decode", &payloads, |bytes| {
        black_box(ExportLogsServiceRequest::decode(bytes)).expect("payloads are well formed");
    });
    measure(&mut rows, "prost: decode, encode", &payloads, |bytes| {
        let request = ExportLogsServiceRequest::decode(bytes).expect("payloads are well formed");
        black_box(request.encode_to_vec());
    });
    support::print(&payloads, &rows);
}

fn index<'a>(scratch: &'a mut Scratch, bytes: &'a [u8], depth: Depth) -> View<'a> {
    View::new(scratch, Signal::Logs, bytes, depth).expect("payloads are well formed")
}

fn records<'a>(view: &'a View<'_>) -> impl Iterator<Item = u32> + 'a {
    view.nodes().filter(|&n| view.kind(n) == Kind::LogRecord)
}
