//! OTLP/HTTP: one path a signal, protobuf and JSON. Answers are in the form of their request.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use component::{Guard, Outcome, Reservation};
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use net::HttpServerConfig;
use net::auth::{Identity, Unadmitted};
use net::compression::{self, Encoding};
use net::grpc::{self, Status};
use net::server::{Body, BoxFuture, Incoming, Peer, Service};
use tokio::time::Instant;
use wire::{Context, Signal};

use super::answer;
use super::door::{Bad, Door, Form};

/// For a whole body to arrive, where the user sets none.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a body that nobody asked for is read before its request is answered, and for how long it is waited for.
const PASSED_OVER_BYTES: usize = 64 * 1024;
const PASSED_OVER_WAIT: Duration = Duration::from_millis(100);
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(super) struct Http {
    door: Arc<Door>,
    guard: Guard,
    paths: Vec<(String, Signal)>,
    body_bytes_max: usize,
    include_metadata: bool,
    read_timeout: Duration,
    algorithms: Option<Vec<String>>,
}

/// What goes back.
enum Answer {
    Taken(Signal, Outcome),
    /// With a `google.rpc.Status` body.
    Refused(StatusCode, Status),
    /// By a middleware, before anything was looked at.
    TurnedAway(Status),
    Text(StatusCode, &'static str),
}

impl Http {
    pub(super) fn new(
        door: Arc<Door>,
        guard: Guard,
        config: &HttpServerConfig,
        paths: Vec<(String, Signal)>,
    ) -> Http {
        Http {
            door,
            guard,
            paths,
            body_bytes_max: config.body_bytes_max(),
            include_metadata: config.include_metadata,
            read_timeout: if config.read_timeout.0.is_zero() {
                READ_TIMEOUT
            } else {
                config.read_timeout.0
            },
            algorithms: config.compression_algorithms.clone(),
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let form = form(&head.headers);
        let answer = self.judge(&head, &mut body, peer, form).await;
        if head.version == Version::HTTP_2 && !body.is_end_stream() {
            let _ = tokio::time::timeout(PASSED_OVER_WAIT, pass_over(&mut body)).await;
        }
        match answer {
            Answer::Taken(signal, outcome) => {
                let partial = answer::partial(&outcome);
                let (content_type, body) = match form {
                    Some(Form::Json) => (JSON, partial.encode_json(signal)),
                    _ => (PROTOBUF, partial.encode()),
                };
                typed(StatusCode::OK, content_type, Body::from(Bytes::from(body)))
            }
            Answer::Refused(code, status) => {
                let mut response = if form == Some(Form::Protobuf) {
                    let body = Bytes::from(grpc::encode_status(&status));
                    typed(code, PROTOBUF, Body::from(body))
                } else {
                    typed(code, JSON, Body::from(answer::json_status(&status)))
                };
                retry_after(&mut response, &status);
                response
            }
            Answer::TurnedAway(status) => {
                let text = Body::from("Too Many Requests\n");
                let mut response = typed(StatusCode::TOO_MANY_REQUESTS, TEXT, text);
                retry_after(&mut response, &status);
                response
            }
            Answer::Text(code, text) => {
                let mut response = typed(code, TEXT, Body::from(text));
                if code == StatusCode::METHOD_NOT_ALLOWED {
                    response
                        .headers_mut()
                        .insert(ALLOW, HeaderValue::from_static("POST"));
                }
                response
            }
        }
    }

    async fn judge(&self, head: &Parts, body: &mut Incoming, peer: Peer, form: Option<Form>) -> Answer {
        let admitted = self.guard.admit(&head.headers, &head.uri, &peer).await;
        let identity = match admitted {
            Ok(identity) => identity,
            Err(unadmitted) => return not_admitted(&unadmitted),
        };
        let path = head.uri.path();
        let signal = self
            .paths
            .iter()
            .find(|(p, signal)| p == path && self.door.takes(*signal));
        let Some((_, signal)) = signal else {
            self.door.count_reason("unknown_path");
            return Answer::Text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if head.method != Method::POST {
            self.door.count_reason("method");
            return Answer::Text(
                StatusCode::METHOD_NOT_ALLOWED,
                "405 method not allowed, supported: [POST]",
            );
        }
        let Some(form) = form else {
            self.door.count_reason("content_type");
            return Answer::Text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "415 unsupported media type, supported: [application/json, application/x-protobuf]",
            );
        };
        self.export((*signal, form), (head, body), peer, identity)
            .await
            .unwrap_or_else(|bad| {
                self.door.count(&bad);
                let code = match &bad {
                    Bad::Malformed(_) | Bad::Broken(_) => StatusCode::BAD_REQUEST,
                    Bad::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                    Bad::Busy | Bad::Slow => StatusCode::SERVICE_UNAVAILABLE,
                };
                Answer::Refused(code, answer::bad(&bad))
            })
    }

    async fn export(
        &self,
        (signal, form): (Signal, Form),
        (head, body): (&Parts, &mut Incoming),
        peer: Peer,
        identity: Identity,
    ) -> Result<Answer, Bad> {
        let arrived = Instant::now();
        let encoding = self.encoding(&head.headers)?;
        let mut room = self.door.room()?;
        let read = tokio::time::timeout(self.read_timeout, self.read(body, &mut room)).await;
        let body = read.map_err(|_| Bad::Slow)??;
        let limit = self.body_bytes_max;
        let opened = self
            .door
            .open((signal, form), body, encoding, limit, &mut room)
            .map_err(|bad| match bad {
                Bad::TooLarge(_) => too_large(),
                other => other,
            })?;
        let Some(chunk) = opened else {
            return Ok(Answer::Taken(signal, Outcome::all()));
        };
        let context = Arc::new(Context {
            metadata: if self.include_metadata {
                super::grpc::metadata(head)
            } else {
                Vec::new()
            },
            auth: identity.attributes,
            authenticated: self.guard.authenticates(),
            peer: peer.addr,
            certificate: peer.names,
            receiver: Some(self.door.receiver.clone()),
            deadline: patience(&head.headers)
                .and_then(|t| arrived.checked_add(t))
                .map(Instant::into_std),
        });
        Ok(match self.door.hand_on(signal, chunk, context, room).await {
            Ok(outcome) => Answer::Taken(signal, outcome),
            Err(refusal) => {
                let status = answer::refused(&refusal);
                let code = StatusCode::from_u16(status.code.http_status());
                Answer::Refused(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), status)
            }
        })
    }

    /// The one token of `Content-Encoding`, if it is enabled.
    fn encoding(&self, headers: &HeaderMap) -> Result<Option<Encoding>, Bad> {
        let mut given = headers.get_all(CONTENT_ENCODING).iter();
        let token = given.next().map_or(Ok(""), HeaderValue::to_str);
        let unsupported = |token: &str| {
            let token = grpc::truncated(token, 64);
            Bad::Malformed(format!("unsupported Content-Encoding: {token}"))
        };
        let token = token.map_err(|_| unsupported("?"))?;
        if let Some(second) = given.next() {
            return Err(unsupported(second.to_str().unwrap_or("?")));
        }
        let known = if token == "identity" { "" } else { token };
        match &self.algorithms {
            Some(enabled) if enabled.is_empty() => return Ok(None),
            Some(enabled) if !enabled.iter().any(|e| e == known) => return Err(unsupported(token)),
            _ => {}
        }
        match known {
            "" => Ok(None),
            token => compression::from_http_token(token)
                .map(Some)
                .ok_or_else(|| unsupported(token)),
        }
    }

    async fn read(&self, body: &mut Incoming, room: &mut Reservation) -> Result<Bytes, Bad> {
        let limit = self.body_bytes_max;
        let announced = body.size_hint().lower();
        if announced > limit as u64 {
            return Err(too_large());
        }
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Bad::Broken(format!("the request was cut off: {e}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + rest.len() + data.len() > limit {
                return Err(too_large());
            }
            if !room.grow(data.len()) {
                return Err(Bad::Busy);
            }
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                rest = BytesMut::from(&std::mem::take(&mut first)[..]);
            }
            let len = rest.len() + data.len();
            if len > rest.capacity() {
                // In few steps, and never far beyond what has come: who announces much and sends little gets little.
                let goal = len.saturating_mul(4).min((announced as usize).max(len));
                rest.reserve(goal - rest.len());
            }
            rest.extend_from_slice(&data);
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }
}

impl Service for Http {
    fn call(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> BoxFuture<Response<Body>> {
        Box::pin(async move { self.answer(request, peer).await })
    }

    fn cut_off(&self, reason: &'static str) {
        self.door.count_cut_off(reason);
    }
}

/// Reads what is left of a small body. An HTTP/2 stream that is answered before its client has sent all is reset, and
/// some clients (curl 7.88) then lose the answer with it.
async fn pass_over(body: &mut Incoming) {
    let mut left = PASSED_OVER_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
            return;
        };
        left = rest;
    }
}

fn not_admitted(unadmitted: &Unadmitted) -> Answer {
    let status = unadmitted.status();
    match unadmitted {
        Unadmitted::TurnedAway(_) => Answer::TurnedAway(status),
        Unadmitted::Denied(_) => {
            let code = StatusCode::from_u16(status.code.http_status());
            Answer::Refused(code.unwrap_or(StatusCode::UNAUTHORIZED), status)
        }
    }
}

/// Whole seconds, never 0: a client would come back at once.
fn retry_after(response: &mut Response<Body>, status: &Status) {
    if let Some(after) = status.retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds.clamp(1, 3)));
    }
}

fn too_large() -> Bad {
    Bad::TooLarge("http: request body too large".into())
}

fn typed(code: StatusCode, content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// What the request says that it is, whatever its parameters.
fn form(headers: &HeaderMap) -> Option<Form> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media = text.split(';').next().unwrap_or("").trim();
    let is = |value: &HeaderValue| media.as_bytes().eq_ignore_ascii_case(value.as_bytes());
    match () {
        () if is(&PROTOBUF) => Some(Form::Protobuf),
        () if is(&JSON) => Some(Form::Json),
        () => None,
    }
}

/// How long Envoy says that it will wait.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("x-envoy-expected-rq-timeout-ms")?.to_str().ok()?;
    Some(Duration::from_millis(text.parse().ok()?))
}
