//! Hot paths allocate by request, never by record: pinned with a counting allocator, alone in its process.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

#[path = "../../../benches/counting.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod counting;
#[path = "../../../benches/support.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod support;

use std::sync::Arc;

use wire::view::{Depth, NewValue, Scratch, View};
use wire::{Chunk, Context, Cut, Limits, Payload, Signal};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

#[test]
fn no_path_allocates_by_record() {
    let request = support::request(1, 512, 4);
    let scratch = &mut Scratch::default();
    let shape = wire::validate(Signal::Logs, &request, &Limits::default()).expect("it is well formed");
    let chunk = Chunk::new(request.clone().into(), shape);
    let payload = || Payload::new(Signal::Logs, chunk.clone(), Arc::new(Context::default()));
    let cut = Cut {
        items_max: Some(100),
        bytes_max: None,
    };
    let check = |name: &str, allowed: u64, work: &mut dyn FnMut()| {
        // Once to warm the scratch.
        work();
        let before = support::allocations();
        work();
        let allocated = support::allocations() - before;
        assert!(
            allocated <= allowed,
            "{name}: {allocated} allocations for 512 records"
        );
    };
    check("validate", 0, &mut || {
        wire::validate(Signal::Logs, &request, &Limits::default()).expect("it is well formed");
    });
    check("index", 0, &mut || {
        View::new(scratch, Signal::Logs, &request, Depth::All).expect("it is well formed");
    });
    check("edit", 1, &mut || {
        let mut view = View::new(scratch, Signal::Logs, &request, Depth::All).expect("it is well formed");
        for n in view.nodes() {
            view.put(n, b"user_agent", NewValue::Str(b"[REDACTED]"));
            view.put(n, b"environment", NewValue::Int(7));
            view.set_body(n, NewValue::Str(b"body"));
            view.set_text(n, 3, b"WARN");
            view.set_number(n, 2, 13);
            view.copy_value((n, 0), n, b"copy");
            view.remove(n, 1);
            if n % 7 == 0 {
                view.remove_node(n);
            }
        }
        view.finish();
    });
    let mut text = Vec::new();
    codec::otlp_json::write(Signal::Logs, &request, &mut text).expect("it is well formed");
    let mut out = Vec::new();
    check("write json, with room", 0, &mut || {
        out.clear();
        codec::otlp_json::write(Signal::Logs, &request, &mut out).expect("it is well formed");
    });
    // The list of long lengths, as it grows.
    check("read json, with room", 9, &mut || {
        out.clear();
        codec::otlp_json::read(Signal::Logs, &text, &mut out).expect("it is well formed");
    });
    check("read json", 10, &mut || {
        let mut out = Vec::with_capacity(text.len() / 2);
        codec::otlp_json::read(Signal::Logs, &text, &mut out).expect("it is well formed");
    });
    // Six pieces: their bytes, lists and handles.
    check("split", 60, &mut || drop(wire::split(payload(), cut)));
    check("join", 10, &mut || {
        drop(wire::join(vec![payload(), payload()]).expect("one signal"))
    });
}
