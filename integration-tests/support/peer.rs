//! A downstream peer: takes OTLP over gRPC and HTTP on one port, keeps what it got, and answers by a script.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

/// How the peer treats one request. `Ok` once the script is used up.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Takes it.
    Ok,
    /// Takes it but for some items.
    Partial { rejected: i64, message: &'static str },
    /// A gRPC status; with `retry_ms` it carries RetryInfo.
    Grpc {
        code: u8,
        message: &'static str,
        retry_ms: Option<u32>,
    },
    /// An HTTP status, perhaps with `Retry-After`.
    Http {
        status: u16,
        retry_after: Option<&'static str>,
    },
    /// An HTTP status with words.
    #[allow(dead_code, reason = "not every tier has a peer that explains itself")]
    Words { status: u16, words: &'static str },
    /// Closes the connection.
    Reset,
    /// Never answers.
    Silence,
    /// Takes it, but says so only after [`Peer::release`].
    #[allow(dead_code, reason = "not every tier blocks a peer")]
    Hold,
    /// Has no room for what is posted to paths that hold this text, and takes the rest.
    #[allow(dead_code, reason = "not every tier has paths that differ")]
    BusyPath(&'static str),
    /// Has no room for what has this value in this header, and takes the rest.
    #[allow(dead_code, reason = "not every tier has headers that differ")]
    BusyHeader(&'static str, &'static str),
    /// Refuses for good what holds this text, and takes the rest.
    #[allow(dead_code, reason = "not every tier has data that is refused")]
    RefuseText(&'static str),
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// `/v1/logs` or `/opentelemetry...Service/Export`.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as sent: for gRPC without its 5 bytes of framing.
    pub wire: Bytes,
    /// The message, inflated.
    pub message: Bytes,
    /// Whether this peer's answer took it.
    pub taken: bool,
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    forever: Option<Answer>,
    received: Vec<Received>,
    forgets: bool,
    released: tokio::sync::watch::Sender<bool>,
}

/// A running peer. Stops when dropped.
pub struct Peer {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// A peer that takes everything.
    pub async fn start() -> Peer {
        Peer::scripted([]).await
    }

    /// A peer with a script.
    pub async fn scripted(script: impl IntoIterator<Item = Answer>) -> Peer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            script: script.into_iter().collect(),
            ..State::default()
        }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    return;
                };
                let _ = socket.set_nodelay(true);
                let state = shared.clone();
                tokio::spawn(async move {
                    let (hang_up, mut hung_up) = tokio::sync::mpsc::channel::<()>(1);
                    let service = hyper::service::service_fn(move |request| {
                        let (state, hang_up) = (state.clone(), hang_up.clone());
                        async move { Ok::<_, Infallible>(answer(state, hang_up, request).await) }
                    });
                    let mut builder = auto::Builder::new(TokioExecutor::new());
                    builder
                        .http2()
                        .initial_stream_window_size(4 << 20)
                        .initial_connection_window_size(16 << 20);
                    let connection = builder.serve_connection(TokioIo::new(socket), service);
                    tokio::select! {
                        _ = connection => {}
                        Some(()) = hung_up.recv() => {}
                    }
                });
            }
        });
        Peer { addr, state, task }
    }

    /// A new script, in the place of the old one.
    #[allow(
        dead_code,
        reason = "the exchanges with a recorded collector use it, in tier 2"
    )]
    pub fn script(&self, script: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().script = script.into_iter().collect();
    }

    /// From now on, once the script is used up.
    pub fn always(&self, answer: Answer) {
        self.state.lock().unwrap().forever = Some(answer);
    }

    /// From now on bodies are not kept, for tests that send many.
    #[allow(dead_code, reason = "not every tier sends so many")]
    pub fn forget(&self) {
        self.state.lock().unwrap().forgets = true;
    }

    /// Forgets what came until now.
    #[allow(dead_code, reason = "not every tier begins anew")]
    pub fn forget_all(&self) {
        self.state.lock().unwrap().received.clear();
    }

    /// Answers all that is held, and holds nothing any more.
    #[allow(dead_code, reason = "not every tier blocks a peer")]
    pub fn release(&self) {
        self.state.lock().unwrap().released.send_replace(true);
    }

    /// Everything that came.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// Everything that was taken.
    pub fn taken(&self) -> Vec<Received> {
        self.received().into_iter().filter(|r| r.taken).collect()
    }

    /// Log requests that were taken, decoded.
    pub fn logs(&self) -> Vec<ExportLogsServiceRequest> {
        let decode = |r: &Received| ExportLogsServiceRequest::decode(r.message.clone());
        self.taken()
            .iter()
            .map(|r| decode(r).expect("a peer gets valid protobuf"))
            .collect()
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    hang_up: tokio::sync::mpsc::Sender<()>,
    request: Request<Incoming>,
) -> Response<BoxBody<Bytes, Infallible>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let grpc = path.starts_with("/opentelemetry.");
    let Ok(body) = body.collect().await else {
        return status(500);
    };
    let body = body.to_bytes();
    let (wire, encoding) = if grpc {
        let compressed = body.first() == Some(&1);
        let name = parts.headers.get("grpc-encoding").filter(|_| compressed);
        (body.slice(5..), name.cloned())
    } else {
        (body, parts.headers.get("content-encoding").cloned())
    };
    let message = inflate(&wire, encoding.as_ref().and_then(|e| e.to_str().ok()));
    let (answer, at, mut released) = {
        let mut state = state.lock().unwrap();
        let mut answer = state
            .script
            .pop_front()
            .or(state.forever.clone())
            .unwrap_or(Answer::Ok);
        if let Answer::RefuseText(text) = answer {
            let holds = message.windows(text.len()).any(|w| w == text.as_bytes());
            answer = match holds {
                true => Answer::Grpc {
                    code: 3,
                    message: "bad",
                    retry_ms: None,
                },
                false => Answer::Ok,
            };
        }
        if let Answer::BusyPath(text) = answer {
            answer = match path.contains(text) {
                true => Answer::Http {
                    status: 429,
                    retry_after: None,
                },
                false => Answer::Ok,
            };
        }
        if let Answer::BusyHeader(name, value) = answer {
            let is_busy = parts.headers.get(name).is_some_and(|own| own == value);
            answer = match is_busy {
                true => Answer::Http {
                    status: 429,
                    retry_after: None,
                },
                false => Answer::Ok,
            };
        }
        let taken = matches!(answer, Answer::Ok | Answer::Partial { .. });
        let (wire, message) = match state.forgets {
            true => (Bytes::new(), Bytes::new()),
            false => (wire, message),
        };
        state.received.push(Received {
            path,
            headers: parts.headers,
            wire,
            message,
            taken,
        });
        (answer, state.received.len() - 1, state.released.subscribe())
    };
    let answer = match answer {
        Answer::Hold => {
            let _ = released.wait_for(|released| *released).await;
            state.lock().unwrap().received[at].taken = true;
            Answer::Ok
        }
        answer => answer,
    };
    match answer {
        Answer::Words { status, words } => Response::builder()
            .status(status)
            .body(full(Bytes::from_static(words.as_bytes())))
            .unwrap(),
        Answer::Hold | Answer::RefuseText(_) | Answer::BusyPath(_) | Answer::BusyHeader(..) => {
            unreachable!("became another answer")
        }
        Answer::Ok if grpc => grpc_ok(Bytes::new()),
        Answer::Ok => http_ok(Bytes::new()),
        Answer::Partial { rejected, message } => {
            // Export*ServiceResponse { partial_success = 1 { rejected_x = 1, error_message = 2 } }
            let mut inner = BytesMut::new();
            prost::encoding::int64::encode(1, &rejected, &mut inner);
            prost::encoding::string::encode(2, &message.to_owned(), &mut inner);
            let mut outer = BytesMut::new();
            prost::encoding::bytes::encode(1, &inner.freeze(), &mut outer);
            if grpc {
                grpc_ok(outer.freeze())
            } else {
                http_ok(outer.freeze())
            }
        }
        Answer::Grpc {
            code,
            message,
            retry_ms,
        } => grpc_status(code, message, retry_ms),
        Answer::Http {
            status: code,
            retry_after,
        } => {
            let mut response = status(code);
            if let Some(after) = retry_after {
                response
                    .headers_mut()
                    .insert("retry-after", HeaderValue::from_static(after));
            }
            response
        }
        Answer::Reset => {
            let _ = hang_up.send(()).await;
            std::future::pending().await
        }
        Answer::Silence => {
            tokio::time::sleep(Duration::from_secs(120)).await;
            status(500)
        }
    }
}

fn inflate(wire: &Bytes, encoding: Option<&str>) -> Bytes {
    let mut out = Vec::new();
    match encoding {
        Some("gzip") => flate2::read::MultiGzDecoder::new(&wire[..])
            .read_to_end(&mut out)
            .unwrap(),
        None | Some("identity") => return wire.clone(),
        Some(other) => panic!("the peer cannot read {other}"),
    };
    out.into()
}

fn full(body: Bytes) -> BoxBody<Bytes, Infallible> {
    Full::new(body).boxed()
}

pub fn status(code: u16) -> Response<BoxBody<Bytes, Infallible>> {
    Response::builder().status(code).body(full(Bytes::new())).unwrap()
}

pub fn http_ok(body: Bytes) -> Response<BoxBody<Bytes, Infallible>> {
    Response::builder()
        .header("content-type", "application/x-protobuf")
        .body(full(body))
        .unwrap()
}

pub fn grpc_ok(message: Bytes) -> Response<BoxBody<Bytes, Infallible>> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = Frames([Frame::data(framed.freeze()), Frame::trailers(trailers)].into());
    Response::builder()
        .header("content-type", "application/grpc")
        .body(frames.boxed())
        .unwrap()
}

struct Frames(VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop_front().map(Ok))
    }
}

pub fn grpc_status(code: u8, message: &str, retry_ms: Option<u32>) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", code.to_string())
        .header("grpc-message", message);
    if let Some(ms) = retry_ms {
        // google.rpc.Status { code = 1, message = 2, details = 3 [ Any { type_url = 1, value = 2 } ] }
        let mut delay = BytesMut::new();
        prost::encoding::int64::encode(1, &i64::from(ms / 1000), &mut delay);
        prost::encoding::int32::encode(2, &((ms % 1000) as i32 * 1_000_000), &mut delay);
        let mut info = BytesMut::new();
        prost::encoding::bytes::encode(1, &delay.freeze(), &mut info);
        let mut any = BytesMut::new();
        prost::encoding::string::encode(
            1,
            &"type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            &mut any,
        );
        prost::encoding::bytes::encode(2, &info.freeze(), &mut any);
        let mut details = BytesMut::new();
        prost::encoding::int32::encode(1, &i32::from(code), &mut details);
        prost::encoding::bytes::encode(3, &any.freeze(), &mut details);
        response = response.header("grpc-status-details-bin", base64(&details));
    }
    response.body(full(Bytes::new())).unwrap()
}

/// Base64 without padding, as gRPC wants it in `-bin` metadata.
pub fn base64(bytes: &[u8]) -> String {
    const SET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..=three.len() {
            out.push(char::from(SET[(word >> (18 - 6 * i)) as usize & 63]));
        }
    }
    out
}
