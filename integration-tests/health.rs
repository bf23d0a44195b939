//! Health pages of the whole gateway.

use serde_json::Value;

use crate::support::client::{self, HttpAnswer};
use crate::support::gateway::{Gateway, free_port};
use crate::support::peer::{Answer, Peer};
use crate::support::sample;
use prost::Message;

async fn get(port: u16, path: &str, more: &str) -> HttpAnswer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
    client::raw(([127, 0, 0, 1], port).into(), request.as_bytes()).await
}

fn json(answer: &HttpAnswer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.head))
}

#[tokio::test]
async fn version_2_tells_of_components_and_covers_secrets() {
    let peer = Peer::start().await;
    peer.always(Answer::Http {
        status: 401,
        retry_after: None,
    });
    let port = free_port();
    let config = format!(
        r#"
extensions:
  bearertokenauth: {{token: hunter2}}
  healthcheckv2:
    use_v2: true
    http:
      endpoint: 127.0.0.1:{port}
      auth: {{authenticator: bearertokenauth}}
      config: {{enabled: true}}
    component_health: {{include_permanent_errors: true}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{{http}}"}}}}}}
exporters:
  otlp_http:
    endpoint: "http://{}"
    headers: {{x-key: hunter2}}
    retry_on_failure: {{enabled: false}}
    sending_queue: {{enabled: false}}
service:
  extensions: [bearertokenauth, healthcheckv2]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
"#,
        peer.addr
    );
    let gateway = Gateway::start(&config).await;
    let token = "authorization: Bearer hunter2\r\n";
    for path in ["/status", "/config", "/nothing"] {
        assert_eq!(get(port, path, "").await.status, 401, "{path}");
    }
    let answer = get(port, "/status", token).await;
    assert_eq!(
        (answer.status, json(&answer)["status"].as_str()),
        (200, Some("StatusOK"))
    );

    // The far side refuses us: the exporter says so, and with it its pipeline and the whole.
    let logs = sample::logs(1).encode_to_vec();
    assert_eq!(
        client::post_otlp(gateway.http, "/v1/logs", &logs).await.status,
        503
    );
    let answer = get(port, "/status?verbose", token).await;
    let body = json(&answer);
    assert_eq!(
        (answer.status, body["status"].as_str()),
        (500, Some("StatusPermanentError"))
    );
    let pipeline = &body["components"]["pipeline:logs"]["components"];
    assert_eq!(pipeline["exporter:otlp_http"]["healthy"], false);
    assert_eq!(pipeline["receiver:otlp"]["status"], "StatusOK");
    assert_eq!(get(port, "/status?pipeline=extensions", token).await.status, 200);
    peer.always(Answer::Ok);
    assert_eq!(
        client::post_otlp(gateway.http, "/v1/logs", &logs).await.status,
        200
    );
    assert_eq!(get(port, "/status", token).await.status, 200);

    let answer = get(port, "/config", token).await;
    let shown = String::from_utf8(answer.body.clone()).unwrap();
    assert_eq!(json(&answer)["receivers"]["otlp"]["strict_utf8"], false);
    assert!(shown.contains("[REDACTED]"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    gateway.stop().await;
}

#[tokio::test]
async fn version_1_may_be_behind_an_authenticator() {
    let port = free_port();
    let config = format!(
        r#"
extensions:
  basicauth: {{htpasswd: {{inline: 'probe:x'}}}}
  health_check: {{endpoint: "127.0.0.1:{port}", auth: {{authenticator: basicauth}}}}
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{{http}}"}}}}}}}}
exporters: {{nop: }}
service:
  extensions: [basicauth, health_check]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [nop]}}}}
"#
    );
    let gateway = Gateway::start(&config).await;
    let answer = get(port, "/", "").await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (401, &b"no basic auth provided\n"[..])
    );
    let answer = get(port, "/", "authorization: Basic cHJvYmU6eA==\r\n").await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
}
