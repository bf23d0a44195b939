//! What documents for Elasticsearch allocate: by batch, never by record. Alone in its process, with an allocator that
//! counts.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

#[path = "../../../benches/counting.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod counting;
#[path = "../../../benches/support.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod support;

use config::Section;
use exporters::elasticsearch::Lines;
use wire::{Chunk, Limits, Payload, Shape, Signal};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

#[test]
fn documents_allocate_by_batch() {
    for mode in ["otel", "ecs", "none", "raw"] {
        let Ok(mut lines) =
            Lines::new(Section::from_yaml(&format!("mapping: {{mode: {mode}}}")).expect("it is YAML"))
        else {
            panic!("the mode is known")
        };
        let mut counts = Vec::new();
        for records in [64, 512] {
            let request = support::request(1, records, 4);
            let shape: Shape =
                wire::validate(Signal::Logs, &request, &Limits::default()).expect("it is well formed");
            let batch = Payload::new(
                Signal::Logs,
                Chunk::new(request.into(), shape),
                Default::default(),
            );
            // Once to warm the buffers that are kept.
            lines.write(&batch).expect("it is well formed");
            let before = support::allocations_here();
            let len = lines.write(&batch).expect("it is well formed").len();
            counts.push(support::allocations_here() - before);
            assert!(len > batch.len());
        }
        assert!(
            counts[1] <= 40,
            "{mode}: {counts:?} allocations for 64 and 512 records"
        );
    }
}
