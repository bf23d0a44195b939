//! Clients that want to be somebody else, or to make the gateway hold what it should not.

use component::template::is_tenant_name;

use super::tests::{build, payload, run, whole};
use super::*;

fn header(value: &str) -> Context {
    Context {
        metadata: vec![("x-scope-orgid".into(), vec![value.to_owned()])],
        receiver: Some("otlp".into()),
        ..Context::default()
    }
}

/// Names that are none, however they come.
const HOSTILE: &[&str] = &[
    "../../etc/passwd",
    "..",
    ".",
    "a/../b",
    "/abs",
    "a\\b",
    "a\0b",
    "a\r\nX-Scope-OrgID: victim",
    "a\nb",
    " acme",
    "acme ",
    "acme|victim",
    "acme,victim",
    "%2e%2e%2f",
    "%{tenant}",
    "${env:HOME}",
    "аcme",
    "acme\u{202e}",
    "ａｃｍｅ",
    "\u{1F4A9}",
    "~*",
    "a:b",
    "*",
    "",
];

#[test]
fn hostile_names_are_no_names_whatever_their_source() {
    let tenants = build(
        "from: [{header: x-scope-orgid, trusted: {anyone: true}}, {resource_attribute: t}]\nunknown: {default: nobody}",
    );
    for name in HOSTILE {
        assert!(!is_tenant_name(name), "{name:?}");
        let attribute = serde_json_text(name);
        for (context, resource) in [
            (header(name), "{}".to_owned()),
            (Context::default(), format!("{{\"t\": {attribute}}}")),
        ] {
            let became = run(&tenants, payload(context, &[(&resource, 1)])).unwrap();
            assert_eq!(became.0, [("nobody".to_owned(), 1)], "{name:?}");
        }
    }
}

/// A text as JSON has it, which YAML reads as well.
fn serde_json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}

#[test]
fn a_header_is_nothing_without_trust() {
    let tenants = build(
        "from: [{header: x-scope-orgid, trusted: {authenticated: true, certificate: true, listeners: [otlp/mesh]}}, \
         {listener: {otlp: public}}]",
    );
    let became = run(
        &tenants,
        payload(header("victim"), &[("{x-scope-orgid: victim}", 3)]),
    )
    .unwrap();
    assert_eq!(became.0, [("public".to_owned(), 3)]);
}

#[test]
fn an_attribute_does_not_outrank_what_the_gateway_has_seen_itself() {
    let tenants = build("from: [{client_certificate: subject}, {resource_attribute: t}]");
    let context = Context {
        certificate: Some(Arc::new(wire::CertificateNames {
            common_name: Some("mallory".into()),
            ..Default::default()
        })),
        ..Context::default()
    };
    let became = run(
        &tenants,
        payload(context, &[("{t: victim}", 1), ("{t: mallory}", 1)]),
    )
    .unwrap();
    assert_eq!(became.0, [("mallory".to_owned(), 2)]);
}

#[test]
fn names_of_a_megabyte_are_not_even_looked_at() {
    let long = "a".repeat(1 << 20);
    let tenants = build(
        "from: [{header: x-scope-orgid, trusted: {anyone: true}, pattern: '(a+)+b|^(a{1,20})'}, {resource_attribute: t}]",
    );
    for (context, resource) in [
        (header(&long), "{}".to_owned()),
        (Context::default(), format!("{{t: {long}}}")),
    ] {
        let became = run(&tenants, payload(context, &[(&resource, 1)]));
        assert_eq!(became.unwrap_err().0, "PERMISSION_DENIED");
    }
    let short = "a".repeat(4096);
    let became = run(&tenants, payload(header(&short), &[("{}", 1)])).unwrap();
    assert_eq!(became.0, [("a".repeat(20), 1)]);
}

#[tokio::test(start_paused = true)]
async fn names_without_end_hold_what_some_hold() {
    let tenants =
        build("{from: [{header: x-scope-orgid, trusted: {anyone: true}}], max_tenants: 100, allow: []}");
    let send = |name: &str| run(&tenants, payload(header(name), &[("{}", 1)]));
    let one = payload(Context::default(), &[("{}", 1)]);
    for n in 0..100_000 {
        let mut payload = one.clone();
        payload.context = Arc::new(header(&format!("n{n}")));
        let became = tenants.admit(&payload);
        assert_eq!(became.is_ok(), n < 100, "{n}");
    }
    assert!(send("n7").is_ok(), "who was there stays");
    assert_eq!(send("late").unwrap_err().0, "PERMISSION_DENIED");
    tokio::time::advance(Span::from_secs(601)).await;
    assert!(send("late").is_ok(), "the silent make room");
}

#[test]
fn names_of_the_configuration_are_never_crowded_out() {
    let tenants = build(
        "{from: [{header: x-scope-orgid, trusted: {anyone: true}}], max_tenants: 1, limits: {tenants: {acme: {records_per_second: 1e9}}}}",
    );
    let send = |name: &str| run(&tenants, payload(header(name), &[("{}", 1)])).is_ok();
    assert_eq!(
        [send("x"), send("y"), send("acme"), send("x")],
        [true, false, true, true]
    );
}

#[test]
fn too_many_tenants_in_one_request_are_refused() {
    let tenants = build("from: [{resource_attribute: t}]");
    let names: Vec<String> = (0..1001).map(|n| format!("{{t: n{n}}}")).collect();
    let resources: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let became = run(&tenants, payload(Context::default(), &resources));
    assert_eq!(became.unwrap_err().0, "INVALID_ARGUMENT");
    assert_eq!(
        run(&tenants, payload(Context::default(), &resources[..1000]))
            .unwrap()
            .0
            .len(),
        1000
    );
}

#[test]
fn a_name_that_is_hidden_by_the_encoding_is_read_as_go_reads_it() {
    // The resource comes twice: a reader in Go merges them, one that takes the last sees only the second.
    let part = |key: &[u8], value: &[u8]| {
        let attribute = [
            &[0x0a, key.len() as u8][..],
            key,
            &[0x12, value.len() as u8 + 2, 0x0a, value.len() as u8],
            value,
        ]
        .concat();
        let resource = [&[0x0a, attribute.len() as u8][..], &attribute].concat();
        [&[0x0a, resource.len() as u8][..], &resource].concat()
    };
    let record = [0x12, 0x04, 0x12, 0x02, 0x10, 0x09];
    let group = [part(b"t", b"acme"), part(b"x", b"y"), record.to_vec()].concat();
    let bytes = [&[0x0a, group.len() as u8][..], &group].concat();
    let tenants = build("from: [{resource_attribute: t}]\nunknown: {default: nobody}");
    let all = whole(Signal::Logs, bytes, Context::default());
    assert!(all.chunks[0].shape.non_canonical);
    assert_eq!(run(&tenants, all).unwrap().0, [("acme".to_owned(), 1)]);
}
