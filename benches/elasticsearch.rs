//! Log records as documents of `_bulk`, per record and mapping mode; OTLP/JSON of the same beside them for comparison.
//!
//! `cargo bench -p weir-wire --bench elasticsearch [-- ROW...]`; see `support.rs` for the payload. Sizes are of the
//! requests that come in.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

mod counting;
mod support;

use std::hint::black_box;

use config::Section;
use exporters::elasticsearch::Lines;
use wire::{Chunk, Limits, Payload, Signal};

use support::{Row, measure};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() {
    let payloads = support::payloads();
    let mut rows: Vec<Row> = Vec::new();
    let mut out = Vec::new();
    measure(&mut rows, "OTLP/JSON, for comparison", &payloads, |request| {
        out.clear();
        codec::otlp_json::write(Signal::Logs, request, &mut out).expect("the payloads are well formed");
        black_box(&out);
    });
    let modes = [
        ("otel", "documents, otel"),
        ("ecs", "documents, ecs"),
        ("none", "documents, none"),
        ("raw", "documents, raw"),
    ];
    for (mode, name) in modes {
        let section = Section::from_yaml(&format!("mapping: {{mode: {mode}}}")).expect("it is YAML");
        let Ok(mut lines) = Lines::new(section) else {
            panic!("the mode is known")
        };
        measure(&mut rows, name, &payloads, |request| {
            let shape = wire::validate(Signal::Logs, request, &Limits::default()).expect("it is well formed");
            let chunk = Chunk::new(request.to_vec().into(), shape);
            let batch = Payload::new(Signal::Logs, chunk, Default::default());
            black_box(lines.write(&batch).expect("it is well formed"));
        });
    }
    support::print(&payloads, &rows);
}
