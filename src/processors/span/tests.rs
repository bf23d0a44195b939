use component::test_kit::{context, section};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self, ResourceSpans, ScopeSpans};
use prost::Message as _;

use super::*;
use crate::test_kit::{map, run, show};

fn build(yaml: &str) -> Result<Arc<dyn Tree>, String> {
    match (FACTORY.build)(section(yaml), &context("span"), Signal::Traces) {
        Ok(Processor::Tree(tree)) => Ok(tree),
        Ok(_) => panic!("it is a tree"),
        Err(fault) => Err(fault.to_string()),
    }
}

/// `name {attributes} code message` of a span after the stage.
fn after(yaml: &str, name: &str, attributes: &str) -> String {
    let span = v1::Span {
        name: name.into(),
        kind: 2,
        attributes: map(attributes),
        status: Some(v1::Status {
            code: 2,
            message: "old".into(),
        }),
        ..Default::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: map("{service.name: cart}"),
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans: vec![span],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let tree = build(yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"));
    let out = run(&*tree, Signal::Traces, &request.encode_to_vec());
    let out = ExportTraceServiceRequest::decode(&out[..]).unwrap();
    let span = &out.resource_spans[0].scope_spans[0].spans[0];
    let status = span.status.clone().unwrap_or_default();
    format!(
        "{} {} {} {}",
        span.name,
        show(&span.attributes),
        status.code,
        status.message
    )
}

#[track_caller]
fn check(yaml: &str, name: &str, attributes: &str, expected: &str) {
    assert_eq!(after(yaml, name, attributes), expected, "{yaml}");
}

#[test]
fn names_come_from_attributes() {
    let all = "{a: x, i: 5, f: 1.5, big: 1e30, b: true, l: [1]}";
    let kept = r#"{a:"x", i:5, f:1.5, big:1e30, b:true, l:[1]} 2 old"#;
    let check = |name: &str, expected: &str| {
        check(
            &format!("{{name: {name}}}"),
            "old",
            all,
            &format!("{expected} {kept}"),
        );
    };
    check("{from_attributes: [a]}", "x");
    check("{from_attributes: [a, i, b], separator: '::'}", "x::5::true");
    check("{from_attributes: [i, a]}", "5x");
    check(
        "{from_attributes: [f, l], separator: ' '}",
        "1.5 <unknown-attribute-type>",
    );
    check("{from_attributes: [big]}", "1000000000000000000000000000000");
    check("{from_attributes: [a, none]}", "old");
}

#[test]
fn attributes_come_from_names() {
    let rules = |rules: &str| format!("{{name: {{to_attributes: {{rules: {rules}}}}}}}");
    check(
        &rules(r"['^\/api\/v1\/document\/(?P<documentId>.*)\/update$']"),
        "/api/v1/document/12345678/update",
        "{}",
        r#"/api/v1/document/{documentId}/update {documentId:"12345678"} 2 old"#,
    );
    check(
        &rules("['(?P<a>x)-(?P<b>y)']"),
        "1x-y2",
        "{b: 1}",
        r#"1{a}-{b}2 {b:"y", a:"x"} 2 old"#,
    );
    check(&rules("['^z(?P<a>.*)$']"), "xy", "{}", "xy {} 2 old");
    // The next rule sees the name that the one before has made.
    check(
        &rules("['^(?P<a>x)', 'a}(?P<b>y)']"),
        "xy",
        "{}",
        r#"{a}{b} {a:"x", b:"y"} 2 old"#,
    );
    check(
        "{name: {to_attributes: {rules: ['^(?P<a>x)', '(?P<b>y)'], break_after_match: true}}}",
        "xy",
        "{}",
        r#"{a}y {a:"x"} 2 old"#,
    );
    check(
        "{name: {to_attributes: {rules: ['^(?P<a>x)', '(?P<b>y)'], keep_original_name: true}}}",
        "xy",
        "{}",
        r#"xy {a:"x", b:"y"} 2 old"#,
    );
    // Groups that did not take part, and groups within groups.
    check(&rules("['(?P<a>q)?x']"), "xy", "{}", r#"{a}xy {a:""} 2 old"#);
    check(
        &rules("['(?P<a>x(?P<b>y))z']"),
        "xyz",
        "{}",
        r#"{a}z {a:"xy", b:"y"} 2 old"#,
    );
    check(&rules("['(x)']"), "xy", "{}", r#"{}y {:"x"} 2 old"#);
    check(&rules("['(?P<a>.*)']"), "", "{}", " {} 2 old");
}

#[test]
fn both_ways_and_status() {
    check(
        "{name: {from_attributes: [p], to_attributes: {rules: ['/(?P<id>[0-9]+)']}}, status: {code: Ok}}",
        "old",
        "{p: /v/7}",
        r#"/v/{id} {p:"/v/7", id:"7"} 1 "#,
    );
    check(
        "{status: {code: Error, description: broken}}",
        "n",
        "{}",
        "n {} 2 broken",
    );
    check("{status: {code: Error}}", "n", "{}", "n {} 2 ");
    check("{status: {code: Unset}}", "n", "{}", "n {} 0 ");
}

#[test]
fn acts_on_what_is_included_and_not_excluded() {
    let with = |more: &str| format!("{{status: {{code: Ok}}, {more}}}");
    for (more, acts) in [
        ("include: {match_type: strict, services: [cart]}", true),
        ("include: {match_type: strict, services: [auth]}", false),
        (
            "include: {match_type: regexp, span_names: ['^n']}, exclude: {match_type: strict, attributes: [{key: a}]}",
            false,
        ),
        (
            "exclude: {match_type: strict, span_kinds: [SPAN_KIND_CLIENT]}",
            true,
        ),
    ] {
        let expected = if acts { "n {a:1} 1 " } else { "n {a:1} 2 old" };
        check(&with(more), "n", "{a: 1}", expected);
    }
}

#[test]
fn what_is_wrong_is_refused() {
    for (yaml, expected) in [
        ("{}", "must be specified"),
        ("{name: {separator: x}}", "must be specified"),
        ("{name: {to_attributes: {rules: []}}}", "must be specified"),
        (
            "{name: {to_attributes: {rules: ['(']}}}",
            "name::to_attributes::rules::0",
        ),
        ("{status: {code: ok}}", "status::code"),
        ("{status: {code: Ok, description: x}}", "status::description"),
        ("{status: {code: Ok}, include: {match_type: strict}}", "include"),
        (
            "{status: {code: Ok}, include: {match_type: strict, log_bodies: [x]}}",
            "include::log_bodies",
        ),
        ("{rename: {}}", "rename"),
    ] {
        let error = build(yaml).err().unwrap_or_else(|| panic!("{yaml} was built"));
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}

component::component_tests!(FACTORY, "status: {code: Ok}");
