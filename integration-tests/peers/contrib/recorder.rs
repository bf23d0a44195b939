//! A server in the place of Loki and Elasticsearch: takes everything, and keeps it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// Headers that say something of what is sent; those that a configuration adds begin with `x-`.
const HEADERS: [&str; 3] = ["authorization", "content-encoding", "content-type"];
/// Sizes, for whoever stands between.
const SIZES: [&str; 2] = ["x-elastic-event-count", "x-elastic-uncompressed-request-length"];

/// A request as it came.
pub struct Sent {
    pub path: String,
    query: String,
    headers: BTreeMap<String, String>,
    /// Inflated.
    pub body: Vec<u8>,
}

impl Sent {
    /// All but the body.
    pub fn head(&self) -> Value {
        let mut query: Vec<&str> = self.query.split('&').filter(|part| !part.is_empty()).collect();
        query.sort_unstable();
        // the same in other letters
        let query: Vec<String> = query
            .iter()
            .map(|part| part.replace("%2A", "*").replace("%2C", ","))
            .collect();
        json!({ "path": self.path, "query": query, "headers": self.headers })
    }
}

/// A running server. Stops when dropped.
pub struct Recorder {
    pub addr: SocketAddr,
    sent: Arc<Mutex<Vec<Sent>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    pub async fn start() -> Recorder {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let shared = sent.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let sent = shared.clone();
                let service = hyper::service::service_fn(move |request| {
                    let sent = sent.clone();
                    async move { Ok::<_, Infallible>(take(&sent, request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Recorder { addr, sent, task }
    }

    /// What came since the last time.
    pub fn taken(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

async fn take(all: &Mutex<Vec<Sent>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let wire = body.collect().await.expect("a whole body").to_bytes();
    let told = |name: &str| HEADERS.contains(&name) || name.starts_with("x-") && !SIZES.contains(&name);
    let headers: BTreeMap<String, String> = parts
        .headers
        .iter()
        .filter(|(name, _)| told(name.as_str()))
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let body = match headers.get("content-encoding").map(String::as_str) {
        None => wire.to_vec(),
        Some("gzip") => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&wire[..])
                .read_to_end(&mut plain)
                .expect("gzip");
            plain
        }
        Some(other) => panic!("content-encoding {other}"),
    };
    let path = parts.uri.path().to_owned();
    let answer = match path.ends_with("/_bulk") {
        // Elasticsearch says so, or its clients go away.
        true => Response::builder()
            .header("x-elastic-product", "Elasticsearch")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(stored(&body)))),
        false => Response::builder().status(204).body(Full::default()),
    };
    all.lock().unwrap().push(Sent {
        path,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
    });
    answer.unwrap()
}

/// Each of its documents is stored.
fn stored(body: &[u8]) -> String {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let item = json!({"create": {"_index": "i", "status": 201}});
    let items = vec![item; lines.count() / 2];
    json!({"took": 1, "errors": false, "items": items}).to_string()
}
