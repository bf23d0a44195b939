use wire::Context;
use wire::view::{Kind, View};

use super::*;
use crate::test_kit::{map, run_on_attributes, show};

/// Actions as a stage of its own: on log records.
struct Stage(Actions, Pool);

impl Tree for Stage {
    fn touches(&self) -> Touches {
        Touches {
            depth: Depth::Record,
            reads_content: true,
            drops_unknown: false,
            writes: true,
        }
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        self.1.with(&self.0, cx.context, |s| {
            for n in view.nodes() {
                if view.kind(n) == Kind::LogRecord {
                    self.0.run(view, n, s);
                }
            }
        });
        Ok(())
    }
}

#[derive(Clone, Deserialize, Serialize)]
struct List {
    l: Vec<Config>,
}

fn compile(yaml: &str) -> Result<Actions, Vec<(usize, String)>> {
    let list: List = Section::from_yaml(&format!("l: [{yaml}]"))
        .and_then(Section::parse)
        .unwrap();
    Actions::new(&list.l)
}

#[track_caller]
fn check_in(context: &Context, actions: &str, rows: &[(&str, &str)]) {
    let stage = Stage(compile(actions).unwrap(), Pool::default());
    for (input, expected) in rows {
        let out = run_on_attributes(&stage, map(input), context);
        assert_eq!(show(&out), show(&map(expected)), "{actions}\non {input}");
    }
}

#[track_caller]
fn check(actions: &str, rows: &[(&str, &str)]) {
    check_in(&Context::default(), actions, rows);
}

#[test]
fn insert_update_upsert() {
    check(
        "{key: db, value: secret, action: update}",
        &[
            ("{x: 1}", "{x: 1}"),
            ("{db: 5}", "{db: secret}"),
            ("{a: 1, db: 5, b: 2}", "{a: 1, db: secret, b: 2}"),
        ],
    );
    check(
        "{key: b, from_attribute: a, action: insert}",
        &[
            ("{a: 7}", "{a: 7, b: 7}"),
            ("{a: 7, b: 1}", "{a: 7, b: 1}"),
            ("{}", "{}"),
        ],
    );
    check(
        "{key: c, value: 12, action: UPSERT}",
        &[("{c: z, d: 1}", "{c: 12, d: 1}"), ("{}", "{c: 12}")],
    );
    check(
        "{key: b, from_attribute: a, action: update}",
        &[
            ("{a: [1, {k: v}], b: 2}", "{a: [1, {k: v}], b: [1, {k: v}]}"),
            ("{b: 2}", "{b: 2}"),
            ("{a: 1}", "{a: 1}"),
        ],
    );
    check(
        "{key: v, value: {l: [1, 2.5, true, x, null], m: {}}, action: insert}",
        &[("{}", "{v: {l: [1, 2.5, true, x, null], m: {}}}")],
    );
}

#[test]
fn several_act_in_order() {
    check(
        "{key: a, value: 1, action: insert}, {key: b, from_attribute: a, action: upsert}, {key: a, action: delete}",
        &[("{}", "{b: 1}"), ("{x: 0, b: 3}", "{x: 0, b: 1}")],
    );
}

#[test]
fn delete_by_key_and_by_pattern() {
    check(
        "{pattern: '^dup', action: delete}",
        &[("{dup1: 1, k: 2, dup2: 3, m: 4}", "{k: 2, m: 4}")],
    );
    check(
        "{key: a, action: delete}",
        &[("{a: 1, b: 2, c: 3}", "{c: 3, b: 2}"), ("{b: 2}", "{b: 2}")],
    );
    check(
        "{key: a, pattern: '^x', action: delete}",
        &[("{x1: 1, a: 2, k: 3, x2: 4}", "{k: 3}")],
    );
}

#[test]
fn hash_depends_on_the_type() {
    check(
        "{key: a, action: hash}",
        &[
            // Empty text has a hash like any other.
            (
                "{a: ''}",
                "{a: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}",
            ),
            (
                "{a: abc}",
                "{a: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}",
            ),
            (
                "{a: true}",
                "{a: 4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a}",
            ),
            (
                "{a: 0}",
                "{a: af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc}",
            ),
            ("{a: [1]}", "{a: ''}"),
            ("{b: 1}", "{b: 1}"),
        ],
    );
    check(
        "{pattern: 'user', action: hash}",
        &[(
            "{user.id: abc, id: abc}",
            "{user.id: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad, id: abc}",
        )],
    );
}

#[test]
fn extract_writes_named_groups() {
    check(
        r"{key: v, pattern: '(?P<maj>\d+)\.(?P<min>\d+)(?P<rc>rc)?', action: extract}",
        &[
            ("{v: x 3.14 y}", "{v: x 3.14 y, maj: '3', min: '14', rc: ''}"),
            ("{v: none}", "{v: none}"),
            ("{v: 3.14}", "{v: 3.14}"),
            ("{maj: 9, v: '1.2'}", "{maj: '1', v: '1.2', min: '2', rc: ''}"),
        ],
    );
    check(
        "{key: v, pattern: '(?P<v>b+)', action: extract}",
        &[("{v: abba}", "{v: bb}")],
    );
}

#[test]
fn convert_between_types() {
    check(
        "{key: a, converted_type: int, action: convert}",
        &[
            ("{a: '123'}", "{a: 123}"),
            ("{a: '1.5'}", "{a: '1.5'}"),
            ("{a: 9.9}", "{a: 9}"),
            ("{a: -9.9}", "{a: -9}"),
            ("{a: true}", "{a: 1}"),
            ("{a: 1.0e+19}", "{a: -9223372036854775808}"),
            ("{a: -1.0e+19}", "{a: -9223372036854775808}"),
            ("{a: .nan}", "{a: -9223372036854775808}"),
            ("{a: 5}", "{a: 5}"),
            ("{a: [1]}", "{a: [1]}"),
        ],
    );
    check(
        "{key: a, converted_type: double, action: convert}",
        &[
            ("{a: '1.5'}", "{a: 1.5}"),
            ("{a: x}", "{a: x}"),
            ("{a: '1e999'}", "{a: '1e999'}"),
            ("{a: 2}", "{a: 2.0}"),
            ("{a: false}", "{a: 0.0}"),
        ],
    );
    check(
        "{key: a, converted_type: string, action: convert}",
        &[
            ("{a: [x, 1]}", r#"{a: "[\"x\",1]"}"#),
            ("{a: 1}", "{a: '1'}"),
            ("{a: 2.0}", "{a: '2'}"),
            ("{a: s}", "{a: s}"),
        ],
    );
}

#[test]
fn the_context_gives_values() {
    let context = Context {
        metadata: vec![("x-tenant".into(), vec!["a".into(), "b".into()])],
        auth: vec![("subject".into(), "me".into())],
        peer: Some("10.1.2.3:99".parse().unwrap()),
        ..Context::default()
    };
    for (from, expected) in [
        ("metadata.X-Tenant", "{k: 'a;b'}"),
        ("x-tenant", "{k: 'a;b'}"),
        ("auth.subject", "{k: me}"),
        ("client.address", "{k: 10.1.2.3}"),
        ("metadata.none", "{}"),
        ("auth.none", "{}"),
    ] {
        check_in(
            &context,
            &format!("{{key: k, from_context: {from}, action: insert}}"),
            &[("{}", expected)],
        );
    }
}

#[test]
fn an_ipv4_address_in_an_ipv6_one_is_the_same() {
    let context = Context {
        peer: Some("[::ffff:10.1.2.3]:99".parse().unwrap()),
        ..Context::default()
    };
    let action = "{key: k, from_context: client.address, action: upsert}";
    check_in(&context, action, &[("{}", "{k: 10.1.2.3}")]);
}

#[test]
fn a_default_stands_in_for_a_source_that_is_not_there() {
    check(
        "{key: b, from_attribute: a, default_value: 0, action: upsert}",
        &[("{a: 7}", "{a: 7, b: 7}"), ("{}", "{b: 0}"), ("{b: 1}", "{b: 0}")],
    );
    check(
        "{key: b, from_context: metadata.x, default_value: [d], action: insert}",
        &[("{}", "{b: [d]}"), ("{b: 1}", "{b: 1}")],
    );
    check(
        "{key: b, default_value: d, action: update}",
        &[("{b: 1}", "{b: d}"), ("{}", "{}")],
    );
    check(
        "{key: b, value: v, default_value: d, action: insert}",
        &[("{}", "{b: v}")],
    );
    // As in the collector, a context is not minded where nothing is taken.
    check("{key: b, from_context: x, action: delete}", &[("{b: 1}", "{}")]);
}

#[test]
fn faults_name_the_action() {
    for (yaml, expected) in [
        ("{key: a, action: insert}", "either field"),
        (
            "{key: a, value: 1, from_attribute: b, action: update}",
            "only one of",
        ),
        ("{value: 1, action: upsert}", "\"key\""),
        (
            "{key: a, value: 1, pattern: x, action: upsert}",
            "\"pattern\" must not",
        ),
        (
            "{key: a, value: 1, converted_type: int, action: upsert}",
            "\"converted_type\" must not",
        ),
        ("{action: delete}", "\"key\" or \"pattern\""),
        ("{key: a, value: 1, action: delete}", "\"value\" must not"),
        ("{pattern: '(', action: hash}", "invalid pattern"),
        ("{key: a, action: extract}", "\"pattern\""),
        ("{key: a, pattern: 'x', action: extract}", "no named"),
        ("{key: a, pattern: '(x)(?P<y>z)', action: extract}", "unnamed"),
        ("{key: a, action: convert}", "\"converted_type\""),
        ("{key: a, converted_type: bool, action: convert}", "\"bool\""),
        ("{key: a, value: 1}", "\"action\""),
        ("{key: a, value: 1, action: put}", "\"put\""),
    ] {
        let faults = compile(&format!("{{key: ok, value: 1, action: insert}}, {yaml}")).unwrap_err();
        let [(1, message)] = &faults[..] else {
            panic!("{yaml}: {faults:?}");
        };
        assert!(message.contains(expected), "{yaml}: {message}");
        assert!(message.ends_with("at the 1-th actions"), "{message}");
    }
}
