//! A server for tests: answers by path from a table that can be changed, and keeps what it was asked.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use net::server::{Body, BoxFuture, Incoming, Peer, Server, Service, Settings};
use parking_lot::Mutex;

/// A running one.
pub(crate) struct Issuer {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<HashMap<String, (u16, String)>>,
    asked: Mutex<Vec<(String, HeaderMap, Bytes)>>,
}

impl Issuer {
    /// One that answers 404 to everything.
    pub(crate) async fn start() -> Issuer {
        let shared = Arc::new(Shared::default());
        let server = Server::bind("127.0.0.1:0", Settings::default(), shared.clone()).await;
        Issuer {
            server: server.expect("a free port"),
            shared,
        }
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.local_addr())
    }

    /// What a path answers from now on.
    pub(crate) fn answer(&self, path: &str, status: u16, body: &str) {
        let mut answers = self.shared.answers.lock();
        answers.insert(path.to_owned(), (status, body.to_owned()));
    }

    /// Discovery and keys.
    pub(crate) fn publish(&self, keys: &str) {
        let (url, path) = (self.url(), "/.well-known/openid-configuration");
        let found = serde_json::json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        self.answer(path, 200, &found.to_string());
        self.answer("/keys", 200, keys);
    }

    /// What it was asked: path, headers, body.
    pub(crate) fn asked(&self) -> Vec<(String, HeaderMap, Bytes)> {
        self.shared.asked.lock().clone()
    }
}

impl Service for Shared {
    fn call(self: Arc<Self>, request: Request<Incoming>, _: Peer) -> BoxFuture<Response<Body>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            let path = head.uri.path().to_owned();
            let answer = self.answers.lock().get(&path).cloned();
            self.asked.lock().push((path, head.headers, body));
            let (status, body) = answer.unwrap_or((404, String::new()));
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).expect("tests know statuses");
            response
        })
    }
}
