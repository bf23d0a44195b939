//! Two exporters: both get everything, and the books say so.

use prost::Message;
use telemetry::{Node, Place};
use wire::Signal;

use crate::support::client::{Grpc, LOGS};
use crate::support::gateway::Gateway;
use crate::support::peer::{Answer, Peer};
use crate::support::sample;
use crate::support::until;

fn two(a: &Peer, b: &Peer, queue: &str) -> String {
    format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{{grpc}}"}}}}}}
exporters:
  otlp_grpc/a: {{endpoint: "{}", tls: {{insecure: true}}, sending_queue: {queue}, retry_on_failure: {{enabled: false}}}}
  otlp_grpc/b: {{endpoint: "{}", tls: {{insecure: true}}, sending_queue: {queue}, retry_on_failure: {{enabled: false}}}}
connectors:
  forward:
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs/in: {{receivers: [otlp], exporters: [otlp_grpc/a, forward]}}
    logs/out: {{receivers: [forward], exporters: [otlp_grpc/b]}}
"#,
        a.addr, b.addr
    )
}

#[tokio::test]
async fn both_branches_get_every_record() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let gateway = Gateway::start(&two(&a, &b, "{enabled: false}")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let want = sample::logs(9);
    assert_eq!(grpc.export(LOGS, &want.encode_to_vec()).await.code, 0);
    assert_eq!(a.logs(), std::slice::from_ref(&want));
    assert_eq!(b.logs(), [want]);
    gateway.stop().await;
}

#[tokio::test]
async fn one_branch_that_refuses_refuses_the_request_and_the_other_is_booked_as_duplicate() {
    let (a, b) = (
        Peer::start().await,
        Peer::scripted([Answer::Grpc {
            code: 14,
            message: "no",
            retry_ms: None,
        }])
        .await,
    );
    let gateway = Gateway::start(&two(&a, &b, "{enabled: false}")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    let body = sample::logs(4).encode_to_vec();
    assert_eq!(grpc.export(LOGS, &body).await.code, 14);
    assert_eq!(grpc.export(LOGS, &body).await.code, 0, "the retry goes through");
    assert_eq!((a.taken().len(), b.taken().len()), (2, 1));
    let edge = Place::Edge {
        from: Node::Pipeline("logs/in".into()),
        to: Node::Exporter("otlp_grpc/a".into()),
    };
    assert_eq!(gateway.books(edge, Signal::Logs).duplicates(), 4);
    gateway.stop().await;
}

#[tokio::test]
async fn queues_answer_at_once_and_deliver_later() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let gateway = Gateway::start(&two(&a, &b, "{queue_size: 100}")).await;
    let grpc = Grpc::connect(gateway.grpc).await;
    for _ in 0..20 {
        assert_eq!(grpc.export(LOGS, &sample::logs(5).encode_to_vec()).await.code, 0);
    }
    until("both peers have all", || {
        a.taken().len() == 20 && b.taken().len() == 20
    })
    .await;
    gateway.stop().await;
}
