//! Extension `health_check`: answers probes with 200 while all pipelines run, else with 503.
//!
//! 503 before the service is ready and as soon as it begins to stop, so that a balancer looks elsewhere while what is
//! in flight is finished. Any method; a path that ends in `/` stands for all below it, as in the collector. Keys,
//! defaults and bodies are those of contrib's `health_check` (its version 1).

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

/// `health_check`.
pub static FACTORY: ExtensionFactory = ExtensionFactory {
    kind: "health_check",
    aliases: &[],
    keys: &[Shape::of::<HttpServerConfig>(), Shape::of::<Config>()],
    stability: Stability::Alpha,
    build: |section, cx| Ok(Arc::new(HealthCheck::new(section, cx)?)),
};

/// `health_check`: what it answers. Where it listens are the keys of an HTTP server, endpoint `localhost:13133`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Default `/`.
    pub path: String,
    /// Bodies as they are sent; absent: JSON with status, start and uptime.
    #[serde(deserialize_with = "Optional::none_by_default")]
    pub response_body: Optional<ResponseBody>,
    /// Accepted, without effect, as in the collector.
    pub check_collector_pipeline: CheckPipeline,
    /// Version 2 of the extension; not supported yet.
    pub use_v2: bool,
}

/// Bodies of the answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseBody {
    /// With 200.
    pub healthy: String,
    /// With 503.
    pub unhealthy: String,
}

/// Without effect.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckPipeline {
    /// Default false.
    pub enabled: bool,
    /// Default `5m`.
    pub interval: String,
    /// Default 5.
    pub exporter_failure_threshold: u64,
}

struct HealthCheck {
    id: String,
    net: HttpServerConfig,
    probe: Arc<Probe>,
    server: Mutex<Option<Server>>,
}

/// What a request needs.
struct Probe {
    config: Config,
    ready: AtomicBool,
    /// When the service became ready for the first time.
    since: OnceLock<(Instant, SystemTime)>,
}

impl HealthCheck {
    fn new(mut section: Section, cx: &BuildContext) -> Result<HealthCheck, Fault> {
        section.default_to("endpoint", "localhost:13133")?;
        let net: HttpServerConfig = section.take()?;
        if let Some((key, message)) = net.faults().into_iter().next() {
            return Err(section.fault(&key, message).into());
        }
        if net.auth.is_on() || !net.middlewares.is_empty() {
            return Err(section.fault("auth", "not supported yet").into());
        }
        let config: Config = section.parse_valid()?;
        Ok(HealthCheck {
            id: cx.id.to_string(),
            probe: Arc::new(Probe {
                config,
                ready: AtomicBool::new(false),
                since: OnceLock::new(),
            }),
            net,
            server: Mutex::new(None),
        })
    }

    fn set(&self, ready: bool) {
        if self.probe.ready.swap(ready, Ordering::AcqRel) != ready {
            let status = if ready { "ready" } else { "unavailable" };
            info!(component = %self.id, status, "Health Check state change");
        }
    }
}

impl Extension for HealthCheck {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async {
            let endpoint = &self.net.endpoint;
            let settings = self.net.settings().map_err(|e| Fault::World(e.to_string()))?;
            let server = Server::bind(endpoint, settings, self.net.fronted(self.probe.clone()))
                .await
                .map_err(|e| Fault::World(format!("failed to bind to address {endpoint}: {e}")))?;
            info!(component = %self.id, endpoint = %server.local_addr(), "Starting health_check extension");
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
    fn call(self: Arc<Self>, request: Request<Incoming>, _: Peer) -> Owned<Response<Body>> {
        let response = self.answer(request.uri().path());
        Box::pin(std::future::ready(response))
    }
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
        if self.use_v2 {
            faults.push((
                "use_v2".into(),
                "version 2 of health_check is not supported yet".into(),
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

    component::component_tests!(FACTORY, "endpoint: localhost:0");

    fn build(yaml: &str) -> HealthCheck {
        HealthCheck::new(section(yaml), &context("health_check")).unwrap_or_else(|fault| panic!("{fault}"))
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
            let told = faults((FACTORY.build)(section(yaml), &context("health_check")));
            assert!(told.contains(expected), "{told}");
        }
        check("path: health", "path must start with /");
        check("use_v2: true", "not supported yet");
        check("endpoint: localhost", "endpoint");
        check("auth: {authenticator: x}", "not supported yet");
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
