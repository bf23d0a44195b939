//! The configuration language as a user meets it: every fault of the collector's table is told in its words, with
//! place, source line and remedy; and what `print-config`, `schema` and the other commands say.

use std::process::{Command, Output};

use config::{Diags, Gates, Stage};
use serde_json::Value;

/// A configuration that is right; rows of the tables change a part of it.
const BASE: &str = "\
receivers:
  otlp:
    protocols: {grpc: }
  nop:
processors:
  batch:
  redaction: {allow_all_keys: true}
exporters:
  debug:
  otlp_grpc: {endpoint: 'next:4317', tls: {insecure: true}}
connectors:
  forward:
extensions:
  health_check:
service:
  extensions: [health_check]
  telemetry: {logs: {level: info}}
  pipelines:
    traces/in: {receivers: [otlp, nop], processors: [batch], exporters: [forward]}
    traces: {receivers: [forward], exporters: [debug, otlp_grpc]}
";

fn faults_of(text: &str, gates: &Gates) -> Option<Diags> {
    weir::service::validate(&[("gw.yaml".to_owned(), text.to_owned())], gates).err()
}

/// One row: a part of [`BASE`], what stands there instead, and what must be told: place, words, remedy.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[track_caller]
fn check(stage: Stage, rows: &[Row]) {
    assert!(faults_of(BASE, &Gates::default()).is_none());
    for (from, to, place, words, remedy) in rows {
        assert!(BASE.contains(from), "the base has no {from:?}");
        let text = match *from {
            BASE => (*to).to_owned(),
            _ => BASE.replacen(from, to, 1),
        };
        let Some(faults) = faults_of(&text, &Gates::default()) else {
            panic!("nothing is told of {to:?}");
        };
        let fault = faults.0.iter().find(|fault| fault.to_string().contains(words));
        let Some(fault) = fault else {
            panic!("{to:?}: not {words:?}, but\n{faults}");
        };
        assert_eq!(fault.stage, stage, "{to:?}: {fault}");
        let at = fault
            .place
            .as_ref()
            .unwrap_or_else(|| panic!("{to:?}: no place: {fault}"));
        assert_eq!(at.to_string(), format!("gw.yaml:{place}"), "{to:?}: {fault}");
        let said = format!("{} {}", fault.message, fault.help.as_deref().unwrap_or_default());
        assert!(
            !remedy.is_empty() && said.contains(remedy),
            "{to:?}: no {remedy:?} in {fault}"
        );
        let report = faults.report(false);
        assert!(report.contains(words), "{report}");
        assert!(report.contains(stage.heading()), "{report}");
        // what is nowhere is said of the beginning, without its line
        if *place != "1:1" {
            assert!(
                at.excerpt().is_some_and(|excerpt| excerpt.contains('^')),
                "{report}"
            );
        }
    }
}

#[test]
fn faults_of_reading_are_told_in_the_collectors_words() {
    check(
        Stage::Resolve,
        &[
            (
                BASE,
                "receivers:\n\totlp:\n",
                "2:2",
                "retrieved value (type=string) cannot be used as a Conf: assuming string type since contents are not valid \
                 YAML: yaml: line 2",
                "YAML takes no tabs",
            ),
            (
                "protocols: {grpc: }",
                "protocols: {grpc: {endpoint: '${FOO:x}'}}",
                "3:34",
                "scheme \"FOO\" is not supported for uri \"FOO:x\"",
                "${env:NAME}",
            ),
            (
                "next:4317",
                "${env:9X}",
                "10:25",
                "environment variable \"9X\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$",
                "${env:NAME}",
            ),
            (
                "next:4317",
                "${env:a$b}",
                "10:25",
                "the uri \"env:a$b\" contains unsupported characters ('$')",
                "$$",
            ),
            (
                "next:4317",
                "${file:/no/such/file}",
                "10:25",
                "unable to read the file file:/no/such/file: no such file or directory",
                "the directory in which weir was started",
            ),
        ],
    );
}

#[test]
fn faults_of_decoding_are_told_in_the_collectors_words() {
    check(
        Stage::Decode,
        &[
            (
                "processors:",
                "foo: {}\nprocessors:",
                "5:1",
                "'' has invalid keys: foo",
                "valid keys",
            ),
            (
                "telemetry: {logs:",
                "telemetry: {unknown: 1, logs:",
                "17:15",
                "'service.telemetry' has invalid keys: unknown",
                "valid keys",
            ),
            (
                "protocols: {grpc: }",
                "protocols: {grpc: }\n    protocol: 1",
                "4:5",
                "'receivers' error reading configuration for \"otlp\": decoding failed due to the following error(s): '' has \
                 invalid keys: protocol",
                "did you mean \"protocols\"?",
            ),
            (
                "protocols: {grpc: }",
                "protocols: {grpc: {endpont: x}}",
                "3:24",
                "'receivers' error reading configuration for \"otlp\": decoding failed due to the following error(s): \
                 'protocols.grpc' has invalid keys: endpont",
                "did you mean \"endpoint\"?",
            ),
            (
                "  debug:\n",
                "  debug:\n  foo/x:\n",
                "10:3",
                "'exporters' unknown type: \"foo\" for id: \"foo/x\" (valid values: [archive",
                "otlp",
            ),
            (
                "  debug:\n",
                "  debug:\n  logging:\n",
                "10:3",
                "the logging exporter has been deprecated, use the debug exporter instead",
                "use the debug exporter",
            ),
            (
                "  nop:\n",
                "  nop: text\n",
                "4:8",
                "'[nop]' expected type 'map[string]interface {}', got unconvertible type 'string'",
                "a map of keys",
            ),
            (
                "traces: {receivers: [forward], exporters: [debug, otlp_grpc]}",
                "traces: text",
                "20:13",
                "'[traces]' expected a map or struct, got \"string\"",
                "receivers: [...]",
            ),
            (
                "  nop:\n",
                "  /x:\n",
                "4:3",
                "'receivers' in \"/x\" id: the part before / should not be empty",
                "type/name",
            ),
            (
                "  nop:\n",
                "  nop/:\n",
                "4:3",
                "in \"nop/\" id: the part after / should not be empty",
                "type/name",
            ),
            (
                "  nop:\n",
                "  n-op:\n",
                "4:3",
                "in \"n-op\" id: invalid character(s) in type \"n-op\"",
                "type/name",
            ),
            (
                "  nop:\n",
                "  nop/a b:\n",
                "4:3",
                "in \"a b\" id: invalid character(s) in name \"a b\"",
                "no blanks",
            ),
            ("  nop:\n", "  '': \n", "4:3", "id must not be empty", "type/name"),
            (
                "  nop:\n",
                "  ' otlp': \n",
                "4:3",
                "duplicate name \" otlp\" after unmarshaling otlp",
                "a name of its own",
            ),
            (
                "    traces: {",
                "    spans: {",
                "20:5",
                "in \"spans\" id: unknown pipeline signal: \"spans\"",
                "traces",
            ),
            (
                "[health_check]",
                "health_check",
                "16:15",
                "source data must be an array or slice, got string",
                "write a list",
            ),
            (
                "  batch:\n",
                "  batch: {timeout: \"5\"}\n",
                "6:20",
                "'processors' error reading configuration for \"batch\": decoding failed due to the following error(s): \
                 'timeout' time: missing unit in duration \"5\"",
                "with its unit",
            ),
            (
                "  batch:\n",
                "  batch: {send_batch_size: -1}\n",
                "6:28",
                "'send_batch_size' cannot parse value as 'uint32': -1 overflows uint",
                "a number from 0",
            ),
            (
                "insecure: true",
                "insecure: 'true'",
                "10:54",
                "'tls.insecure' expected type 'bool', got unconvertible type 'string'",
                "true or false",
            ),
            (
                "endpoint: 'next:4317'",
                "endpoint: 123",
                "10:25",
                "'endpoint' expected type 'string', got unconvertible type 'int'",
                "in quotes",
            ),
            (
                "endpoint: 'next:4317'",
                "endpoint: a:1, headers: [{name: k, value: a}, {name: k, value: b}]",
                "10:39",
                "duplicate keys in map-style list: [k]",
                "duplicate",
            ),
            (
                "protocols: {grpc: }",
                "protocols: {grpc: {enabled: 5}}",
                "3:33",
                "unexpected type int for 'enabled': got '5' value expected 'true' or 'false'",
                "true or false",
            ),
        ],
    );
}

#[test]
fn faults_of_validation_are_told_in_the_collectors_words() {
    check(
        Stage::Validate,
        &[
            (
                BASE,
                "# nothing\n",
                "1:1",
                "empty configuration file",
                "receivers",
            ),
            (
                BASE,
                "exporters: {debug: }\nservice: {pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}\n",
                "1:1",
                "no receiver configuration specified in config",
                "receivers: {otlp",
            ),
            (
                BASE,
                "receivers: {nop: }\nservice: {pipelines: {logs: {receivers: [nop], exporters: [debug]}}}\n",
                "1:1",
                "no exporter configuration specified in config",
                "exporters: {debug",
            ),
            (
                BASE,
                "receivers: {nop: }\nexporters: {nop: }\nservice: {pipelines: {}}\n",
                "3:11",
                "service::pipelines: service must have at least one pipeline",
                "pipelines: {logs",
            ),
            (
                "traces: {receivers: [forward], ",
                "traces: {",
                "20:5",
                "service::pipelines::traces: must have at least one receiver",
                "forward, nop, otlp",
            ),
            (
                ", exporters: [debug, otlp_grpc]",
                "",
                "20:5",
                "service::pipelines::traces: must have at least one exporter",
                "debug, forward, otlp_grpc",
            ),
            (
                "processors: [batch]",
                "processors: [batch, batch]",
                "19:61",
                "service::pipelines::traces/in: references processor \"batch\" multiple times",
                "batch/2",
            ),
            (
                "[forward], ",
                "[forward, jaeger], ",
                "20:35",
                "service::pipelines::traces: references receiver \"jaeger\" which is not configured",
                "configure it under receivers",
            ),
            (
                "processors: [batch]",
                "processors: [bacth]",
                "19:54",
                "references processor \"bacth\" which is not configured",
                "did you mean \"batch\"?",
            ),
            (
                "[debug, otlp_grpc]",
                "[debug, zipkin]",
                "20:55",
                "references exporter \"zipkin\" which is not configured",
                "configure it under exporters",
            ),
            (
                "extensions: [health_check]",
                "extensions: [pprof]",
                "16:16",
                "service::extensions: references extension \"pprof\" which is not configured",
                "configure it under extensions",
            ),
            (
                "  debug:\n",
                "  debug:\n  forward: {}\n",
                "13:3",
                "connectors::forward: ambiguous ID: Found both \"forward\" exporter and \"forward\" connector. Change one of \
                 the components' IDs to eliminate ambiguity (e.g. rename \"forward\" connector to \"forward/connector\")",
                "rename",
            ),
            (
                "  nop:\n",
                "  nop:\n  forward: {}\n",
                "13:3",
                "connectors::forward: ambiguous ID: Found both \"forward\" receiver and \"forward\" connector.",
                "rename",
            ),
            (
                "    traces: {",
                "    profiles: {receivers: [nop], exporters: [debug]}\n    traces: {",
                "20:5",
                "service::pipelines: pipeline \"profiles\": profiling signal support is at alpha level, gated under the \
                 \"service.profilesSupport\" feature gate",
                "--feature-gates=service.profilesSupport",
            ),
            (
                "protocols: {grpc: }",
                "protocols: ",
                "2:3",
                "receivers::otlp: must specify at least one protocol when using the OTLP receiver",
                "at least one protocol",
            ),
        ],
    );
}

#[test]
fn faults_of_building_are_told_in_the_collectors_words() {
    check(
        Stage::Build,
        &[
            (
                "receivers: [forward], exporters: [debug, otlp_grpc]",
                "receivers: [nop], exporters: [debug]",
                "12:3",
                "failed to build pipelines: connector \"forward\" used as exporter in [traces/in] pipeline but not used in \
                 any supported receiver pipeline",
                "among the receivers",
            ),
            (
                "exporters: [forward]",
                "exporters: [debug]",
                "12:3",
                "failed to build pipelines: connector \"forward\" used as receiver in [traces] pipeline but not used in any \
                 supported exporter pipeline",
                "among the exporters",
            ),
            (
                "receivers: [otlp, nop], processors: [batch]",
                "receivers: [otlp, forward], processors: [batch]",
                "12:3",
                "failed to build pipelines: cycle detected: connector \"forward\" (traces to traces) -> processor \"batch\" in \
                 pipeline \"traces/in\" -> connector \"forward\" (traces to traces)",
                "take one of these connectors out",
            ),
        ],
    );
}

#[test]
fn faults_of_every_step_are_told_at_once() {
    let text = BASE
        .replace("protocols: {grpc: }", "protocols: {grpc: {endpont: x}}")
        .replace("  batch:\n", "  batch: {timeout: 1d}\n")
        .replace("allow_all_keys: true", "blocked_values: ['(']")
        .replace("endpoint: 'next:4317'", "endpoint: ''")
        .replace("[debug, otlp_grpc]", "[debug, zipkin]");
    let faults = faults_of(&text, &Gates::default()).expect("many faults");
    let found: Vec<String> = faults
        .0
        .iter()
        .map(|f| {
            f.place
                .as_ref()
                .map_or_else(String::new, |p| format!("{}:{}", p.line, p.column))
        })
        .collect();
    assert_eq!(found, ["3:24", "6:20", "7:15", "10:15", "20:55"], "{faults}");
    let report = faults.report(true);
    assert!(
        report.starts_with("failed to get config: cannot unmarshal the configuration: decoding failed"),
        "{report}"
    );
    assert!(!report.contains("invalid configuration:"), "{report}");
    assert!(
        faults.report(false).contains("\n\ninvalid configuration:\n"),
        "{report}"
    );
}

#[test]
fn gates_have_their_effect() {
    let fault =
        |text: &str, gates: &[&str]| faults_of(text, &Gates::with(gates)).map(|faults| faults.to_string());
    let empty = "extensions: {health_check: }\nservice: {extensions: [health_check]}\n";
    assert!(fault(empty, &[]).is_some_and(|told| told.contains("no receiver configuration")));
    assert_eq!(fault(empty, &[Gates::NO_PIPELINES]), None);
    let profiles = "receivers: {nop: }\nexporters: {nop: }\n\
                    service: {pipelines: {profiles: {receivers: [nop], exporters: [nop]}}}\n";
    assert!(fault(profiles, &[]).is_some_and(|told| told.contains("service.profilesSupport")));
    assert_eq!(fault(profiles, &[Gates::PROFILES]), None);
    let limited = profiles
        .replace(
            "exporters: {nop: }",
            "exporters: {nop: }\nprocessors: {memory_limiter: {check_interval: 1s, limit_mib: 9}}",
        )
        .replace(
            "[nop], exporters",
            "[nop], processors: [memory_limiter], exporters",
        );
    let told = fault(&limited, &[Gates::PROFILES]).expect("it has no profiles");
    let words = "failed to create \"memory_limiter\" processor, in pipeline \"profiles\": telemetry type is not supported";
    assert!(
        told.starts_with("gw.yaml:3:14 ") && told.contains(words),
        "{told}"
    );
    assert!(
        told.contains("take it out of pipeline \"profiles\": it knows traces, metrics, logs"),
        "{told}"
    );
    let two = |gates: &[&str]| {
        let more = "exporters: {nop/2: }\nservice: {pipelines: {traces: {exporters: [nop/2]}}}\n";
        let sources = [
            ("a.yaml".to_owned(), BASE.to_owned()),
            ("b.yaml".to_owned(), more.to_owned()),
        ];
        let (effective, _) =
            weir::service::effective(&sources, &Gates::with(gates), true).expect("it is right");
        let json: Value = serde_json::from_str(&effective.to_json()).expect("JSON");
        json["service"]["pipelines"]["traces"]["exporters"].clone()
    };
    assert_eq!(two(&[]), serde_json::json!(["nop/2"]));
    assert_eq!(
        two(&[Gates::MERGE_APPEND]),
        serde_json::json!(["debug", "otlp_grpc", "nop/2"])
    );
}

#[test]
fn a_files_final_newline_goes_when_asked_to() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let check = |written: &str, gates: &[&str], expected: &str| {
        let path = dir.path().join("token");
        std::fs::write(&path, written).expect("a file");
        let text = BASE.replace("next:4317", &format!("${{file:{}}}", path.display()));
        let sources = [("gw.yaml".to_owned(), text)];
        let (effective, _) =
            weir::service::effective(&sources, &Gates::with(gates), false).expect("readable");
        let json: Value = serde_json::from_str(&effective.to_json()).expect("JSON");
        assert_eq!(
            json["exporters"]["otlp_grpc"]["endpoint"], expected,
            "{written:?}"
        );
    };
    check("a:1\n", &[], "a:1\n");
    check("a:1\n", &[Gates::TRIM_FILES], "a:1");
    check("a:1\r\n", &[Gates::TRIM_FILES], "a:1");
    check("a:1\n\n", &[Gates::TRIM_FILES], "a:1\n");
    check("a:1", &[Gates::TRIM_FILES], "a:1");
}

// --- The program ---

fn weir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .env_remove("HTTP_PROXY")
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn answers_end_with_0_and_errors_with_1() {
    let check = |arguments: &[&str], code: i32, out: &str, err: &str| {
        let done = weir(arguments);
        let (found_out, found_err) = (text(&done.stdout), text(&done.stderr));
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {found_err}");
        assert!(
            found_out.contains(out) && found_out.is_empty() == out.is_empty(),
            "{arguments:?}: {found_out}"
        );
        assert!(
            found_err.starts_with(err) && found_err.is_empty() == err.is_empty(),
            "{arguments:?}: {found_err}"
        );
        assert!(!found_err.contains("Usage"), "{found_err}");
    };
    let version = concat!("weir version ", env!("CARGO_PKG_VERSION"), "\n");
    check(&["--version"], 0, version, "");
    check(&["-v"], 0, version, "");
    check(&["--help"], 0, "print-config", "");
    check(&["components"], 0, "buildinfo:\n    command: weir\n", "");
    check(&["featuregate"], 0, "service.profilesSupport", "");
    check(
        &["featuregate", "service.profilesSupport"],
        0,
        "Stage: Alpha\n",
        "",
    );
    check(&["featuregate", "x"], 1, "", "Error: feature \"x\" not found\n");
    check(&["schema"], 0, "\"$schema\"", "");
    check(&[], 1, "", "Error: at least one config flag must be provided");
    check(
        &["-config", "x"],
        1,
        "",
        "Error: unexpected argument '-c' found\n",
    );
    check(
        &["frobnicate"],
        1,
        "",
        "Error: unrecognized subcommand 'frobnicate'\n",
    );
    check(
        &["--log-level=debug"],
        1,
        "",
        "Error: unexpected argument '--log-level' found",
    );
    check(
        &["validate", "--config", "s3:x"],
        1,
        "",
        "Error: failed to get config: cannot resolve the configuration:\n--config: unsupported scheme on URI \"s3:x\"",
    );
    check(
        &["validate", "--set", "key:name"],
        1,
        "",
        "Error: --set: invalid value \"key:name\" for flag -set: missing equal sign",
    );
    check(
        &["validate", "--config", "yaml:a: 1", "--feature-gates=a,,b"],
        1,
        "",
        "Error: --feature-gates: empty feature gate identifier at index 1\n",
    );
    check(
        &["print-config", "--config", "yaml:a: 1", "--mode=x"],
        1,
        "",
        "Error: invalid mode \"x\": modes are: redacted, unredacted\n",
    );
    check(
        &["print-config", "--config", "yaml:a: 1", "--format=x"],
        1,
        "",
        "Error: unrecognized print format: x\n",
    );
    check(
        &["--config", "yaml:nope: 1"],
        1,
        "",
        "Error: failed to get config: cannot unmarshal the configuration: decoding failed due to the following error(s):\n\n\
         yaml::1:1: '' has invalid keys: nope",
    );
}

#[test]
fn sets_lie_over_configs_and_warnings_do_not_refuse() {
    let base = format!("yaml:{BASE}");
    let arguments = [
        "print-config",
        "--set=processors.batch.send_batch_size=7",
        "--config",
        &base,
        "--config=yaml:processors::batch: {send_batch_size: 6, timeout: 1s}",
        "--set",
        "exporters.otlp/old={endpoint: 'a:1'}",
        "--set=service.pipelines.traces.exporters=[otlp/old]",
        "--format=json",
        "--feature-gates=-service.partialReloadReceivers,no.such.gate",
    ];
    let done = weir(&arguments);
    let told = text(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{told}");
    let json: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(json["processors"]["batch"]["send_batch_size"], 7);
    assert_eq!(json["processors"]["batch"]["timeout"], 1_000_000_000);
    assert_eq!(
        json["service"]["pipelines"]["traces"]["exporters"],
        serde_json::json!(["otlp/old"])
    );
    for warning in [
        "warning: --feature-gates: no such feature gate \"no.such.gate\"",
        "exporters::otlp/old: \"otlp\" alias is deprecated; use \"otlp_grpc\" instead",
    ] {
        assert!(told.contains(warning), "no {warning:?} in\n{told}");
    }
}

#[test]
fn print_config_shows_defaults_and_no_secrets_and_loads_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let with_secret = BASE.replace(
        "endpoint: 'next:4317'",
        "endpoint: 'next:4317', headers: {k: hunter2}",
    );
    let first = file("first.yaml", &with_secret);
    let print = |arguments: &[&str]| {
        let done = weir(&[&["print-config"], arguments].concat());
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        text(&done.stdout)
    };
    let redacted = print(&["--config", &first]);
    assert!(
        redacted.ends_with("\n\n") && !redacted.contains("hunter2"),
        "{redacted}"
    );
    for phrase in [
        "                endpoint: localhost:4317\n",
        "                - name: k\n              value: \"[REDACTED]\"\n",
        "        timeout: 5s\n",
        "            queue_size: 1000\n",
        "        send_batch_size: 8192\n",
        "            exporters:\n                - debug\n                - otlp_grpc\n",
    ] {
        let phrase = phrase.trim_start_matches(' ');
        assert!(redacted.contains(phrase), "no {phrase:?} in\n{redacted}");
    }
    let open = print(&["--config", &first, "--mode", "unredacted"]);
    assert!(open.contains("hunter2"), "{open}");
    let second = file("second.yaml", &open);
    assert_eq!(print(&["--config", &second, "--mode=unredacted"]), open);
    let json: Value = serde_json::from_str(&print(&["--config", &first, "--format=json"])).expect("JSON");
    assert_eq!(json["exporters"]["otlp_grpc"]["timeout"], 5_000_000_000_u64);
    assert_eq!(json["processors"]["batch"]["timeout"], 200_000_000);
    assert_eq!(
        json["exporters"]["otlp_grpc"]["headers"][0]["value"],
        "[REDACTED]"
    );
    // rules may be broken if asked for, types may not
    let broken = file("broken.yaml", &BASE.replace("next:4317", ""));
    let refused = weir(&["print-initial-config", "--config", &broken]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("invalid configuration:"),
        "{}",
        text(&refused.stderr)
    );
    assert!(print(&["--config", &broken, "--validate=false"]).contains("endpoint: \"\"\n"));
    let wrong = file("wrong.yaml", &BASE.replace("insecure: true", "insecure: 5"));
    let refused = weir(&["print-config", "--validate=false", "--config", &wrong]);
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn what_is_in_effect_has_the_shape_of_the_schema() {
    let schema: Value = serde_json::from_slice(&weir(&["schema"]).stdout).expect("JSON");
    let mut configs = vec![("base".to_owned(), BASE.to_owned())];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");
    for entry in std::fs::read_dir(folder).expect("example configs").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a config");
        configs.push((entry.path().display().to_string(), text));
    }
    assert!(configs.len() > 2);
    for (name, config) in configs {
        let gates = Gates::with(&[Gates::PROFILES]);
        let (effective, _) = weir::service::effective(&[(name.clone(), config)], &gates, false)
            .unwrap_or_else(|faults| panic!("{name}: {faults}"));
        let json: Value = serde_json::from_str(&effective.to_json()).expect("JSON");
        assert_eq!(misfit(&schema, &schema, &json), None, "{name}");
        let mut wrong = json.clone();
        wrong["receivers"]["otlp"]["protocol"] = Value::Bool(true);
        assert_eq!(
            misfit(&schema, &schema, &wrong).as_deref(),
            Some("receivers.otlp: protocol is not known"),
            "{name}"
        );
    }
    let numbers = serde_json::json!({"processors": {"batch": {"send_batch_size": "many"}}});
    assert!(misfit(&schema, &schema, &numbers).is_some());
    let reference =
        serde_json::json!({"processors": {"batch": {"send_batch_size": "${env:SIZE}", "timeout": "5s"}}});
    assert_eq!(misfit(&schema, &schema, &reference), None);
    let unit = serde_json::json!({"processors": {"batch": {"timeout": "5"}}});
    assert!(misfit(&schema, &schema, &unit).is_some());
}

/// Where a value does not fit a schema, for the words that our schema uses.
fn misfit(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        return misfit(root, &root["$defs"][name], value);
    }
    for many in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[many].as_array() {
            let found: Vec<String> = choices.iter().filter_map(|c| misfit(root, c, value)).collect();
            if found.len() == choices.len() {
                // what is said from deepest within is the most to the point
                return found
                    .into_iter()
                    .max_by_key(|text| (text.matches('.').count(), !text.contains("is no ")));
            }
        }
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let fits = wanted.is_empty() || wanted.contains(&kind) || kind == "integer" && wanted.contains(&"number");
    let listed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
    let same = schema.get("const").is_none_or(|one| one == value);
    if !fits || !listed || !same {
        return Some(format!(": is no {wanted:?}"));
    }
    if let (Some(text), Some(pattern)) = (value.as_str(), schema["pattern"].as_str())
        && !regex::Regex::new(pattern)
            .expect("a pattern of ours")
            .is_match(text)
    {
        return Some(": is no match".into());
    }
    let within = |key: &str, found: Option<String>| {
        found.map(|text| match text.starts_with(':') {
            true => format!("{key}{text}"),
            false => format!("{key}.{text}"),
        })
    };
    if let Some(items) = value.as_array().filter(|_| schema["items"].is_object()) {
        return items
            .iter()
            .enumerate()
            .find_map(|(i, item)| within(&i.to_string(), misfit(root, &schema["items"], item)));
    }
    let entries = value.as_object()?;
    entries.iter().find_map(|(key, value)| {
        let named = schema["properties"].get(key);
        let patterned = || {
            let patterns = schema["patternProperties"].as_object()?;
            let found = patterns.iter().find(|(pattern, _)| {
                regex::Regex::new(pattern)
                    .expect("a pattern of ours")
                    .is_match(key)
            });
            found.map(|(_, schema)| schema)
        };
        match (named.or_else(patterned), &schema["additionalProperties"]) {
            (Some(part), _) => within(key, misfit(root, part, value)),
            (None, Value::Bool(false)) => Some(format!(": {key} is not known")),
            (None, part @ Value::Object(_)) => within(key, misfit(root, part, value)),
            _ => None,
        }
    })
}
