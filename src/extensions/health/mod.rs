//! What `health_check` and `healthcheckv2` are, both with the same keys, as in the collector.
//!
//! With `use_v2` it tells how each component is: [`v2`]. What follows is version 1: it answers probes with 200 while all
//! pipelines run, else with 503.
//!
//! 503 before the service is ready and as soon as it begins to stop, so that a balancer looks elsewhere while what is
//! in flight is finished. Any method; a path that ends in `/` stands for all below it, as in the collector. Keys,
//! defaults and bodies are those of contrib's `health_check`.

mod v2;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration as StdDuration, SystemTime};

use codec::time::Civil;
use component::prelude::*;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use net::HttpServerConfig;
use net::server::{Body, BoxFuture as Owned, Incoming, Peer, Server, Service};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::info;

/// The blocks of keys of either.
pub(crate) const KEYS: &[Shape] = &[Shape::of::<HttpServerConfig>(), Shape::of::<Config>()];

/// Builds one or the other.
pub(crate) fn build(mut section: Section, cx: &BuildContext) -> Result<Arc<dyn Extension>, Fault> {
    section.default_to("endpoint", "localhost:13133")?;
    let net: HttpServerConfig = section.take()?;
    section.check(&net)?;
    let config: Config = section.parse_valid()?;
    Ok(match config.use_v2 {
        true => Arc::new(v2::HealthCheck::new(config, cx)?),
        false => Arc::new(HealthCheck::new(net, config, cx)),
    })
}

/// `health_check`: what it answers. Where it listens are the keys of an HTTP server, endpoint `localhost:13133`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Default `/`.
    pub path: String,
    /// Bodies as they are sent; absent: JSON with status, start and uptime.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub response_body: Optional<ResponseBody>,
    /// Accepted, without effect, as in the collector.
    pub check_collector_pipeline: CheckPipeline,
    /// Version 2, which listens where `http` and `grpc` say and looks at nothing above. Default false.
    pub use_v2: bool,
    /// Version 2 over HTTP: the keys of an HTTP server, endpoint `localhost:13133`, with `status` and `config`.
    pub http: Optional<Section>,
    /// Version 2 over gRPC: the keys of a gRPC server, endpoint `localhost:13132`.
    pub grpc: Optional<Section>,
    /// Version 2: which errors of components make the whole unhealthy; absent: none but fatal ones.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub component_health: Optional<v2::ComponentHealth>,
}

/// Bodies of the answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResponseBody {
    /// With 200.
    pub healthy: String,
    /// With 503.
    pub unhealthy: String,
}

/// Without effect.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CheckPipeline {
    /// Default false.
    pub enabled: bool,
    /// Default `5m`.
    pub interval: String,
    /// Default 5.
    pub exporter_failure_threshold: u64,
}

struct HealthCheck {
    cx: BuildContext,
    net: HttpServerConfig,
    probe: Arc<Probe>,
    server: Mutex<Option<Server>>,
}

/// What a request needs.
struct Probe {
    config: Config,
    guard: OnceLock<Guard>,
    ready: AtomicBool,
    /// When the service became ready for the first time.
    since: OnceLock<(Instant, SystemTime)>,
}

impl HealthCheck {
    fn new(net: HttpServerConfig, config: Config, cx: &BuildContext) -> HealthCheck {
        HealthCheck {
            cx: cx.clone(),
            probe: Arc::new(Probe {
                config,
                guard: OnceLock::new(),
                ready: AtomicBool::new(false),
                since: OnceLock::new(),
            }),
            net,
            server: Mutex::new(None),
        }
    }

    fn set(&self, ready: bool) {
        if self.probe.ready.swap(ready, Ordering::AcqRel) != ready {
            let status = if ready { "ready" } else { "unavailable" };
            info!(component = %self.cx.id, status, "Health Check state change");
        }
    }
}

impl Extension for HealthCheck {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let guard = Guard::new(&self.cx, &*host, "http", &self.net.auth, &self.net.middlewares)?;
            let _ = self.probe.guard.set(guard.of("extension"));
            let endpoint = &self.net.endpoint;
            let settings = self.net.settings().map_err(|e| Fault::World(e.to_string()))?;
            let owner = format!("extension:{}", self.cx.id);
            let server = host
                .listen(&owner, endpoint, settings.transport)
                .await
                .and_then(|l| Server::serve(&l, settings, self.net.fronted(self.probe.clone())))
                .map_err(|e| Fault::World(format!("failed to bind to address {endpoint}: {e}")))?;
            info!(component = %self.cx.id, endpoint = %server.local_addr(), "Starting health_check extension");
            *self.server.lock().await = Some(server);
            Ok(())
        })
    }

    fn notify(&self, event: Event) {
        match event {
            Event::Ready => {
                let now = SystemTime::now();
                self.probe.since.get_or_init(|| (Instant::now(), now));
                self.set(true);
            }
            Event::NotReady => self.set(false),
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.set(false);
            if let Some(server) = self.server.lock().await.take() {
                server.stop(STOP_GRACE).await;
            }
        })
    }
}

/// A probe is answered at once; nothing in flight takes longer.
const STOP_GRACE: StdDuration = StdDuration::from_secs(1);

impl Service for Probe {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Owned<Response<Body>> {
        Box::pin(async move {
            match not_admitted(self.guard.get(), &request, &peer).await {
                Some(response) => response,
                None => self.answer(request.uri().path()),
            }
        })
    }
}

/// The answer to who is not let in.
async fn not_admitted(
    guard: Option<&Guard>,
    request: &Request<Incoming>,
    peer: &Peer,
) -> Option<Response<Body>> {
    let unadmitted = guard?.admit(request.headers(), request.uri(), peer).await.err()?;
    let status = unadmitted.status();
    let code = StatusCode::from_u16(status.code.http_status());
    let mut response = Response::new(Body::from(format!("{}\n", status.message)));
    *response.status_mut() = code.unwrap_or(StatusCode::UNAUTHORIZED);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Some(response)
}

impl Probe {
    fn answer(&self, path: &str) -> Response<Body> {
        let wanted = self.config.path.as_str();
        let found = path == wanted || (wanted.ends_with('/') && path.starts_with(wanted));
        let ready = self.ready.load(Ordering::Acquire);
        let (status, content_type, body) = match (found, self.config.response_body.get()) {
            (false, _) => (StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned()),
            (true, Some(body)) if ready => (StatusCode::OK, TEXT, body.healthy.clone()),
            (true, Some(body)) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, body.unhealthy.clone()),
            (true, None) if ready => (StatusCode::OK, JSON, self.available()),
            (true, None) => (StatusCode::SERVICE_UNAVAILABLE, JSON, UNAVAILABLE.to_owned()),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    fn available(&self) -> String {
        let Some((started, since)) = self.since.get() else {
            return UNAVAILABLE.to_owned();
        };
        let uptime = Duration(started.elapsed());
        let since = Civil::from_system(*since).rfc3339();
        format!("{{\"status\":\"Server available\",\"upSince\":\"{since}\",\"uptime\":\"{uptime}\"}}")
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const UNAVAILABLE: &str = r#"{"status":"Server not available","upSince":"0001-01-01T00:00:00Z","uptime":""}"#;

// --- Config ---

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/".into(),
            response_body: Optional::None,
            check_collector_pipeline: CheckPipeline::default(),
            use_v2: false,
            http: Optional::Default(Section::default()),
            grpc: Optional::Default(Section::default()),
            component_health: Optional::None,
        }
    }
}

impl Default for CheckPipeline {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: "5m".into(),
            exporter_failure_threshold: 5,
        }
    }
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        if !self.path.starts_with('/') {
            faults.push(("path".into(), "path must start with /".into()));
        }
        if self.use_v2 && !self.http.is_on() && !self.grpc.is_on() {
            faults.push((
                "use_v2".into(),
                "healthcheck extension: must be configured for at least one protocol: http or grpc".into(),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use component::test_kit::{Lonely, context, faults, section};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    fn build(yaml: &str) -> HealthCheck {
        let mut section = section(yaml);
        section.default_to("endpoint", "localhost:13133").unwrap();
        let net = section.take().unwrap();
        HealthCheck::new(net, section.parse().unwrap(), &context("health_check"))
    }

    /// Status code, headers and body of one request.
    async fn ask(check: &HealthCheck, method: &str, path: &str) -> (u16, String, String) {
        let addr = check.server.lock().await.as_ref().unwrap().local_addr();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
    }

    #[test]
    fn defaults_match_otelcol() {
        let check = build("{}");
        assert_eq!(check.net.endpoint, "localhost:13133");
        assert_eq!(check.probe.config, Config::default());
        build("check_collector_pipeline: {enabled: true, interval: 1m}\nresponse_body:");
    }

    #[test]
    fn tells_faults() {
        #[track_caller]
        fn check(yaml: &str, expected: &str) {
            let told = faults(super::build(section(yaml), &context("health_check")));
            assert!(told.contains(expected), "{told}");
        }
        check("path: health", "path must start with /");
        check("use_v2: true", "at least one protocol");
        check("endpoint: localhost", "endpoint");
        check("auth: {}", "authenticator must be the id of an extension");
    }

    #[tokio::test]
    async fn unavailable_available_unavailable() {
        let check = build("endpoint: localhost:0\nresponse_headers: {x-a: b}");
        check.start(Arc::new(Lonely::default())).await.unwrap();
        let (code, head, body) = ask(&check, "GET", "/").await;
        assert_eq!((code, body.as_str()), (503, UNAVAILABLE));
        assert!(head.contains("application/json"), "{head}");

        check.notify(Event::Ready);
        let (code, head, body) = ask(&check, "GET", "/any/path?verbose").await;
        assert_eq!(code, 200);
        assert!(head.contains("x-a: b"), "{head}");
        assert!(
            body.starts_with(r#"{"status":"Server available","upSince":"2"#),
            "{body}"
        );
        assert!(body.ends_with("s\"}"), "{body}");
        assert_eq!(ask(&check, "POST", "/").await.0, 200);

        check.notify(Event::NotReady);
        assert_eq!(ask(&check, "GET", "/").await.0, 503);
        check.stop().await;
    }

    #[tokio::test]
    async fn own_path_and_bodies() {
        let check =
            build("endpoint: localhost:0\npath: /live\nresponse_body: {healthy: fine, unhealthy: not fine}");
        check.start(Arc::new(Lonely::default())).await.unwrap();
        let (code, head, body) = ask(&check, "GET", "/live").await;
        assert_eq!((code, body.as_str()), (503, "not fine"));
        assert!(head.contains("text/plain"), "{head}");
        check.notify(Event::Ready);
        assert_eq!(ask(&check, "GET", "/live").await.2, "fine");
        assert_eq!(ask(&check, "GET", "/live/x").await.0, 404);
        assert_eq!(ask(&check, "GET", "/").await.0, 404);
        check.stop().await;
    }

    #[tokio::test]
    async fn a_taken_port_is_a_fault() {
        let first = build("endpoint: 127.0.0.1:0");
        first.start(Arc::new(Lonely::default())).await.unwrap();
        let addr = first.server.lock().await.as_ref().unwrap().local_addr();
        let second = build(&format!("endpoint: {addr}"));
        let fault = second.start(Arc::new(Lonely::default())).await.unwrap_err();
        assert!(
            fault
                .to_string()
                .starts_with(&format!("failed to bind to address {addr}: ")),
            "{fault}"
        );
        first.stop().await;
    }
}
