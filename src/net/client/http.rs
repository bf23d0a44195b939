//! HTTP posts and gets, over connections that are kept.
//!
//! What is sent and what is answered; connections are [`super::pool`]'s. A request is sent again on another connection
//! only if the peer certainly saw nothing of it. 307 and 308 are followed on the same host.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
    RETRY_AFTER, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use wire::Context;

use super::cookies::Jar;
use super::pool::{Lease, Origin, Pool, Sender, Settings};
use super::{CallError, Means};
use crate::auth::ClientAuth;
use crate::blocks::{HttpClientConfig, header};
use crate::body::Body;
use crate::proxy::{Proxies, Proxy};

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

/// An answer whose body is read as it comes. Its connection serves nothing else meanwhile, and closes when it is
/// dropped.
pub struct HttpStream {
    /// As sent.
    pub status: StatusCode,
    /// As sent.
    pub headers: HeaderMap,
    body: Incoming,
    _lease: Lease,
}

impl HttpStream {
    /// The next piece of the body, as large as it came; `None` at its end. No time limit: the caller has one.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(CallError::Transport(chain(&error).into()))),
            }
        }
    }
}

/// A client that posts and gets. Cheap to clone; connections close when the last clone is gone.
#[derive(Clone)]
pub struct HttpClient {
    auth: Option<Arc<dyn ClientAuth>>,
    /// In place of the shared ones of their names.
    headers: HeaderMap,
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    headers: HeaderMap,
    agent: HeaderValue,
    timeout: Option<Duration>,
    keeps: bool,
    cookies: Option<Mutex<Jar>>,
}

const REPLY_BYTES_MAX: usize = 64 << 10;
/// Kept for each host unless the config says how many; Go's 2 would make consumers connect all the time.
const IDLE_PER_HOST: usize = 100;
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// As Go's client.
const REDIRECTS_MAX: usize = 10;
/// Connections that turn out to be closed, for one request.
const STALE_MAX: usize = 5;

impl HttpClient {
    /// Reads the certificates if `needs_tls`; connects to nothing. `timeout` counts where the config has none.
    pub fn new(
        config: &HttpClientConfig,
        agent: &str,
        timeout: Duration,
        needs_tls: bool,
    ) -> Result<HttpClient, String> {
        HttpClient::with(config, agent, timeout, needs_tls, Means::default())
    }

    /// The same with names and proxies from elsewhere than this process's surroundings. `proxy_url` outranks the latter.
    pub fn with(
        config: &HttpClientConfig,
        agent: &str,
        timeout: Duration,
        needs_tls: bool,
        mut means: Means,
    ) -> Result<HttpClient, String> {
        if !config.proxy_url.expose().is_empty() {
            let proxy = Proxy::parse(config.proxy_url.expose()).map_err(|e| format!("proxy_url: {e}"))?;
            means.proxies = Proxies::always(proxy);
        }
        let alpn: &[&[u8]] = match config.force_attempt_http2 {
            true => &[b"h2", b"http/1.1"],
            false => &[b"http/1.1"],
        };
        let tls = match needs_tls {
            true => Some(config.tls.reloading(alpn).map_err(|e| e.to_string())?),
            false => None,
        };
        let server_name = match config.tls.server_name_override.as_str() {
            "" => None,
            name => Some(ServerName::try_from(name.to_owned()).map_err(|e| format!("server name: {e}"))?),
        };
        let positive = |n: i64| usize::try_from(n).ok().filter(|n| *n > 0);
        let some = |d: config::Duration| Some(d.0).filter(|d| !d.is_zero());
        let mut headers = HeaderMap::new();
        for (name, value) in config.headers.iter() {
            let (name, value) = header(name, value.expose())?;
            headers.insert(name, value);
        }
        let keeps = !config.disable_keep_alives;
        let shared = Shared {
            pool: Pool::new(Settings {
                keeps,
                idle_max: positive(config.max_idle_conns),
                idle_per_host_max: positive(config.max_idle_conns_per_host).unwrap_or(IDLE_PER_HOST),
                per_host_max: positive(config.max_conns_per_host),
                idle_for: some(config.idle_conn_timeout),
                ping: some(config.http2_read_idle_timeout)
                    .map(|every| (every, some(config.http2_ping_timeout).unwrap_or(PING_TIMEOUT))),
                tls,
                offers_http2: config.force_attempt_http2,
                server_name,
                means,
                agent: agent.to_owned(),
            }),
            headers,
            agent: HeaderValue::from_str(agent).map_err(|_| "invalid user agent")?,
            timeout: Some(config.timeout.map_or(timeout, |t| t.0)).filter(|t| !t.is_zero()),
            keeps,
            cookies: config.cookies.is_on().then(Mutex::default),
        };
        Ok(HttpClient {
            auth: None,
            headers: HeaderMap::new(),
            shared: Arc::new(shared),
        })
    }

    /// Every request says who we are.
    pub fn with_auth(self, auth: Arc<dyn ClientAuth>) -> HttpClient {
        HttpClient {
            auth: Some(auth),
            ..self
        }
    }

    /// The same client, on the same connections, with these headers in place of the configured ones of their names.
    pub fn with_headers(&self, headers: HeaderMap) -> HttpClient {
        HttpClient {
            headers,
            ..self.clone()
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
        self.post_for(uri, content_type, encoding, body, context, REPLY_BYTES_MAX)
            .await
    }

    /// As [`HttpClient::post`], where the answer may be long: it is cut after `answer_bytes_max`.
    pub async fn post_for(
        &self,
        uri: &Uri,
        content_type: &'static str,
        encoding: Option<&'static str>,
        body: Vec<Bytes>,
        context: &Context,
        answer_bytes_max: usize,
    ) -> Result<HttpReply, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(USER_AGENT, self.shared.agent.clone());
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        for (name, value) in self.shared.headers.iter().chain(&self.headers) {
            headers.insert(name, value.clone());
        }
        let outgoing = Outgoing {
            method: Method::POST,
            follows: true,
            uri,
            headers,
            body,
        };
        self.call(outgoing, context, answer_bytes_max, false).await
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
        self.get_with(uri, more, body_bytes_max, true).await
    }

    /// As [`HttpClient::get`], but a redirect is an answer: for callers that judge themselves where to go.
    pub async fn get_here(
        &self,
        uri: &Uri,
        more: &HeaderMap,
        body_bytes_max: usize,
    ) -> Result<HttpReply, CallError> {
        self.get_with(uri, more, body_bytes_max, false).await
    }

    /// One GET whose answer may go on for ever: the client's time limit counts up to its head. `more` as in
    /// [`HttpClient::get`]; no redirect is followed, and no authenticator asked.
    pub async fn open(&self, uri: &Uri, more: &HeaderMap) -> Result<HttpStream, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, self.shared.agent.clone());
        for (name, value) in self.shared.headers.iter().chain(more) {
            headers.insert(name, value.clone());
        }
        let outgoing = Outgoing {
            method: Method::GET,
            follows: false,
            uri,
            headers,
            body: Vec::new(),
        };
        let origin = Origin::of(uri)?;
        let head = self.send(&origin, uri, &outgoing.headers, &outgoing);
        let (lease, response) = match self.shared.timeout {
            None => head.await?,
            Some(limit) => {
                let late = |_| Err(CallError::transport(format!("no answer within {limit:?}")));
                tokio::time::timeout(limit, head).await.unwrap_or_else(late)?
            }
        };
        let (head, body) = response.into_parts();
        Ok(HttpStream {
            status: head.status,
            headers: head.headers,
            body,
            _lease: lease,
        })
    }

    async fn get_with(
        &self,
        uri: &Uri,
        more: &HeaderMap,
        body_bytes_max: usize,
        follows: bool,
    ) -> Result<HttpReply, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, self.shared.agent.clone());
        for (name, value) in self.shared.headers.iter().chain(more) {
            headers.insert(name, value.clone());
        }
        let outgoing = Outgoing {
            method: Method::GET,
            follows,
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
        match self.shared.timeout {
            None => answer.await,
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .unwrap_or_else(|_| Err(CallError::transport(format!("no answer within {limit:?}")))),
        }
    }

    /// Sends, follows, and reads the answer's body: a longer one is cut, or is a fault if `whole`.
    async fn attempt(
        &self,
        outgoing: &Outgoing<'_>,
        context: &Context,
        body_bytes_max: usize,
        whole: bool,
    ) -> Result<HttpReply, CallError> {
        let mut headers = outgoing.headers.clone();
        if let Some(auth) = &self.auth {
            auth.authorize(&mut headers, context)
                .await
                .map_err(CallError::Transport)?;
        }
        let mut uri = outgoing.uri.clone();
        for _ in 0..REDIRECTS_MAX {
            let origin = Origin::of(&uri)?;
            let reply = self
                .hop(&origin, &uri, &headers, outgoing, body_bytes_max, whole)
                .await?;
            match redirected(&origin, &uri, &reply) {
                Some(next) if outgoing.follows => uri = next?,
                _ => return Ok(reply),
            }
        }
        Err(CallError::transport(format!(
            "stopped after {REDIRECTS_MAX} redirects"
        )))
    }

    async fn hop(
        &self,
        origin: &Origin,
        uri: &Uri,
        headers: &HeaderMap,
        outgoing: &Outgoing<'_>,
        body_bytes_max: usize,
        whole: bool,
    ) -> Result<HttpReply, CallError> {
        let shared = &*self.shared;
        let mut headers = headers.clone();
        if let Some(jar) = &shared.cookies {
            jar.lock().add(origin, uri.path(), &mut headers, now_s());
        }
        let (lease, response) = self.send(origin, uri, &headers, outgoing).await?;
        let (head, mut body) = response.into_parts();
        if let Some(jar) = &shared.cookies {
            jar.lock().learn(origin, uri.path(), &head.headers, now_s());
        }
        let mut kept = BytesMut::new();
        let is_whole = loop {
            let Some(frame) = body.frame().await else {
                break true;
            };
            let frame = frame.map_err(|e| CallError::Transport(chain(&e).into()))?;
            if let Ok(data) = frame.into_data() {
                let room = body_bytes_max - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room && whole {
                    return Err(CallError::transport(format!(
                        "the body is longer than {body_bytes_max} bytes"
                    )));
                } else if data.len() >= room && !whole {
                    break body.is_end_stream();
                }
            }
        };
        // A connection with the rest of an answer in it serves nobody.
        if is_whole {
            shared.pool.give_back(origin, lease).await;
        }
        Ok(HttpReply {
            status: head.status,
            headers: head.headers,
            body: kept.freeze(),
        })
    }

    /// Sends on a connection that takes the request.
    async fn send(
        &self,
        origin: &Origin,
        uri: &Uri,
        headers: &HeaderMap,
        outgoing: &Outgoing<'_>,
    ) -> Result<(Lease, Response<Incoming>), CallError> {
        let mut stale = 0;
        loop {
            let lease = self.shared.pool.lease(origin).await;
            let mut lease = lease.map_err(|e| CallError::transport(chain(&*e)))?;
            let request = self.request(&lease, origin, uri, headers, outgoing)?;
            let mut error = match lease.sender.send(request).await {
                Ok(response) => return Ok((lease, response)),
                Err(error) => error,
            };
            let is_unseen = error.take_message().is_some();
            stale += 1;
            if !(is_unseen && lease.used && stale < STALE_MAX) {
                return Err(CallError::Transport(chain(error.error()).into()));
            }
        }
    }

    /// As the connection wants it: HTTP/2 has the host in its URL, a proxy wants to be told all of it.
    fn request(
        &self,
        lease: &Lease,
        origin: &Origin,
        uri: &Uri,
        headers: &HeaderMap,
        outgoing: &Outgoing<'_>,
    ) -> Result<Request<Body>, CallError> {
        let wrong = |e: &dyn std::fmt::Display| CallError::transport(format!("invalid host: {e}"));
        let mut request = Request::new(Body::chunks(outgoing.body.iter().cloned()));
        *request.method_mut() = outgoing.method.clone();
        *request.headers_mut() = headers.clone();
        let headers = request.headers_mut();
        if let Sender::Http2(..) = lease.sender {
            let mut parts = uri.clone().into_parts();
            if let Some(host) = headers.remove(HOST) {
                parts.authority = Some(host.as_bytes().try_into().map_err(|e| wrong(&e))?);
            }
            *request.version_mut() = http::Version::HTTP_2;
            *request.uri_mut() = Uri::from_parts(parts).map_err(|e| wrong(&e))?;
            return Ok(request);
        }
        if !headers.contains_key(HOST) {
            let host = origin.authority();
            headers.insert(HOST, HeaderValue::from_str(&host).map_err(|e| wrong(&e))?);
        }
        if !self.shared.keeps {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        *request.uri_mut() = match &lease.proxy {
            Some(proxy) => {
                if let Some(value) = proxy.authorization() {
                    headers.insert(PROXY_AUTHORIZATION, value);
                }
                uri.clone()
            }
            None => uri
                .path_and_query()
                .cloned()
                .map_or_else(|| Uri::from_static("/"), Uri::from),
        };
        Ok(request)
    }
}

/// Where 307 and 308 send us, if it is where the config sends us too: another host might be anybody's.
fn redirected(origin: &Origin, from: &Uri, reply: &HttpReply) -> Option<Result<Uri, CallError>> {
    if !matches!(
        reply.status,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    ) {
        return None;
    }
    let to = reply.headers.get(LOCATION)?.to_str().ok()?;
    let mut parts = to.parse::<Uri>().ok()?.into_parts();
    if parts.authority.is_none() && !to.starts_with('/') {
        return None;
    }
    let own = from.clone().into_parts();
    parts.scheme = parts.scheme.or(own.scheme);
    parts.authority = parts.authority.or(own.authority);
    let to = Uri::from_parts(parts).ok()?;
    Some(match Origin::of(&to) {
        Ok(next) if next.host == origin.host && (next.tls || !origin.tls) => Ok(to),
        _ => Err(CallError::transport(
            "redirected to another host, or away from https: not followed; change the endpoint",
        )),
    })
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

/// A request, complete but for who we are.
struct Outgoing<'a> {
    method: Method,
    /// Whether redirects are followed, or are answers.
    follows: bool,
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
pub(super) fn http_date(text: &str) -> Option<u64> {
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
