//! What processors allocate: for records that a sampler turns away, and for spans that wait for their trace. Alone in its
//! process, with an allocator that counts.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

#[path = "../../../benches/counting.rs"]
mod counting;
#[path = "../../../benches/support.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use component::test_kit::{Lonely, Sink, books, context, section};
use component::{BuildContext, Drops, Memory, Node, Processor, SegmentCx, Stop};
use wire::field::write_header;
use wire::view::{Scratch, View};
use wire::{Chunk, Context, Payload, Shape, Signal};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// The counters are the process's: one test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn a_sampler_allocates_nothing_for_what_it_turns_away() {
    let _alone = ALONE.lock();
    let request = support::request(1, 512, 4);
    let (client, scratch) = (Context::default(), &mut Scratch::default());
    let mut check = |yaml: &str, least: u64, allowed: u64| {
        let cx = context("probabilistic_sampler");
        let factory = &processors::probabilistic_sampler::FACTORY;
        let Ok(Processor::Tree(sampler)) = (factory.build)(section(yaml), &cx, Signal::Logs) else {
            panic!("{yaml}: it is a tree");
        };
        // Once to warm the scratch.
        for allowed in [u64::MAX, allowed] {
            let before = support::allocations_here();
            let mut sift = sampler.sift(Signal::Logs).expect("it looks at raw records");
            let depth = sampler.touches().depth;
            let view = View::sifted(scratch, Signal::Logs, &request, depth, |record| {
                sift.passes(record)
            });
            let mut view = view.expect("it is well formed");
            let mut drops = Drops::default();
            let mut cx = SegmentCx {
                context: &client,
                tenant: None,
                drops: &mut drops,
            };
            sift.finish(&mut cx);
            sampler.apply(&mut view, &mut cx).expect("nothing is refused");
            drop(view.finish());
            let gone: u64 = drops.take().iter().map(|(_, items)| items).sum();
            let allocated = support::allocations_here() - before;
            assert!(gone >= least, "{yaml}: {gone} of 512 records went");
            assert!(
                allocated <= allowed,
                "{yaml}: {allocated} allocations for 512 records"
            );
        }
    };
    // What asks, the list of drops and the name of a rule in it, what is left.
    check("sampling_percentage: 10", 400, 4);
    check("{sampling_percentage: 10, mode: equalizing}", 400, 4);
    check(
        "{sampling_percentage: 10, attribute_source: record, from_attribute: request_id}",
        400,
        4,
    );
    check("sampling_percentage: 0", 512, 4);
}

fn field(number: u32, content: &[u8], out: &mut Vec<u8>) {
    write_header(number, content.len(), out);
    out.extend_from_slice(content);
}

/// A request of one resource and scope, whose `n`-th span is of the trace `trace(n)`; and the bytes of the spans alone.
fn spans(count: u64, trace: impl Fn(u64) -> u64) -> (Vec<u8>, usize) {
    let (mut scope, mut own) = (Vec::new(), 0);
    field(1, b"\x0a\x07tracing", &mut scope);
    for n in 0..count {
        let mut span = Vec::new();
        let id = u128::from(trace(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        field(1, &(id | 1).to_be_bytes(), &mut span);
        field(2, &(n + 1).to_be_bytes(), &mut span);
        field(5, b"GET /api/v1/orders", &mut span);
        for key in ["http.method", "http.route", "net.peer.name", "thread.name"] {
            let (mut entry, mut value) = (Vec::new(), Vec::new());
            field(1, b"some text of usual length", &mut value);
            field(1, key.as_bytes(), &mut entry);
            field(2, &value, &mut entry);
            field(9, &entry, &mut span);
        }
        let before = scope.len();
        field(2, &span, &mut scope);
        own += scope.len() - before;
    }
    let (mut group, mut request) = (Vec::new(), Vec::new());
    field(1, b"\x0a\x16\x0a\x0cservice.name\x12\x06\x0a\x04shop", &mut group);
    field(2, &scope, &mut group);
    field(1, &group, &mut request);
    (request, own)
}

/// 200,000 spans of 20,000 traces in a node, however they came: every byte that the node asked for, less those of the
/// spans themselves.
#[test]
#[expect(clippy::print_stderr, reason = "a measurement is for reading")]
fn a_span_that_is_held_takes_little_beside_its_bytes() {
    const SPANS: u64 = 200_000;
    const TRACES: u64 = 20_000;
    const SINGLE: u64 = 20_000;
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime");
    let check = |what: &str, (all, each): (u64, u64), trace: fn(u64) -> u64, most: u64| {
        let cx = BuildContext {
            memory: Arc::new(Memory::new(4 << 30)),
            ..context("tail_sampling")
        };
        let yaml = "{decision_wait: 1h, policies: [{name: all, type: always_sample}]}";
        let factory = &processors::tail_sampling::FACTORY;
        let Ok(Processor::Node(make)) = (factory.build)(section(yaml), &cx, Signal::Traces) else {
            panic!("it is a node");
        };
        let sink = Arc::new(Sink::default());
        let node: Arc<dyn Node> = make(
            sink.clone(),
            books(&cx.telemetry, "tail_sampling", Signal::Traces),
        );
        let _guard = runtime.enter();
        let started = runtime.block_on(node.start(Arc::new(Lonely::default())));
        assert!(started.is_ok());
        let before = counting::LIVE.load(Ordering::Relaxed);
        let mut own = 0;
        for first in (0..all).step_by(each as usize) {
            let (request, bytes) = spans(each, |n| trace(first + n));
            own += bytes as u64;
            let shape = Shape {
                items: each as u32,
                ..Shape::default()
            };
            let chunk = Chunk::new(request.into_boxed_slice().into_vec().into(), shape);
            let payload = Payload::new(Signal::Traces, chunk, Arc::default());
            let taken = runtime.block_on(node.consume(payload));
            assert!(taken.is_ok(), "{taken:?}");
        }
        let held = counting::LIVE.load(Ordering::Relaxed) - before;
        let beside = (held - own) / all;
        eprintln!(
            "{what}: {} bytes a span, and {beside} beside them; {} MiB in all",
            own / all,
            held >> 20
        );
        assert!(beside <= most, "{what}: {beside} bytes beside a span");
        assert!(sink.taken().is_empty(), "nothing is decided on yet");
        let (_switch, stop) = Stop::new();
        runtime.block_on(node.drain(stop));
        let left: usize = sink.taken().iter().map(|payload| payload.items).sum();
        assert_eq!(left as u64, all, "all of it was held");
    };
    // The promise is 1228 (1.2 KiB), whatever the requests; what is reached is held with some room.
    check("ten spans of a trace at once", (SPANS, 100), |n| n / 10, 128);
    check(
        "each span of a trace in another request",
        (SPANS, 100),
        |n| n % TRACES,
        192,
    );
    check("a request for each span", (SINGLE, 1), |n| n % (SINGLE / 10), 768);
}
