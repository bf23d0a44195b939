//! The audit trail's chain: each record's hash covers the one before, so that none can be taken out.
//!
//! A record's body is a JSON text that every backend keeps verbatim; hash = SHA-256 of the hash before as 64 digits, a
//! newline, and the body. [`Trail`] writes; [`records`] reads what a trail's log records carry, and [`Trails`] checks them.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::Signal;
use wire::view::{Any, Depth, Kind, Scratch, View};

use crate::digest::{Digest, sha256_of, unhex};
use crate::entry::Entry;
use crate::time::Time;
use crate::verify::FINDINGS_MAX;

/// What stands before the first record of a session.
const NOTHING: Digest = Digest([0; 32]);

/// Attributes of a log record that carries a record: its number, and two hashes as 64 digits.
pub const SEQ: &str = "weir.audit.seq";
/// See [`SEQ`].
pub const PREV: &str = "weir.audit.prev";
/// See [`SEQ`].
pub const HASH: &str = "weir.audit.hash";

/// Attribute of a log record that is no record of the trail but a text which one names: its digest.
pub const TEXT: &str = "weir.evidence.sha256";

/// The hash of a record.
pub fn hash(prev: &Digest, body: &str) -> Digest {
    sha256_of(&[prev.to_string().as_bytes(), b"\n", body.as_bytes()])
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `os_user`, `client`, `cert`, `token`, `opamp` or `system`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which one.
    pub id: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Out {
    /// Done.
    Success,
    /// Tried, and it did not work.
    Failure,
    /// Not allowed.
    Denied,
}

/// Something to be recorded.
#[derive(Debug, Clone)]
pub struct Act<'a, D> {
    /// When.
    pub t: Time,
    /// What: `process.start`, `authn.failure`, ...
    pub act: &'a str,
    /// Who.
    pub actor: &'a Actor,
    /// How it ended.
    pub out: Out,
    /// To what it was done.
    pub obj: &'a str,
    /// Details: anything that serializes to a JSON object.
    pub d: D,
}

#[derive(Serialize)]
struct Body<'a, D> {
    v: u64,
    seq: u64,
    t: Time,
    act: &'a str,
    actor: &'a Actor,
    out: Out,
    obj: &'a str,
    d: &'a D,
}

/// One record, as it goes into a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Dense within a session, from 0.
    pub seq: u64,
    /// Hash of the record before.
    pub prev: Digest,
    /// Hash of this one.
    pub hash: Digest,
    /// Its text.
    pub body: String,
}

/// The writer's end of a session's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    seq: u64,
    prev: Digest,
}

impl Default for Trail {
    fn default() -> Trail {
        Trail {
            seq: 0,
            prev: NOTHING,
        }
    }
}

impl Trail {
    /// Goes on after the record `seq` with this hash.
    pub fn after(seq: u64, hash: Digest) -> Trail {
        Trail {
            seq: seq + 1,
            prev: hash,
        }
    }

    /// The newest record's number and hash, for an `audit` entry; none before the first.
    pub fn head(&self) -> Option<(u64, Digest)> {
        self.seq.checked_sub(1).map(|seq| (seq, self.prev))
    }

    /// Makes the next record. Errors: details that do not serialize; the chain is then unchanged.
    pub fn record<D: Serialize>(&mut self, act: &Act<'_, D>) -> Result<Record, serde_json::Error> {
        let body = serde_json::to_string(&Body {
            v: 1,
            seq: self.seq,
            t: act.t,
            act: act.act,
            actor: act.actor,
            out: act.out,
            obj: act.obj,
            d: &act.d,
        })?;
        let record = Record {
            seq: self.seq,
            prev: self.prev,
            hash: hash(&self.prev, &body),
            body,
        };
        *self = Trail::after(record.seq, record.hash);
        Ok(record)
    }
}

/// The records that an OTLP logs request carries, in its order; log records that are none of a trail are left out.
///
/// Errors: what is wrong with the request, or with a record that says that it is one of a trail.
pub fn records(request: &[u8]) -> Result<Vec<Record>, String> {
    let mut scratch = Scratch::default();
    let view = View::new(&mut scratch, Signal::Logs, request, Depth::Record).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    for n in view.nodes().filter(|n| view.kind(*n) == Kind::LogRecord) {
        let Some(Any::Int(seq)) = view.get(n, SEQ.as_bytes()).map(|value| value.any()) else {
            continue;
        };
        let digest = |name: &str| {
            let value = view.get(n, name.as_bytes())?;
            let text = std::str::from_utf8(value.as_str()?).ok()?;
            unhex(text).map(Digest)
        };
        let body = view.body(n);
        let body = body
            .as_ref()
            .and_then(|body| std::str::from_utf8(body.as_str()?).ok());
        let record = u64::try_from(seq)
            .ok()
            .zip(digest(PREV))
            .zip(digest(HASH))
            .zip(body);
        let (((seq, prev), hash), body) =
            record.ok_or_else(|| format!("audit record {seq} is incomplete"))?;
        found.push(Record {
            seq,
            prev,
            hash,
            body: body.to_owned(),
        });
    }
    Ok(found)
}

/// A text that stands beside the chain; acts name it by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What the log record says that its digest is, as 64 digits.
    pub sha256: Digest,
    /// The text.
    pub body: String,
}

/// The texts that an OTLP logs request carries, in its order; log records of other kinds are left out.
///
/// Errors: what is wrong with the request, or with a record that says that it is such a text.
pub fn texts(request: &[u8]) -> Result<Vec<Text>, String> {
    let mut scratch = Scratch::default();
    let view = View::new(&mut scratch, Signal::Logs, request, Depth::Record).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    for n in view.nodes().filter(|n| view.kind(*n) == Kind::LogRecord) {
        let Some(value) = view.get(n, TEXT.as_bytes()) else {
            continue;
        };
        let digest = value.as_str().and_then(|text| std::str::from_utf8(text).ok());
        let body = view.body(n);
        let body = body
            .as_ref()
            .and_then(|body| std::str::from_utf8(body.as_str()?).ok());
        let text = digest.and_then(unhex).map(Digest).zip(body);
        let (sha256, body) = text.ok_or("a text is incomplete")?;
        found.push(Text {
            sha256,
            body: body.to_owned(),
        });
    }
    Ok(found)
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Fault {
    /// Its hash is not that of its text.
    #[error("its hash is not that of its text")]
    Hash,
    /// Its text has another number, or is no body at all.
    #[error("its text is not that of a record with its number")]
    Body,
    /// The record that it hangs on is not there: it was changed or taken out.
    #[error("the record before it is missing or was changed")]
    Prev,
    /// Another record hangs on the same one.
    #[error("another record has its place")]
    Fork,
}

/// A record with a fault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    /// Where it was found.
    pub place: Arc<str>,
    /// Its number.
    pub seq: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Records of any number of chains, found in any order; one that comes twice counts once.
///
/// What the texts say counts, not what stands beside them: a record is known by the hash of its text.
#[derive(Debug, Default)]
pub struct Trails {
    links: HashMap<Digest, Link>,
    broken: Vec<Broken>,
}

#[derive(Debug)]
struct Link {
    seq: u64,
    prev: Digest,
    place: Arc<str>,
}

impl Trails {
    /// Takes a record that was found in `place`.
    pub fn push(&mut self, place: &Arc<str>, record: &Record) {
        let found = hash(&record.prev, &record.body);
        let faults = [
            (found != record.hash, Fault::Hash),
            (body_seq(&record.body) != Some(record.seq), Fault::Body),
        ];
        for (_, fault) in faults.into_iter().filter(|(is_so, _)| *is_so) {
            if self.broken.len() < FINDINGS_MAX {
                self.broken.push(Broken {
                    place: place.clone(),
                    seq: record.seq,
                    fault,
                });
            }
        }
        self.links.entry(found).or_insert_with(|| Link {
            seq: record.seq,
            prev: record.prev,
            place: place.clone(),
        });
    }

    /// Different records.
    pub fn len(&self) -> u64 {
        self.links.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether the record with this number and hash is there.
    pub fn has(&self, seq: u64, hash: &Digest) -> bool {
        self.links.get(hash).is_some_and(|link| link.seq == seq)
    }

    /// Records with faults, by place and number. `whole`: none was left out, so that the one before each must be there.
    pub fn broken(&self, whole: bool) -> Vec<Broken> {
        let mut broken = self.broken.clone();
        let mut follows: HashMap<Digest, u32> = HashMap::with_capacity(self.links.len());
        for link in self.links.values().filter(|link| link.prev != NOTHING) {
            *follows.entry(link.prev).or_default() += 1;
        }
        for link in self.links.values() {
            let fits = match link.seq.checked_sub(1) {
                None => link.prev == NOTHING,
                Some(before) if whole => self.has(before, &link.prev),
                Some(before) => self.links.get(&link.prev).is_none_or(|link| link.seq == before),
            };
            let is_alone = follows.get(&link.prev).is_none_or(|n| *n == 1);
            for (_, fault) in [(!fits, Fault::Prev), (!is_alone, Fault::Fork)]
                .into_iter()
                .filter(|(is_so, _)| *is_so)
            {
                broken.push(Broken {
                    place: link.place.clone(),
                    seq: link.seq,
                    fault,
                });
            }
        }
        broken.sort();
        broken.truncate(FINDINGS_MAX);
        broken
    }
}

fn body_seq(body: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Seq {
        v: u64,
        seq: u64,
    }
    // The rules of entries' JSON hold for bodies too.
    Entry::check_json(body).ok()?;
    let body: Seq = serde_json::from_str(body).ok()?;
    (body.v == 1).then_some(body.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODIES: [(&str, &str); 2] = [
        (
            r#"{"v":1,"seq":0,"t":"2025-11-20T14:05:00.101Z","act":"process.start","actor":{"type":"os_user","id":"weir"},"out":"success","obj":"weir/0.1.0","d":{"config_sha256":"3f0a7c1d5b9e2846aa10c7d3e5f6b8091a2b3c4d5e6f708192a3b4c5d6e7f809"}}"#,
            "a9eb7da0ccf1fdb3ef91bae9b0a8d060b72b4763adff3f7a6f3b191bfff05984",
        ),
        (
            r#"{"v":1,"seq":1,"t":"2025-11-20T14:05:44.020Z","act":"authn.failure","actor":{"type":"client","id":"203.0.113.9"},"out":"failure","obj":"receiver/otlp","d":{"scheme":"bearer","reason":"unknown_token","count":3}}"#,
            "946dcfbdacf7905ad1b8a650b1b009c467fc0a848e6b2f0188304ee6009427ec",
        ),
    ];

    #[derive(Serialize)]
    struct Details {
        scheme: &'static str,
        reason: &'static str,
        count: u32,
    }

    fn trail() -> Vec<Record> {
        let mut trail = Trail::default();
        assert_eq!(trail.head(), None);
        let config = "3f0a7c1d5b9e2846aa10c7d3e5f6b8091a2b3c4d5e6f708192a3b4c5d6e7f809";
        let actor = |kind: &str, id: &str| Actor {
            kind: kind.to_owned(),
            id: id.to_owned(),
        };
        let first = Act {
            t: "2025-11-20T14:05:00.101Z".parse().expect("a time"),
            act: "process.start",
            actor: &actor("os_user", "weir"),
            out: Out::Success,
            obj: "weir/0.1.0",
            d: serde_json::json!({ "config_sha256": config }),
        };
        let first = trail.record(&first).expect("a record");
        let second = Act {
            t: "2025-11-20T14:05:44.020Z".parse().expect("a time"),
            act: "authn.failure",
            actor: &actor("client", "203.0.113.9"),
            out: Out::Failure,
            obj: "receiver/otlp",
            d: Details {
                scheme: "bearer",
                reason: "unknown_token",
                count: 3,
            },
        };
        let second = trail.record(&second).expect("a record");
        assert_eq!(trail.head(), Some((1, second.hash)));
        vec![first, second]
    }

    fn faults(records: &[Record], whole: bool) -> Vec<(u64, Fault)> {
        let mut trails = Trails::default();
        records.iter().for_each(|record| trails.push(&"a".into(), record));
        let broken = trails.broken(whole);
        broken
            .into_iter()
            .map(|broken| (broken.seq, broken.fault))
            .collect()
    }

    #[test]
    fn the_vectors_are_written_and_hold() {
        let records = trail();
        for (record, (body, hash)) in records.iter().zip(BODIES) {
            assert_eq!(record.body, body);
            assert_eq!(record.hash.to_string(), hash);
        }
        assert_eq!(records[0].prev.to_string(), "0".repeat(64));
        assert_eq!(faults(&records, true), []);
        let twice_and_turned = [&records[1], &records[0], &records[1]].map(Clone::clone);
        assert_eq!(faults(&twice_and_turned, true), []);
        let mut trails = Trails::default();
        trails.push(&"a".into(), &records[1]);
        let (first, second) = (records[0].hash, records[1].hash);
        assert!(trails.has(1, &second) && !trails.has(0, &second) && !trails.has(0, &first));
        assert_eq!(trails.len(), 1);
    }

    #[test]
    fn every_change_is_a_fault() {
        let records = trail();
        let check = |change: &dyn Fn(&mut Vec<Record>), whole: &[(u64, Fault)], part: &[(u64, Fault)]| {
            let mut changed = records.clone();
            change(&mut changed);
            assert_eq!(faults(&changed, true), whole);
            assert_eq!(faults(&changed, false), part);
        };
        let forge = |record: &mut Record| {
            record.body = record.body.replace("weir/0.1.0", "weir/0.1.1");
        };
        // A text changed, then its hash beside it too.
        check(
            &|all| forge(&mut all[0]),
            &[(0, Fault::Hash), (1, Fault::Prev)],
            &[(0, Fault::Hash)],
        );
        check(
            &|all| {
                forge(&mut all[0]);
                all[0].hash = hash(&all[0].prev, &all[0].body);
            },
            &[(1, Fault::Prev)],
            &[],
        );
        check(&|all| drop(all.remove(0)), &[(1, Fault::Prev)], &[]);
        // The last one: only an anchor can tell.
        check(&|all| drop(all.remove(1)), &[], &[]);
        check(
            &|all| all[1].prev = NOTHING,
            &[(1, Fault::Hash), (1, Fault::Prev)],
            &[(1, Fault::Hash)],
        );
        check(
            &|all| {
                let mut other = all[1].clone();
                other.body = other.body.replace("\"count\":3", "\"count\":1");
                other.hash = hash(&other.prev, &other.body);
                all.push(other);
            },
            &[(1, Fault::Fork), (1, Fault::Fork)],
            &[(1, Fault::Fork), (1, Fault::Fork)],
        );
        check(
            &|all| {
                all.truncate(1);
                all[0].body = all[0].body.replace("\"seq\":0", "\"seq\":0,\"seq\":0");
                all[0].hash = hash(&all[0].prev, &all[0].body);
            },
            &[(0, Fault::Body)],
            &[(0, Fault::Body)],
        );
    }
}
