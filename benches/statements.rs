//! `filter` and `transform`, per record, from bytes to bytes: index, statements, splice.
//!
//! `cargo bench -p weir-processors --bench statements [-- ROW...]`; see `support.rs` for the payload. The last rows stand
//! between: what of a stage is the index alone, and what one statement of each kind adds.

mod stage;
mod support;

use std::hint::black_box;

use component::ProcessorFactory;
use processors::{filter, transform};
use stage::{run, tree};
use support::{measure, payloads};
use wire::view::{Depth, Scratch, View};
use wire::{Context, Signal};

const STAGES: [(&str, &ProcessorFactory, &str); 12] = [
    (
        "filter: keeps all",
        &filter::FACTORY,
        r#"{log_conditions: ['log.attributes["response_code"] == 599']}"#,
    ),
    (
        "filter: keeps all, by resource",
        &filter::FACTORY,
        r#"{logs: {log_record: ['resource.attributes["service.name"] == "none"']}}"#,
    ),
    (
        "filter: keeps all, IsMatch body",
        &filter::FACTORY,
        r#"{log_conditions: ['IsMatch(log.body, "^GET /none")']}"#,
    ),
    (
        "filter: keeps all, strict",
        &filter::FACTORY,
        "{logs: {exclude: {match_type: strict, record_attributes: [{key: response_code, value: 599}]}}}",
    ),
    (
        "filter: drops half",
        &filter::FACTORY,
        r#"{log_conditions: ['log.attributes["response_code"] < 204']}"#,
    ),
    (
        "transform: five statements",
        &transform::FACTORY,
        r#"{log_statements: [
            'set(log.attributes["env"], resource.attributes["k8s.cluster.name"])',
            'delete_key(log.attributes, "x_forwarded_for")',
            'replace_pattern(log.attributes["path"], "/[0-9]+", "/{id}")',
            'set(log.severity_text, "ERROR") where log.attributes["response_code"] >= 500',
            'set(log.attributes["slow"], true) where log.attributes["duration"] > 200']}"#,
    ),
    (
        "transform: where is false",
        &transform::FACTORY,
        r#"{log_statements: ['set(log.attributes["k"], "x") where log.attributes["response_code"] == 599']}"#,
    ),
    (
        "transform: set a new attribute",
        &transform::FACTORY,
        r#"{log_statements: ['set(log.attributes["k"], "x")']}"#,
    ),
    (
        "transform: copy an attribute",
        &transform::FACTORY,
        r#"{log_statements: ['set(log.attributes["k"], log.attributes["path"])']}"#,
    ),
    (
        "transform: delete_key",
        &transform::FACTORY,
        r#"{log_statements: ['delete_key(log.attributes, "x_forwarded_for")']}"#,
    ),
    (
        "transform: replace_pattern",
        &transform::FACTORY,
        r#"{log_statements: ['replace_pattern(log.attributes["path"], "/[0-9]+", "/{id}")']}"#,
    ),
    (
        "transform: set a field",
        &transform::FACTORY,
        r#"{log_statements: ['set(log.severity_text, "ERROR")']}"#,
    ),
];

fn main() {
    let payloads = payloads();
    let context = Context::default();
    let mut rows = Vec::new();
    let mut scratch = Scratch::default();
    measure(&mut rows, "index", &payloads, |bytes| {
        let view = View::new(&mut scratch, Signal::Logs, bytes, Depth::Record);
        black_box(view).expect("payloads are well formed");
    });
    for (name, factory, yaml) in STAGES {
        let stage = tree(factory, yaml);
        measure(&mut rows, name, &payloads, |bytes| {
            run(&*stage, bytes, &context, &mut scratch);
        });
    }
    support::print(&payloads, &rows);
}
