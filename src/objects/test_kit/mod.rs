//! A store `s3` inside the test's process: versions, locks, conditional writes and digests as Amazon has them, quirks of
//! stores that are less than that, a script of faults, and a role to take on.
//!
//! Objects live in memory, requests are counted and kept. Signatures are not checked, only names: [`WRITER`] may write
//! and hold, and deletes nothing; [`ADMIN`] may delete and bypass GOVERNANCE; nobody else is known. What a test does to
//! a store as somebody else it does as `ADMIN`, through a store of its own.

mod admin;
mod answer;
mod buckets;
pub mod conformance;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use config::{Duration, Secret};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub use self::admin::Administrator;
pub use self::buckets::{Bucket, Quirks};
use crate::blocks::{Auth, S3};

/// A role whose credentials are those of [`WRITER`]: for who says [`EXTERNAL_ID`], or shows [`WEB_TOKEN`].
pub const ROLE: &str = "arn:aws:iam::111122223333:role/writer";
/// What the role wants to hear.
pub const EXTERNAL_ID: &str = "outside";
/// A token that the role believes.
pub const WEB_TOKEN: &str = "web-token";
/// Access key of who writes.
pub const WRITER: &str = "WRITER";
/// Access key of who may delete.
pub const ADMIN: &str = "ADMIN";
/// The larger body is a test's mistake.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The server; gone when dropped.
#[derive(Debug)]
pub struct FakeS3 {
    scheme: &'static str,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    buckets: buckets::Buckets,
    script: Vec<(Method, String, Fault)>,
    requests: Vec<Seen>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `PUT`.
    pub method: Method,
    /// Bucket and key, decoded: `/bucket/key`.
    pub path: String,
    /// As it came.
    pub query: String,
    /// All of them.
    pub headers: HeaderMap,
}

impl Seen {
    /// A header's text, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answered so, and nothing is done: status, code, further headers.
    Answer(u16, &'static str, Vec<(&'static str, String)>),
    /// The connection is closed, and nothing is done.
    Drop,
    /// It is done, and the connection is closed without an answer.
    DoThenDrop,
    /// It is done, and answered with this status and code.
    DoThenAnswer(u16, &'static str),
    /// Nothing is done and nothing is answered.
    Hang,
}

impl FakeS3 {
    /// Listens on loopback; there is no bucket yet.
    pub async fn start() -> FakeS3 {
        Self::serving("http", serve_stream::<TcpStream>).await
    }

    /// The same with TLS, as `localhost`; and its certificate as PEM.
    #[cfg(test)]
    pub(crate) async fn start_tls() -> (FakeS3, String) {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let builder = builder.with_no_client_auth();
                builder.with_single_cert(vec![own.cert.der().clone()], key)
            });
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.expect("a configuration")));
        let fake = Self::serving("https", move |stream, state| {
            let acceptor = acceptor.clone();
            async move {
                // Who does not believe the certificate goes away.
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve_stream(stream, state).await;
                }
            }
        });
        (fake.await, own.cert.pem())
    }

    async fn serving<F, G>(scheme: &'static str, serve: F) -> FakeS3
    where
        F: Fn(TcpStream, Arc<Mutex<State>>) -> G + Send + 'static,
        G: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone()));
            }
        });
        FakeS3 {
            scheme,
            address,
            state,
            accepting,
        }
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}", self.address.port()),
            scheme => format!("{scheme}://{}", self.address),
        }
    }

    /// Adds a bucket.
    pub fn add(&self, name: &str, bucket: Bucket) {
        self.state().buckets.add(name, bucket);
    }

    /// Changes what a bucket is.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Bucket)) {
        change(self.state().buckets.settings(name));
    }

    /// Seconds that its clock is ahead of ours.
    pub fn set_ahead(&self, seconds: i64) {
        self.state().buckets.ahead = seconds;
    }

    /// The next request of this method whose path holds `path` goes this way; what was said first comes first.
    pub fn script(&self, method: Method, path: &str, fault: Fault) {
        self.state().script.push((method, path.to_owned(), fault));
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// The bucket for [`WRITER`].
    pub fn config(&self, bucket: &str) -> S3 {
        self.config_of(bucket, WRITER)
    }

    /// The bucket for somebody.
    pub fn config_of(&self, bucket: &str, access_key: &str) -> S3 {
        S3 {
            bucket: bucket.to_owned(),
            endpoint: self.endpoint(),
            force_path_style: true,
            auth: Auth {
                access_key_id: access_key.to_owned(),
                secret_access_key: Secret::new("secret".to_owned()),
                ..Auth::default()
            },
            timeout: Duration(std::time::Duration::from_secs(30)),
            ..S3::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve_stream<S>(stream: S, state: Arc<Mutex<State>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // As MinIO does, it closes the connection of a write that is not the first, and the next request there meets that.
    let is_spoiled = Arc::new(AtomicBool::new(false));
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, is_spoiled) = (state.clone(), is_spoiled.clone());
        async move {
            if is_spoiled.load(Ordering::Relaxed) {
                return Err(std::io::Error::other("closed after a refusal"));
            }
            let response = serve(state, request).await?;
            is_spoiled.store(response.status() == 412, Ordering::Relaxed);
            Ok(response)
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // An error is a connection that a test wanted closed.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// An error closes the connection.
async fn serve(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = http_body_util::Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(std::io::Error::other)?.to_bytes();
    let path = answer::decoded(head.uri.path());
    let query = head.uri.query().unwrap_or_default().to_owned();
    let fault = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(Seen {
            method: head.method.clone(),
            path: path.clone(),
            query: query.clone(),
            headers: head.headers.clone(),
        });
        let matches =
            |(method, part, _): &(Method, String, Fault)| *method == head.method && path.contains(&**part);
        let found = state.script.iter().position(matches);
        found.map(|n| state.script.remove(n).2)
    };
    let act = || {
        if head.method == Method::POST && path == "/" {
            return answer::role(&String::from_utf8_lossy(&body));
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let call = buckets::Call::of(&head.method, &path, &query, &head.headers, body.clone());
        state.buckets.answer(&call)
    };
    let date = || {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        answer::http_date(state.buckets.now())
    };
    let closed = || Err(std::io::Error::other("closed by the script"));
    let is_head = head.method == Method::HEAD;
    let response = match fault {
        None => act(),
        Some(Fault::Drop) => return closed(),
        Some(Fault::DoThenDrop) => {
            act();
            return closed();
        }
        Some(Fault::DoThenAnswer(status, code)) => {
            act();
            answer::error(status, code, "scripted")
        }
        Some(Fault::Answer(status, code, headers)) => {
            let mut response = answer::error(status, code, "scripted");
            for (name, value) in headers {
                answer::set(&mut response, name, &value);
            }
            response
        }
        Some(Fault::Hang) => match std::future::pending::<Infallible>().await {},
    };
    let mut response = response;
    answer::set(&mut response, "date", &date());
    if is_head {
        *response.body_mut() = Bytes::new();
    }
    Ok(response.map(Full::new))
}
