//! Answers in S3's words, and the little of XML and URLs that they need.

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};

/// An answer without a body.
pub(super) fn empty(status: u16) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status in a test");
    response
}

/// An answer with a document.
pub(super) fn xml(status: u16, text: &str) -> Response<Bytes> {
    let mut response = empty(status);
    *response.body_mut() = Bytes::from(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{text}"));
    set(&mut response, "content-type", "application/xml");
    response
}

/// An error.
pub(super) fn error(status: u16, code: &str, message: &str) -> Response<Bytes> {
    match code {
        // As a proxy in between answers.
        "" => empty(status),
        code => xml(
            status,
            &format!(
                "<Error><Code>{code}</Code><Message>{}</Message></Error>",
                escaped(message)
            ),
        ),
    }
}

pub(super) fn set(response: &mut Response<Bytes>, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("a header's value in a test");
    response
        .headers_mut()
        .insert(HeaderName::from_static(name), value);
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// What stands between a tag's first opening and its closing.
pub(super) fn tag<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

pub(super) fn http_date(seconds: u64) -> String {
    formatted(seconds, DateTimeFormat::HttpDate)
}

pub(super) fn iso_date(seconds: u64) -> String {
    formatted(seconds, DateTimeFormat::DateTime)
}

fn formatted(seconds: u64, format: DateTimeFormat) -> String {
    let date = DateTime::from_secs(seconds as i64);
    date.fmt(format).expect("a date of a test has a form")
}

pub(super) fn seconds(iso_date: &str) -> Option<u64> {
    let date = DateTime::from_str(iso_date, DateTimeFormat::DateTime).ok()?;
    u64::try_from(date.secs()).ok()
}

/// Percent-encoding undone.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
