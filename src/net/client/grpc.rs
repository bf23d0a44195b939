//! Unary gRPC calls over h2.
//!
//! What is sent and what is answered; which connection a call takes is [`super::balance`]'s. Messages go out as the
//! buffers they are in.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use rustls::pki_types::ServerName;
use tokio::time::Instant;
use wire::Context;

use super::balance::{Balancer, Held, Ping, Settings};
use super::{BoxError, CallError, Means};
use crate::auth::ClientAuth;
use crate::blocks::{GrpcClientConfig, header};
use crate::body::Parts;
use crate::compression;
use crate::grpc::{self, Code, PREFIX_LEN, Status};
use crate::resolve::Target;

/// An answer with code `OK`.
#[derive(Debug)]
pub struct GrpcReply {
    /// The message; empty if the peer sent none.
    pub message: Bytes,
}

/// A client of one target. Cheap to clone; connections close when the last clone is gone.
#[derive(Clone)]
pub struct GrpcClient(Arc<Inner>, Option<Arc<dyn ClientAuth>>, HeaderMap);

struct Inner {
    balancer: Balancer,
    authority: Authority,
    scheme: Scheme,
    headers: HeaderMap,
}

const REPLY_BYTES_MAX: usize = 4 << 20;

impl GrpcClient {
    /// Reads the certificates; connects to nothing. `agent` is sent unless the config names one.
    pub fn new(config: &GrpcClientConfig, agent: &str) -> Result<GrpcClient, String> {
        GrpcClient::with(config, agent, Means::default())
    }

    /// The same with names and proxies from elsewhere than this process's surroundings.
    pub fn with(config: &GrpcClientConfig, agent: &str, means: Means) -> Result<GrpcClient, String> {
        let target = Target::parse(&config.endpoint)?;
        let is_tls = config.is_tls();
        let authority = authority(config, &target)?;
        let tls = if is_tls {
            let loaded = config.tls.reloading(&[b"h2"]).map_err(|e| e.to_string())?;
            let name = match config.tls.server_name_override.as_str() {
                "" => authority.host().trim_matches(['[', ']']).to_owned(),
                name => name.to_owned(),
            };
            let name = ServerName::try_from(name).map_err(|e| format!("server name: {e}"))?;
            Some((loaded, name))
        } else {
            None
        };
        let proxy = match &target {
            Target::Dns { host, port } | Target::Passthrough { host, port } => {
                means.proxies.before(true, host, *port)?.cloned()
            }
            Target::Unix(_) => None,
        };
        let agent = match config.user_agent.as_str() {
            "" => agent,
            given => given,
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip,zstd,identity"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_str(agent).map_err(|_| "invalid user_agent")?,
        );
        for (name, value) in config.headers.iter() {
            let (name, value) = header(name, value.expose())?;
            headers.entry(name).or_insert(value);
        }
        let inner = Inner {
            scheme: if is_tls { Scheme::HTTPS } else { Scheme::HTTP },
            balancer: Balancer::new(Settings {
                target,
                shown: authority.to_string(),
                tls,
                ping: config.keepalive.get().map(Ping::new),
                pick_first: config.balancer_name == "pick_first",
                wait_for_ready: config.wait_for_ready,
                resolver: means.resolver,
                proxy,
                agent: agent.to_owned(),
            }),
            authority,
            headers,
        };
        Ok(GrpcClient(Arc::new(inner), None, HeaderMap::new()))
    }

    /// Every call says who we are. An error if that must not travel in plain text and would.
    pub fn with_auth(self, auth: Arc<dyn ClientAuth>) -> Result<GrpcClient, String> {
        if auth.needs_tls() && self.0.scheme == Scheme::HTTP {
            return Err("the credentials require transport level security: use tls".into());
        }
        Ok(GrpcClient(self.0, Some(auth), self.2))
    }

    /// The same client, on the same connections, with these headers in place of the configured ones of their names.
    pub fn with_headers(&self, headers: HeaderMap) -> GrpcClient {
        GrpcClient(self.0.clone(), self.1.clone(), headers)
    }

    /// One call. `encoding` names how `message` is compressed; its parts are one message, sent without copying.
    ///
    /// A call that certainly did not reach the peer (a connection that was closing) is sent again once on another
    /// connection; one that was answered `UNAUTHENTICATED`, if the authenticator has something else to say. Dropping
    /// the future resets the stream; the peer may have seen the message. `context` is what the authenticator sees of
    /// the payload.
    pub async fn unary(
        &self,
        path: &PathAndQuery,
        encoding: Option<&'static str>,
        message: &[Bytes],
        context: &Context,
    ) -> Result<GrpcReply, CallError> {
        self.unary_until(path, encoding, message, context, None).await
    }

    /// The same, telling the peer until when the answer is awaited. Who waits no longer drops the future.
    pub async fn unary_until(
        &self,
        path: &PathAndQuery,
        encoding: Option<&'static str>,
        message: &[Bytes],
        context: &Context,
        deadline: Option<Instant>,
    ) -> Result<GrpcReply, CallError> {
        let first = self.call(path, encoding, message, context, deadline).await;
        match (&first, &self.1) {
            (Err(CallError::Status(status)), Some(auth))
                if status.code == Code::UNAUTHENTICATED && auth.refused().await =>
            {
                self.call(path, encoding, message, context, deadline).await
            }
            _ => first,
        }
    }

    async fn call(
        &self,
        path: &PathAndQuery,
        encoding: Option<&'static str>,
        message: &[Bytes],
        context: &Context,
        deadline: Option<Instant>,
    ) -> Result<GrpcReply, CallError> {
        let mut headers = self.0.headers.clone();
        for (name, value) in &self.2 {
            headers.insert(name, value.clone());
        }
        if let Some(encoding) = encoding {
            headers.insert(ENCODING, HeaderValue::from_static(encoding));
        }
        if let Some(auth) = &self.1 {
            auth.authorize(&mut headers, context)
                .await
                .map_err(CallError::Transport)?;
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            headers.insert(TIMEOUT, grpc::write_timeout(left));
        }
        let mut last = None;
        for _ in 0..2 {
            let held = self.0.balancer.connection().await?;
            match self.attempt(&held, path, &headers, message).await {
                Ok(reply) => return Ok(reply),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Unsent(error)) => {
                    held.forget();
                    last = Some(error);
                }
            }
        }
        let error = last.map_or_else(|| "not connected".into(), BoxError::from);
        Err(CallError::Transport(error))
    }

    async fn attempt(
        &self,
        held: &Held,
        path: &PathAndQuery,
        headers: &HeaderMap,
        message: &[Bytes],
    ) -> Result<GrpcReply, Failed> {
        let mut sender = held.sender().ready().await.map_err(Failed::Unsent)?;
        let request = self.request(path, headers).map_err(Failed::Final)?;
        let len: usize = message.iter().map(Bytes::len).sum();
        if u32::try_from(len).is_err() {
            let status = Status::new(
                Code::RESOURCE_EXHAUSTED,
                format!("a message of {len} bytes cannot be framed"),
            );
            return Err(Failed::Final(CallError::Status(status)));
        }
        let prefix = Bytes::copy_from_slice(&grpc::prefix(len, headers.contains_key(ENCODING)));
        let (response, mut stream) = sender.send_request(request, false).map_err(Failed::Unsent)?;
        stream
            .send_data(
                Parts::new(std::iter::once(prefix).chain(message.iter().cloned())),
                true,
            )
            .map_err(failed)?;
        let response = response.await.map_err(failed)?;
        reply(response).await.map_err(Failed::Final)
    }

    fn request(&self, path: &PathAndQuery, headers: &HeaderMap) -> Result<Request<()>, CallError> {
        let uri = Uri::builder()
            .scheme(self.0.scheme.clone())
            .authority(self.0.authority.clone())
            .path_and_query(path.clone())
            .build()
            .map_err(|e| CallError::Transport(e.into()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers.clone();
        Ok(request)
    }
}

/// What stands in `:authority`, and whose certificate is asked for unless it is overridden: as in grpc-go the
/// configured authority, else the overriding name, else the endpoint.
pub(crate) fn authority(config: &GrpcClientConfig, target: &Target) -> Result<Authority, String> {
    let overriding = match config.tls.server_name_override.as_str() {
        name if config.is_tls() => name,
        _ => "",
    };
    let text = match (config.authority.as_str(), overriding) {
        ("", "") => target.authority(),
        ("", name) => name.to_owned(),
        (given, name) if name.is_empty() || name == given => given.to_owned(),
        _ => return Err("authority and tls.server_name_override must not differ; set one of them".into()),
    };
    text.parse().map_err(|_| format!("invalid authority \"{text}\""))
}

/// `Unsent` = the peer certainly saw nothing that it acts upon.
enum Failed {
    Unsent(h2::Error),
    Final(CallError),
}

fn failed(error: h2::Error) -> Failed {
    if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        return Failed::Unsent(error);
    }
    Failed::Final(CallError::Transport(error.into()))
}

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

async fn reply(response: http::Response<h2::RecvStream>) -> Result<GrpcReply, CallError> {
    let (head, mut body) = response.into_parts();
    if head.headers.contains_key("grpc-status") && body.is_end_stream() {
        return finish(grpc::read_status(&head.headers), BytesMut::new(), &head.headers);
    }
    if head.status != http::StatusCode::OK {
        return Err(CallError::Status(Status::new(
            code_of_http(head.status.as_u16()),
            format!(
                "unexpected HTTP status code received from server: {}",
                head.status.as_u16()
            ),
        )));
    }
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|e| CallError::Transport(e.into()))?;
        if message.len() + data.len() > REPLY_BYTES_MAX {
            return Err(CallError::transport("the answer is larger than 4 MiB"));
        }
        message.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    let trailers = body
        .trailers()
        .await
        .map_err(|e| CallError::Transport(e.into()))?;
    let status = trailers
        .as_ref()
        .and_then(grpc::read_status)
        .or_else(|| grpc::read_status(&head.headers));
    finish(status, message, &head.headers)
}

fn finish(
    status: Option<Status>,
    mut message: BytesMut,
    headers: &HeaderMap,
) -> Result<GrpcReply, CallError> {
    let status = status.ok_or_else(|| CallError::transport("the answer has no grpc-status"))?;
    if status.code != Code::OK {
        return Err(CallError::Status(status));
    }
    if message.is_empty() {
        return Ok(GrpcReply {
            message: Bytes::new(),
        });
    }
    let malformed = || CallError::transport("the answer is not one message");
    let prefix: [u8; PREFIX_LEN] = message
        .get(..PREFIX_LEN)
        .and_then(|p| p.try_into().ok())
        .ok_or_else(malformed)?;
    let message = message.split_off(PREFIX_LEN).freeze();
    if u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize != message.len() {
        return Err(malformed());
    }
    if prefix[0] == 0 {
        return Ok(GrpcReply { message });
    }
    let encoding = headers
        .get(ENCODING)
        .and_then(|v| v.to_str().ok())
        .and_then(compression::from_grpc_token);
    let encoding =
        encoding.ok_or_else(|| CallError::transport("the answer is compressed in an unknown way"))?;
    let decoded = compression::decode(encoding, &message, REPLY_BYTES_MAX);
    let decoded = decoded.map_err(|e| CallError::Transport(e.into()))?;
    Ok(GrpcReply {
        message: decoded.bytes,
    })
}

/// gRPC's own table for answers that are not gRPC.
fn code_of_http(status: u16) -> Code {
    match status {
        400 => Code::INTERNAL,
        401 => Code::UNAUTHENTICATED,
        403 => Code::PERMISSION_DENIED,
        404 => Code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => Code::UNAVAILABLE,
        _ => Code::UNKNOWN,
    }
}
