//! What the admin listener answers: questions with GET, orders with POST.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codec::time::Civil;
use component::{Reported, Status};
use config::ComponentId;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use storage::Journal;
use storage::journal::{Destination, Discarded};
use telemetry::ledger::Report;
use telemetry::{Column, Ledger, Node, Place};
use wire::Signal;

use super::Gateway;
use crate::service::journals::{blocking, exporter_of};

/// The books.
pub const LEDGER: &str = "/-/ledger";
/// What the journals hold, and for whom.
pub const JOURNAL: &str = "/-/journal";
/// Gives up what an orphaned queue holds.
pub const DISCARD: &str = "/-/journal/discard";

/// Reads the configuration again.
const RELOAD: &str = "/-/reload";

/// So often the books are read before a law counts as broken.
const READINGS: usize = 20;
/// For another one to let go of a destination.
const TURN_TIME: Duration = Duration::from_secs(5);
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
        JOURNAL if asks => Answer::json(StatusCode::OK, &json!({"journals": journals(gateway)})),
        DISCARD if *method == Method::POST => discard(gateway, query).await,
        RELOAD if *method == Method::POST => reload(gateway).await,
        DISCARD | RELOAD => Answer::text(StatusCode::METHOD_NOT_ALLOWED, "this is an order: POST it"),
        LEDGER | JOURNAL | "/-/status" | "/-/plan" | "/-/config" | "/-/healthy" | "/-/ready" => {
            Answer::text(StatusCode::METHOD_NOT_ALLOWED, "this is a question: GET it")
        }
        _ => Answer::text(StatusCode::NOT_FOUND, PATHS),
    }
}

const PATHS: &str = "not found; there are\n\
    GET  /-/ledger?format=json|text&tenant=NAME\n\
    GET  /-/status\n\
    GET  /-/journal\n\
    POST /-/journal/discard?destination=NAME&storage=ID\n\
    POST /-/reload\n\
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
        "journals": journals(gateway),
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

async fn reload(gateway: &dyn Gateway) -> Answer {
    let (status, value) = match gateway.reload().await {
        Ok(changes) => (
            StatusCode::OK,
            json!({"reloaded": true, "changes": changes.trim_end()}),
        ),
        Err(faults) => (
            StatusCode::BAD_REQUEST,
            json!({"reloaded": false, "error": faults.trim_end()}),
        ),
    };
    Answer {
        order: Some("reload"),
        outcome: value.to_string(),
        ..Answer::json(status, &value)
    }
}

/// How each journal is, and what it holds for whom.
fn journals(gateway: &dyn Gateway) -> Vec<Value> {
    let all = gateway.journals().into_iter();
    all.map(|(id, journal)| {
        let health = journal.health();
        let destinations = journal.destinations().into_iter().map(|d| {
            let is_orphan = is_orphan(&journal, &d);
            json!({
                "name": d.name,
                "records": d.records,
                "items": d.items,
                "bytes": d.bytes,
                "oldest": d.oldest_ms.map(time_of),
                "newest": d.newest_ms.map(time_of),
                "orphan": is_orphan,
            })
        });
        let destinations: Vec<Value> = destinations.collect();
        json!({
            "storage": id.to_string(),
            "trouble": health.trouble.map(|t| json!({"error": t.error, "since": time_of(t.since_ms)})),
            "bytes": health.bytes,
            "live_bytes": health.live_bytes,
            "free_bytes": health.free_bytes,
            "destinations": destinations,
        })
    })
    .collect()
}

/// Nobody of this configuration reads for it.
fn is_orphan(journal: &Journal, destination: &Destination) -> bool {
    destination.records > 0 && !journal.is_read(destination.id)
}

/// Gives up what is owed to a destination that nobody reads for, booked as `dropped{discarded}`.
async fn discard(gateway: &dyn Gateway, query: &str) -> Answer {
    let storage = parameter(query, "storage");
    let name = parameter(query, "destination").unwrap_or_default();
    let arguments = format!("destination={name} storage={}", storage.as_deref().unwrap_or("*"));
    let (status, value) = match discarded(gateway, storage.as_deref(), &name).await {
        Ok(items) => (
            StatusCode::OK,
            json!({"destination": name, "discarded_items": items}),
        ),
        Err((status, error)) => (status, json!({"error": error})),
    };
    Answer {
        order: Some("journal_discard"),
        outcome: value.to_string(),
        arguments,
        ..Answer::json(status, &value)
    }
}

async fn discarded(
    gateway: &dyn Gateway,
    storage: Option<&str>,
    name: &str,
) -> Result<u64, (StatusCode, String)> {
    let wanted = |id: &ComponentId| storage.is_none_or(|storage| id.to_string() == storage);
    let found = gateway.journals().into_iter().filter(|(id, _)| wanted(id));
    let mut found = found.filter_map(|(_, journal)| {
        let destination = journal.destinations().into_iter().find(|d| d.name == name)?;
        Some((journal, destination))
    });
    let Some((journal, destination)) = found.next() else {
        let text = format!("no journal has a destination {name:?}: GET {JOURNAL} lists them");
        return Err((StatusCode::NOT_FOUND, text));
    };
    if found.next().is_some() {
        let text = "several journals have this destination: add storage=ID";
        return Err((StatusCode::BAD_REQUEST, text.to_owned()));
    }
    let busy = || {
        let text = format!("{name} has its exporter in the configuration, which delivers what it holds");
        (StatusCode::CONFLICT, text)
    };
    if !gateway.is_ready() || journal.is_read(destination.id) {
        return Err(busy());
    }
    // Ours until it is done, so that no exporter begins to read meanwhile.
    let turn = tokio::time::timeout(TURN_TIME, journal.turn(destination.id)).await;
    let turn = turn.map_err(|_| busy())?;
    let given_up = blocking(move || Ok(journal.discard(destination.id))).await;
    let given_up = given_up.map_err(|text| (StatusCode::INTERNAL_SERVER_ERROR, text))?;
    let ledger = &gateway.telemetry().ledger;
    Ok(book_discarded(ledger, name, &given_up, turn.is_first))
}

/// Books what was given up; if nobody carried it in yet, that too. The answer is the items.
fn book_discarded(ledger: &Ledger, destination: &str, given_up: &[Discarded], is_first: bool) -> u64 {
    let mut sum = 0;
    for part in given_up {
        let exporter = exporter_of(destination).map_or(destination, |(exporter, _)| exporter);
        let signal = Signal::ALL
            .get(usize::from(part.kind))
            .copied()
            .unwrap_or(Signal::Logs);
        let row = ledger.row(Place::Node(Node::Exporter(exporter.to_owned())), signal);
        // What stands for metadata begins with ~, and is nobody's name.
        let tenant = part.tenant.as_ref().filter(|tenant| !tenant.starts_with('~'));
        match is_first {
            true => row.add_items(Column::CarriedIn, tenant, part.items),
            false => row.release_items(tenant, part.items),
        }
        row.drop_items("discarded", tenant, part.items);
        sum += part.items;
    }
    sum
}

fn time_of(ms: u64) -> String {
    time(UNIX_EPOCH + Duration::from_millis(ms))
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
