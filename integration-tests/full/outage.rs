//! The collector in front of a gateway with a queue on disk, and behind it, while backends go away, the gateway is killed
//! and reads its configuration again: what the collector in front answered for arrives.

use std::net::SocketAddr;
use std::time::Duration;

use super::gateway::Gateway;
use super::kills::sink::Sink;
use super::kills::{End, Setup, World};
use super::{OTELCOL, free_port, installed};

/// A collector that answers when its exporter has been answered.
fn relay(exporter: &str) -> String {
    let id = exporter.split(':').next().expect("an id comes first");
    format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}
      http: {{endpoint: '127.0.0.1:{{http}}'}}
exporters:
  {exporter}
extensions:
  health_check: {{endpoint: '127.0.0.1:{{health}}'}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [{id}]}}
    logs: {{receivers: [otlp], exporters: [{id}]}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_in_front_and_behind_through_outage_kill_and_reload() {
    let Some(otelcol) = installed(OTELCOL) else { return };
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let sinks = [Sink::start(1).await, Sink::start(2).await];
    let ports: [u16; 3] = std::array::from_fn(|_| free_port());
    let keys = "compression: none, sending_queue: {enabled: false}, retry_on_failure:";
    let grpc = |to, retry| {
        relay(&format!(
            "otlp: {{endpoint: '{to}', tls: {{insecure: true}}, {keys} {retry}}}"
        ))
    };
    let http = |to, retry| relay(&format!("otlphttp: {{endpoint: 'http://{to}', {keys} {retry}}}"));
    let mut front = Gateway::run(&otelcol, &grpc(at(ports[0]), "{initial_interval: 50ms}")).await;
    // Whoever stands behind does not try again: that is the gateway's part.
    let mut behind = [
        Gateway::run(&otelcol, &grpc(sinks[0].addr, "{enabled: false}")).await,
        Gateway::run(&otelcol, &http(sinks[1].addr, "{enabled: false}")).await,
    ];
    let to = [at(behind[0].grpc), at(behind[1].http)];
    let mut world = World::between([front.grpc, front.http], sinks, Setup::default(), ports, to);
    for _ in 0..10 {
        let time = Duration::from_millis(500 + world.rng.below(1000));
        world.live(End::Listening(time)).await;
        world.live(End::Reloading(time / 2)).await;
    }
    let report = world.finish().await;
    assert!(report.acknowledged > 0, "{report:?}");
    front.stop().await;
    for one in &mut behind {
        one.stop().await;
    }
}
