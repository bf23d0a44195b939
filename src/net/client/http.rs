//! HTTP posts and gets, over connections that are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use wire::Context;

use super::CallError;
use crate::auth::ClientAuth;
use crate::blocks::{HttpClientConfig, header};
use crate::body::Body;

/// An answer of any status.
#[derive(Debug)]
pub struct HttpReply {
    /// As sent.
    pub status: StatusCode,
    /// As sent.
    pub headers: HeaderMap,
    /// After a POST the first 64 KiB of it; after a GET all of it.
    pub body: Bytes,
}

/// A client that posts and gets. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    auth: Option<Arc<dyn ClientAuth>>,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    headers: HeaderMap,
    agent: HeaderValue,
    timeout: Option<Duration>,
}

const REPLY_BYTES_MAX: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_CONNECTIONS: usize = 100;

impl HttpClient {
    /// Reads the certificates if `needs_tls`; connects to nothing. `timeout` counts where the config has none.
    pub fn new(
        config: &HttpClientConfig,
        agent: &str,
        timeout: Duration,
        needs_tls: bool,
    ) -> Result<HttpClient, String> {
        let tls = if needs_tls {
            config.tls.load(&[]).map_err(|e| e.to_string())?
        } else {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|e| e.to_string())?;
            let nobody = builder.with_root_certificates(rustls::RootCertStore::empty());
            Arc::new(nobody.with_no_client_auth())
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(Duration::from_secs(20)));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(Duration::from_secs(20)));
        let mut schemes = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls.as_ref().clone())
            .https_or_http();
        if !config.tls.server_name_override.is_empty() {
            let name = config.tls.server_name_override.clone();
            let name =
                rustls::pki_types::ServerName::try_from(name).map_err(|e| format!("server name: {e}"))?;
            schemes = schemes.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
        }
        let connector = if config.force_attempt_http2 {
            schemes.enable_http1().enable_http2().wrap_connector(tcp)
        } else {
            schemes.enable_http1().wrap_connector(tcp)
        };
        let idle = match usize::try_from(config.max_idle_conns_per_host).unwrap_or(0) {
            _ if config.disable_keep_alives => 0,
            0 => IDLE_CONNECTIONS,
            n => n,
        };
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle)
            .pool_idle_timeout(Some(config.idle_conn_timeout.0).filter(|d| !d.is_zero()))
            .http2_initial_stream_window_size(4 << 20)
            .http2_initial_connection_window_size(16 << 20);
        if !config.http2_read_idle_timeout.0.is_zero() {
            builder.http2_keep_alive_interval(config.http2_read_idle_timeout.0);
            if !config.http2_ping_timeout.0.is_zero() {
                builder.http2_keep_alive_timeout(config.http2_ping_timeout.0);
            }
        }
        let mut headers = HeaderMap::new();
        for (name, value) in config.headers.iter() {
            let (name, value) = header(name, value.expose())?;
            headers.insert(name, value);
        }
        Ok(HttpClient {
            auth: None,
            client: builder.build(connector),
            headers,
            agent: HeaderValue::from_str(agent).map_err(|_| "invalid user agent")?,
            timeout: Some(config.timeout.map_or(timeout, |t| t.0)).filter(|t| !t.is_zero()),
        })
    }

    /// Every request says who we are.
    pub fn with_auth(self, auth: Arc<dyn ClientAuth>) -> HttpClient {
        HttpClient {
            auth: Some(auth),
            ..self
        }
    }

    /// One POST; the whole of it within the time limit. The body's buffers are sent as they are. `context` is what the
    /// authenticator sees of the payload.
    ///
    /// A 401 is followed by a second request if the authenticator has something else to say. Errors:
    /// [`CallError::Transport`] alone; any status is an answer.
    pub async fn post(
        &self,
        uri: &Uri,
        content_type: &'static str,
        encoding: Option<&'static str>,
        body: Vec<Bytes>,
        context: &Context,
    ) -> Result<HttpReply, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(USER_AGENT, self.agent.clone());
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let outgoing = Outgoing {
            method: Method::POST,
            uri,
            headers,
            body,
        };
        self.call(outgoing, context, REPLY_BYTES_MAX, false).await
    }

    /// One GET; the whole of it within the time limit. `more` are headers beside the configured ones, which they
    /// outrank; the body is as it was sent, whatever its content encoding.
    ///
    /// Errors: [`CallError::Transport`] alone, also for a body of more than `body_bytes_max`; any status is an answer.
    pub async fn get(
        &self,
        uri: &Uri,
        more: &HeaderMap,
        body_bytes_max: usize,
    ) -> Result<HttpReply, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, self.agent.clone());
        for (name, value) in self.headers.iter().chain(more) {
            headers.insert(name, value.clone());
        }
        let outgoing = Outgoing {
            method: Method::GET,
            uri,
            headers,
            body: Vec::new(),
        };
        self.call(outgoing, &Context::default(), body_bytes_max, true)
            .await
    }

    /// Sends, twice if the first was answered 401 and the authenticator has something else to say.
    async fn call(
        &self,
        outgoing: Outgoing<'_>,
        context: &Context,
        body_bytes_max: usize,
        whole: bool,
    ) -> Result<HttpReply, CallError> {
        let answer = async {
            let reply = self.attempt(&outgoing, context, body_bytes_max, whole).await?;
            match &self.auth {
                Some(auth) if reply.status == StatusCode::UNAUTHORIZED && auth.refused().await => {
                    self.attempt(&outgoing, context, body_bytes_max, whole).await
                }
                _ => Ok(reply),
            }
        };
        match self.timeout {
            None => answer.await,
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .unwrap_or_else(|_| Err(CallError::transport(format!("no answer within {limit:?}")))),
        }
    }

    /// Sends, and reads the answer's body: a longer one is cut, or is a fault if `whole`.
    async fn attempt(
        &self,
        outgoing: &Outgoing<'_>,
        context: &Context,
        body_bytes_max: usize,
        whole: bool,
    ) -> Result<HttpReply, CallError> {
        let mut request = Request::new(Body::chunks(outgoing.body.iter().cloned()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = outgoing.uri.clone();
        *request.headers_mut() = outgoing.headers.clone();
        if let Some(auth) = &self.auth {
            auth.authorize(request.headers_mut(), context)
                .await
                .map_err(CallError::Transport)?;
        }
        let response = self
            .client
            .request(request)
            .await
            .map_err(|e| CallError::Transport(chain(&e).into()))?;
        let (head, mut body) = response.into_parts();
        let mut kept = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| CallError::Transport(chain(&e).into()))?;
            if let Ok(data) = frame.into_data() {
                let room = body_bytes_max - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room && whole {
                    return Err(CallError::transport(format!(
                        "the body is longer than {body_bytes_max} bytes"
                    )));
                } else if data.len() >= room && !whole {
                    break;
                }
            }
        }
        Ok(HttpReply {
            status: head.status,
            headers: head.headers,
            body: kept.freeze(),
        })
    }
}

/// A request, complete but for who we are.
struct Outgoing<'a> {
    method: Method,
    uri: &'a Uri,
    headers: HeaderMap,
    body: Vec<Bytes>,
}

/// An error with its causes in one line; hyper's own words hide them.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Reads `Retry-After`: whole seconds, or a date that `now_s` (seconds since 1970) is taken from.
pub fn retry_after(headers: &HeaderMap, now_s: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(Duration::from_secs(http_date(text)?.saturating_sub(now_s)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (also with a zone written `UTC`), as seconds since 1970.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|m| *m == name)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|n| n.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !matches!(words.next()?, "GMT" | "UTC") || !(1970..10_000).contains(&year) || !(1..=31).contains(&day)
    {
        return None;
    }
    // Days from a year that begins in March, so that the leap day comes last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_retry_after_as_seconds_or_date() {
        let check = |text: &'static str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(
                retry_after(&headers, 784_111_770),
                expected.map(Duration::from_secs),
                "{text}"
            );
        };
        check("0", Some(0));
        check("120", Some(120));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(7));
        check("Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
        check("Thu, 29 Feb 1996 00:00:00 UTC", Some(825_552_000 - 784_111_770));
        check("soon", None);
        check("-1", None);
        check("Sun, 06 Nov 1994", None);
        check("Sun, 99 Nov 1994 08:49:37 GMT", None);
        check("Sun, 06 Nov 99999999999999999999 08:49:37 GMT", None);
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }
}
