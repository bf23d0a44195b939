//! Version 2 of `health_check`: how the whole, each pipeline and each component is, over HTTP and gRPC.
//!
//! `/status` answers 200 or 500 by what the components last reported, 503 before the service is ready and while it
//! stops; `?pipeline=` asks for one pipeline, `?verbose` for all below. `/config` shows the effective configuration,
//! with secrets covered, unlike the collector's. gRPC has `grpc.health.v1.Health/Check`; `Watch` is not offered.
//! Keys are contrib's.

use std::time::SystemTime;

use codec::time::Civil;
use component::prelude::*;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use net::grpc::{self, Status as GrpcStatus};
use net::server::{Body, BoxFuture as Owned, Incoming, Peer, Server, Service};
use net::{GrpcServerConfig, HttpServerConfig};
use parking_lot::Mutex;
use prost::Message;
use serde_json::{Map, Value, json};
use tracing::info;

use super::{Config, JSON, STOP_GRACE, TEXT, not_admitted};

/// `component_health`: which errors count.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ComponentHealth {
    /// Errors that will not go away by themselves. Default false.
    pub include_permanent_errors: bool,
    /// Errors that last longer than `recovery_duration`. Default false.
    pub include_recoverable_errors: bool,
    /// Default `1m`.
    pub recovery_duration: Duration,
}

impl Default for ComponentHealth {
    fn default() -> ComponentHealth {
        ComponentHealth {
            include_permanent_errors: false,
            include_recoverable_errors: false,
            recovery_duration: Duration(std::time::Duration::from_secs(60)),
        }
    }
}

/// Beside the server's keys.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Pages {
    /// On at `/status`.
    status: Page,
    /// Off; at `/config`.
    config: Page,
}

/// A page and where it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Page {
    enabled: Option<bool>,
    path: Option<String>,
}

#[allow(clippy::derivable_impls, reason = "every default stands in one place")]
impl Default for Pages {
    fn default() -> Pages {
        Pages {
            status: Page::default(),
            config: Page::default(),
        }
    }
}

impl Page {
    /// The path, if the page is on.
    fn path(&self, enabled: bool, path: &str) -> Option<String> {
        let path = self.path.clone().unwrap_or_else(|| path.to_owned());
        self.enabled.unwrap_or(enabled).then_some(path)
    }
}

/// The extension.
pub(super) struct HealthCheck {
    cx: BuildContext,
    http: Option<(HttpServerConfig, Pages)>,
    grpc: Option<GrpcServerConfig>,
    board: Arc<Board>,
    servers: tokio::sync::Mutex<Vec<Server>>,
}

/// What is known.
struct Board {
    rules: Option<ComponentHealth>,
    start: SystemTime,
    phase: Mutex<(Phase, SystemTime)>,
    host: Mutex<Option<Arc<dyn Host>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

impl HealthCheck {
    pub(super) fn new(config: Config, cx: &BuildContext) -> Result<HealthCheck, Fault> {
        let http = config.http.into_option().map(|mut section| {
            section.default_to("endpoint", "localhost:13133")?;
            let net: HttpServerConfig = section.take()?;
            section.check(&net)?;
            Ok::<_, Fault>((net, section.parse()?))
        });
        let grpc = config.grpc.into_option().map(|mut section| {
            section.default_to("endpoint", "localhost:13132")?;
            Ok::<GrpcServerConfig, Fault>(section.parse_valid()?)
        });
        Ok(HealthCheck {
            cx: cx.clone(),
            http: http.transpose()?,
            grpc: grpc.transpose()?,
            board: Arc::new(Board {
                rules: config.component_health.into_option(),
                start: SystemTime::now(),
                phase: Mutex::new((Phase::Starting, SystemTime::now())),
                host: Mutex::default(),
            }),
            servers: tokio::sync::Mutex::default(),
        })
    }

    async fn open(&self, host: Arc<dyn Host>) -> Result<Vec<Server>, String> {
        let mut servers = Vec::new();
        if let Some((net, pages)) = &self.http {
            let guard = Guard::new(&self.cx, &*host, "http", &net.auth, &net.middlewares);
            let service = Arc::new(Http {
                board: self.board.clone(),
                guard: guard.map_err(|e| e.to_string())?.of("extension"),
                status: pages.status.path(true, "/status"),
                config: pages.config.path(false, "/config"),
            });
            let settings = net.settings().map_err(|e| e.to_string())?;
            servers.push(
                self.serve(&*host, &net.endpoint, settings, net.fronted(service))
                    .await?,
            );
        }
        if let Some(net) = &self.grpc {
            let guard = Guard::new(&self.cx, &*host, "grpc", &net.auth, &net.middlewares);
            let service = Arc::new(Grpc {
                board: self.board.clone(),
                guard: guard.map_err(|e| e.to_string())?.of("extension"),
            });
            let settings = net.settings().map_err(|e| e.to_string())?;
            servers.push(self.serve(&*host, &net.endpoint, settings, service).await?);
        }
        *self.board.host.lock() = Some(host);
        Ok(servers)
    }

    async fn serve(
        &self,
        host: &dyn Host,
        endpoint: &str,
        settings: net::server::Settings,
        service: Arc<dyn Service>,
    ) -> Result<Server, String> {
        let owner = format!("extension:{}", self.cx.id);
        let listener = host.listen(&owner, endpoint, settings.transport).await;
        let server = listener.and_then(|listener| Server::serve(&listener, settings, service));
        server.map_err(|e| format!("failed to bind to address {endpoint}: {e}"))
    }
}

impl Extension for HealthCheck {
    fn start<'a>(&'a self, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let servers = self.open(host).await.map_err(Fault::World)?;
            for server in &servers {
                info!(component = %self.cx.id, endpoint = %server.local_addr(), "Starting health check extension V2");
            }
            *self.servers.lock().await = servers;
            Ok(())
        })
    }

    fn notify(&self, event: Event) {
        let phase = match event {
            Event::Ready => Phase::Running,
            Event::NotReady => Phase::Stopping,
        };
        *self.board.phase.lock() = (phase, SystemTime::now());
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            for server in std::mem::take(&mut *self.servers.lock().await) {
                server.stop(STOP_GRACE).await;
            }
            self.board.host.lock().take();
        })
    }
}

// --- What is told ---

/// How a component, a pipeline or the whole is.
#[derive(Clone, Debug, PartialEq)]
struct State {
    /// As the collector names it.
    name: &'static str,
    error: String,
    since: SystemTime,
    code: StatusCode,
    /// The worse, the higher.
    rank: u8,
    parts: Vec<(String, State)>,
}

impl Board {
    /// How the whole is, or one pipeline; none if there is no such pipeline.
    fn state(&self, scope: &str) -> Option<State> {
        let health = self
            .host
            .lock()
            .as_ref()
            .map(|host| host.health())
            .unwrap_or_default();
        let now = SystemTime::now();
        let of = |members: &[(String, Reported)]| {
            let parts = members
                .iter()
                .map(|(name, how)| (name.clone(), self.judge(how, now)));
            self.sum(parts.collect())
        };
        if !scope.is_empty() {
            let found = health.pipelines.iter().find(|(id, _)| id == scope);
            let members = match found {
                Some((_, members)) => members,
                None if scope == "extensions" => &health.extensions,
                None => return None,
            };
            return Some(self.phased(of(members)));
        }
        let pipelines = health.pipelines.iter();
        let parts = pipelines.map(|(id, members)| (format!("pipeline:{id}"), of(members)));
        let extensions = [("extensions".to_owned(), of(&health.extensions))];
        Some(self.phased(self.sum(extensions.into_iter().chain(parts).collect())))
    }

    fn judge(&self, reported: &Reported, now: SystemTime) -> State {
        let rules = self.rules.clone().unwrap_or_default();
        let age = now.duration_since(reported.since).unwrap_or_default();
        let lasts = rules.include_recoverable_errors && age >= rules.recovery_duration.0;
        let (name, rank, error, is_bad) = match &reported.status {
            Status::Ok => ("StatusOK", 0, "", false),
            Status::Recoverable(why) => ("StatusRecoverableError", 1, why.as_str(), lasts),
            Status::Permanent(why) => {
                let is_bad = rules.include_permanent_errors;
                ("StatusPermanentError", 2, why.as_str(), is_bad)
            }
            Status::Fatal(why) => ("StatusFatalError", 3, why.as_str(), true),
        };
        State {
            name,
            error: error.to_owned(),
            since: reported.since,
            code: match is_bad {
                true => StatusCode::INTERNAL_SERVER_ERROR,
                false => StatusCode::OK,
            },
            rank,
            parts: Vec::new(),
        }
    }

    /// As its worst part; unhealthy if any part is.
    fn sum(&self, parts: Vec<(String, State)>) -> State {
        let worst = parts
            .iter()
            .map(|(_, state)| state)
            .reduce(|a, b| if b.rank > a.rank { b } else { a });
        let code = parts.iter().map(|(_, state)| state.code).max();
        State {
            name: worst.map_or("StatusOK", |w| w.name),
            error: worst.map_or(String::new(), |w| w.error.clone()),
            since: worst.map_or(self.start, |w| w.since),
            code: code.unwrap_or(StatusCode::OK),
            rank: worst.map_or(0, |w| w.rank),
            parts,
        }
    }

    /// Before and after it runs, that is what counts.
    fn phased(&self, state: State) -> State {
        let (phase, since) = *self.phase.lock();
        let name = match phase {
            Phase::Running => return state,
            Phase::Starting => "StatusStarting",
            Phase::Stopping => "StatusStopping",
        };
        State {
            name,
            since,
            error: String::new(),
            code: StatusCode::SERVICE_UNAVAILABLE,
            ..state
        }
    }
}

impl State {
    fn is_healthy(&self) -> bool {
        self.code == StatusCode::OK
    }

    fn json(&self, verbose: bool) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("healthy".into(), json!(self.is_healthy()));
        out.insert("status".into(), json!(self.name));
        if !self.error.is_empty() {
            out.insert("error".into(), json!(self.error));
        }
        out.insert("status_time".into(), json!(time(self.since)));
        if verbose && !self.parts.is_empty() {
            let parts = self.parts.iter();
            let parts = parts.map(|(name, state)| (name.clone(), Value::Object(state.json(verbose))));
            out.insert("components".into(), Value::Object(parts.collect()));
        }
        out
    }
}

fn time(at: SystemTime) -> String {
    Civil::from_system(at).rfc3339().to_string()
}

// --- HTTP ---

struct Http {
    board: Arc<Board>,
    guard: Guard,
    status: Option<String>,
    config: Option<String>,
}

impl Http {
    fn answer(&self, path: &str, query: &str) -> Response<Body> {
        let (code, kind, body) = if self.status.as_deref() == Some(path) {
            self.status(query)
        } else if self.config.as_deref() == Some(path) {
            let shown = self
                .board
                .host
                .lock()
                .as_ref()
                .and_then(|host| host.configuration());
            match shown {
                Some(text) => (StatusCode::OK, JSON, text),
                None => (StatusCode::SERVICE_UNAVAILABLE, TEXT, String::new()),
            }
        } else {
            (StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned())
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = code;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    fn status(&self, query: &str) -> (StatusCode, &'static str, String) {
        let find = |wanted: &str| {
            let mut pairs = query
                .split('&')
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
        };
        // Slashes are all that ids may have escaped.
        let scope = find("pipeline")
            .unwrap_or("")
            .replace("%2F", "/")
            .replace("%2f", "/");
        let verbose = find("verbose").is_some_and(|value| value != "false");
        let Some(state) = self.board.state(&scope) else {
            return (StatusCode::NOT_FOUND, TEXT, String::new());
        };
        let mut body = Map::from_iter([("start_time".to_owned(), json!(time(self.board.start)))]);
        body.extend(state.json(verbose));
        (state.code, JSON, Value::Object(body).to_string())
    }
}

impl Service for Http {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Owned<Response<Body>> {
        Box::pin(async move {
            match not_admitted(Some(&self.guard), &request, &peer).await {
                Some(response) => response,
                None => self.answer(request.uri().path(), request.uri().query().unwrap_or("")),
            }
        })
    }
}

// --- gRPC ---

struct Grpc {
    board: Arc<Board>,
    guard: Guard,
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    /// Empty for the whole, or a pipeline.
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    /// 1 serving, 2 not.
    #[prost(int32, tag = "1")]
    status: i32,
}

const REQUEST_BYTES_MAX: usize = 4096;
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

impl Grpc {
    async fn check(&self, request: Request<Incoming>, peer: Peer) -> Result<Vec<u8>, GrpcStatus> {
        let (head, mut body) = request.into_parts();
        let fault = |code: Code, text: &str| GrpcStatus::new(code, text);
        match head.uri.path() {
            "/grpc.health.v1.Health/Check" => {}
            "/grpc.health.v1.Health/Watch" => {
                return Err(fault(Code::UNIMPLEMENTED, "Watch is not offered: use Check"));
            }
            _ => return Err(fault(Code::UNIMPLEMENTED, "unknown service")),
        }
        let admitted = self.guard.admit(&head.headers, &head.uri, &peer).await;
        admitted.map_err(|unadmitted| unadmitted.status())?;
        let read = grpc::read_unary(&mut body, REQUEST_BYTES_MAX, |_| true);
        let read = tokio::time::timeout(READ_TIMEOUT, read).await;
        let read = read.map_err(|_| fault(Code::DEADLINE_EXCEEDED, "the request took too long to arrive"))?;
        let messages = read.map_err(|e| fault(Code::INVALID_ARGUMENT, &e.to_string()))?;
        let malformed = || fault(Code::INVALID_ARGUMENT, "malformed request");
        let message = messages
            .into_iter()
            .find(|m| !m.compressed)
            .ok_or_else(malformed)?;
        let request = CheckRequest::decode(message.bytes).map_err(|_| malformed())?;
        let state = self.board.state(&request.service);
        let state = state.ok_or_else(|| fault(Code::NOT_FOUND, "unknown service"))?;
        let status = if state.is_healthy() { 1 } else { 2 };
        Ok(CheckResponse { status }.encode_to_vec())
    }
}

impl Service for Grpc {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Owned<Response<Body>> {
        Box::pin(async move {
            match self.check(request, peer).await {
                Ok(message) => grpc::ok(&message),
                Err(status) => grpc::error(&status),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration as StdDuration;

    use component::test_kit::{context, faults, section};
    use net::GrpcClientConfig;
    use net::client::{GrpcClient, HttpClient};

    use super::*;

    /// Says how everything is.
    #[derive(Default)]
    struct Told(Mutex<Health>);

    impl Host for Told {
        fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn Consumer>, Fault> {
            Err(Fault::World(id.to_string()))
        }

        fn extension(&self, id: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
            Err(Fault::World(id.to_string()))
        }

        fn report(&self, _: &str, _: Status) {}

        fn health(&self) -> Health {
            self.0.lock().clone()
        }

        fn configuration(&self) -> Option<String> {
            Some("{}".into())
        }
    }

    fn reported(status: Status, age_s: u64) -> Reported {
        Reported {
            status,
            since: SystemTime::now() - StdDuration::from_secs(age_s),
        }
    }

    /// Two pipelines, one exporter as told.
    fn health(status: Status, age_s: u64) -> Health {
        let ok = |name: &str| (name.to_owned(), reported(Status::Ok, 0));
        Health {
            pipelines: vec![
                (
                    "logs".into(),
                    vec![
                        ok("receiver:otlp"),
                        ("exporter:x".into(), reported(status, age_s)),
                    ],
                ),
                ("traces/a".into(), vec![ok("receiver:otlp")]),
            ],
            extensions: vec![ok("extension:healthcheckv2")],
        }
    }

    async fn start(yaml: &str) -> (Arc<HealthCheck>, Arc<Told>) {
        let config: Config = section(&format!("use_v2: true\n{yaml}")).parse().unwrap();
        let check =
            HealthCheck::new(config, &context("healthcheckv2")).unwrap_or_else(|fault| panic!("{fault}"));
        let host = Arc::new(Told::default());
        *host.0.lock() = health(Status::Ok, 0);
        check.start(host.clone()).await.unwrap();
        (Arc::new(check), host)
    }

    async fn address(check: &HealthCheck) -> String {
        check.servers.lock().await[0].local_addr().to_string()
    }

    async fn get(check: &HealthCheck, path: &str) -> (u16, Value) {
        let client = HttpClient::new(&Default::default(), "test", StdDuration::from_secs(5), false).unwrap();
        let uri = format!("http://{}{path}", address(check).await).parse().unwrap();
        let reply = client.get(&uri, &Default::default(), 1 << 16).await.unwrap();
        let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        (reply.status.as_u16(), body)
    }

    const HTTP: &str = "http: {endpoint: 'localhost:0', config: {enabled: true}}";

    #[tokio::test]
    async fn phases_and_verbosity() {
        let (check, _) = start(HTTP).await;
        let (code, body) = get(&check, "/status").await;
        assert_eq!(
            (code, &body["status"], &body["healthy"]),
            (503, &json!("StatusStarting"), &json!(false))
        );
        check.notify(Event::Ready);
        let (code, body) = get(&check, "/status").await;
        assert_eq!(
            (code, &body["status"], &body["healthy"]),
            (200, &json!("StatusOK"), &json!(true))
        );
        assert!(body.get("components").is_none() && body.get("error").is_none());
        assert!(body["start_time"].as_str().unwrap().starts_with("2"));
        for verbose in ["/status?verbose", "/status?a=b&verbose=true"] {
            let (_, body) = get(&check, verbose).await;
            let logs = &body["components"]["pipeline:logs"];
            assert_eq!(logs["components"]["exporter:x"]["status"], "StatusOK");
            assert!(logs.get("start_time").is_none());
            assert_eq!(
                body["components"]["extensions"]["components"]["extension:healthcheckv2"]["healthy"],
                true
            );
        }
        let (_, body) = get(&check, "/status?verbose=false").await;
        assert!(body.get("components").is_none());
        assert_eq!(get(&check, "/config").await, (200, json!({})));
        assert_eq!(get(&check, "/").await.0, 404);
        check.notify(Event::NotReady);
        let (code, body) = get(&check, "/status?pipeline=logs").await;
        assert_eq!((code, &body["status"]), (503, &json!("StatusStopping")));
        check.stop().await;
        check.stop().await;
    }

    #[tokio::test]
    async fn pipelines_are_asked_for_one_by_one() {
        let (check, host) = start(HTTP).await;
        check.notify(Event::Ready);
        *host.0.lock() = health(Status::Fatal("why".into()), 0);
        for (query, code, status) in [
            ("", 500, "StatusFatalError"),
            ("?pipeline=logs", 500, "StatusFatalError"),
            ("?pipeline=traces/a", 200, "StatusOK"),
            ("?pipeline=traces%2Fa", 200, "StatusOK"),
            ("?pipeline=extensions", 200, "StatusOK"),
        ] {
            let (found, body) = get(&check, &format!("/status{query}")).await;
            assert_eq!((found, &body["status"]), (code, &json!(status)), "{query}");
        }
        assert_eq!(get(&check, "/status").await.1["error"], "why");
        assert_eq!(get(&check, "/status?pipeline=none").await.0, 404);
        check.stop().await;
    }

    #[test]
    fn which_errors_count_is_the_configurations_choice() {
        let permanent = || Status::Permanent("why".into());
        let recoverable = || Status::Recoverable("why".into());
        let check = |rules: &str, status: Status, age_s: u64, code: u16, name: &str| {
            let yaml = format!("use_v2: true\nhttp:\n{rules}");
            let config: Config = section(&yaml).parse().unwrap();
            let check = HealthCheck::new(config, &context("x")).unwrap_or_else(|fault| panic!("{fault}"));
            let host = Told(Mutex::new(health(status, age_s)));
            *check.board.host.lock() = Some(Arc::new(host));
            check.notify(Event::Ready);
            let state = check.board.state("").unwrap();
            assert_eq!((state.code.as_u16(), state.name), (code, name), "{rules} {age_s}");
        };
        check("", permanent(), 1000, 200, "StatusPermanentError");
        check("", recoverable(), 1000, 200, "StatusRecoverableError");
        check("", Status::Fatal("why".into()), 0, 500, "StatusFatalError");
        let both = "component_health: {include_permanent_errors: true, include_recoverable_errors: true, recovery_duration: 5m}";
        check(both, permanent(), 0, 500, "StatusPermanentError");
        check(both, recoverable(), 200, 200, "StatusRecoverableError");
        check(both, recoverable(), 400, 500, "StatusRecoverableError");
        check(
            "component_health:",
            recoverable(),
            400,
            200,
            "StatusRecoverableError",
        );
        check(
            "component_health: {include_recoverable_errors: true}",
            recoverable(),
            61,
            500,
            "StatusRecoverableError",
        );
    }

    #[tokio::test]
    async fn grpc_checks() {
        let (check, host) = start("grpc: {endpoint: 'localhost:0'}").await;
        let mut config = GrpcClientConfig {
            endpoint: address(&check).await,
            ..GrpcClientConfig::default()
        };
        config.tls.insecure = true;
        let client = GrpcClient::new(&config, "test").unwrap();
        let ask = async |method: &'static str, service: &str| {
            let path = http::uri::PathAndQuery::from_static(method);
            let message = CheckRequest {
                service: service.to_owned(),
            };
            let reply = client
                .unary(
                    &path,
                    None,
                    &[message.encode_to_vec().into()],
                    &Context::default(),
                )
                .await;
            match reply {
                Ok(reply) => Ok(CheckResponse::decode(reply.message).unwrap().status),
                Err(net::client::CallError::Status(status)) => Err(status.code.name()),
                Err(other) => panic!("{other}"),
            }
        };
        const CHECK: &str = "/grpc.health.v1.Health/Check";
        assert_eq!(ask(CHECK, "").await, Ok(2));
        check.notify(Event::Ready);
        assert_eq!(ask(CHECK, "").await, Ok(1));
        assert_eq!(ask(CHECK, "logs").await, Ok(1));
        assert_eq!(ask(CHECK, "none").await, Err("NOT_FOUND"));
        *host.0.lock() = health(Status::Fatal("why".into()), 0);
        assert_eq!(ask(CHECK, "logs").await, Ok(2));
        assert_eq!(ask(CHECK, "traces/a").await, Ok(1));
        assert_eq!(
            ask("/grpc.health.v1.Health/Watch", "").await,
            Err("UNIMPLEMENTED")
        );
        assert_eq!(ask("/x.Y/Z", "").await, Err("UNIMPLEMENTED"));
        check.stop().await;
    }

    #[test]
    fn tells_faults() {
        let check = |yaml: &str, expected: &str| {
            let told = faults(super::super::build(section(yaml), &context("healthcheckv2")));
            assert!(told.contains(expected), "{told}");
        };
        check("use_v2: true", "must be configured for at least one protocol");
        check("{use_v2: true, http: {endpoint: x}}", "endpoint");
        check("{use_v2: true, http: {statu: {}}}", "statu");
        check(
            "{use_v2: true, grpc: {max_recv_msg_size_mib: -1}}",
            "max_recv_msg_size_mib",
        );
        check(
            "{use_v2: true, http: {}, component_health: {include_all: true}}",
            "include_all",
        );
    }
}
