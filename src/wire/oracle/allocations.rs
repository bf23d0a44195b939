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

/// The counter is the process's: one test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn no_path_allocates_by_record() {
    let _alone = ALONE.lock();
    let request = support::request(1, 512, 4);
    let scratch = &mut Scratch::default();
    let shape = wire::validate(Signal::Logs, &request, &Limits::default()).expect("it is well formed");
    let chunk = Chunk::new(request.clone().into(), shape);
    let payload = || Payload::new(Signal::Logs, chunk.clone(), Arc::new(Context::default()));
    assert!(support::allocations_here() > 0, "the allocator does not count");
    let cut = Cut {
        items_max: Some(100),
        bytes_max: None,
    };
    let check = |name: &str, allowed: u64, work: &mut dyn FnMut()| {
        // Once to warm the scratch.
        work();
        let before = support::allocations_here();
        work();
        let allocated = support::allocations_here() - before;
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

/// A program reads without allocating, and what it writes goes to the view's own memory.
#[test]
fn no_statement_allocates_by_record() {
    use ottl::{Env, ErrorMode, Functions, Group, Program, Time};

    let _alone = ALONE.lock();
    let request = support::request(1, 512, 4);
    let (client, view_scratch, scratch) = (
        Context::default(),
        &mut Scratch::default(),
        &mut ottl::Scratch::default(),
    );
    let env = Env {
        context: &client,
        now: &|| Time::new(0, 0),
        random: &|_| {},
    };
    let mut check = |functions, conditions: &[&str], statements: &[&str], allowed: u64| {
        let group = Group {
            signal: Signal::Logs,
            functions,
            context: None,
            conditions,
            statements,
        };
        let program = Program::new(&group).expect("it compiles");
        let mut allocated = [0; 2];
        // Once to warm the scratch.
        for allocated in &mut allocated {
            let mut view =
                View::new(view_scratch, Signal::Logs, &request, Depth::All).expect("it is well formed");
            let before = support::allocations_here();
            for n in view
                .nodes()
                .filter(|n| view.kind(*n) == wire::view::Kind::LogRecord)
            {
                if !conditions.is_empty() {
                    program
                        .matches(&view, n, &env, scratch, ErrorMode::Propagate, &mut |_, _| {})
                        .expect("no error");
                }
            }
            program
                .run(&mut view, &env, scratch, ErrorMode::Propagate, &mut |_, _| {})
                .expect("no error");
            *allocated = support::allocations_here() - before;
        }
        assert!(
            allocated[1] <= allowed,
            "{conditions:?} {statements:?}: {} allocations",
            allocated[1]
        );
    };
    check(
        Functions::Filter,
        &[
            "log.attributes[\"none\"] == \"x\" or resource.attributes[\"none\"] != nil",
            "IsMatch(log.body, \"never to be found$\") or not (log.severity_number < SEVERITY_NUMBER_FATAL4)",
            "IsString(log.attributes[\"none\"]) or log.attributes[\"none\"][\"deeper\"] == 1",
            "log.time > log.observed_time and log.severity_number * 2 + 1 > 1000 and log.time - log.observed_time == nil",
            "Len(log.attributes) > 1000 or HasPrefix(log.severity_text, \"never\") or log.trace_id == nil",
            "log.severity_text == \"never\" or scope.name == \"never\" or log.span_id == SpanID(0x0000000000000001)",
        ],
        &[],
        0,
    );
    check(
        Functions::Transform,
        &[],
        &[
            "set(log.attributes[\"environment\"], \"test\")",
            "set(log.attributes[\"copy\"], log.body)",
            "set(log.severity_text, \"WARN\") where log.severity_number > 0",
            "replace_pattern(log.attributes[\"copy\"], \"[a-z]+\", \"x\")",
            "delete_key(log.attributes, \"environment\")",
            "delete_matching_keys(log.attributes, \"^never\")",
            "truncate_all(log.attributes, 4096)",
        ],
        0,
    );
}

/// Detectors search, and what they put in place of findings goes to memory that is there already.
#[test]
fn no_detector_allocates_by_record_or_finding() {
    use component::{Drops, Processor, SegmentCx};
    use config::Section;
    use wire::view::Finished;

    let _alone = ALONE.lock();
    let ten = "card, iban, email, phone, jwt, aws_key, github_token, stripe_key, bearer, us_ssn";
    let rules = format!("{{allow_all_keys: true, detect: {{rules: [{{find: [{ten}]}}]}}}}");
    let section = Section::from_yaml(&rules).expect("it is YAML");
    let cx = component::test_kit::context("redaction");
    let Ok(Processor::Tree(stage)) = (processors::redaction::FACTORY.build)(section, &cx, Signal::Logs)
    else {
        panic!("redaction takes its own rules");
    };
    let (client, scratch) = (Context::default(), &mut Scratch::default());
    // What came of a request, how many findings there were, and the allocations of the second time.
    let mut run = |request: &[u8]| {
        let mut out = (None, 0, 0);
        for _ in 0..2 {
            let mut drops = Drops::default();
            let before = support::allocations_here();
            let mut view =
                View::new(scratch, Signal::Logs, request, stage.touches().depth).expect("it is well formed");
            let mut cx = SegmentCx {
                context: &client,
                tenant: None,
                drops: &mut drops,
            };
            stage.apply(&mut view, &mut cx).expect("nothing is refused");
            let finished = view.finish();
            let allocated = support::allocations_here() - before;
            let bytes = match finished {
                Finished::Edited { bytes, .. } => Some(bytes.to_vec()),
                Finished::Unchanged => None,
            };
            let found: u64 = drops.take_touched().iter().map(|(_, n)| n).sum();
            out = (bytes, found, allocated);
        }
        out
    };
    // One to put hits in order, one for what came of it, two to book; many more findings change nothing.
    let mut clean = Vec::new();
    for (records, found_min) in [(64, 1), (2048, 200)] {
        let (out, found, allocated) = run(&support::request(1, records, 4));
        assert!(found >= found_min, "{found} found in {records} records");
        assert!(allocated <= 4, "{allocated} allocations, {found} found");
        clean = out.expect("something was masked");
    }
    let (out, found, allocated) = run(&clean);
    assert_eq!((out, found), (None, 0));
    assert!(allocated <= 1, "{allocated} allocations where nothing is found");
}
