//! A downstream that misbehaves: what is retried, what is reported, and what the client is told.

use prost::Message;
use telemetry::{Node, Place};
use wire::Signal;

use crate::support::client::{self, Grpc, LOGS};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::sample;
use crate::support::until;

fn to(peer: &Peer, exporter: &str, queue: &str, retry: &str) -> String {
    let addr = peer.addr;
    let endpoint = if exporter == "otlp_http" {
        format!("http://{addr}")
    } else {
        addr.to_string()
    };
    let tls = if exporter == "otlp_http" {
        ""
    } else {
        "tls: {insecure: true},"
    };
    format!(
        r#"
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
      http: {{endpoint: "127.0.0.1:{{http}}"}}
exporters:
  {exporter}: {{endpoint: "{endpoint}", {tls} timeout: 300ms, sending_queue: {queue}, retry_on_failure: {retry}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [{exporter}]}}
"#
    )
}

const FAST: &str = "{initial_interval: 10ms, max_interval: 20ms, max_elapsed_time: 10s}";

fn exporter_node(id: &str) -> Place {
    Place::Node(Node::Exporter(id.into()))
}

/// Sends through a queue; the peer first gives `answers`, then takes it.
async fn retried(exporter: &str, answers: Vec<Answer>) {
    let tries = answers.len() + 1;
    let peer = Peer::scripted(answers.clone()).await;
    let gateway = Gateway::start(&to(&peer, exporter, "{queue_size: 10}", FAST)).await;
    let want = sample::logs(3);
    assert_eq!(
        Grpc::connect(gateway.grpc)
            .await
            .export(LOGS, &want.encode_to_vec())
            .await
            .code,
        0
    );
    until(&format!("{exporter} delivers after {answers:?}"), || {
        !peer.taken().is_empty()
    })
    .await;
    assert_eq!(peer.logs(), [want]);
    assert_eq!(peer.received().len(), tries);
    let books = gateway.books(exporter_node(exporter), Signal::Logs);
    assert_eq!(books.failed_all(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn grpc_answers_that_may_be_retried_are() {
    let grpc = |code| Answer::Grpc {
        code,
        message: "later",
        retry_ms: None,
    };
    retried(
        "otlp_grpc",
        vec![grpc(14), grpc(1), grpc(4), grpc(10), grpc(11), grpc(15)],
    )
    .await;
    retried(
        "otlp_grpc",
        vec![Answer::Grpc {
            code: 8,
            message: "busy",
            retry_ms: Some(30),
        }],
    )
    .await;
    retried(
        "otlp_grpc",
        vec![Answer::Grpc {
            code: 14,
            message: "busy",
            retry_ms: Some(30),
        }],
    )
    .await;
}

#[tokio::test]
async fn http_answers_that_may_be_retried_are() {
    let http = |status| Answer::Http {
        status,
        retry_after: None,
    };
    retried("otlp_http", vec![http(429), http(502), http(503), http(504)]).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_is_retried() {
    retried("otlp_grpc", vec![Answer::Reset]).await;
    retried("otlp_http", vec![Answer::Reset]).await;
}

#[tokio::test]
async fn a_peer_that_is_silent_is_retried_after_the_timeout() {
    retried("otlp_grpc", vec![Answer::Silence]).await;
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let peer = Peer::scripted([Answer::Http {
        status: 503,
        retry_after: Some("1"),
    }])
    .await;
    let gateway = Gateway::start(&to(&peer, "otlp_http", "{queue_size: 10}", FAST)).await;
    let before = tokio::time::Instant::now();
    let answer = client::post_otlp(gateway.http, "/v1/logs", &sample::logs(1).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    until("it is delivered", || !peer.taken().is_empty()).await;
    assert!(
        before.elapsed().as_millis() >= 1000,
        "the peer asked for a second, we came after {:?}",
        before.elapsed()
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_peer_rejects_for_good_is_booked_as_failed() {
    for (exporter, answer) in [
        (
            "otlp_grpc",
            Answer::Grpc {
                code: 3,
                message: "bad",
                retry_ms: None,
            },
        ),
        (
            "otlp_grpc",
            Answer::Grpc {
                code: 8,
                message: "no hint",
                retry_ms: None,
            },
        ),
        (
            "otlp_http",
            Answer::Http {
                status: 400,
                retry_after: None,
            },
        ),
        (
            "otlp_http",
            Answer::Http {
                status: 500,
                retry_after: None,
            },
        ),
    ] {
        let peer = Peer::start().await;
        peer.always(answer.clone());
        let gateway = Gateway::start(&to(&peer, exporter, "{queue_size: 10}", FAST)).await;
        let answer_code = Grpc::connect(gateway.grpc)
            .await
            .export(LOGS, &sample::logs(3).encode_to_vec())
            .await
            .code;
        assert_eq!(answer_code, 0, "a memory queue answers before delivery");
        until(&format!("{exporter} books {answer:?}"), || {
            gateway.books(exporter_node(exporter), Signal::Logs).failed_all() == 3
        })
        .await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn partial_success_reaches_the_client_that_waits() {
    let partial = Answer::Partial {
        rejected: 2,
        message: "too old",
    };
    let peer = Peer::start().await;
    peer.always(partial);
    let gateway = Gateway::start(&to(&peer, "otlp_grpc", "{enabled: false}", FAST)).await;
    let body = sample::logs(5).encode_to_vec();
    let answer = Grpc::connect(gateway.grpc).await.export(LOGS, &body).await;
    assert_eq!(answer.code, 0);
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    let check = |bytes: &[u8]| {
        let partial = ExportLogsServiceResponse::decode(bytes)
            .unwrap()
            .partial_success
            .expect("partial_success");
        assert_eq!(partial.rejected_log_records, 2);
        assert!(
            partial.error_message.contains("too old"),
            "{}",
            partial.error_message
        );
    };
    check(&answer.body[5..]);
    let answer = client::post_otlp(gateway.http, "/v1/logs", &body).await;
    assert_eq!(answer.status, 200);
    check(&answer.body);
    assert_eq!(peer.received().len(), 2, "partial success is not retried");
    let books = gateway.books(exporter_node("otlp_grpc"), Signal::Logs);
    assert_eq!(books.failed_all() + books.dropped_all(), 4);
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_queue_the_client_hears_the_downstreams_word() {
    for (answer, grpc, http) in [
        (
            Answer::Grpc {
                code: 14,
                message: "down",
                retry_ms: Some(2000),
            },
            14,
            503,
        ),
        (
            Answer::Grpc {
                code: 3,
                message: "bad",
                retry_ms: None,
            },
            3,
            400,
        ),
        (
            Answer::Grpc {
                code: 16,
                message: "who",
                retry_ms: None,
            },
            14,
            503,
        ),
    ] {
        let peer = Peer::start().await;
        peer.always(answer.clone());
        let gateway = Gateway::start(&to(&peer, "otlp_grpc", "{enabled: false}", "{enabled: false}")).await;
        let body = sample::logs(2).encode_to_vec();
        let got = Grpc::connect(gateway.grpc).await.export(LOGS, &body).await;
        assert_eq!(got.code, grpc, "{answer:?}: {got:?}");
        if grpc == 14 {
            assert!(
                got.trailers.contains_key("grpc-status-details-bin"),
                "RetryInfo for Go: {got:?}"
            );
            assert!(
                got.trailers.contains_key("google.rpc.retryinfo-bin"),
                "RetryInfo for Python: {got:?}"
            );
        }
        let got = client::post_otlp(gateway.http, "/v1/logs", &body).await;
        assert_eq!(got.status, http, "{answer:?}: {}", got.head);
        if http == 503 {
            let after: u64 = got
                .header("retry-after")
                .expect("Retry-After")
                .parse()
                .expect("seconds");
            assert!((1..=3).contains(&after), "SDKs give up on long waits: {after}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_full_queue_says_unavailable_and_keeps_its_promise() {
    let peer = Peer::start().await;
    peer.always(Answer::Grpc {
        code: 14,
        message: "down",
        retry_ms: None,
    });
    let gateway = Gateway::start(&to(&peer, "otlp_grpc", "{queue_size: 3, num_consumers: 1}", FAST)).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let body = sample::logs(1).encode_to_vec();
    let codes: Vec<u8> = {
        let mut codes = Vec::new();
        for _ in 0..6 {
            codes.push(grpc.export(LOGS, &body).await.code);
        }
        codes
    };
    assert_eq!(codes, [0, 0, 0, 14, 14, 14]);
    peer.always(Answer::Ok);
    until("what was taken is delivered", || peer.taken().len() == 3).await;
    gateway.stop().await;
}
