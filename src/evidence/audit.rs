//! The audit trail's chain: each record's hash covers the one before, so that none can be taken out.
//!
//! A record's body is a JSON text that every backend keeps verbatim; hash = SHA-256 of the hash before as 64 digits, a
//! newline, and the body. [`Trail`] writes, [`Chain`] checks; what carries the records is not known here.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, sha256_of};
use crate::entry::Entry;
use crate::time::Time;

/// What stands before the first record of a session.
const NOTHING: Digest = Digest([0; 32]);

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

/// What is wrong with a record of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its number does not follow.
    #[error("its number does not follow the one before")]
    Order,
    /// It hangs on another record than the one before.
    #[error("it does not hang on the record before")]
    Prev,
    /// Its hash is not that of its text.
    #[error("its hash is not that of its text")]
    Hash,
    /// Its text has another number, or is no body at all.
    #[error("its text is not that of a record with its number")]
    Body,
}

/// A session's chain as it was found, in the order of its numbers.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    first: u64,
    hashes: Vec<Digest>,
    faults: Vec<(u64, Fault)>,
}

impl Chain {
    /// Takes the next record. A chain may begin anywhere; what is before its beginning is not checked.
    pub fn push(&mut self, record: &Record) {
        if self.hashes.is_empty() {
            self.first = record.seq;
        }
        let expected = self.first + self.hashes.len() as u64;
        if record.seq != expected {
            self.fault(record.seq, Fault::Order);
        }
        let before = match self.hashes.last() {
            None if record.seq == 0 => Some(NOTHING),
            last => last.copied(),
        };
        if before.is_some_and(|before| before != record.prev) {
            self.fault(record.seq, Fault::Prev);
        }
        let found = hash(&record.prev, &record.body);
        if found != record.hash {
            self.fault(record.seq, Fault::Hash);
        }
        if body_seq(&record.body) != Some(record.seq) {
            self.fault(record.seq, Fault::Body);
        }
        // What the text says counts, not what stands beside it.
        self.hashes.push(found);
    }

    fn fault(&mut self, seq: u64, fault: Fault) {
        if self.faults.len() < crate::verify::FINDINGS_MAX {
            self.faults.push((seq, fault));
        }
    }

    /// Records.
    pub fn len(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hash of record `seq`, if it is there.
    pub fn hash(&self, seq: u64) -> Option<Digest> {
        let at = seq.checked_sub(self.first)?;
        self.hashes.get(usize::try_from(at).ok()?).copied()
    }

    /// What is wrong, by record; the first thousand.
    pub fn faults(&self) -> &[(u64, Fault)] {
        &self.faults
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

    fn faults(records: &[Record]) -> Vec<(u64, Fault)> {
        let mut chain = Chain::default();
        records.iter().for_each(|record| chain.push(record));
        chain.faults().to_vec()
    }

    #[test]
    fn the_vectors_are_written_and_hold() {
        let records = trail();
        for (record, (body, hash)) in records.iter().zip(BODIES) {
            assert_eq!(record.body, body);
            assert_eq!(record.hash.to_string(), hash);
        }
        assert_eq!(records[0].prev.to_string(), "0".repeat(64));
        assert_eq!(faults(&records), []);
        assert_eq!(faults(&records[1..]), []);
        let mut chain = Chain::default();
        chain.push(&records[1]);
        assert_eq!(chain.hash(1), Some(records[1].hash));
        assert_eq!((chain.hash(0), chain.hash(2)), (None, None));
    }

    #[test]
    fn every_change_is_a_fault() {
        let records = trail();
        let mut changed = records.clone();
        changed[0].body = changed[0].body.replace("weir/0.1.0", "weir/0.1.1");
        assert_eq!(faults(&changed), [(0, Fault::Hash), (1, Fault::Prev)]);
        changed[0].hash = hash(&changed[0].prev, &changed[0].body);
        assert_eq!(faults(&changed), [(1, Fault::Prev)]);
        let mut changed = records.clone();
        changed[1].prev = NOTHING;
        assert_eq!(faults(&changed), [(1, Fault::Prev), (1, Fault::Hash)]);
        let mut changed = records.clone();
        changed.swap(0, 1);
        assert_eq!(faults(&changed)[0], (0, Fault::Order));
        let again = [records[0].clone(), records[0].clone()];
        assert_eq!(faults(&again), [(0, Fault::Order), (0, Fault::Prev)]);
        let mut other = records;
        other.truncate(1);
        other[0].body = other[0].body.replace("\"seq\":0", "\"seq\":0,\"seq\":0");
        other[0].hash = hash(&other[0].prev, &other[0].body);
        assert_eq!(faults(&other), [(0, Fault::Body)]);
    }
}
