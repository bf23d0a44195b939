//! Whole configurations: what loads, what is refused, in which words and where.

use super::*;

fn environment(scheme: &str, opaque: &str) -> Result<Option<String>, String> {
    Ok(match (scheme, opaque) {
        ("env", "ENDPOINT") => Some("0.0.0.0:4317".into()),
        ("env", "PASSWORD") => Some("hunter2".into()),
        ("env", "IDS") => Some("[otlp]".into()),
        ("file", "more.yaml") => Some("otlp:\n  protocols:\n    grpc:\n      endpont: x\n".into()),
        _ => None,
    })
}

fn load_all(sources: &[(&str, &str)]) -> Result<(Document, Vec<Diag>), Diags> {
    load_with(sources, &Gates::default())
}

fn load_with(sources: &[(&str, &str)], gates: &Gates) -> Result<(Document, Vec<Diag>), Diags> {
    let (mut document, warnings) = load(sources, &environment, gates)?;
    Diags::check(std::mem::take(&mut document.faults))?;
    Ok((document, warnings))
}

const BASE: &str = "\
receivers:
  otlp:
    endpoint: ${env:ENDPOINT}
  otlp/2:
processors:
  batch: {timeout: 1s}
exporters:
  debug:
connectors:
  forward:
extensions:
  health_check: {}
service:
  extensions: [health_check]
  telemetry: {logs: {level: info}}
  pipelines:
    traces/in: {receivers: [otlp, otlp/2, otlp], processors: [batch], exporters: [forward]}
    traces: {receivers: [forward], exporters: [debug]}
";

fn names<T: std::fmt::Display>(list: &[(T, Place)]) -> Vec<String> {
    list.iter().map(|(id, _)| id.to_string()).collect()
}

#[test]
fn loads_a_configuration() {
    let (document, warnings) = load_all(&[("gw.yaml", BASE)]).unwrap();
    assert_eq!(warnings, []);
    let ids = |list: &[(ComponentId, Section)]| list.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&document.receivers), ["otlp", "otlp/2"]);
    assert_eq!(ids(&document.connectors), ["forward"]);
    let [first, second] = document.service.pipelines.as_slice() else {
        panic!()
    };
    assert_eq!(
        (first.id.to_string(), first.place.to_string()),
        ("traces/in".into(), "gw.yaml:17:5".into())
    );
    assert_eq!(names(&first.receivers), ["otlp", "otlp/2"]);
    assert_eq!(names(&first.processors), ["batch"]);
    assert_eq!(names(&second.receivers), ["forward"]);
    assert_eq!(second.receivers[0].1.to_string(), "gw.yaml:18:26");
    assert_eq!(document.service.telemetry.keys().collect::<Vec<_>>(), ["logs"]);
    let section = &document.receivers[0].1;
    assert_eq!(section.path(), "receivers::otlp");
    assert_eq!(section.place().unwrap().to_string(), "gw.yaml:2:3");
    assert_eq!(
        section.diag("endpoint", "x").to_string(),
        "gw.yaml:3:5 receivers::otlp::endpoint: x"
    );
    assert!(document.receivers[1].1.is_empty());
}

#[test]
fn later_sources_lie_over_earlier_ones() {
    let set = crate::set_source("processors.batch.timeout=5s").unwrap();
    let sources = [
        ("a.yaml".into(), BASE.to_owned()),
        ("b.yaml".into(), "exporters: {debug/2: }".into()),
        ("empty.yaml".into(), "# nothing".into()),
        (
            "yaml:x".into(),
            "service::pipelines::traces::exporters: [debug/2]".into(),
        ),
        set,
    ];
    let (document, _) = load(&sources, &environment, &Gates::default()).unwrap();
    assert_eq!(names(&document.service.pipelines[1].exporters), ["debug/2"]);
    assert_eq!(names(&document.service.pipelines[1].receivers), ["forward"]);
    let batch: BTreeMap<String, String> = document.processors[0].1.clone().parse().unwrap();
    assert_eq!(batch["timeout"], "5s");
}

#[test]
fn references_are_expanded_in_lists_of_ids() {
    let text = BASE.replace("receivers: [forward]", "receivers: \"${env:IDS}\"");
    let (document, _) = load_all(&[("gw.yaml", &text)]).unwrap();
    assert_eq!(names(&document.service.pipelines[1].receivers), ["otlp"]);
}

/// Replaces a part of the base and expects exactly these faults.
#[track_caller]
fn check(from: &str, to: &str, expected: &[&str]) {
    assert!(BASE.contains(from), "{from}");
    check_text(&BASE.replacen(from, to, 1), expected);
}

#[track_caller]
fn check_text(text: &str, expected: &[&str]) {
    let faults = match load_all(&[("gw.yaml", text)]) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0,
    };
    // Remedies are compared where the expected text has one; the tables of the integration tests demand them all.
    let shown = |(i, fault): (usize, &Diag)| match expected.get(i) {
        Some(expected) if !expected.contains("; ") => Diag {
            help: None,
            ..fault.clone()
        }
        .to_string(),
        _ => fault.to_string(),
    };
    let found: Vec<String> = faults.iter().enumerate().map(shown).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn refuses_structures_in_the_collectors_words() {
    check_text("", &["gw.yaml:1:1: empty configuration file"]);
    check_text("# x\n{}\n", &["gw.yaml:1:1: empty configuration file"]);
    check_text(
        "[a]",
        &["gw.yaml:1:1: retrieved value (type=[]interface {}) cannot be used as a Conf"],
    );
    check_text(
        "text",
        &["gw.yaml:1:1: retrieved value (type=string) cannot be used as a Conf"],
    );
    check(
        "processors:",
        "procesors:",
        &["gw.yaml:5:1: '' has invalid keys: procesors; did you mean \"processors\"?"],
    );
    check(
        "  telemetry:",
        "  telemetri:",
        &["gw.yaml:15:3: 'service' has invalid keys: telemetri; did you mean \"telemetry\"?"],
    );
    check(
        "processors: [batch]",
        "procs: [batch]",
        &[
            "gw.yaml:17:50: 'service.pipelines' decoding failed due to the following error(s): '[traces/in]' has invalid keys: procs; valid keys: receivers, processors, exporters",
        ],
    );
    check(
        "  otlp/2:",
        "  ' otlp':",
        &["gw.yaml:4:3: 'receivers' duplicate name \" otlp\" after unmarshaling otlp"],
    );
    check(
        "  otlp/2:",
        "  ot-lp:",
        &["gw.yaml:4:3: 'receivers' in \"ot-lp\" id: invalid character(s) in type \"ot-lp\""],
    );
    check(
        "  otlp/2:",
        "  otlp/2: 5",
        &[
            "gw.yaml:4:11: 'receivers' decoding failed due to the following error(s): '[otlp/2]' expected type 'map[string]interface {}', got unconvertible type 'int'",
        ],
    );
    check(
        "    traces/in: ",
        "    trace/in: ",
        &[
            "gw.yaml:17:5: 'service.pipelines' in \"trace/in\" id: unknown pipeline signal: \"trace\"; did you mean \"traces\"?",
        ],
    );
    check(
        "    traces: ",
        "    trace: ",
        &[
            "gw.yaml:18:5: 'service.pipelines' in \"trace\" id: unknown pipeline signal: \"trace\"; did you mean \"traces\"?",
        ],
    );
    check(
        "traces: {receivers: [forward], exporters: [debug]}",
        "traces: x",
        &[
            "gw.yaml:18:13: 'service.pipelines' decoding failed due to the following error(s): '[traces]' expected a map or struct, got \"string\"",
        ],
    );
    check(
        "[health_check]",
        "health_check",
        &["gw.yaml:14:15: 'service.extensions' source data must be an array or slice, got string"],
    );
    check(
        "[health_check]",
        "[5]",
        &["gw.yaml:14:16: 'service.extensions[0]' expected type 'string', got unconvertible type 'int'"],
    );
}

#[test]
fn refuses_dangling_and_ambiguous_references() {
    check(
        "receivers: [forward]",
        "receivers: []",
        &["gw.yaml:18:5 service::pipelines::traces: must have at least one receiver"],
    );
    check(
        "receivers: [forward], exporters: [debug]",
        "",
        &[
            "gw.yaml:18:5 service::pipelines::traces: must have at least one receiver",
            "gw.yaml:18:5 service::pipelines::traces: must have at least one exporter",
        ],
    );
    check(
        "receivers: [forward]",
        "receivers: [oltp]",
        &[
            "gw.yaml:18:26 service::pipelines::traces: references receiver \"oltp\" which is not configured; did you mean \"otlp\"?",
        ],
    );
    check(
        "processors: [batch]",
        "processors: [debug]",
        &[
            "gw.yaml:17:63 service::pipelines::traces/in: references processor \"debug\" which is not configured; \"debug\" is configured under exporters",
        ],
    );
    check(
        "processors: [batch]",
        "processors: [batch, batch]",
        &["gw.yaml:17:70 service::pipelines::traces/in: references processor \"batch\" multiple times"],
    );
    check(
        "extensions: [health_check]",
        "extensions: [zpages]",
        &["gw.yaml:14:16 service::extensions: references extension \"zpages\" which is not configured"],
    );
    check(
        "  debug:\n",
        "  debug:\n  forward:\n",
        &[
            "gw.yaml:11:3 connectors::forward: ambiguous ID: Found both \"forward\" exporter and \"forward\" connector. \
         Change one of the components' IDs to eliminate ambiguity (e.g. rename \"forward\" connector to \
         \"forward/connector\")",
        ],
    );
    check_text(
        "receivers: {otlp: }",
        &[
            "gw.yaml:1:1: no exporter configuration specified in config",
            "gw.yaml:1:1 service::pipelines: service must have at least one pipeline",
        ],
    );
}

#[test]
fn faults_in_expansion_stand_where_the_reference_stands() {
    check(
        "${env:ENDPOINT}",
        "${nope:x}",
        &["gw.yaml:3:15 receivers::otlp::endpoint: scheme \"nope\" is not supported for uri \"nope:x\""],
    );
}

#[test]
fn expanded_secrets_stay_out_of_messages() {
    let text = BASE.replace("timeout: 1s", "timeout: \"${env:PASSWORD}\"");
    let (document, _) = load_all(&[("gw.yaml", &text)]).unwrap();
    let fault = document.processors[0].1.clone();
    let parsed = fault.parse::<BTreeMap<String, crate::Duration>>();
    let shown = parsed.unwrap_err().to_string();
    assert_eq!(
        shown,
        "gw.yaml:6:20: 'processors' error reading configuration for \"batch\": decoding failed due to the following error(s): 'timeout' time: invalid duration [REDACTED]\n  help: write a duration with its unit, e.g. 300ms, 5s or 1h30m\n  \
         6 |   ... \"${env:PASSWORD}\" ...\n    |       ^^^^^^^^^^^^^^^^^"
    );
    let shown = format!("{document:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn expanded_values_take_the_type_of_their_field() {
    #[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        text: String,
        maybe: Option<String>,
        int: u16,
        flag: bool,
        time: crate::Duration,
        list: Vec<String>,
        id: ComponentId,
        secret: crate::Secret<String>,
        block: BTreeMap<String, u8>,
    }
    impl Default for Config {
        fn default() -> Self {
            Config {
                text: "default".into(),
                maybe: Some("default".into()),
                int: 9,
                flag: true,
                time: crate::Duration(std::time::Duration::from_secs(9)),
                list: vec!["default".into()],
                id: ComponentId::of_kind("default"),
                secret: "default".to_owned().into(),
                block: [("default".to_owned(), 9)].into(),
            }
        }
    }
    #[track_caller]
    fn check(field: &str, value: &str, change: impl FnOnce(&mut Config)) {
        let text = BASE.replace(
            "batch: {timeout: 1s}",
            &format!("batch: {{{field}: \"${{env:V}}\"}}"),
        );
        let environment = |scheme: &str, name: &str| -> Result<Option<String>, String> {
            Ok((scheme == "env" && name == "V" && value != "(unset)").then(|| value.to_owned()))
        };
        let (document, _) = load(&[("gw.yaml", &text)], &environment, &Gates::default()).unwrap();
        let found = document.processors[0].1.clone().parse::<Config>();
        let mut expected = Config::default();
        change(&mut expected);
        assert_eq!(
            found.map_err(|faults| faults.to_string()),
            Ok(expected),
            "{field} = {value}"
        );
    }
    for text in [
        "0123", "true", "\"q\"", "[a, b]", "~", "a: b", "x # y", "s3cret\n", "12:30",
    ] {
        check("text", text, |c| c.text = text.into());
        check("secret", text, |c| c.secret = text.to_owned().into());
    }
    check("maybe", "0123", |c| c.maybe = Some("0123".into()));
    check("maybe", "~", |c| c.maybe = None);
    check("int", "0123", |c| c.int = 83);
    check("int", " 7 # comment", |c| c.int = 7);
    check("flag", "false # x", |c| c.flag = false);
    check("time", "1m", |c| c.time.0 = std::time::Duration::from_secs(60));
    check("time", "5", |c| c.time.0 = std::time::Duration::from_nanos(5));
    check("list", "[x, \"y\"]", |c| c.list = vec!["x".into(), "y".into()]);
    check("list", "x,y", |c| c.list = vec!["x".into(), "y".into()]);
    check("id", "otlp/x", |c| c.id = ComponentId::parse("otlp/x").unwrap());
    check("block", "{a: 1}", |c| c.block = [("a".to_owned(), 1)].into());
    // Unset and empty variables are the zero of the type, not the default of the field.
    for nothing in ["", "(unset)"] {
        check("text", nothing, |c| c.text = String::new());
        check("maybe", nothing, |c| c.maybe = None);
        check("int", nothing, |c| c.int = 0);
        check("flag", nothing, |c| c.flag = false);
        check("time", nothing, |c| c.time.0 = std::time::Duration::ZERO);
        check("list", nothing, |c| c.list = Vec::new());
        check("block", nothing, |c| c.block.clear());
    }
}

#[test]
fn faults_in_an_included_file_stand_in_that_file() {
    let text = BASE.replace(
        "receivers:\n  otlp:\n    endpoint: ${env:ENDPOINT}\n  otlp/2:\n",
        "receivers: ${file:more.yaml}\n",
    );
    let text = text.replace(", otlp/2", "");
    let (document, _) = load_all(&[("gw.yaml", &text)]).unwrap();
    let place = document.receivers[0].1.diag("protocols.grpc.endpont", "x");
    assert_eq!(
        place.to_string(),
        "file:more.yaml:4:7 receivers::otlp::protocols::grpc::endpont: x"
    );
}

#[test]
fn warns_without_refusing() {
    let text = BASE.replace("batch: {timeout: 1s}", "batch: {\"a::b\": \"${env:UNSET}\"}");
    let (_, warnings) = load_all(&[("gw.yaml", &(text + "---\nmore: x\n"))]).unwrap();
    let found: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("only the first document"), "{}", found[0]);
    assert!(found[1].contains("key \"a::b\" is kept"), "{}", found[1]);
    assert!(
        found[2].starts_with("gw.yaml:6:19 processors::batch::a::b: Configuration references unset"),
        "{}",
        found[2]
    );
}

#[test]
fn needs_a_source() {
    let none: [(&str, &str); 0] = [];
    assert_eq!(
        load_all(&none).unwrap_err().to_string(),
        "at least one config flag must be provided"
    );
}

#[test]
fn reports_faults_of_all_sources() {
    let faults = load_all(&[("a.yaml", "a: [\n"), ("b.yaml", "b: 1\nb: 2\n")])
        .unwrap_err()
        .to_string();
    assert!(
        faults.contains("a.yaml:1:4: retrieved value (type=string) cannot be used as a Conf: assuming string type since contents are not valid YAML: yaml: line 1"),
        "{faults}"
    );
    assert!(
        faults.contains("b.yaml:2:1: yaml: mapping key \"b\" already defined at line 1"),
        "{faults}"
    );
}

proptest::proptest! {
    #[test]
    fn loading_never_panics(text in "((receivers|exporters|service|pipelines|traces|otlp|extensions): ?|[ a-z\\[\\]{}:,\\n$&*-]|  |\\n){0,40}") {
        if let Err(faults) = load_all(&[("gw.yaml", &text)]) {
            proptest::prop_assert!(!faults.0.is_empty() && !faults.to_string().is_empty());
        }
    }
}
