//! curl, by hand so to speak: what a person tries first.

use std::process::Command;

use super::doors::{Doors, Way};
use super::programs::output;

const LOGS: &str =
    r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"by hand"}}]}]}]}"#;

/// Runs curl against a path: its exit code, the status, the content type and the body of the answer.
async fn curl(doors: &Doors, way: Way, path: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--max-time",
            "20",
            "--write-out",
            " %{http_code} %{content_type}",
        ])
        .arg("--cacert")
        .arg(doors.pki.file("ca.pem"))
        .args(arguments)
        .arg(format!("{}{path}", doors.url(way, false)));
    let (code, stdout, _) = output(command).await;
    (code, stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_answered() {
    let Some(_) = super::programs::on_path("curl") else {
        return;
    };
    let mut doors = Doors::open().await;
    let pki = |name: &str| doors.pki.file(name).to_str().unwrap().to_owned();
    let (certificate, key) = (pki("client.pem"), pki("client.key"));
    let protobuf = doors.pki.dir().join("logs.binpb");
    std::fs::write(
        &protobuf,
        super::compat::proto::encode("1:{2:{2:{5:{1:\"by hand\"}}}}"),
    )
    .unwrap();
    let protobuf = format!("@{}", protobuf.display());
    let big = doors.pki.dir().join("big.json");
    std::fs::write(&big, vec![b' '; 20 * 1024 * 1024 + 1]).unwrap();
    let big = format!("@{}", big.display());

    const JSON: [&str; 4] = [
        "--header",
        "content-type: application/json",
        "--data-binary",
        LOGS,
    ];
    let as_protobuf = [
        "--header",
        "content-type: application/x-protobuf",
        "--data-binary",
        &protobuf,
    ];
    let with = |more: &[&'static str]| [&JSON[..], more].concat();
    let taken = (0, "{\"partialSuccess\":{}} 200 application/json".to_owned());
    let check = async |way, path, arguments: &[&str], expected: (i32, &str)| {
        let got = curl(&doors, way, path, arguments).await;
        assert_eq!((got.0, got.1.as_str()), expected, "{way:?} {path} {arguments:?}");
    };
    let yes = (0, taken.1.as_str());
    check(Way::Plain, "/v1/logs", &JSON, yes).await;
    check(Way::Plain, "/v1/logs", &with(&["--http2-prior-knowledge"]), yes).await;
    check(Way::Tls, "/v1/logs", &with(&["--http1.1"]), yes).await;
    check(Way::Tls, "/v1/logs", &with(&["--http2"]), yes).await;
    check(Way::Tls, "/v1/logs", &with(&["--tls-max", "1.2"]), yes).await;
    let mine = [&JSON[..], &["--cert", &certificate, "--key", &key]].concat();
    check(Way::Mtls, "/v1/logs", &mine, yes).await;
    check(Way::Basic, "/v1/logs", &with(&["--user", "user:pass word"]), yes).await;
    check(Way::Bearer, "/v1/logs", &with(&["--oauth2-bearer", "t0ken"]), yes).await;
    check(
        Way::Plain,
        "/v1/logs",
        &as_protobuf,
        (0, " 200 application/x-protobuf"),
    )
    .await;
    assert_eq!(doors.peer.logs().len(), 9);

    // no certificate: TLS 1.3 lets the client find out when it reads
    let (code, answer) = curl(&doors, Way::Mtls, "/v1/logs", &JSON).await;
    assert!(matches!(code, 35 | 52 | 55 | 56), "{code} {answer}");
    assert_eq!(answer, " 000 ");
    let not_trusted = ["--cacert", "/dev/null"];
    assert_eq!(
        curl(&doors, Way::Tls, "/v1/logs", &with(&not_trusted)).await.1,
        " 000 "
    );
    let too_old = with(&["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]);
    assert_eq!(curl(&doors, Way::Tls, "/v1/logs", &too_old).await.1, " 000 ");
    for (way, path, arguments, status) in [
        (
            Way::Plain,
            "/v1/logs",
            vec!["--data-binary", LOGS],
            "415 text/plain",
        ),
        (
            Way::Plain,
            "/v1/logs",
            vec!["--header", "content-type: text/csv", "--data", "a,b"],
            "415 text/plain",
        ),
        (Way::Plain, "/v1/logs", vec![], "405 text/plain"),
        (Way::Plain, "/v2/logs", JSON.to_vec(), "404 text/plain"),
        (
            Way::Plain,
            "/v1/logs",
            with(&["--header", "content-encoding: br"]),
            "400 application/json",
        ),
        (
            Way::Plain,
            "/v1/logs",
            with(&["--header", "content-encoding: gzip"]),
            "400 application/json",
        ),
        (
            Way::Plain,
            "/v1/logs",
            vec![JSON[0], JSON[1], "--data-binary", &big],
            "413 application/json",
        ),
        (
            Way::Plain,
            "/v1/logs",
            vec![JSON[0], JSON[1], "--data-binary", "{"],
            "400 application/json",
        ),
        (Way::Basic, "/v1/logs", JSON.to_vec(), "401 application/json"),
        (
            Way::Basic,
            "/v1/logs",
            with(&["--user", "user:wrong"]),
            "401 application/json",
        ),
        (
            Way::Bearer,
            "/v1/logs",
            with(&["--oauth2-bearer", "wrong"]),
            "401 application/json",
        ),
    ] {
        let (code, answer) = curl(&doors, way, path, &arguments).await;
        assert!(
            answer.contains(&format!(" {status}")),
            "{way:?} {path} {arguments:?}: {code} {answer}"
        );
        assert!(
            !answer.contains("pass word") && !answer.contains("t0ken"),
            "{answer}"
        );
    }
    assert_eq!(doors.peer.logs().len(), 9, "nothing of that was sent on");
    doors.gateway.stop().await;
}
