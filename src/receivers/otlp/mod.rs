//! Receiver `otlp`: OTLP over gRPC, HTTP/1.1 and HTTP/2, protobuf and JSON.
//!
//! In: export requests of the four signals, plain or compressed. Out: payloads of one chunk, validated, with their
//! compressed twin where another hop may have it as it is; JSON becomes protobuf at the door. A client is answered once the pipeline has answered, in a
//! task that its leaving does not cancel. Keys and defaults are otelcol's (v0.159); answers follow the table in
//! ARCHITECTURE.md.

mod answer;
mod door;
mod grpc;
mod http;

use std::time::Duration as StdDuration;

use component::prelude::*;
use config::shape::Beside;
use net::server::Server;
use net::{GrpcServerConfig, HttpServerConfig};
use parking_lot::Mutex;

use door::Door;

/// This receiver type.
pub(crate) static FACTORY: ReceiverFactory = ReceiverFactory {
    kind: "otlp",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Stability::Alpha),
        (Signal::Profiles, Stability::Development),
    ],
    build: |section, cx| Ok(Arc::new(Otlp::build(section, cx)?)),
};

/// What a user writes.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Which protocols are served; at least one.
    protocols: Protocols,
    /// Refuse text that is not UTF-8. Default false, as the collector.
    strict_utf8: bool,
}

#[allow(clippy::derivable_impls, reason = "every default stands in one place")]
impl Default for Config {
    fn default() -> Config {
        Config {
            protocols: Protocols::default(),
            strict_utf8: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Protocols {
    /// configgrpc's server block; `endpoint` is `localhost:4317`.
    #[schemars(with = "Optional<GrpcServerConfig>")]
    grpc: Optional<Section>,
    /// confighttp's server block with [`Paths`] beside it; `endpoint` is `localhost:4318`.
    #[schemars(with = "Optional<Beside<HttpServerConfig, Paths>>")]
    http: Optional<Section>,
}

impl Default for Protocols {
    fn default() -> Protocols {
        Protocols {
            grpc: Optional::Default(Section::default()),
            http: Optional::Default(Section::default()),
        }
    }
}

/// Where each signal is posted to.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Paths {
    /// Default `/v1/traces`.
    traces_url_path: String,
    /// Default `/v1/metrics`.
    metrics_url_path: String,
    /// Default `/v1/logs`.
    logs_url_path: String,
}

impl Default for Paths {
    fn default() -> Paths {
        Paths {
            traces_url_path: "/v1/traces".into(),
            metrics_url_path: "/v1/metrics".into(),
            logs_url_path: "/v1/logs".into(),
        }
    }
}

impl Paths {
    /// The paths alone, each with a leading slash.
    fn settle(&self) -> Vec<(String, Signal)> {
        let path = |text: &str| {
            let after_host = match text.split_once("://") {
                Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
                None => text,
            };
            let path = after_host.split(['?', '#']).next().unwrap_or("");
            format!("/{}", path.trim_start_matches('/'))
        };
        vec![
            (path(&self.traces_url_path), Signal::Traces),
            (path(&self.metrics_url_path), Signal::Metrics),
            (path(&self.logs_url_path), Signal::Logs),
            ("/v1development/profiles".into(), Signal::Profiles),
        ]
    }
}

struct Otlp {
    grpc: Option<GrpcServerConfig>,
    http: Option<(HttpServerConfig, Vec<(String, Signal)>)>,
    limits: wire::Limits,
    cx: BuildContext,
    servers: Mutex<Vec<Server>>,
}

/// How long requests in flight may take when the receiver stops: longer than any caller waits inside.
const STOP_GRACE: StdDuration = StdDuration::from_secs(10);

impl Otlp {
    fn build(section: Section, cx: &BuildContext) -> Result<Otlp, Fault> {
        let config: Config = section.clone().parse()?;
        let grpc = config.protocols.grpc.into_option().map(grpc_config).transpose()?;
        let http = config.protocols.http.into_option().map(http_config).transpose()?;
        if grpc.is_none() && http.is_none() {
            let text = "must specify at least one protocol when using the OTLP receiver";
            return Err(section.fault("", text).into());
        }
        Ok(Otlp {
            grpc,
            http,
            limits: wire::Limits {
                strict_utf8: config.strict_utf8,
                ..wire::Limits::default()
            },
            cx: cx.clone(),
            servers: Mutex::default(),
        })
    }

    fn observed(
        &self,
        service: Arc<dyn net::server::Service>,
        endpoint: &str,
        routes: Vec<String>,
    ) -> Arc<dyn net::server::Service> {
        net::observe::server(service, &self.cx.telemetry, endpoint, routes)
    }

    async fn serve(
        &self,
        host: &dyn Host,
        endpoint: &str,
        settings: net::server::Settings,
        service: Arc<dyn net::server::Service>,
    ) -> std::io::Result<Server> {
        let owner = format!("receiver:{}", self.cx.id);
        let listener = host.listen(&owner, endpoint, settings.transport).await?;
        Server::serve(&listener, settings, service)
    }

    fn door(&self, transport: &'static str, outputs: &Outputs) -> Arc<Door> {
        Arc::new(Door::new(&self.cx, transport, outputs.clone(), self.limits))
    }
}

fn grpc_config(mut section: Section) -> Result<GrpcServerConfig, Fault> {
    section.default_to("endpoint", "localhost:4317")?;
    Ok(section.parse_valid()?)
}

fn http_config(mut section: Section) -> Result<(HttpServerConfig, Vec<(String, Signal)>), Fault> {
    section.default_to("endpoint", "localhost:4318")?;
    let server: HttpServerConfig = section.take()?;
    section.check(&server)?;
    let place = section.clone();
    let paths: Paths = section.parse()?;
    let paths = paths.settle();
    for (i, (path, signal)) in paths.iter().enumerate() {
        if paths[..i].iter().any(|(other, _)| other == path) {
            let key = format!("{}_url_path", signal.as_str());
            return Err(place
                .fault(&key, format!("two signals share the path \"{path}\""))
                .into());
        }
    }
    Ok((server, paths))
}

impl Receiver for Otlp {
    fn start<'a>(&'a self, outputs: Outputs, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let world = |what: String| Fault::World(format!("receiver {}: {what}", self.cx.id));
            let mut servers = Vec::new();
            if let Some(config) = &self.grpc {
                let settings = config.settings().map_err(|e| world(e.to_string()))?;
                let guard = Guard::new(&self.cx, &*host, "grpc", &config.auth, &config.middlewares)
                    .map_err(|e| world(e.to_string()))?;
                let service = grpc::Grpc::new(self.door("grpc", &outputs), guard, config);
                let routes = Signal::ALL.map(|signal| wire::otlp::export_path(signal).to_owned());
                let service = self.observed(Arc::new(service), &config.endpoint, routes.to_vec());
                let server = self.serve(&*host, &config.endpoint, settings, service).await;
                servers.push(server.map_err(|e| world(e.to_string()))?);
            }
            if let Some((config, paths)) = &self.http {
                let settings = config.settings().map_err(|e| world(e.to_string()))?;
                let guard = Guard::new(&self.cx, &*host, "http", &config.auth, &config.middlewares)
                    .map_err(|e| world(e.to_string()))?;
                let service = http::Http::new(self.door("http", &outputs), guard, config, paths.clone());
                let routes = paths.iter().map(|(path, _)| path.clone()).collect();
                let service = self.observed(config.fronted(Arc::new(service)), &config.endpoint, routes);
                let server = self.serve(&*host, &config.endpoint, settings, service).await;
                servers.push(server.map_err(|e| world(e.to_string()))?);
            }
            for server in &servers {
                tracing::info!(receiver = %self.cx.id, address = %server.local_addr(), "listening");
            }
            *self.servers.lock() = servers;
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let servers = std::mem::take(&mut *self.servers.lock());
            let mut stops: Vec<_> = servers.iter().map(|s| Box::pin(s.stop(STOP_GRACE))).collect();
            // All say GOAWAY at once, none waits for another.
            std::future::poll_fn(|cx| {
                stops.retain_mut(|stop| stop.as_mut().poll(cx).is_pending());
                if stops.is_empty() {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
        })
    }
}

#[cfg(test)]
mod tests;
