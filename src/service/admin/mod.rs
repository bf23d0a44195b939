//! `service::admin`: a listener for those who run the gateway. Off unless it is configured.
//!
//! It tells what the gateway knows ([`calls`]) and takes a few orders; each order is audited: one line in the log of
//! target `weir::audit`, and a count. Who may ask: whoever reaches a loopback address or the unix socket (0600), and who
//! shows the token where there is a file with one. An address that others reach is refused without. Browsers are turned
//! away, so that no page of a stranger can ask through its reader.

mod calls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use component::audit::{Actor, Attempt, Audit};
use component::{Fault, Health};
use config::{Diag, Diags, Section};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use net::server::{self, Body, BoxFuture, Incoming, Peer, Server, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::Telemetry;
use tracing::info;

use super::audit::{Trail, admin_call};
use super::journals::Named;

pub use calls::{Answer, DISCARD, JOURNAL, LEDGER};

/// Of a request's body, which no call reads.
const BODY_MAX: u64 = 1 << 20;
const CONNECTIONS_MAX: usize = 32;
const HEADER_TIME: Duration = Duration::from_secs(10);
const WRITE_TIME: Duration = Duration::from_secs(30);
/// For a whole call; reading in a gateway takes as long as its components take to start.
const CALL_TIME: Duration = Duration::from_secs(120);
const TOKEN_BYTES_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 4096;
const UNIX: &str = "unix://";

/// `service::admin`, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// `127.0.0.1:PORT`, `localhost:PORT`, `unix:///PATH`; another address only with `token_file`. Required.
    pub endpoint: String,
    /// A file with the token that `Authorization: Bearer` must show; read at each call. Default none.
    pub token_file: String,
}

/// Where to listen, and whom to let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where.
    pub at: Address,
    /// The file with the token, if one is asked for.
    pub token_file: Option<String>,
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// A path.
    Unix(String),
}

impl Address {
    /// `host:port`, `http://host:port` or `unix:///path`. Errors: what is wrong, in words.
    pub fn parse(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return match path.starts_with('/') {
                true => Ok(Address::Unix(path.to_owned())),
                false => {
                    Err("a unix socket is written unix:///path, with the path from the root on".to_owned())
                }
            };
        }
        let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err("write host:port, such as 127.0.0.1:8889, or unix:///path".to_owned());
        }
        Ok(Address::Tcp(text.to_owned()))
    }

    /// Only processes of this machine reach it.
    fn is_local(&self) -> bool {
        match self {
            Address::Unix(_) => true,
            Address::Tcp(text) => is_loopback(text),
        }
    }
}

/// `host:port` of this machine alone.
fn is_loopback(text: &str) -> bool {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

impl Settings {
    /// Reads and checks the section; opens nothing. Errors: all faults.
    pub fn read(section: Section) -> Result<Settings, Diags> {
        let keys: Keys = section.clone().parse()?;
        let mut faults: Vec<Diag> = Vec::new();
        let at = Address::parse(&keys.endpoint).unwrap_or_else(|message| {
            faults.push(section.diag("endpoint", message));
            Address::Unix(String::new())
        });
        if faults.is_empty() && !at.is_local() && keys.token_file.is_empty() {
            let message = format!(
                "{} is reached by other machines, and nobody is asked who they are",
                keys.endpoint
            );
            let help = "add token_file: a file with a token, or listen on 127.0.0.1:PORT or unix:///path";
            faults.push(section.diag("endpoint", message).with_help(help));
        }
        Diags::check(faults)?;
        Ok(Settings {
            at,
            token_file: Some(keys.token_file).filter(|path| !path.is_empty()),
        })
    }

    /// The token, trimmed. Errors: in words, without anything of it.
    pub fn token(&self) -> Result<Option<Vec<u8>>, String> {
        self.token_file.as_deref().map(read_token).transpose()
    }
}

/// A token from its file. Errors: in words, without anything of it.
pub fn read_token(path: &str) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX as u64 + 1).read_to_end(&mut text))
        .map_err(|e| format!("token_file {path}: {e}"))?;
    let token = text.trim_ascii();
    match token.len() {
        TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX => Ok(token.to_vec()),
        len => Err(format!(
            "token_file {path}: a token has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} bytes, this one {len}"
        )),
    }
}

/// What the admin listener may see and do.
pub(super) trait Gateway: Send + Sync {
    /// The books and the metrics.
    fn telemetry(&self) -> &Telemetry;
    /// All pipelines run.
    fn is_ready(&self) -> bool;
    /// As `weir plan` prints it.
    fn plan(&self) -> String;
    /// How every component is.
    fn health(&self) -> Health;
    /// The journals of all storages.
    fn journals(&self) -> Vec<Named>;
    /// JSON, every default filled in, secrets covered.
    fn configuration(&self) -> String;
    /// Where orders are recorded.
    fn trail(&self) -> Option<&Trail> {
        None
    }
    /// Reads the configuration again and applies it. What changed, or what is wrong, in words.
    fn reload(&self) -> component::BoxFuture<'_, Result<String, String>>;
}

/// The listener at work.
pub struct Listener {
    server: Server,
}

impl Listener {
    /// Binds and serves.
    pub(super) async fn start(settings: &Settings, gateway: Arc<dyn Gateway>) -> Result<Listener, Fault> {
        let fault = |text: String| Fault::World(format!("service::admin: {text}"));
        // A token that cannot be read now would lock everybody out, and nobody would hear why.
        settings.token().map_err(fault)?;
        let (endpoint, transport) = match &settings.at {
            Address::Tcp(text) => (text, Transport::Tcp),
            Address::Unix(path) => (path, Transport::Unix),
        };
        let limits = server::Settings {
            transport,
            unix_mode: Some(0o600),
            connections_max: CONNECTIONS_MAX,
            header_timeout: HEADER_TIME,
            write_timeout: WRITE_TIME,
            ..server::Settings::default()
        };
        let admin = Arc::new(Admin {
            settings: settings.clone(),
            gateway,
        });
        let server = Server::bind(endpoint, limits, admin)
            .await
            .map_err(|e| fault(format!("cannot listen on {endpoint}: {e}")))?;
        match &settings.at {
            Address::Tcp(_) => info!(endpoint = %server.local_addr(), "admin listener is open"),
            Address::Unix(path) => info!(endpoint = path.as_str(), "admin listener is open"),
        }
        Ok(Listener { server })
    }

    /// Where it listens; unspecified for a unix socket.
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.server.local_addr()
    }

    /// Finishes what is being answered, and closes.
    pub async fn stop(self) {
        self.server.stop(Duration::from_secs(1)).await;
    }
}

struct Admin {
    settings: Settings,
    gateway: Arc<dyn Gateway>,
}

/// Who asks, for the audit: in words, and as the trail has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Caller(String, Actor);

/// Why not, for the metric and for who asked.
struct NotLetIn(&'static str, StatusCode, &'static str);

impl Admin {
    /// Who it is, or why it is not let in.
    fn admit(&self, headers: &HeaderMap, uri: &Uri, peer: &Peer) -> Result<Caller, NotLetIn> {
        // Browsers say where a request comes from; tools do not.
        if headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site") {
            return Err(NotLetIn(
                "browser",
                StatusCode::FORBIDDEN,
                "no requests from web pages",
            ));
        }
        // A name of somebody else's that was made to lead here.
        if let Address::Tcp(at) = &self.settings.at
            && is_loopback(at)
        {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            let host = host.or(uri.authority().map(Authority::as_str));
            if !host.is_some_and(|host| is_loopback(host) || is_loopback(&format!("{host}:"))) {
                let text = "the Host header names another machine than this";
                return Err(NotLetIn("host", StatusCode::FORBIDDEN, text));
            }
        }
        let (mut who, mut actor) = match (peer.addr, peer.uid) {
            (Some(addr), _) => (addr.to_string(), Actor::new("client", addr.ip().to_string())),
            (None, Some(uid)) => (format!("uid {uid}"), Actor::new("os_user", format!("uid:{uid}"))),
            (None, None) => ("unix socket".to_owned(), Actor::new("client", "unix")),
        };
        let wanted = match self.settings.token() {
            Ok(wanted) => wanted,
            Err(text) => {
                tracing::error!(error = text.as_str(), "the admin listener lets nobody in");
                let text = "the token of this gateway cannot be read: see its log";
                return Err(NotLetIn("no_token", StatusCode::INTERNAL_SERVER_ERROR, text));
            }
        };
        if let Some(wanted) = wanted {
            let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
            // Of digests, so that not even the length of the token is told by the time it takes.
            let wanted = digest(&SHA256, &wanted);
            let shown = digest(&SHA256, shown.and_then(bearer).unwrap_or_default());
            if verify_slices_are_equal(wanted.as_ref(), shown.as_ref()).is_err() {
                let text = "show the gateway's token: Authorization: Bearer ...";
                return Err(NotLetIn("token", StatusCode::UNAUTHORIZED, text));
            }
            let fingerprint: String = wanted.as_ref()[..4].iter().map(|b| format!("{b:02x}")).collect();
            who.push_str(&format!(", token {fingerprint}"));
            actor = Actor::new("token", fingerprint);
        }
        Ok(Caller(who, actor))
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let refused = |reason: &str| {
            let labels = vec![("reason", reason.to_owned())];
            let metrics = &self.gateway.telemetry().metrics;
            metrics.counter("weir_admin_refused", labels).add(1);
        };
        let caller = match self.admit(request.headers(), request.uri(), &peer) {
            Ok(caller) => caller,
            Err(NotLetIn(reason, status, text)) => {
                refused(reason);
                if let Some(trail) = self.gateway.trail() {
                    let attempt = Attempt {
                        object: "admin",
                        transport: "http",
                        authenticator: "service::admin",
                        scheme: component::guard::scheme(request.headers()),
                        client: peer.addr.map(|addr| addr.ip()),
                    };
                    trail.denied(&attempt, reason);
                }
                return Answer::text(status, text);
            }
        };
        if http_body::Body::size_hint(request.body()).lower() > BODY_MAX {
            refused("body");
            return Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "no call has a body");
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        // A task of its own: an order that has begun is carried out and audited, though its caller goes.
        let admin = self.clone();
        let work = tokio::spawn(async move { admin.carry_out(caller, method, uri).await });
        match tokio::time::timeout(CALL_TIME, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "this failed: see the log"),
            Err(_) => Answer::text(
                StatusCode::GATEWAY_TIMEOUT,
                "this takes long and goes on: see the log",
            ),
        }
    }

    async fn carry_out(&self, caller: Caller, method: Method, uri: Uri) -> Answer {
        let query = uri.query().unwrap_or_default();
        let trail = self.gateway.trail();
        if method == Method::POST && trail.is_some_and(Trail::is_full) {
            let text = "orders are refused while the audit trail is full: see the log";
            return Answer::text(StatusCode::SERVICE_UNAVAILABLE, text);
        }
        let answer = calls::call(&*self.gateway, &method, uri.path(), query).await;
        if let Some(order) = answer.order {
            let labels = vec![
                ("call", order.to_owned()),
                ("outcome", answer.status.as_u16().to_string()),
            ];
            let metrics = &self.gateway.telemetry().metrics;
            metrics.counter("weir_admin_orders", labels).add(1);
            if let Some(trail) = trail {
                let status = answer.status.as_u16();
                let act = admin_call(caller.1, order, &answer.arguments, status);
                trail.tell(act);
            }
            info!(
                target: telemetry::logs::AUDIT,
                caller = caller.0.as_str(),
                call = order,
                arguments = answer.arguments.as_str(),
                status = answer.status.as_u16(),
                outcome = answer.outcome.as_str(),
                "admin order"
            );
        }
        answer
    }
}

/// What stands behind `Bearer `.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

impl server::Service for Admin {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> BoxFuture<Response<Body>> {
        Box::pin(async move {
            let is_head = request.method() == Method::HEAD;
            let answer = self.answer(request, peer).await;
            let mut response = Response::new(match is_head {
                true => Body::empty(),
                false => Body::from(answer.body),
            });
            *response.status_mut() = answer.status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.kind));
            headers.insert("cache-control", HeaderValue::from_static("no-store"));
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
            if answer.status == StatusCode::UNAUTHORIZED {
                headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
            }
            response
        })
    }
}

#[cfg(test)]
mod tests;
