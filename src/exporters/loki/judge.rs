//! What Loki's answers mean: read from its source (grafana/loki 65e30f8 and v3.7.6, distributor and ingester).
//!
//! It stores what it can and complains about the rest, with one status for all of it; so a 400 is a loss of some and a
//! delivery of the others, and what was stored must not go again.

use std::time::Duration;

use component::prelude::*;

use super::refused::{self, Streams};

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) items: usize,
    pub(super) streams: Streams<'a>,
    /// The most bytes of a push; a single record beyond that which passes no burst never will.
    pub(super) push_bytes_max: usize,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) after: Option<Duration>,
    /// Its words, without what is not text.
    pub(super) words: &'a str,
    /// For the log: where it came from and what it says.
    pub(super) text: &'a str,
}

/// What Loki says of entries and streams whose neighbours it stored.
const OF_SOME: [&str; 15] = [
    "has timestamp too old",
    "has timestamp too new",
    "entry too far behind",
    "entry out of order",
    "max entry size",
    "label names",
    "label name too long",
    "label value too long",
    "duplicate label name",
    "structured metadata",
    "missing required labels",
    "at least one label pair is required",
    "rror parsing labels",
    "total ignored",
    "no org id in stream",
];

/// What Loki says to a tenant whose records it stores none of, until a given time.
const BLOCKED: &str = "ingestion blocked for user";

/// What Loki says of a request with an attribute that it can make no name of.
const NAMELESS: &str = "symbolizer lookup";

/// What is left alone for long: it takes a human.
const STREAMS_PAUSE: Duration = Duration::from_secs(30);

/// What an answer means for what was sent.
pub(super) fn judge(answer: Answer<'_>, sent: Sent<'_>) -> Result<Outcome, ExportError> {
    let source = || answer.text.to_owned().into();
    let rejected = || {
        Err(ExportError::Rejected {
            code: Code::from_http(answer.status),
            source: source(),
        })
    };
    let retry = |after: Option<Duration>| {
        Err(ExportError::Retry {
            after: after.filter(|after| !after.is_zero()),
            remaining: None,
            source: source(),
        })
    };
    match answer.status {
        200 | 204 => Ok(Outcome::all()),
        // Whatever status an administrator has chosen for it.
        400..=499 if answer.words.contains(BLOCKED) => Err(ExportError::Unauthorized { source: source() }),
        // 260 and what else an administrator has made of it: Loki says that it stores nothing, and smiles. Redirects that
        // the client does not follow are somebody's who stands before it.
        201..=399 | 401 | 403 => Err(ExportError::Unauthorized { source: source() }),
        400 if sent.items > 1 && OF_SOME.iter().any(|piece| answer.words.contains(piece)) => Ok(Outcome {
            rejected: vec![Rejection {
                rule: "rejected_by_peer".into(),
                items: refused::count(answer.words, sent.streams).min(sent.items as u64),
                message: answer.text.to_owned(),
            }],
        }),
        // A name without a letter or digit, by which Loki's endpoint for OTLP refuses all that came with it.
        400 if sent.items > 1 && answer.words.contains(NAMELESS) => {
            Err(ExportError::TooLarge { source: source() })
        }
        408 => retry(answer.after),
        413 => Err(ExportError::TooLarge { source: source() }),
        429 if answer.words.contains("active stream limit") => {
            retry(Some(answer.after.unwrap_or_default().max(STREAMS_PAUSE)))
        }
        429 => match rate(answer.words) {
            // Tokens come by the second: a push of more than that may never pass.
            Some((limit, bytes))
                if bytes > limit && (sent.items > 1 || bytes > sent.push_bytes_max as u64) =>
            {
                Err(ExportError::TooLarge { source: source() })
            }
            _ => retry(answer.after),
        },
        500.. => retry(answer.after.filter(|_| answer.status == 503)),
        _ => rejected(),
    }
}

/// `(limit: N bytes/sec) while attempting to ingest 'L' lines totaling 'B' bytes`.
fn rate(words: &str) -> Option<(u64, u64)> {
    let (_, limit) = words
        .split_once("ingestion rate limit exceeded")?
        .1
        .split_once("(limit: ")?;
    let (_, bytes) = limit.split_once("totaling '")?;
    Some((leading(limit)?, leading(bytes)?))
}

fn leading(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(result: &Result<Outcome, ExportError>) -> String {
        match result {
            Ok(outcome) if outcome.rejected.is_empty() => "delivered".into(),
            Ok(outcome) => format!("delivered but for {}", outcome.rejected_items()),
            Err(ExportError::Retry { after, remaining, .. }) => {
                assert!(remaining.is_none());
                format!("retry {:?}", after.map(|after| after.as_secs()))
            }
            Err(ExportError::TooLarge { .. }) => "too large".into(),
            Err(ExportError::Apart { .. }) => "apart".into(),
            Err(ExportError::Rejected { code, .. }) => format!("rejected {code}"),
            Err(ExportError::Unauthorized { .. }) => "unauthorized".into(),
        }
    }

    const OLD: &str = "entry for stream '{job=\"a\"}' has timestamp too old: 2020-01-01T00:00:00Z, oldest acceptable \
        timestamp is: 2026-01-01T00:00:00Z";
    const BEHIND: &str = "entry with timestamp 2026-01-01 00:00:00 +0000 UTC ignored, reason: 'entry too far behind, \
        entry timestamp is: 2026-01-01T00:00:00Z, oldest acceptable timestamp is: 2026-01-02T00:00:00Z',\nuser 'fake', \
        total ignored: 3 out of 5 for stream: {job=\"a\"}";
    const RATE: &str = "ingestion rate limit exceeded for user a (limit: 4194304 bytes/sec) while attempting to ingest \
        '9' lines totaling '5000000' bytes, reduce log volume or contact your Loki administrator";
    const SLOW: &str = "ingestion rate limit exceeded for user a (limit: 4194304 bytes/sec) while attempting to ingest \
        '9' lines totaling '4000000' bytes, reduce log volume";
    const STREAM: &str = "Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream \
        '{job=\"a\"}' totaling 4MB, consider splitting a stream";
    const STREAMS: &str =
        "maximum active stream limit exceeded when trying to create stream {a=\"b\"}, reduce the number";

    #[test]
    fn every_answer_means_one_thing() {
        let check = |status: u16, words: &str, items: usize, expected: &str| {
            let sent = Sent {
                items,
                streams: Streams::Proto(b""),
                push_bytes_max: 4 << 20,
            };
            let answer = Answer {
                status,
                after: Some(Duration::from_secs(7)),
                words,
                text: words,
            };
            assert_eq!(name(&judge(answer, sent)), expected, "{status} {words} {items}");
        };
        check(200, "", 5, "delivered");
        check(204, "", 5, "delivered");
        check(201, "", 5, "unauthorized");
        check(
            260,
            "ingestion blocked for user a until '...' with status code '260'",
            5,
            "unauthorized",
        );
        check(
            400,
            "couldn't parse labels: nonsense",
            5,
            "rejected INVALID_ARGUMENT",
        );
        check(400, "", 5, "rejected INVALID_ARGUMENT");
        check(400, OLD, 5, "delivered but for 1");
        check(
            400,
            &format!("3 errors like: {OLD}; 12 errors like: max entry size '5' bytes"),
            100,
            "delivered but for 15",
        );
        check(400, BEHIND, 5, "delivered but for 3");
        check(400, BEHIND, 2, "delivered but for 2");
        check(400, OLD, 1, "rejected INVALID_ARGUMENT");
        // What parts one message from the next may also stand in a label, and in a message.
        let named = "entry for stream '{a=\"x; y\"}' has 16 label names; limit 15";
        check(400, named, 9, "delivered but for 1");
        check(
            400,
            &format!("4 errors like: {named}; 2 errors like: {OLD}"),
            9,
            "delivered but for 6",
        );
        let many = "total ignored: 18446744073709551615 out of 1, total ignored: 2";
        check(400, many, 5, "delivered but for 5");
        for status in [400, 422, 429] {
            check(
                status,
                "ingestion blocked for user 'a' until 'x' with status code 'y'",
                5,
                "unauthorized",
            );
        }
        check(
            400,
            "Error parsing labels '{' with error: x",
            5,
            "delivered but for 1",
        );
        let nameless =
            "symbolizer lookup: normalization for label name \"...\" resulted in invalid name \"_\"";
        check(400, nameless, 5, "too large");
        check(400, nameless, 1, "rejected INVALID_ARGUMENT");
        check(401, "no org id", 5, "unauthorized");
        check(403, "", 5, "unauthorized");
        check(404, "", 5, "rejected UNIMPLEMENTED");
        check(408, "", 5, "retry Some(7)");
        check(413, "", 5, "too large");
        check(
            422,
            "error at least one valid stream is required for ingestion",
            5,
            "rejected UNKNOWN",
        );
        check(429, "slow down", 5, "retry Some(7)");
        check(429, SLOW, 9, "retry Some(7)");
        check(429, RATE, 9, "too large");
        check(429, RATE, 1, "too large");
        check(429, STREAM, 9, "retry Some(7)");
        check(429, STREAMS, 9, "retry Some(30)");
        check(500, "", 5, "retry None");
        check(502, "", 5, "retry None");
        check(503, "", 5, "retry Some(7)");
        check(504, "", 5, "retry None");
        check(302, "", 5, "unauthorized");
    }

    #[test]
    fn a_single_record_below_a_push_waits_for_its_burst() {
        let answer = Answer {
            status: 429,
            after: None,
            words: "ingestion rate limit exceeded for user a (limit: 100 bytes/sec) while attempting to ingest '1' lines \
                totaling '200' bytes",
            text: "",
        };
        let sent = |push_bytes_max| Sent {
            items: 1,
            streams: Streams::Proto(b""),
            push_bytes_max,
        };
        assert_eq!(name(&judge(answer, sent(4 << 20))), "retry None");
        assert_eq!(name(&judge(answer, sent(150))), "too large");
    }
}
