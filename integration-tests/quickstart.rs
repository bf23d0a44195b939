//! The binary itself, as a new user meets it.

use std::process::{Command, Output};

use crate::support::gateway::free_port;

fn weir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An offset by which all four ports of the quickstart are free.
fn offset() -> String {
    let taken = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_err();
    loop {
        let offset = free_port().saturating_sub(13133);
        if ![4317, 4318, 8888, 13133].iter().any(|p| taken(p + offset)) {
            return offset.to_string();
        }
    }
}

#[test]
fn quickstart_shows_redaction_at_work_within_80_columns() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.jsonl");
    let file = file.to_str().unwrap();
    let archive = dir.path().join("archive");
    let (archive, offset) = (archive.to_str().unwrap(), offset());
    let options = [
        "--once",
        "--port-offset",
        &offset,
        "--file",
        file,
        "--archive",
        archive,
    ];
    let done = weir(&[&["quickstart"], &options[..]].concat());
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{out}\n{err}");
    let written = std::fs::read_to_string(file).unwrap();
    for secret in [
        "alice.smith@example.com",
        "4111 1111 1111 1111",
        "eyJhbGciOiJIUzI1NiJ9",
        "sk_live_4eC39",
    ] {
        assert!(
            out.contains(&secret[..12]),
            "shows {secret} as it was sent:\n{out}"
        );
        assert!(!written.contains(secret), "{secret} was written");
    }
    for phrase in [
        "sent     ",
        "written  ",
        "signed heads: verified",
        "The books balance",
    ] {
        assert!(out.contains(phrase), "no {phrase:?} in\n{out}");
    }
    let columns = |line: &&str| line.chars().count() > 80 && !line.contains(file) && !line.contains(archive);
    let wide: Vec<&str> = out.lines().filter(columns).collect();
    assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}");
    assert!(!out.contains('\u{1b}'), "colour");
}

#[test]
fn validate_names_place_and_remedy_and_says_nothing_when_all_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.yaml");
    let config = "receivers: {otlp: {protocols: {grpc: }}}\n\
                  exporters:\n  otlp:\n    endpont: x:1\n  dbug:\n\
                  service: {pipelines: {logs: {receivers: [otlp], exporters: [otlp, dbug]}}}\n";
    std::fs::write(&bad, config).unwrap();
    let done = weir(&["validate", "--config", bad.to_str().unwrap()]);
    let err = text(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{err}");
    for phrase in [
        "bad.yaml:5:3",
        "unknown type: \"dbug\"",
        "did you mean \"debug\"?",
    ] {
        assert!(err.contains(phrase), "no {phrase:?} in\n{err}");
    }
    std::fs::write(&bad, config.replace("  dbug:\n", "").replace(", dbug", "")).unwrap();
    let done = weir(&["validate", "--config", bad.to_str().unwrap()]);
    let err = text(&done.stderr);
    for phrase in ["bad.yaml:4:5", "endpont", "did you mean \"endpoint\"?"] {
        assert!(err.contains(phrase), "no {phrase:?} in\n{err}");
    }
    std::fs::write(
        &bad,
        config
            .replace("endpont", "endpoint")
            .replace("  dbug:\n", "")
            .replace(", dbug", ""),
    )
    .unwrap();
    let done = weir(&["validate", "--config", bad.to_str().unwrap()]);
    assert!(
        done.status.success() && done.stdout.is_empty(),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn components_and_plan_answer_from_the_command_line() {
    let done = weir(&["components"]);
    assert!(done.status.success());
    assert!(text(&done.stdout).contains("- name: otlp_grpc"));
    let done = weir(&["plan", "--config", "configs/quickstart.yaml"]);
    let out = text(&done.stdout);
    assert!(
        done.status.success() && out.contains("redaction, resource"),
        "{out}\n{}",
        text(&done.stderr)
    );
    let done = weir(&["--config", "no-such-file.yaml"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        text(&done.stderr).contains("no-such-file.yaml"),
        "{}",
        text(&done.stderr)
    );
}
