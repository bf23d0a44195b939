//! Redaction, attributes and sampling, per record; ten `replace_all` in turn on each value beside them for comparison.
//!
//! `cargo bench -p weir-processors --bench redaction [-- ROW...]`; see `support.rs` for the payload. Ten expressions as
//! people write them, 12 % of the records hold something. A stage's row goes from bytes to bytes: index, stage, splice.

mod stage;
mod support;

use std::hint::black_box;

use codec::pattern::Pattern;
use stage::{run, tree};
use support::{measure, payloads};
use wire::scan::{Hit, Scan};
use wire::view::{Any, Depth, Kind, Scratch, View};
use wire::{Context, Signal};

const PATTERNS: [&str; 10] = [
    r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}",
    r"\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
    r"Bearer [A-Za-z0-9._~+/=-]{16,}",
    r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
    r"\b\d{3}-\d{2}-\d{4}\b",
    r"sk_live_[0-9a-zA-Z]{24}",
    r"AKIA[0-9A-Z]{16}",
    r"(?i)password=[^ &]+",
    r"\+\d{1,3}[ -]?\d{2,4}[ -]?\d{3,4}[ -]?\d{3,4}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
];

const TEN: &str = "card, iban, email, phone, jwt, aws_key, github_token, stripe_key, bearer, us_ssn";

const SIXTEEN: &str = "card, iban, email, phone, jwt, aws_key, github_token, stripe_key, bearer, us_ssn, ipv4, ipv6, gcp_key, slack_token, basic_auth, private_key";

fn main() {
    let payloads = payloads();
    let context = Context::default();
    let mut rows = Vec::new();

    let gates: Vec<_> = PATTERNS
        .iter()
        .flat_map(|p| pattern(p).gates())
        .flatten()
        .collect();
    for (name, scan) in [
        ("scan, all gates", Scan::new(gates.clone())),
        ("scan, all gates, scalar", Scan::new_scalar(gates)),
    ] {
        let mut hits: Vec<Hit> = Vec::new();
        measure(&mut rows, name, &payloads, |bytes| {
            hits.clear();
            scan.find(bytes, &mut hits);
            black_box(&hits);
        });
    }
    let mut scratch = Scratch::default();
    measure(&mut rows, "index", &payloads, |bytes| {
        let view = View::new(&mut scratch, Signal::Logs, bytes, Depth::Record);
        black_box(view).expect("payloads are well formed");
    });
    let quoted: Vec<String> = PATTERNS.iter().map(|p| format!("'{p}'")).collect();
    let blocked = format!("blocked_values: [{}]", quoted.join(", "));
    let stages = [
        (
            "redaction: ten patterns",
            format!("{{allow_all_keys: true, {blocked}}}"),
        ),
        (
            "the same, summary: info",
            format!("{{allow_all_keys: true, summary: info, {blocked}}}"),
        ),
        (
            "the same, blocked keys",
            format!(
                "{{allow_all_keys: true, blocked_key_patterns: ['token', 'secret$', '(?i)passw'], {blocked}}}"
            ),
        ),
        (
            "the same, all types",
            format!("{{allow_all_keys: true, redact_all_types: true, {blocked}}}"),
        ),
    ];
    let detectors = |find: &str| format!("{{allow_all_keys: true, detect: {{rules: [{{find: [{find}]}}]}}}}");
    let stages = stages.into_iter().chain([
        ("redaction: ten detectors", detectors(TEN)),
        ("redaction: sixteen detectors", detectors(SIXTEEN)),
        ("redaction: card", detectors("card")),
        ("redaction: email", detectors("email")),
        ("redaction: phone", detectors("phone")),
        (
            "ten detectors, nothing found",
            detectors("iban, phone, ipv6, aws_key, gcp_key, github_token, slack_token, stripe_key, basic_auth, private_key"),
        ),
    ]);
    for (name, yaml) in stages {
        let stage = tree(&processors::redaction::FACTORY, &yaml);
        measure(&mut rows, name, &payloads, |bytes| {
            run(&*stage, bytes, &context, &mut scratch);
        });
    }
    for (name, yaml) in [
        (
            "attributes: update one in each",
            "{actions: [{key: response_flags, value: none, action: update}]}",
        ),
        (
            "attributes: insert one in each",
            "{actions: [{key: gateway, value: weir, action: insert}]}",
        ),
        (
            "attributes: delete one of each",
            "{actions: [{key: user_agent, action: delete}]}",
        ),
    ] {
        let stage = tree(&processors::attributes::FACTORY, yaml);
        measure(&mut rows, name, &payloads, |bytes| {
            run(&*stage, bytes, &context, &mut scratch);
        });
    }
    for (name, yaml) in [
        ("sampling: 10 % by trace id", "sampling_percentage: 10"),
        ("sampling: 90 % by trace id", "sampling_percentage: 90"),
        (
            "sampling: 10 % equalizing",
            "{sampling_percentage: 10, mode: equalizing}",
        ),
        (
            "sampling: 10 % by attribute",
            "{sampling_percentage: 10, attribute_source: record, from_attribute: request_id}",
        ),
    ] {
        let stage = tree(&processors::probabilistic_sampler::FACTORY, yaml);
        measure(&mut rows, name, &payloads, |bytes| {
            run(&*stage, bytes, &context, &mut scratch);
        });
    }
    let mut plain: Vec<_> = PATTERNS
        .iter()
        .map(|p| pattern(p))
        .map(|p| (p.cache(), p))
        .collect();
    let mut out = Vec::new();
    measure(&mut rows, "ten replace_all on each value", &payloads, |bytes| {
        let view =
            View::new(&mut scratch, Signal::Logs, bytes, Depth::Record).expect("payloads are well formed");
        for n in view.nodes() {
            let body = view.body(n).into_iter();
            let values = (0..view.attrs(n)).map(|i| view.value(n, i));
            for value in values.chain(body).filter(|_| view.kind(n) == Kind::LogRecord) {
                if let Any::Str(text) = value.any() {
                    for (cache, pattern) in &mut plain {
                        out.clear();
                        black_box(
                            pattern
                                .replace_all(cache, text, &mut out, |_, out| out.extend_from_slice(b"****")),
                        );
                    }
                }
            }
        }
    });
    support::print(&payloads, &rows);
}

fn pattern(source: &str) -> Pattern {
    Pattern::new(source).expect("the bench's own expressions")
}
