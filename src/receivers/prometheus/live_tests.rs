//! Scrapes over real sockets; the other end is a few lines of TCP.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Duration;

use component::test_kit::{Lonely, Sink, context, section};
use telemetry::Column;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::tests::{render, without_own};
use super::*;

/// Answers each request with the next of its answers, the last one for ever; keeps the heads of the requests.
struct Target {
    address: std::net::SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl Target {
    async fn start(answers: &[&[u8]]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mut answers: VecDeque<Vec<u8>> = answers.iter().map(|a| a.to_vec()).collect();
        let kept = heads.clone();
        let mut server = JoinSet::new();
        server.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.unwrap() > 0 {}
                kept.lock().push(String::from_utf8(head).unwrap());
                let answer = if answers.len() > 1 {
                    answers.pop_front()
                } else {
                    answers.front().cloned()
                };
                socket.write_all(&answer.unwrap()).await.unwrap();
                let _ = socket.shutdown().await;
            }
        });
        Target {
            address,
            heads,
            _server: server,
        }
    }

    fn header(&self, request: usize, name: &str) -> Option<String> {
        let heads = self.heads.lock();
        let mut lines = heads[request].lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn ok(body: &str) -> Vec<u8> {
    answer(
        "200 OK",
        "content-type: text/plain; version=0.0.4\r\n",
        body.as_bytes(),
    )
}

/// Runs a job with one target until that many payloads came; renders them, and gives the receiver's books.
async fn run(target: &Target, keys: &str, payloads: usize) -> (Vec<Vec<String>>, telemetry::Totals) {
    let yaml = format!(
        "config: {{global: {{scrape_interval: 50ms}}, scrape_configs: [{{job_name: j, static_configs: [{{targets: ['{}']}}], {keys}}}]}}",
        target.address
    );
    let cx = context("prometheus");
    let receiver = Prometheus::build(section(&yaml), &cx).unwrap_or_else(|f| panic!("{f}"));
    let sink = Arc::new(Sink::default());
    let mut outputs = Outputs::default();
    outputs.set(Signal::Metrics, sink.clone());
    receiver
        .start(outputs, Arc::new(Lonely::default()))
        .await
        .unwrap();
    let wait = async {
        while sink.taken().len() < payloads {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("the payloads come");
    receiver.stop().await;
    let place = Place::Door {
        receiver: "prometheus".into(),
        transport: "http",
    };
    let books = cx.telemetry.ledger.row(place, Signal::Metrics).total();
    (
        sink.taken().iter().map(|p| render(&p.to_bytes())).collect(),
        books,
    )
}

/// `name value` of each point of the target, and of `up`.
fn values(lines: &[String]) -> Vec<String> {
    let points = |lines: &[String]| -> Vec<String> {
        let pairs = lines.windows(2).filter(|pair| pair[1].starts_with("  "));
        pairs
            .map(|pair| {
                let name = pair[0].split(' ').next().unwrap();
                let (_, times_and_value) = pair[1].split_once("} ").unwrap();
                let (_, value) = times_and_value.split_once(' ').unwrap();
                format!("{name} {value}")
            })
            .collect()
    };
    let up = points(lines).into_iter().filter(|point| point.starts_with("up "));
    points(&without_own(lines.to_vec()))
        .into_iter()
        .chain(up)
        .collect()
}

#[tokio::test]
async fn asks_as_prometheus_does_and_counts_what_it_got() {
    let target = Target::start(&[&ok("a 1\n")]).await;
    let (payloads, books) = run(
        &target,
        "basic_auth: {username: u, password: hunter2}, params: {m: [x]}",
        1,
    )
    .await;
    assert!(
        payloads[0][0].starts_with("resource service.name=j service.instance.id=127.0.0.1:"),
        "{payloads:?}"
    );
    assert!(target.heads.lock()[0].starts_with("GET /metrics?m=x HTTP/1.1\r\n"));
    assert_eq!(
        target.header(0, "authorization").as_deref(),
        Some("Basic dTpodW50ZXIy")
    );
    assert_eq!(target.header(0, "accept-encoding").as_deref(), Some("gzip"));
    assert_eq!(
        target.header(0, "x-prometheus-scrape-timeout-seconds").as_deref(),
        Some("0.05")
    );
    assert!(
        target
            .header(0, "accept")
            .unwrap()
            .starts_with("application/openmetrics-text;version=1.0.0;q=0.9,")
    );
    assert!(target.header(0, "user-agent").unwrap().starts_with("Weir/0.0.0"));
    // a, up, and four about the scrape
    assert_eq!(books.get(Column::Offered) % 6, 0);
    assert_eq!(books.offered(), books.accepted());
}

#[tokio::test]
async fn reads_gzip_within_the_limit() {
    let gzip = |body: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body.as_bytes()).unwrap();
        answer(
            "200 OK",
            "content-type: text/plain\r\ncontent-encoding: gzip\r\n",
            &encoder.finish().unwrap(),
        )
    };
    let bomb = gzip(&"# x\n".repeat(1 << 20));
    let target = Target::start(&[&gzip("a 1\n"), &bomb]).await;
    let (payloads, _) = run(&target, "body_size_limit: 1MB", 2).await;
    assert_eq!(values(&payloads[0]), ["a 1", "up 1"]);
    assert_eq!(values(&payloads[1]), ["a none flags 1", "up 0"]);
}

#[tokio::test]
async fn every_way_to_fail_is_up_0_and_it_recovers() {
    let html = answer("200 OK", "content-type: text/html\r\n", b"<html>");
    let failures: [(&str, Vec<u8>); 7] = [
        ("not found", answer("404 Not Found", "", b"")),
        ("closed without an answer", Vec::new()),
        ("cut short", ok("a 1\n")[..70].to_vec()),
        ("not the format", html),
        (
            "not UTF-8",
            answer("200 OK", "content-type: text/plain\r\n", b"a{x=\"\xff\"} 1\n"),
        ),
        ("too long", ok(&"# x\n".repeat(300))),
        (
            "an encoding that nobody asked for",
            answer("200 OK", "content-encoding: br\r\n", b"x"),
        ),
    ];
    for (what, failure) in failures {
        let target = Target::start(&[&ok("a 1\n"), &failure, &ok("a 2\n")]).await;
        let (payloads, books) = run(&target, "body_size_limit: 1KB", 3).await;
        let got: Vec<Vec<String>> = payloads[..3].iter().map(|p| values(p)).collect();
        assert_eq!(
            got,
            [
                vec!["a 1", "up 1"],
                vec!["a none flags 1", "up 0"],
                vec!["a 2", "up 1"]
            ],
            "{what}"
        );
        assert_eq!(books.offered(), books.accepted(), "{what}");
    }
}

#[tokio::test]
async fn a_target_that_is_silent_or_away_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = Target {
        address: listener.local_addr().unwrap(),
        heads: Arc::default(),
        _server: JoinSet::new(),
    };
    let (payloads, _) = run(&silent, "scrape_timeout: 20ms", 1).await;
    assert_eq!(values(&payloads[0]), ["up 0"]);
    drop(listener);
    let (payloads, _) = run(&silent, "", 1).await;
    assert_eq!(values(&payloads[0]), ["up 0"]);
}

#[tokio::test]
async fn redirects_are_followed_and_credentials_stay() {
    let other = Target::start(&[&ok("a 2\n")]).await;
    let near = answer("302 Found", "location: /there\r\n", b"");
    let far = answer(
        "307 Temporary Redirect",
        &format!("location: http://{}/x\r\n", other.address),
        b"",
    );
    let target = Target::start(&[&near, &far]).await;
    let (payloads, _) = run(&target, "bearer_token: t, scrape_interval: 500ms", 1).await;
    assert_eq!(values(&payloads[0]), ["a 2", "up 1"]);
    assert!(target.heads.lock()[1].starts_with("GET /there "));
    assert_eq!(target.header(1, "authorization").as_deref(), Some("Bearer t"));
    assert!(other.heads.lock()[0].starts_with("GET /x "));
    assert_eq!(other.header(0, "authorization"), None);

    let round = Target::start(&[&answer("302 Found", "location: /again\r\n", b"")]).await;
    let (payloads, _) = run(&round, "scrape_interval: 500ms", 1).await;
    assert_eq!(values(&payloads[0]), ["up 0"]);
    assert_eq!(round.heads.lock().len() % 11, 0);

    let target = Target::start(&[&near]).await;
    let (payloads, _) = run(&target, "follow_redirects: false", 1).await;
    assert_eq!(values(&payloads[0]), ["up 0"]);
}

#[tokio::test]
async fn a_file_with_credentials_is_read_for_each_scrape() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let target = Target::start(&[&ok("a 1\n")]).await;
    let keys = format!("authorization: {{credentials_file: '{}'}}", file.path().display());
    run(&target, &keys, 1).await;
    std::fs::write(file.path(), "second").unwrap();
    run(&target, &keys, 1).await;
    let last = target.heads.lock().len() - 1;
    assert_eq!(target.header(0, "authorization").as_deref(), Some("Bearer first"));
    assert_eq!(
        target.header(last, "authorization").as_deref(),
        Some("Bearer second")
    );
    drop(file);
    let (payloads, _) = run(&target, &keys, 1).await;
    assert_eq!(values(&payloads[0]), ["up 0"]);
}

#[tokio::test]
async fn long_texts_are_read_too() {
    let long: String = (0..20_000).map(|i| format!("a{{i=\"{i}\"}} {i}\n")).collect();
    assert!(long.len() > 300_000);
    let target = Target::start(&[&ok(&long)]).await;
    let (payloads, books) = run(&target, "scrape_interval: 10s, relabel_configs: [{target_label: __scrape_interval__, replacement: 100ms}, {target_label: __scrape_timeout__, replacement: 100ms}]", 1).await;
    assert_eq!(
        payloads[0]
            .iter()
            .filter(|line| line.starts_with("  {i="))
            .count(),
        20_000
    );
    assert!(books.accepted() >= 20_005);
}
