//! Ten times the load that an exporter takes, which is none: what the gateway holds, says, and does afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::child::Child;
use super::client::{self, Grpc, LOGS};
use super::peer::{Answer, Peer};
use super::sample;

/// What the process may have at most.
const LIMIT_MIB: usize = 160;
const CONNECTIONS: usize = 4;
const CALLS: usize = 8;
const REFUSED_MIN: usize = 40;
const PATIENCE: Duration = Duration::from_secs(30);

fn config(peer: &Peer, queue: &str) -> String {
    let (extensions, storage) = match queue.contains("storage") {
        true => (
            "extensions: [file_storage]",
            "extensions: {file_storage: {directory: '{dir}'}}",
        ),
        false => ("", ""),
    };
    format!(
        r#"
{storage}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}
      http: {{endpoint: "127.0.0.1:{{http}}"}}
processors:
  memory_limiter: {{check_interval: 100ms, limit_mib: {LIMIT_MIB}, spike_limit_mib: 32}}
exporters:
  otlp_grpc:
    endpoint: "{}"
    tls: {{insecure: true}}
    timeout: 1s
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms, max_elapsed_time: 0}}
    sending_queue: {queue}
service:
  {extensions}
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    logs: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_grpc]}}
"#,
        peer.addr
    )
}

#[derive(Default)]
struct Answers {
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Answers {
    fn grpc(&self, answer: &client::GrpcAnswer) {
        if answer.code == 0 {
            self.accepted.fetch_add(1, Relaxed);
            return;
        }
        assert_eq!(answer.code, 14, "{answer:?}");
        for hint in ["grpc-status-details-bin", "google.rpc.retryinfo-bin"] {
            assert!(answer.trailers.contains_key(hint), "without {hint}: {answer:?}");
        }
        self.refused.fetch_add(1, Relaxed);
    }

    fn http(&self, answer: &client::HttpAnswer) {
        if answer.status == 200 {
            self.accepted.fetch_add(1, Relaxed);
            return;
        }
        assert_eq!(answer.status, 503, "{}", answer.head);
        let after = answer.header("retry-after").expect("Retry-After");
        let after: u64 = after.parse().expect("seconds");
        assert!((1..=3).contains(&after), "SDKs give up on long waits: {after}");
        self.refused.fetch_add(1, Relaxed);
    }
}

/// An exporter that is blocked for so long, with this `sending_queue`; clients that send on and on.
pub async fn withstands(queue: &str, blocked: Duration) {
    let peer = Peer::start().await;
    peer.forget();
    peer.always(Answer::Hold);
    let child = Child::start(&config(&peer, queue)).await;
    let body: Bytes = sample::logs(400).encode_to_vec().into();
    let answers = Arc::<Answers>::default();
    // A machine that is busy with other tests may need longer to fill the queue.
    let (end, last) = (Instant::now() + blocked, Instant::now() + blocked + PATIENCE);
    let goes_on = move |answers: &Answers| {
        let now = Instant::now();
        now < end || (now < last && answers.refused.load(Relaxed) < REFUSED_MIN)
    };
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let grpc = Grpc::connect(child.grpc).await;
        for _ in 0..CALLS {
            let (grpc, body, answers) = (grpc.clone(), body.clone(), answers.clone());
            clients.spawn(async move {
                while goes_on(&answers) {
                    answers.grpc(&grpc.export(LOGS, &body).await);
                    sleep(Duration::from_millis(20)).await;
                }
            });
        }
        let (http, body, answers) = (child.http, body.clone(), answers.clone());
        clients.spawn(async move {
            while goes_on(&answers) {
                answers.http(&client::post_otlp(http, "/v1/logs", &body).await);
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let (accepted, refused) = (answers.accepted.load(Relaxed), answers.refused.load(Relaxed));
    assert!(refused >= REFUSED_MIN, "{accepted} accepted, {refused} refused");
    let peak = child.memory_peak();
    assert!(
        peak < LIMIT_MIB,
        "{peak} MiB of {LIMIT_MIB}, {accepted} accepted, {refused} refused"
    );

    // The exporter is free again, and so is the gateway: the next request is taken, and all that was acknowledged comes.
    peer.always(Answer::Ok);
    peer.release();
    let grpc = Grpc::connect(child.grpc).await;
    let recovered = async {
        while grpc.export(LOGS, &body).await.code != 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let recovered = timeout(Duration::from_secs(3), recovered).await;
    recovered.expect("taken again within three seconds");
    let delivered = async {
        while peer.taken().len() <= accepted {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let delivered = timeout(Duration::from_secs(20), delivered).await;
    delivered.expect("all that was acknowledged is delivered");
}
