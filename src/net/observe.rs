//! Durations and sizes of calls, by the names of OpenTelemetry's conventions: `http.server.*`, `rpc.server.*`,
//! `http.client.*`, `rpc.client.*`.
//!
//! Only counted where they are shown (level `detailed`); below that a server is the service itself and a call is not
//! timed. Labels are bounded: methods, routes and addresses come from us, never from what a client sends, and statuses
//! are numbers that we or a peer of our choosing gave.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response, Uri, Version};
use http_body::Body as _;
use parking_lot::Mutex;
use telemetry::{Histogram, Level, Metrics, Telemetry, names};
use tokio::time::Instant;

use crate::client::{CallError, HttpReply};
use crate::grpc::{self, Code};
use crate::server::{Body, BoxFuture, Incoming, Peer, Service};

type Labels = Vec<(&'static str, String)>;

/// Series that are in use, by what tells them apart.
struct Series<K, V> {
    metrics: Arc<Metrics>,
    known: Mutex<HashMap<K, V>>,
}

/// A peer of our choosing can answer with any status: beyond so many combinations nothing is counted.
const SERIES_MAX: usize = 512;

impl<K: Eq + Hash, V: Clone> Series<K, V> {
    fn new(telemetry: &Telemetry) -> Series<K, V> {
        Series {
            metrics: telemetry.metrics.clone(),
            known: Mutex::default(),
        }
    }

    fn of(&self, key: K, make: impl FnOnce(&Metrics) -> V) -> Option<V> {
        let mut known = self.known.lock();
        if let Some(found) = known.get(&key) {
            return Some(found.clone());
        }
        if known.len() >= SERIES_MAX {
            return None;
        }
        let fresh = make(&self.metrics);
        known.insert(key, fresh.clone());
        Some(fresh)
    }
}

// --- Servers ---

/// Times a service behind a listener. `endpoint` is what it listens on as configured; `routes` are the paths that may
/// be shown, others are left out.
pub fn server(
    service: Arc<dyn Service>,
    telemetry: &Telemetry,
    endpoint: &str,
    routes: Vec<String>,
) -> Arc<dyn Service> {
    if telemetry.level < Level::Detailed {
        return service;
    }
    let (address, port) = endpoint.rsplit_once(':').unwrap_or((endpoint, ""));
    Arc::new(Observed {
        service,
        address: address.trim_matches(['[', ']']).to_owned(),
        port: port.to_owned(),
        routes,
        http: Series::new(telemetry),
        rpc: Series::new(telemetry),
    })
}

struct Observed {
    service: Arc<dyn Service>,
    address: String,
    port: String,
    routes: Vec<String>,
    http: Series<HttpKey, [Histogram; 3]>,
    rpc: Series<(Option<usize>, Code), Histogram>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct HttpKey {
    method: &'static str,
    status: u16,
    version: &'static str,
    is_tls: bool,
    route: Option<usize>,
}

impl Service for Observed {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> BoxFuture<Response<Body>> {
        let start = Instant::now();
        let route = self.routes.iter().position(|route| route == request.uri().path());
        let kind = request.headers().get(CONTENT_TYPE);
        let is_rpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let mut key = HttpKey {
            method: method(request.method()),
            status: 0,
            version: version(request.version()),
            is_tls: peer.tls,
            route,
        };
        let announced = content_length(request.headers());
        let answer = self.service.clone().call(request, peer);
        Box::pin(async move {
            let response = answer.await;
            let seconds = start.elapsed().as_secs_f64();
            if is_rpc {
                // A status in the trailers is OK here: errors are answered in the headers alone.
                let code = grpc::read_status(response.headers()).map_or(Code::OK, |status| status.code);
                if let Some(duration) = self.rpc_series(route, code) {
                    duration.observe(seconds);
                }
                return response;
            }
            key.status = response.status().as_u16();
            if let Some([duration, request_size, response_size]) = self.http_series(key) {
                duration.observe(seconds);
                if let Some(bytes) = announced {
                    request_size.observe(bytes as f64);
                }
                if let Some(bytes) = response.body().size_hint().exact() {
                    response_size.observe(bytes as f64);
                }
            }
            response
        })
    }
}

impl Observed {
    fn rpc_series(&self, route: Option<usize>, code: Code) -> Option<Histogram> {
        let labels = || rpc_labels(route.map_or("_OTHER", |at| self.routes[at].as_str()), code);
        self.rpc.of((route, code), |metrics| {
            metrics.histogram(names::RPC_SERVER_DURATION, labels())
        })
    }

    fn http_series(&self, key: HttpKey) -> Option<[Histogram; 3]> {
        let mut labels: Labels = vec![
            ("http.request.method", key.method.to_owned()),
            ("http.response.status_code", key.status.to_string()),
            ("network.protocol.name", "http".to_owned()),
            ("network.protocol.version", key.version.to_owned()),
            ("server.address", self.address.clone()),
            ("server.port", self.port.clone()),
            ("url.scheme", if key.is_tls { "https" } else { "http" }.to_owned()),
        ];
        if let Some(at) = key.route {
            labels.push(("http.route", self.routes[at].clone()));
        }
        self.http.of(key, |metrics| {
            [
                names::HTTP_SERVER_DURATION,
                names::HTTP_SERVER_REQUEST_SIZE,
                names::HTTP_SERVER_RESPONSE_SIZE,
            ]
            .map(|name| metrics.histogram(name, labels.clone()))
        })
    }
}

/// `method` with or without its leading slash.
fn rpc_labels(method: &str, code: Code) -> Labels {
    let mut labels = vec![
        ("rpc.method", method.trim_start_matches('/').to_owned()),
        ("rpc.response.status_code", code.name().to_owned()),
        ("rpc.system.name", "grpc".to_owned()),
    ];
    if code != Code::OK {
        labels.push(("error.type", code.name().to_owned()));
    }
    labels
}

fn method(method: &Method) -> &'static str {
    let known = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE",
    ];
    known
        .into_iter()
        .find(|name| *name == method.as_str())
        .unwrap_or("_OTHER")
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => "_OTHER",
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

// --- Clients ---

/// Times the calls of one client. Cheap to clone.
#[derive(Clone, Default)]
pub struct Calls(Option<Arc<Known>>);

struct Known {
    rpc: Series<(String, Code), Histogram>,
    http: Series<(String, Option<u16>), [Histogram; 2]>,
}

impl Calls {
    /// Times nothing below the level `detailed`.
    pub fn new(telemetry: &Telemetry) -> Calls {
        let is_shown = telemetry.level == Level::Detailed;
        Calls(is_shown.then(|| {
            Arc::new(Known {
                rpc: Series::new(telemetry),
                http: Series::new(telemetry),
            })
        }))
    }

    /// One call over gRPC; `path` is that of the method. A call without an answer counts as `UNAVAILABLE`.
    pub async fn rpc<T>(
        &self,
        path: &str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let Some(known) = &self.0 else {
            return call.await;
        };
        let start = Instant::now();
        let result = call.await;
        let code = match &result {
            Ok(_) => Code::OK,
            Err(CallError::Status(status)) => status.code,
            Err(CallError::Transport(_)) => Code::UNAVAILABLE,
        };
        let duration = known.rpc.of((path.to_owned(), code), |metrics| {
            metrics.histogram(names::RPC_CLIENT_DURATION, rpc_labels(path, code))
        });
        if let Some(duration) = duration {
            duration.observe(start.elapsed().as_secs_f64());
        }
        result
    }

    /// One POST of so many bytes.
    pub async fn post(
        &self,
        url: &Uri,
        bytes: usize,
        call: impl Future<Output = Result<HttpReply, CallError>>,
    ) -> Result<HttpReply, CallError> {
        let Some(known) = &self.0 else {
            return call.await;
        };
        let start = Instant::now();
        let result = call.await;
        let status = result.as_ref().ok().map(|reply| reply.status.as_u16());
        let key = (url.to_string(), status);
        let series = known.http.of(key, |metrics| {
            let labels = post_labels(url, status);
            [names::HTTP_CLIENT_DURATION, names::HTTP_CLIENT_REQUEST_SIZE]
                .map(|name| metrics.histogram(name, labels.clone()))
        });
        if let Some([duration, size]) = series {
            duration.observe(start.elapsed().as_secs_f64());
            size.observe(bytes as f64);
        }
        result
    }
}

fn post_labels(url: &Uri, status: Option<u16>) -> Labels {
    let mut labels = peer(url);
    labels.extend([
        ("http.request.method", "POST".to_owned()),
        ("network.protocol.name", "http".to_owned()),
        ("url.scheme", url.scheme_str().unwrap_or("http").to_owned()),
    ]);
    match status {
        Some(status) => labels.push(("http.response.status_code", status.to_string())),
        None => labels.push(("error.type", "_OTHER".to_owned())),
    }
    if let Some(status) = status.filter(|status| *status >= 400) {
        labels.push(("error.type", status.to_string()));
    }
    labels
}

/// `server.address` and `server.port` of a URL.
pub fn peer(url: &Uri) -> Labels {
    let port = url.port_u16().unwrap_or(match url.scheme_str() {
        Some("https") => 443,
        _ => 80,
    });
    vec![
        ("server.address", url.host().unwrap_or_default().to_owned()),
        ("server.port", port.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use telemetry::metrics::Reading;

    use super::*;
    use crate::grpc::Status;

    fn detailed() -> Telemetry {
        Telemetry {
            level: Level::Detailed,
            ..Telemetry::default()
        }
    }

    /// Name, labels and number of observations of every series.
    fn shown(telemetry: &Telemetry) -> Vec<String> {
        let mut all = Vec::new();
        for family in telemetry.metrics.read() {
            for (mut labels, reading) in family.series {
                labels.sort();
                let Reading::Histogram { counts, .. } = reading else {
                    panic!("{} is no histogram", family.name)
                };
                let labels: Vec<String> = labels.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
                let count: u64 = counts.iter().sum();
                all.push(format!("{} {{{}}} {count}", family.name, labels.join(",")));
            }
        }
        all
    }

    #[tokio::test]
    async fn calls_are_timed_by_method_and_code() {
        let telemetry = detailed();
        let calls = Calls::new(&telemetry);
        let path = "/a.b.LogsService/Export";
        let status = || CallError::Status(Status::new(Code::RESOURCE_EXHAUSTED, "x"));
        for _ in 0..2 {
            calls.rpc(path, async { Ok(()) }).await.unwrap();
        }
        calls
            .rpc(path, async { Err::<(), _>(status()) })
            .await
            .unwrap_err();
        let gone = async { Err::<(), _>(CallError::Transport("gone".into())) };
        calls.rpc(path, gone).await.unwrap_err();
        let method = "rpc.method=a.b.LogsService/Export";
        assert_eq!(
            shown(&telemetry),
            [
                format!(
                    "rpc.client.call.duration {{{method},rpc.response.status_code=OK,rpc.system.name=grpc}} 2"
                ),
                format!(
                    "rpc.client.call.duration {{error.type=RESOURCE_EXHAUSTED,{method},\
                     rpc.response.status_code=RESOURCE_EXHAUSTED,rpc.system.name=grpc}} 1"
                ),
                format!(
                    "rpc.client.call.duration {{error.type=UNAVAILABLE,{method},\
                     rpc.response.status_code=UNAVAILABLE,rpc.system.name=grpc}} 1"
                ),
            ]
        );
    }

    #[tokio::test]
    async fn posts_are_timed_by_peer_and_status() {
        let telemetry = detailed();
        let calls = Calls::new(&telemetry);
        let url: Uri = "https://far/v1/logs?key=secret".parse().unwrap();
        let gone = async { Err(CallError::Transport("gone".into())) };
        calls.post(&url, 100, gone).await.unwrap_err();
        let labels = "{error.type=_OTHER,http.request.method=POST,network.protocol.name=http,server.address=far,\
                      server.port=443,url.scheme=https} 1";
        assert_eq!(
            shown(&telemetry),
            [
                format!("http.client.request.body.size {labels}"),
                format!("http.client.request.duration {labels}"),
            ]
        );
        assert_eq!(post_labels(&url, Some(503)).last().unwrap().1, "503");
        assert_eq!(post_labels(&url, Some(200)).last().unwrap().1, "200");
    }

    #[tokio::test]
    async fn below_detailed_nothing_is_timed() {
        let telemetry = Telemetry::default();
        let calls = Calls::new(&telemetry);
        calls.rpc("/a/b", async { Ok(()) }).await.unwrap();
        assert_eq!(shown(&telemetry), Vec::<String>::new());
    }

    #[test]
    fn what_a_peer_can_vary_is_bounded() {
        let series: Series<usize, usize> = Series::new(&detailed());
        for key in 0..SERIES_MAX {
            assert_eq!(series.of(key, |_| key), Some(key));
        }
        assert_eq!(series.of(SERIES_MAX, |_| 0), None);
        assert_eq!(series.of(7, |_| 0), Some(7));
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), "_OTHER");
        assert_eq!(method(&Method::POST), "POST");
    }
}
