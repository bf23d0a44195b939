//! gRPC: status codes and own unary framing, for both sides.
//!
//! A unary call is a POST whose body is a five-byte prefix (flag, big-endian length) and a message; the answer the same
//! with `grpc-status` in the trailers, or an error in the headers alone. Messages are bytes here, whatever they mean.

use std::fmt;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use codec::proto::google::{protobuf, rpc};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;

use crate::body::Body;

/// A gRPC status code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

impl Code {
    /// `OK`.
    pub const OK: Code = Code(0);
    /// `CANCELLED`.
    pub const CANCELLED: Code = Code(1);
    /// `UNKNOWN`.
    pub const UNKNOWN: Code = Code(2);
    /// `INVALID_ARGUMENT`.
    pub const INVALID_ARGUMENT: Code = Code(3);
    /// `DEADLINE_EXCEEDED`.
    pub const DEADLINE_EXCEEDED: Code = Code(4);
    /// `NOT_FOUND`.
    pub const NOT_FOUND: Code = Code(5);
    /// `PERMISSION_DENIED`.
    pub const PERMISSION_DENIED: Code = Code(7);
    /// `RESOURCE_EXHAUSTED`.
    pub const RESOURCE_EXHAUSTED: Code = Code(8);
    /// `ABORTED`.
    pub const ABORTED: Code = Code(10);
    /// `OUT_OF_RANGE`.
    pub const OUT_OF_RANGE: Code = Code(11);
    /// `UNIMPLEMENTED`.
    pub const UNIMPLEMENTED: Code = Code(12);
    /// `INTERNAL`.
    pub const INTERNAL: Code = Code(13);
    /// `UNAVAILABLE`.
    pub const UNAVAILABLE: Code = Code(14);
    /// `DATA_LOSS`.
    pub const DATA_LOSS: Code = Code(15);
    /// `UNAUTHENTICATED`.
    pub const UNAUTHENTICATED: Code = Code(16);

    /// `INVALID_ARGUMENT`, ...; `UNKNOWN` for numbers beyond the standard ones.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        NAMES.get(self.0 as usize).copied().unwrap_or("UNKNOWN")
    }

    /// OTLP's list: an answer that a client may retry. `RESOURCE_EXHAUSTED` only with a hint when.
    pub fn is_retryable(self, hint: bool) -> bool {
        match self {
            Code::CANCELLED
            | Code::DEADLINE_EXCEEDED
            | Code::ABORTED
            | Code::OUT_OF_RANGE
            | Code::UNAVAILABLE
            | Code::DATA_LOSS => true,
            Code::RESOURCE_EXHAUSTED => hint,
            _ => false,
        }
    }

    /// The HTTP status that says the same to an OTLP/HTTP client.
    pub fn http_status(self) -> u16 {
        match self {
            Code::OK => 200,
            Code::CANCELLED
            | Code::DEADLINE_EXCEEDED
            | Code::ABORTED
            | Code::OUT_OF_RANGE
            | Code::UNAVAILABLE
            | Code::DATA_LOSS => 503,
            Code::RESOURCE_EXHAUSTED => 429,
            Code::INVALID_ARGUMENT => 400,
            Code::UNAUTHENTICATED => 401,
            Code::PERMISSION_DENIED => 403,
            Code::UNIMPLEMENTED => 404,
            _ => 500,
        }
    }

    /// The code that says the same as an HTTP status.
    pub fn from_http(status: u16) -> Code {
        match status {
            200..=299 => Code::OK,
            400 => Code::INVALID_ARGUMENT,
            401 => Code::UNAUTHENTICATED,
            403 => Code::PERMISSION_DENIED,
            404 => Code::UNIMPLEMENTED,
            429 => Code::RESOURCE_EXHAUSTED,
            502..=504 => Code::UNAVAILABLE,
            _ => Code::UNKNOWN,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// --- Unary calls, the server's side ---

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Without its prefix.
    pub bytes: Bytes,
    /// The flag in its prefix: compressed by the call's `grpc-encoding`.
    pub compressed: bool,
}

/// Why no message could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Its prefix says so; nothing of it was read.
    #[error("grpc: received message larger than max ({len} vs. {limit})")]
    TooLarge {
        /// What the prefix says.
        len: usize,
        /// What was allowed.
        limit: usize,
    },
    /// No room for it now.
    #[error("busy: the memory budget is full")]
    Busy,
    /// The flag is neither 0 nor 1, or the stream ended within a message.
    #[error("{0}")]
    Malformed(&'static str),
    /// The client reset the stream, or the connection broke.
    #[error("the request was cut off: {0}")]
    Broken(String),
}

/// Bytes of prefix before each message.
pub const PREFIX_LEN: usize = 5;

/// Reads the messages of a unary call without waiting for the end of the stream: some clients never half-close.
///
/// Returns as soon as one complete message is there, together with further ones that have arrived already (or have
/// begun to). `reserve(n)` is asked before `n` more bytes are kept. Cost: no copy of a message that came in one DATA
/// frame, one copy of any other.
pub async fn read_unary<B>(
    body: &mut B,
    limit: usize,
    mut reserve: impl FnMut(usize) -> bool,
) -> Result<Vec<Message>, ReadError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
{
    let mut reader = Reader {
        limit,
        state: State::Prefix([0; PREFIX_LEN], 0),
        messages: Vec::with_capacity(1),
    };
    loop {
        let done = !reader.messages.is_empty() && reader.is_between();
        let next = std::future::poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            // What has arrived is taken; nothing more is waited for.
            Poll::Pending if done => Poll::Ready(None),
            other => other,
        });
        match next.await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if !reserve(data.len()) {
                        return Err(ReadError::Busy);
                    }
                    reader.push(data)?;
                }
            }
            // A complete message was sent before the stream broke: the client may never see the answer, but its
            // data is here.
            Some(Err(_)) | None if done => return Ok(reader.messages),
            Some(Err(e)) => return Err(ReadError::Broken(e.to_string())),
            None => return Err(ReadError::Malformed("the stream ended within a message")),
        }
    }
}

struct Reader {
    limit: usize,
    state: State,
    messages: Vec<Message>,
}

enum State {
    Prefix([u8; PREFIX_LEN], usize),
    Within {
        compressed: bool,
        len: usize,
        got: BytesMut,
    },
}

impl Reader {
    fn is_between(&self) -> bool {
        matches!(self.state, State::Prefix(_, 0))
    }

    fn push(&mut self, mut data: Bytes) -> Result<(), ReadError> {
        loop {
            match &mut self.state {
                State::Prefix(prefix, have) => {
                    let n = data.len().min(PREFIX_LEN - *have);
                    prefix[*have..*have + n].copy_from_slice(&data.split_to(n));
                    *have += n;
                    if *have < PREFIX_LEN {
                        return Ok(());
                    }
                    let [flag, a, b, c, d] = *prefix;
                    let len = u32::from_be_bytes([a, b, c, d]) as usize;
                    if flag > 1 {
                        return Err(ReadError::Malformed("grpc: invalid compressed flag"));
                    }
                    if len > self.limit {
                        return Err(ReadError::TooLarge {
                            len,
                            limit: self.limit,
                        });
                    }
                    let compressed = flag == 1;
                    if data.len() >= len {
                        self.complete(data.split_to(len), compressed);
                        continue;
                    }
                    // Untouched capacity costs no memory: pages come with the bytes.
                    let mut got = BytesMut::with_capacity(len);
                    got.extend_from_slice(&data);
                    self.state = State::Within { compressed, len, got };
                    return Ok(());
                }
                State::Within { compressed, len, got } => {
                    let whole = if got.is_empty() && data.len() >= *len {
                        data.split_to(*len)
                    } else {
                        let n = data.len().min(*len - got.len());
                        got.extend_from_slice(&data.split_to(n));
                        if got.len() < *len {
                            return Ok(());
                        }
                        std::mem::take(got).freeze()
                    };
                    let compressed = *compressed;
                    self.complete(whole, compressed);
                }
            }
        }
    }

    fn complete(&mut self, bytes: Bytes, compressed: bool) {
        self.messages.push(Message { bytes, compressed });
        self.state = State::Prefix([0; PREFIX_LEN], 0);
    }
}

/// The prefix of a message.
pub fn prefix(len: usize, compressed: bool) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = u32::try_from(len)
        .expect("messages are bounded far below 4 GiB")
        .to_be_bytes();
    [u8::from(compressed), a, b, c, d]
}

/// An answer that is not `OK`.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// What went wrong.
    pub code: Code,
    /// In words.
    pub message: String,
    /// When to come again, said in both trailers that clients read.
    pub retry_after: Option<Duration>,
}

impl Status {
    /// Without a hint when to come again.
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status {
            code,
            message: message.into(),
            retry_after: None,
        }
    }
}

/// Longest message put into a trailer; peers bound their header lists.
const MESSAGE_BYTES_MAX: usize = 2048;
const CONTENT_TYPE_VALUE: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const RETRY_INFO: HeaderName = HeaderName::from_static("google.rpc.retryinfo-bin");

/// `OK` with a message.
pub fn ok(message: &[u8]) -> http::Response<Body> {
    let mut framed = BytesMut::with_capacity(PREFIX_LEN + message.len());
    framed.extend_from_slice(&prefix(message.len(), false));
    framed.extend_from_slice(message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response = http::Response::new(Body::from(framed.freeze()).with_trailers(trailers));
    response.headers_mut().insert(CONTENT_TYPE, CONTENT_TYPE_VALUE);
    response
}

/// An error, said in the headers alone.
pub fn error(status: &Status) -> http::Response<Body> {
    let mut response = http::Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, CONTENT_TYPE_VALUE);
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status.code.0)));
    let message = truncated(&status.message, MESSAGE_BYTES_MAX);
    if !message.is_empty() {
        let value = HeaderValue::from_bytes(percent_encode(message).as_bytes());
        headers.insert(
            GRPC_MESSAGE,
            value.expect("percent-encoded text is ASCII without control characters"),
        );
    }
    if status.retry_after.is_some() {
        let bin = |bytes: &[u8]| {
            HeaderValue::from_bytes(base64(bytes).as_bytes()).expect("base64 is a valid header value")
        };
        headers.insert(STATUS_DETAILS, bin(&encode_status(status)));
        if let Some(after) = status.retry_after {
            headers.insert(RETRY_INFO, bin(&retry_info(after).encode_to_vec()));
        }
    }
    response
}

/// Reads a status from trailers, or from the headers of an answer without a body. `None` = there is none.
pub fn read_status(headers: &HeaderMap) -> Option<Status> {
    let code: u8 = headers
        .get(GRPC_STATUS)?
        .to_str()
        .ok()?
        .parse()
        .unwrap_or(Code::UNKNOWN.0);
    let message = headers
        .get(GRPC_MESSAGE)
        .map(|v| percent_decode(v.as_bytes()))
        .unwrap_or_default();
    let details = headers.get(STATUS_DETAILS).and_then(|v| unbase64(v.as_bytes()));
    let bare = headers.get(RETRY_INFO).and_then(|v| unbase64(v.as_bytes()));
    let retry_after = details
        .and_then(|d| decode_status(&d)?.retry_after)
        .or_else(|| delay(&rpc::RetryInfo::decode(bare?.as_slice()).ok()?));
    Some(Status {
        code: Code(code),
        message,
        retry_after,
    })
}

/// Type of the detail that says when to come again.
pub const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The status as a `google.rpc.Status` message: the body of an error over OTLP/HTTP.
pub fn encode_status(status: &Status) -> Vec<u8> {
    let details = status.retry_after.map(|after| protobuf::Any {
        type_url: RETRY_INFO_TYPE.into(),
        value: retry_info(after).encode_to_vec(),
    });
    let message = rpc::Status {
        code: i32::from(status.code.0),
        message: truncated(&status.message, MESSAGE_BYTES_MAX).into(),
        details: details.into_iter().collect(),
    };
    message.encode_to_vec()
}

/// Reads a `google.rpc.Status` message; `None` if it is none.
pub fn decode_status(bytes: &[u8]) -> Option<Status> {
    let status = rpc::Status::decode(bytes).ok()?;
    let info = status.details.iter().find(|d| d.type_url == RETRY_INFO_TYPE);
    Some(Status {
        code: Code(u8::try_from(status.code).unwrap_or(Code::UNKNOWN.0)),
        message: status.message,
        retry_after: info.and_then(|any| delay(&rpc::RetryInfo::decode(any.value.as_slice()).ok()?)),
    })
}

fn retry_info(after: Duration) -> rpc::RetryInfo {
    rpc::RetryInfo {
        retry_delay: Some(protobuf::Duration {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos() as i32,
        }),
    }
}

fn delay(info: &rpc::RetryInfo) -> Option<Duration> {
    let delay = info.retry_delay.as_ref()?;
    let nanos = u32::try_from(delay.nanos).ok().filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, nanos))
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
pub fn read_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// Writes `grpc-timeout` in the finest unit that eight digits can say, rounded up.
pub fn write_timeout(left: Duration) -> HeaderValue {
    const UNITS: [(u128, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    let nanos = left.as_nanos();
    let fits = |(unit, _): &(u128, char)| nanos.div_ceil(*unit) <= 99_999_999;
    let text = match UNITS.into_iter().find(fits) {
        Some((unit, name)) => format!("{}{name}", nanos.div_ceil(unit)),
        None => "99999999H".into(),
    };
    HeaderValue::from_str(&text).expect("digits and a letter")
}

/// At most `max` bytes, cut between characters.
pub fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

fn percent_decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let hex = |b: u8| char::from(b).to_digit(16);
        rest = match after {
            [a, b, behind @ ..] if *first == b'%' && hex(*a).is_some() && hex(*b).is_some() => {
                out.push((hex(*a).unwrap_or(0) * 16 + hex(*b).unwrap_or(0)) as u8);
                behind
            }
            _ => {
                out.push(*first);
                after
            }
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Without padding, as gRPC wants its `-bin` headers.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .enumerate()
            .fold(0u32, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for i in 0..=three.len() {
            out.push(char::from(BASE64[(word >> (18 - 6 * i)) as usize & 63]));
        }
    }
    out
}

/// With or without padding.
fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut word, mut bits) = (0u32, 0);
    for byte in text.iter().filter(|b| **b != b'=') {
        let six = BASE64.iter().position(|b| b == byte)?;
        word = word << 6 | six as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    struct Script(VecDeque<Option<Result<Bytes, &'static str>>>);

    impl http_body::Body for Script {
        type Data = Bytes;
        type Error = &'static str;

        /// `None` in the script = nothing has arrived (and nothing will).
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, &'static str>>> {
            match self.0.pop_front() {
                Some(None) => Poll::Pending,
                Some(Some(item)) => Poll::Ready(Some(item.map(http_body::Frame::data))),
                None => Poll::Ready(None),
            }
        }
    }

    fn message(flag: u8, text: &str) -> Vec<u8> {
        let mut out = prefix(text.len(), flag == 1).to_vec();
        out[0] = flag;
        out.extend_from_slice(text.as_bytes());
        out
    }

    async fn read(
        script: Vec<Option<Result<Vec<u8>, &'static str>>>,
    ) -> Result<Vec<(String, bool)>, ReadError> {
        let items = script.into_iter().map(|item| item.map(|r| r.map(Bytes::from)));
        let messages = read_unary(&mut Script(items.collect()), 100, |_| true).await?;
        let text = |m: Message| (String::from_utf8(m.bytes.to_vec()).unwrap(), m.compressed);
        Ok(messages.into_iter().map(text).collect())
    }

    #[tokio::test]
    async fn answers_after_one_message_and_takes_what_arrived_behind_it() {
        let hello = || ("hello".to_owned(), false);
        let frame = |bytes: Vec<u8>| Some(Ok(bytes));
        let whole = message(0, "hello");
        assert_eq!(read(vec![frame(whole.clone())]).await, Ok(vec![hello()]));
        assert_eq!(
            read(vec![frame(whole.clone()), None]).await,
            Ok(vec![hello()]),
            "never half-closed"
        );
        let bytes = whole.iter().map(|b| frame(vec![*b])).collect();
        assert_eq!(read(bytes).await, Ok(vec![hello()]), "byte by byte");
        let split = vec![frame(whole[..5].to_vec()), frame(whole[5..].to_vec()), None];
        assert_eq!(
            read(split).await,
            Ok(vec![hello()]),
            "prefix in a frame of its own"
        );
        let two = [message(0, "hello"), message(1, "again")].concat();
        let both = Ok(vec![hello(), ("again".to_owned(), true)]);
        assert_eq!(read(vec![frame(two.clone()), None]).await, both);
        assert_eq!(
            read(vec![frame(whole.clone()), frame(message(1, "again")), None]).await,
            both
        );
        let cut = vec![frame(two[..12].to_vec()), frame(two[12..].to_vec()), None];
        assert_eq!(read(cut).await, both, "a second message that had begun");
        assert_eq!(
            read(vec![frame(message(0, "")), None]).await,
            Ok(vec![(String::new(), false)])
        );
        assert_eq!(
            read(vec![frame(whole), Some(Err("reset"))]).await,
            Ok(vec![hello()])
        );
    }

    #[tokio::test]
    async fn refuses_what_is_no_message() {
        let frame = |bytes: Vec<u8>| Some(Ok(bytes));
        let ended = Err(ReadError::Malformed("the stream ended within a message"));
        assert_eq!(read(vec![]).await, ended);
        assert_eq!(read(vec![frame(vec![0, 0])]).await, ended);
        assert_eq!(read(vec![frame(message(0, "hello")[..7].to_vec())]).await, ended);
        assert_eq!(
            read(vec![frame(message(2, "x"))]).await,
            Err(ReadError::Malformed("grpc: invalid compressed flag"))
        );
        assert_eq!(
            read(vec![frame(vec![0, 0xff, 0xff, 0xff, 0xff]), None]).await,
            Err(ReadError::TooLarge {
                len: 0xffff_ffff,
                limit: 100
            })
        );
        assert_eq!(
            read(vec![frame(vec![0]), Some(Err("reset"))]).await,
            Err(ReadError::Broken("reset".into()))
        );
        let mut body = Script([Some(Ok(Bytes::from(message(0, "hello"))))].into_iter().collect());
        assert_eq!(read_unary(&mut body, 100, |_| false).await, Err(ReadError::Busy));
    }

    #[test]
    fn a_status_survives_the_trailers() {
        let check = |code: Code, message: &str, after: Option<u64>| {
            let status = Status {
                code,
                message: message.into(),
                retry_after: after.map(Duration::from_millis),
            };
            assert_eq!(read_status(error(&status).headers()), Some(status));
        };
        check(Code::UNAVAILABLE, "busy", Some(1500));
        check(Code::INVALID_ARGUMENT, "100 % \u{e4}\n\u{1f600}", None);
        check(Code::RESOURCE_EXHAUSTED, "", Some(0));
        let long = "\u{e4}".repeat(5000);
        let got = read_status(error(&Status::new(Code::INTERNAL, long)).headers()).unwrap();
        assert_eq!(got.message.len(), 2048);
        let mut bare = HeaderMap::new();
        assert_eq!(read_status(&bare), None);
        bare.insert("grpc-status", HeaderValue::from_static("14"));
        bare.insert("google.rpc.retryinfo-bin", HeaderValue::from_static("CgIIAg=="));
        assert_eq!(
            read_status(&bare).unwrap().retry_after,
            Some(Duration::from_secs(2))
        );
    }

    #[test]
    fn reads_timeouts() {
        let check = |text: &'static str, expected: Option<Duration>| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            assert_eq!(read_timeout(&headers), expected, "{text}");
        };
        check("10S", Some(Duration::from_secs(10)));
        check("1H", Some(Duration::from_secs(3600)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
        check("5m", Some(Duration::from_millis(5)));
        check("999999999S", None);
        check("S", None);
        check("-1S", None);
        check("1x", None);
        check("1.5S", None);
    }

    #[test]
    fn writes_timeouts_in_the_finest_unit_that_fits() {
        let check = |left: Duration, expected: &str| assert_eq!(write_timeout(left), expected);
        check(Duration::ZERO, "0n");
        check(Duration::from_nanos(99_999_999), "99999999n");
        check(Duration::from_nanos(100_000_001), "100001u");
        check(Duration::from_secs(5), "5000000u");
        check(Duration::from_secs(100), "100000m");
        check(Duration::from_secs(200_000), "200000S");
        check(Duration::from_secs(100_000_000), "1666667M");
        check(Duration::MAX, "99999999H");
    }

    #[test]
    fn base64_reads_back() {
        for n in 0..40u8 {
            let bytes: Vec<u8> = (0..n).map(|i| i.wrapping_mul(37)).collect();
            let text = base64(&bytes);
            assert_eq!(unbase64(text.as_bytes()), Some(bytes.clone()));
            assert_eq!(unbase64(format!("{text}==").as_bytes()), Some(bytes));
        }
        assert_eq!(base64(b"Hello"), "SGVsbG8");
        assert_eq!(unbase64(b"a*"), None);
    }
}
