//! What the admin listener answers: questions with GET, orders with POST.

use std::time::{Duration, SystemTime};

use codec::time::Civil;
use component::{Reported, Status};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use telemetry::ledger::Report;

use super::Gateway;

/// The books.
pub const LEDGER: &str = "/-/ledger";
/// Gives up what an orphaned queue holds.
pub const DISCARD: &str = "/-/journal/discard";

/// So often the books are read before a law counts as broken.
const READINGS: usize = 20;
const BETWEEN_READINGS: Duration = Duration::from_millis(50);

/// An answer, and what the audit says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) body: String,
    /// The name of the order; questions are not audited.
    pub(super) order: Option<&'static str>,
    pub(super) arguments: String,
    pub(super) outcome: String,
}

impl Answer {
    fn new(status: StatusCode, kind: &'static str, body: String) -> Answer {
        Answer {
            status,
            kind,
            body,
            order: None,
            arguments: String::new(),
            outcome: String::new(),
        }
    }

    pub(super) fn text(status: StatusCode, text: &str) -> Answer {
        Answer::new(
            status,
            "text/plain; charset=utf-8",
            format!("{}\n", text.trim_end()),
        )
    }

    fn json(status: StatusCode, value: &Value) -> Answer {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        Answer::new(status, "application/json", text + "\n")
    }
}

/// Answers one call.
pub(super) async fn call(gateway: &dyn Gateway, method: &Method, path: &str, query: &str) -> Answer {
    let asks = matches!(*method, Method::GET | Method::HEAD);
    match path {
        LEDGER if asks => ledger(gateway, query).await,
        "/-/status" if asks => status(gateway),
        "/-/plan" if asks => Answer::text(StatusCode::OK, &gateway.plan()),
        "/-/config" if asks => {
            Answer::new(StatusCode::OK, "application/json", gateway.configuration() + "\n")
        }
        "/-/healthy" if asks => Answer::text(StatusCode::OK, "healthy"),
        "/-/ready" if asks => match gateway.is_ready() {
            true => Answer::text(StatusCode::OK, "ready"),
            false => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        },
        LEDGER | "/-/status" | "/-/plan" | "/-/config" | "/-/healthy" | "/-/ready" => {
            Answer::text(StatusCode::METHOD_NOT_ALLOWED, "this is a question: GET it")
        }
        _ => Answer::text(StatusCode::NOT_FOUND, PATHS),
    }
}

const PATHS: &str = "not found; there are\n\
    GET  /-/ledger?format=json|text&tenant=NAME\n\
    GET  /-/status\n\
    GET  /-/plan\n\
    GET  /-/config\n\
    GET  /-/ready\n\
    GET  /-/healthy";

async fn ledger(gateway: &dyn Gateway, query: &str) -> Answer {
    let ledger = &gateway.telemetry().ledger;
    let mut report = Report::watched(ledger, READINGS, || tokio::time::sleep(BETWEEN_READINGS)).await;
    if let Some(tenant) = parameter(query, "tenant") {
        report = report.of_tenant(&tenant);
    }
    match parameter(query, "format").as_deref() {
        Some("text") => Answer::text(StatusCode::OK, &report.to_text()),
        None | Some("json") => match serde_json::to_value(&report) {
            Ok(value) => Answer::json(StatusCode::OK, &value),
            Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        Some(_) => Answer::text(StatusCode::BAD_REQUEST, "format is json or text"),
    }
}

fn status(gateway: &dyn Gateway) -> Answer {
    let health = gateway.health();
    let pipelines = health.pipelines.iter().map(|(id, members)| {
        let members = members.iter().map(|(name, how)| (name.clone(), reported(how)));
        (id.clone(), Value::Object(members.collect()))
    });
    let extensions = health
        .extensions
        .iter()
        .map(|(name, how)| (name.clone(), reported(how)));
    let value = json!({
        "ready": gateway.is_ready(),
        "version": crate::service::INFO.version,
        "pipelines": Value::Object(pipelines.collect()),
        "extensions": Value::Object(extensions.collect()),
    });
    Answer::json(StatusCode::OK, &value)
}

fn reported(how: &Reported) -> Value {
    let (word, why) = match &how.status {
        Status::Ok => ("ok", None),
        Status::Recoverable(why) => ("recoverable", Some(why)),
        Status::Permanent(why) => ("permanent", Some(why)),
        Status::Fatal(why) => ("fatal", Some(why)),
    };
    let mut value = json!({"status": word, "since": time(how.since)});
    if let Some(why) = why {
        value["error"] = json!(why);
    }
    value
}

fn time(at: SystemTime) -> String {
    Civil::from_system(at).rfc3339().to_string()
}

/// A parameter of a query, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let found = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })?;
    Some(unescape(found))
}

/// `%2F` and `+`; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, next)) = rest.split_first() {
        rest = next;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(decoded) => {
                        out.push(decoded);
                        rest = &rest[2..];
                    }
                    None => out.push(b'%'),
                }
            }
            byte => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded() {
        #[track_caller]
        fn check(query: &str, expected: Option<&str>) {
            assert_eq!(parameter(query, "d").as_deref(), expected, "{query}");
        }
        check("", None);
        check("d=x", Some("x"));
        check("a=1&d=x&d=y", Some("x"));
        check("d", Some(""));
        check("dd=x", None);
        check("d=exporter%2Fotlp%2fa+b", Some("exporter/otlp/a b"));
        check("d=100%", Some("100%"));
        check("d=%zz%4", Some("%zz%4"));
        check("d=%ff", Some("\u{fffd}"));
    }
}
