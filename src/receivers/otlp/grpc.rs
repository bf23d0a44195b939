//! OTLP/gRPC: four unary services on raw bytes.

use std::sync::Arc;
use std::time::Duration;

use component::{Code, Guard, Outcome, Reservation};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use net::GrpcServerConfig;
use net::compression::{self, Encoding};
use net::grpc::{self, ReadError, Status};
use net::server::{Body, BoxFuture, Incoming, Peer, Service};
use tokio::time::Instant;
use wire::{Context, Signal, otlp};

use super::answer;
use super::door::{Bad, Door, Form, worse};

/// For a whole message to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Grpc {
    door: Arc<Door>,
    guard: Guard,
    message_bytes_max: usize,
    include_metadata: bool,
}

impl Grpc {
    pub(super) fn new(door: Arc<Door>, guard: Guard, config: &GrpcServerConfig) -> Grpc {
        Grpc {
            door,
            guard,
            message_bytes_max: config.message_bytes_max(),
            include_metadata: config.include_metadata,
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        if request.version() < Version::HTTP_2 {
            return self.not_grpc(&request, peer);
        }
        let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(is_grpc_type);
        if request.method() != Method::POST || !is_grpc {
            self.door.count_reason("not_grpc");
            let wrong_method = request.method() != Method::POST;
            let mut response = grpc::error(&Status::new(Code::INVALID_ARGUMENT, "not a gRPC request"));
            *response.status_mut() = if wrong_method {
                StatusCode::METHOD_NOT_ALLOWED
            } else {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            };
            return response;
        }
        let signal = match self.service(request.uri().path()) {
            Ok(signal) => signal,
            Err(status) => {
                self.door.count_reason("unknown_service");
                return grpc::error(&status);
            }
        };
        match self.export(signal, request, peer).await {
            Ok(outcome) => grpc::ok(&answer::partial(&outcome).encode()),
            Err(status) => grpc::error(&status),
        }
    }

    /// HTTP/1.1 on this port: nearly always a client or proxy that was not told to speak HTTP/2.
    fn not_grpc(&self, request: &Request<Incoming>, peer: Peer) -> Response<Body> {
        self.door.count_reason("http1_on_grpc_port");
        tracing::warn!(
            receiver = %self.door.receiver,
            peer = ?peer.addr,
            method = %request.method(),
            "HTTP/1.1 on the gRPC port: the client must speak HTTP/2 (Envoy: http2_protocol_options), or use the HTTP port"
        );
        let text = "this port speaks gRPC over HTTP/2; send OTLP over HTTP to the HTTP port, usually 4318\n";
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    fn service(&self, path: &str) -> Result<Signal, Status> {
        let name = path.strip_prefix('/').and_then(|p| p.split_once('/'));
        let Some((service, method)) = name else {
            return Err(Status::new(
                Code::UNIMPLEMENTED,
                format!("malformed method name: \"{path}\""),
            ));
        };
        let known = Signal::ALL.into_iter().find(|signal| {
            let its = otlp::export_path(*signal).split('/').nth(1);
            its == Some(service) && self.door.takes(*signal)
        });
        match known {
            None => Err(Status::new(
                Code::UNIMPLEMENTED,
                format!("unknown service {service}"),
            )),
            Some(_) if method != "Export" => {
                let text = format!("unknown method {method} for service {service}");
                Err(Status::new(Code::UNIMPLEMENTED, text))
            }
            Some(signal) => Ok(signal),
        }
    }

    async fn export(
        &self,
        signal: Signal,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Outcome, Status> {
        let (head, mut body) = request.into_parts();
        let admitted = self.guard.admit(&head.headers, &head.uri, &peer).await;
        let identity = admitted.map_err(|unadmitted| unadmitted.status())?;
        let limit = self.message_bytes_max;
        let timeout = grpc::read_timeout(&head.headers);
        let arrived = Instant::now();
        let encoding = encoding(&head.headers);
        let mut room = self.room()?;
        let read = grpc::read_unary(&mut body, limit, |n| room.grow(n));
        let read = tokio::time::timeout(timeout.map_or(READ_TIMEOUT, |t| t.min(READ_TIMEOUT)), read).await;
        let read = match read {
            Ok(read) => read.map_err(|e| match e {
                ReadError::TooLarge { .. } => Bad::TooLarge(e.to_string()),
                ReadError::Busy => Bad::Busy,
                ReadError::Malformed(_) => Bad::Malformed(e.to_string()),
                ReadError::Broken(text) => Bad::Broken(text),
            }),
            Err(_) => Err(Bad::Slow),
        };
        let messages = read.map_err(|bad| self.bad(bad))?;
        let context = Arc::new(Context {
            metadata: if self.include_metadata {
                metadata(&head)
            } else {
                Vec::new()
            },
            auth: identity.attributes,
            authenticated: self.guard.authenticates(),
            peer: peer.addr,
            certificate: peer.names,
            receiver: Some(self.door.receiver.clone()),
            deadline: timeout
                .and_then(|t| arrived.checked_add(t))
                .map(Instant::into_std),
        });
        let mut verdict = Ok(Outcome::all());
        for message in messages {
            let encoding = match (message.compressed, &encoding) {
                (false, _) => None,
                (true, Ok(Some(encoding))) => Some(*encoding),
                (true, Ok(None)) => {
                    let text = "grpc: compressed flag set with identity or empty encoding";
                    return Err(self.bad(Bad::Malformed(text.into())));
                }
                (true, Err(token)) => {
                    let text = format!("grpc: Decompressor is not installed for grpc-encoding \"{token}\"");
                    return Err(self.bad(Bad::Malformed(text)));
                }
            };
            let opened = self.door.open(
                (signal, Form::Protobuf),
                message.bytes,
                encoding,
                limit,
                &mut room,
            );
            let Some(chunk) = opened.map_err(|bad| self.bad(bad))? else {
                continue;
            };
            let room = std::mem::replace(&mut room, self.room()?);
            verdict = worse(
                verdict,
                self.door.hand_on(signal, chunk, context.clone(), room).await,
            );
        }
        verdict.map_err(|refusal| answer::refused(&refusal))
    }

    fn room(&self) -> Result<Reservation, Status> {
        self.door.room().map_err(|bad| self.bad(bad))
    }

    fn bad(&self, bad: Bad) -> Status {
        self.door.count(&bad);
        answer::bad(&bad)
    }
}

impl Service for Grpc {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> BoxFuture<Response<Body>> {
        Box::pin(async move { self.answer(request, peer).await })
    }

    fn cut_off(&self, reason: &'static str) {
        self.door.count_cut_off(reason);
    }
}

fn is_grpc_type(value: &HeaderValue) -> bool {
    let rest = value.as_bytes().strip_prefix(b"application/grpc");
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// `Err` = a name that nobody here knows.
fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, String> {
    match headers.get("grpc-encoding").map(HeaderValue::to_str) {
        None | Some(Ok("identity" | "")) => Ok(None),
        Some(Ok(token)) => compression::from_grpc_token(token)
            .map(Some)
            .ok_or_else(|| grpc::truncated(token, 64).to_owned()),
        Some(Err(_)) => Err("?".into()),
    }
}

/// Request metadata as processors see it: lower-case names, every value, `host` from the authority.
pub(super) fn metadata(head: &http::request::Parts) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = head
        .headers
        .keys()
        .map(|name| {
            let values = head.headers.get_all(name).iter();
            let values = values.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
            (name.as_str().to_owned(), values.collect())
        })
        .collect();
    if let (false, Some(authority)) = (head.headers.contains_key("host"), head.uri.authority()) {
        all.push(("host".into(), vec![authority.to_string()]));
    }
    all
}
