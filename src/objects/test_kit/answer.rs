//! Answers in S3's words, and the little of XML and URLs that they need.

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::{EXTERNAL_ID, ROLE, WEB_TOKEN, WRITER};

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

/// What the service that gives roles answers to a form.
pub(super) fn role(form: &str) -> Response<Bytes> {
    let field = |name: &str| {
        let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(n, _)| *n == name)
            .map(|(_, value)| decoded(value))
            .unwrap_or_default()
    };
    let action = field("Action");
    let is_believed = match &*action {
        "AssumeRole" => field("ExternalId") == EXTERNAL_ID,
        "AssumeRoleWithWebIdentity" => field("WebIdentityToken") == WEB_TOKEN,
        _ => false,
    };
    if !is_believed || field("RoleArn") != ROLE || field("RoleSessionName") != "weir" {
        let error = "<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error>";
        return xml(403, &format!("<ErrorResponse>{error}</ErrorResponse>"));
    }
    xml(
        200,
        &format!(
            "<{action}Response><{action}Result><AssumedRoleUser><AssumedRoleId>id:weir</AssumedRoleId><Arn>{ROLE}</Arn>\
             </AssumedRoleUser><Credentials><AccessKeyId>{WRITER}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>of-role</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>\
             </{action}Result></{action}Response>"
        ),
    )
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
