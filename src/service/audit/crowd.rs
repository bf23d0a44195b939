//! Who tried to get in: told together, so that a stranger who guesses fills nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use component::audit::{Act, Actor, Attempt, Ended};
use tokio::time::Instant;

/// Failures of one client for one reason are one record, so long after the first of them.
const GATHER: Duration = Duration::from_secs(60);
/// Clients that are told apart at one time; the rest share one name.
const CLIENTS_MAX: usize = 1000;
const OTHER: &str = "__other__";
/// An admission is told again after this.
const KNOWN: Duration = Duration::from_secs(3600);
/// Principals that are remembered; beyond it all are forgotten, and so told again.
const PRINCIPALS_MAX: usize = 10_000;
/// Names are whatever clients call themselves.
const NAME_MAX: usize = 256;

/// What was told and what is still to be told.
#[derive(Default)]
pub(super) struct Crowd {
    failures: BTreeMap<Failure, Count>,
    /// By a keyed hash of principal, client and object.
    known: HashMap<u64, Instant>,
    hasher: RandomState,
}

/// Failures that are one record. `client` is `None` for those beyond the limit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Failure {
    object: String,
    authenticator: String,
    transport: &'static str,
    scheme: &'static str,
    reason: &'static str,
    client: Option<String>,
}

struct Count {
    first: Instant,
    times: u64,
}

impl Crowd {
    /// Counts a failure.
    pub(super) fn denied(&mut self, attempt: &Attempt<'_>, reason: &'static str, now: Instant) {
        let failure = Failure {
            object: attempt.object.to_owned(),
            authenticator: attempt.authenticator.to_owned(),
            transport: attempt.transport,
            scheme: attempt.scheme,
            reason,
            client: Some(client(attempt.client)),
        };
        let is_known = self.failures.contains_key(&failure);
        let failure = match is_known || self.failures.len() < CLIENTS_MAX {
            true => failure,
            false => Failure {
                client: None,
                ..failure
            },
        };
        let count = self
            .failures
            .entry(failure)
            .or_insert(Count { first: now, times: 0 });
        count.times += 1;
    }

    /// The act, if this admission is to be told.
    pub(super) fn admitted(&mut self, attempt: &Attempt<'_>, principal: &str, now: Instant) -> Option<Act> {
        let key = (principal, attempt.client, attempt.object, attempt.authenticator);
        let key = self.hasher.hash_one(key);
        if self.known.get(&key).is_some_and(|told| now - *told < KNOWN) {
            return None;
        }
        if self.known.len() >= PRINCIPALS_MAX {
            self.known.retain(|_, told| now - *told < KNOWN);
            if self.known.len() >= PRINCIPALS_MAX {
                self.known.clear();
            }
        }
        self.known.insert(key, now);
        let act = Act::new("authn.success", attempt.object);
        let act = act.by(Actor::new("client", client(attempt.client)));
        Some(
            act.with("principal", shortened(principal))
                .with("authenticator", attempt.authenticator)
                .with("transport", attempt.transport)
                .with("scheme", attempt.scheme),
        )
    }

    /// Failures that are to be told now; with `all`, every one.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<Act> {
        let is_due = |count: &Count| all || now - count.first >= GATHER;
        let due = self.failures.extract_if(.., |_, count| is_due(count));
        due.map(|(failure, count)| failure.act(count.times)).collect()
    }
}

impl Failure {
    fn act(self, times: u64) -> Act {
        // A good credential that does not suffice, or none at all.
        let (name, outcome) = match self.reason {
            "forbidden" => ("authz.deny", Ended::Denied),
            _ => ("authn.failure", Ended::Failure),
        };
        let act = Act::new(name, self.object);
        let client = self.client.unwrap_or_else(|| OTHER.to_owned());
        act.by(Actor::new("client", client))
            .ended(outcome)
            .with("scheme", self.scheme)
            .with("reason", self.reason)
            .with("count", times)
            .with("authenticator", self.authenticator)
            .with("transport", self.transport)
    }
}

fn client(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "unix".to_owned(), |ip| ip.to_canonical().to_string())
}

/// A name that somebody else chose, at a length that does no harm.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(NAME_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(client: u32) -> Attempt<'static> {
        Attempt {
            object: "receiver/otlp",
            transport: "http",
            authenticator: "basicauth",
            scheme: "basic",
            client: Some(IpAddr::V4(client.into())),
        }
    }

    #[test]
    fn failures_of_a_client_are_one_record_a_minute_after_the_first() {
        let mut crowd = Crowd::default();
        let start = Instant::now();
        for second in [0, 30, 59] {
            crowd.denied(
                &attempt(1),
                "unauthenticated",
                start + Duration::from_secs(second),
            );
        }
        crowd.denied(&attempt(1), "forbidden", start + Duration::from_secs(1));
        assert_eq!(crowd.due(start + Duration::from_secs(59), false), []);
        let told = crowd.due(start + Duration::from_secs(60), false);
        let [one] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(
            (one.name, &*one.actor.id, one.outcome),
            ("authn.failure", "0.0.0.1", Ended::Failure)
        );
        let details = serde_json::Value::Object(one.details.clone()).to_string();
        assert_eq!(
            details,
            r#"{"authenticator":"basicauth","count":3,"reason":"unauthenticated","scheme":"basic","transport":"http"}"#
        );
        let told = crowd.due(start + Duration::from_secs(60), true);
        assert_eq!(
            told.iter().map(|act| (act.name, act.outcome)).collect::<Vec<_>>(),
            [("authz.deny", Ended::Denied)]
        );
        assert_eq!(crowd.due(start + Duration::from_secs(600), true), []);
    }

    #[test]
    fn a_thousand_clients_are_told_apart_and_the_rest_share_a_name() {
        let mut crowd = Crowd::default();
        let now = Instant::now();
        for client in 0..5000 {
            crowd.denied(&attempt(client), "unauthenticated", now);
            crowd.denied(&attempt(client), "unauthenticated", now);
        }
        let told = crowd.due(now, true);
        assert_eq!(told.len(), CLIENTS_MAX + 1);
        let count = |act: &Act| act.details["count"].as_u64().unwrap();
        let others: Vec<u64> = told
            .iter()
            .filter(|act| act.actor.id == OTHER)
            .map(count)
            .collect();
        assert_eq!(others, [8000]);
        assert_eq!(told.iter().map(count).sum::<u64>(), 10_000);
    }

    #[test]
    fn an_admission_is_told_once_an_hour() {
        let mut crowd = Crowd::default();
        let start = Instant::now();
        let mut check = |client: u32, principal: &str, minute: u64, expected: bool| {
            let now = start + Duration::from_secs(60 * minute);
            let told = crowd.admitted(&attempt(client), principal, now);
            assert_eq!(told.is_some(), expected, "{client} {principal} {minute}");
        };
        check(1, "acme", 0, true);
        check(1, "acme", 59, false);
        check(2, "acme", 59, true);
        check(1, "globex", 59, true);
        check(1, "acme", 60, true);
        check(1, "acme", 61, false);
        let mut crowd = Crowd::default();
        for n in 0..3 * PRINCIPALS_MAX {
            assert!(crowd.admitted(&attempt(1), &n.to_string(), start).is_some());
        }
        assert!(crowd.known.len() <= PRINCIPALS_MAX);
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "\u{e9}".repeat(300);
        assert_eq!(shortened(&long), format!("{}...", "\u{e9}".repeat(256)));
    }
}
