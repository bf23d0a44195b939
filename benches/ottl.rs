//! Statements and conditions on views, per record, with what they allocate.
//!
//! `cargo bench -p weir-wire --bench ottl [-- ROW...]`; see `support.rs` for the payload. Every row but the first has the
//! index in it; rows that write have the splice too.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

mod counting;
mod support;

use std::hint::black_box;

use ottl::{Context, Env, ErrorMode, Functions, Group, Program, Scratch, Time};
use wire::Signal;
use wire::view::{Depth, Kind, Scratch as ViewScratch, View};

use support::{measure, payloads};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Each holds for no record.
const CONDITIONS: [(&str, &str); 6] = [
    ("condition: an attribute", r#"attributes["response_code"] == 999"#),
    ("condition: absent attribute", r#"attributes["nowhere"] == "x""#),
    (
        "condition: of the resource",
        r#"resource.attributes["service.name"] == "none""#,
    ),
    ("condition: a field", "severity_number >= SEVERITY_NUMBER_FATAL4"),
    (
        "condition: IsMatch",
        r#"IsMatch(attributes["path"], "^/nowhere/")"#,
    ),
    (
        "condition: three with and, or",
        r#"attributes["method"] == "none" or (attributes["response_code"] != nil and attributes["path"] == "/none")"#,
    ),
];

/// Each changes every record.
const STATEMENTS: [(&str, &[&str]); 8] = [
    ("set: new, literal", &[r#"set(attributes["gateway"], "weir")"#]),
    (
        "set: present, literal",
        &[r#"set(attributes["response_flags"], "none")"#],
    ),
    (
        "set: from the resource",
        &[r#"set(attributes["service"], resource.attributes["service.name"])"#],
    ),
    ("set: a field", &[r#"set(severity_text, "INFO2")"#]),
    ("delete_key", &[r#"delete_key(attributes, "user_agent")"#]),
    ("set: deep", &[r#"set(attributes["new"]["deep"], 1)"#]),
    (
        "replace_pattern",
        &[r#"replace_pattern(attributes["path"], "/[0-9]+", "/{id}")"#],
    ),
    (
        "five statements",
        &[
            r#"set(attributes["gateway"], "weir")"#,
            r#"set(attributes["service"], resource.attributes["service.name"])"#,
            r#"delete_key(attributes, "user_agent")"#,
            r#"set(severity_text, "WARN") where attributes["response_code"] >= 500"#,
            r#"set(attributes["route"], attributes["path"]) where attributes["path"] != nil"#,
        ],
    ),
];

fn program(conditions: &[&str], statements: &[&str]) -> Program {
    let group = Group {
        signal: Signal::Logs,
        functions: Functions::Transform,
        context: Some(Context::Log),
        conditions,
        statements,
    };
    Program::new(&group).unwrap_or_else(|faults| panic!("{faults}"))
}

fn main() {
    let payloads = payloads();
    let context = wire::Context::default();
    let env = Env {
        context: &context,
        now: &|| Time::from_unix_nano(0),
        random: &|bytes| bytes.fill(0),
    };
    let mut rows = Vec::new();
    let (mut views, mut scratch) = (ViewScratch::default(), Scratch::default());
    measure(&mut rows, "index", &payloads, |bytes| {
        let view = View::new(&mut views, Signal::Logs, bytes, Depth::Record);
        black_box(view).expect("payloads are well formed");
    });
    for (name, condition) in CONDITIONS {
        let program = program(&[condition], &[]);
        measure(&mut rows, name, &payloads, |bytes| {
            let view = View::new(&mut views, Signal::Logs, bytes, program.depth());
            let view = view.expect("payloads are well formed");
            let mut held = 0;
            for n in view.nodes().filter(|n| view.kind(*n) == Kind::LogRecord) {
                let failed = &mut |text: &str, e: &ottl::Error| panic!("{text}: {e}");
                let holds = program.matches(&view, n, &env, &mut scratch, ErrorMode::Ignore, failed);
                held += usize::from(holds.expect("errors are ignored"));
            }
            assert_eq!(held, 0);
            black_box(view.finish());
        });
    }
    for (name, statements) in STATEMENTS {
        let program = program(&[], statements);
        measure(&mut rows, name, &payloads, |bytes| {
            let view = View::new(&mut views, Signal::Logs, bytes, program.depth());
            let mut view = view.expect("payloads are well formed");
            let failed = &mut |text: &str, e: &ottl::Error| panic!("{text}: {e}");
            let ran = program.run(&mut view, &env, &mut scratch, ErrorMode::Ignore, failed);
            ran.expect("errors are ignored");
            black_box(view.finish());
        });
    }
    support::print(&payloads, &rows);
}
