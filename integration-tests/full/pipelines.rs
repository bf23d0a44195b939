//! What gateways before a store have in common: the rest of their configuration, and what they have booked.

use super::gateway::Gateway;

/// The end of a configuration for [`Gateway::run`]: health check, metrics, and these pipelines, a line each.
pub fn service(pipelines: &str) -> String {
    let mut text = "extensions:
  health_check: {endpoint: '127.0.0.1:{health}'}
service:
  extensions: [health_check]
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
"
    .to_owned();
    for line in pipelines.lines() {
        text.push_str("    ");
        text.push_str(line.trim());
        text.push('\n');
    }
    text
}

/// What a gateway has booked for an exporter: sent, and failed.
pub async fn booked(gateway: &Gateway, exporter: &str) -> (u64, u64) {
    let page = gateway.metrics().await;
    let own = format!("exporter=\"{exporter}\"");
    let sum = |name: &str| {
        let lines = page
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(&own));
        let number = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        lines.map(number).sum::<f64>() as u64
    };
    (
        sum("otelcol_exporter_sent_log_records"),
        sum("otelcol_exporter_send_failed_log_records"),
    )
}
