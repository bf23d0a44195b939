//! How many records an answer calls refused.
//!
//! In: the words of a 400 after which the rest is stored. Loki has a message for each entry that it refuses, and counts
//! those that are equal; but one message for a stream that it refuses, however many entries that has. Those are counted
//! in what was sent, by the labels that the message shows. Read from v3.7.6: `pkg/util/errors.go`,
//! `pkg/validation/validate.go`, `pkg/ingester/stream.go`.

use component::prelude::*;
use wire::view::Value;

use super::names;
use super::record::{self, Span};

/// What was sent, by streams.
#[derive(Clone, Copy, Debug)]
pub(super) enum Streams<'a> {
    /// A push of protobuf, in its block of snappy.
    Proto(&'a [u8]),
    /// A push of JSON, plain.
    Json(&'a [u8]),
    /// OTLP, of which Loki makes a stream for each resource.
    Otlp(&'a Payload),
}

/// A message that speaks of a stream as a whole has one of these in it.
const OF_STREAMS: [&str; 5] = [
    "label names; limit ",
    "has label name too long: ",
    "has label value too long: ",
    "has duplicate label name: ",
    "missing required labels ",
];

/// Records that the words speak of; at least one.
pub(super) fn count(words: &str, streams: Streams<'_>) -> u64 {
    // The ingester says exactly how many, and hides what else there was.
    let exact: Vec<u64> = words
        .match_indices("total ignored: ")
        .filter_map(|(at, piece)| leading(&words[at + piece.len()..]))
        .collect();
    if !exact.is_empty() {
        return exact.into_iter().fold(0, u64::saturating_add).max(1);
    }
    let of_message = |(times, message): (u64, &str)| match labels(message) {
        Some(labels) if OF_STREAMS.iter().any(|piece| message.contains(piece)) => {
            streams.lines(&labels).max(times)
        }
        _ => times,
    };
    let counts = messages(words).into_iter().map(of_message);
    counts.fold(0, u64::saturating_add).max(1)
}

/// Each message and how often it is meant: `3 errors like: MESSAGE; 1 errors like: MESSAGE`, or one alone without a
/// number. Messages may have semicolons of their own.
fn messages(words: &str) -> Vec<(u64, &str)> {
    const LIKE: &str = " errors like: ";
    // Where a message's number starts, its number, and where the message itself starts.
    let starts: Vec<(usize, u64, usize)> = words
        .match_indices(LIKE)
        .filter_map(|(at, _)| {
            let before = &words[..at];
            let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
            let is_first = start == 0 || before[..start].ends_with("; ");
            let times = before[start..].parse().ok().filter(|_| is_first)?;
            Some((start, times, at + LIKE.len()))
        })
        .collect();
    match starts.first() {
        Some((0, ..)) => {}
        _ => return vec![(1, words)],
    }
    let ends = starts
        .iter()
        .skip(1)
        .map(|(start, ..)| *start)
        .chain([words.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|((_, times, from), to)| (*times, &words[*from..to]))
        .collect()
}

/// The labels that a message shows, `'{a="b", c="d"}'`, values with their quotes; none if it shows none.
fn labels(message: &str) -> Option<Vec<(&str, &str)>> {
    let (_, mut rest) = message.split_once("'{")?;
    let mut all = Vec::new();
    loop {
        let (name, value) = rest.split_once('=')?;
        let bytes = value.as_bytes();
        if bytes.first() != Some(&b'"') {
            return None;
        }
        let mut end = 1;
        while *bytes.get(end)? != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        // A quote is a character of its own, whatever stands before it.
        all.push((name, value.get(..=end)?));
        rest = value.get(end + 1..)?;
        match rest.strip_prefix(", ") {
            Some(more) => rest = more,
            None => return rest.starts_with("}'").then_some(all),
        }
    }
}

/// The label that Loki adds where a stream has none of this name.
const ADDED: &str = "service_name";

impl Streams<'_> {
    /// Entries of the stream with these labels; 0 if there is none.
    fn lines(self, labels: &[(&str, &str)]) -> u64 {
        match self {
            Streams::Proto(body) => proto(body, labels).unwrap_or(0),
            Streams::Json(body) => json(body, labels).unwrap_or(0),
            Streams::Otlp(payload) => payload.chunks.iter().map(|chunk| otlp(chunk, labels)).sum(),
        }
    }
}

/// Whether a stream that was sent with `own` labels is shown with `labels`.
fn is_same(own: &[(&str, &str)], labels: &[(&str, &str)]) -> bool {
    let is_own = |label: &&(&str, &str)| own.contains(label);
    let is_new = |(name, _): &(&str, &str)| *name == ADDED && own.iter().all(|(name, _)| *name != ADDED);
    let added = labels.iter().filter(|label| is_new(label)).count();
    own.len() + added == labels.len() && labels.iter().filter(is_own).count() == own.len()
}

fn proto(body: &[u8], labels: &[(&str, &str)]) -> Option<u64> {
    let plain = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    for stream in record::each(&plain, Span::new(0, plain.len()), 1) {
        let text = record::first(&plain, stream, 1).of(&plain);
        let quoted = format!("'{}'", String::from_utf8_lossy(text));
        if self::labels(&quoted).is_some_and(|own| is_same(&own, labels)) {
            return Some(record::each(&plain, stream, 2).count() as u64);
        }
    }
    None
}

fn json(body: &[u8], labels: &[(&str, &str)]) -> Option<u64> {
    let push: serde_json::Value = serde_json::from_slice(body).ok()?;
    for stream in push["streams"].as_array()? {
        let own: Vec<(&String, String)> = stream["stream"]
            .as_object()?
            .iter()
            .map(|(name, value)| (name, quoted(value.as_str().unwrap_or_default().as_bytes())))
            .collect();
        let own: Vec<(&str, &str)> = own
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        if is_same(&own, labels) {
            return Some(stream["values"].as_array()?.len() as u64);
        }
    }
    None
}

/// Records of resources that have all these labels among their attributes.
fn otlp(chunk: &Chunk, labels: &[(&str, &str)]) -> u64 {
    let bytes = chunk.bytes();
    let mut records = 0;
    for group in record::each(&bytes, Span::new(0, bytes.len()), 1) {
        let mut attrs = Vec::new();
        record::attributes(&bytes, record::first(&bytes, group, 1), 1, &mut attrs);
        let own: Vec<(Vec<u8>, String)> = attrs
            .iter()
            .map(|attr| {
                let (mut name, mut text) = (Vec::new(), Vec::new());
                names::sanitize(attr.key.of(&bytes), &mut name);
                Value::new(attr.value.of(&bytes)).as_string(&mut text);
                (name, quoted(&text))
            })
            .collect();
        let has = |name: &str| own.iter().any(|(own, _)| own == name.as_bytes());
        let is_one = |(name, value): &(&str, &str)| {
            let is_own = own
                .iter()
                .any(|(own, text)| own == name.as_bytes() && text == value);
            is_own || (*name == ADDED && !has(ADDED))
        };
        if labels.iter().all(is_one) {
            let scopes = record::each(&bytes, group, 2);
            records += scopes
                .map(|scope| record::each(&bytes, scope, 2).count() as u64)
                .sum::<u64>();
        }
    }
    records
}

fn quoted(value: &[u8]) -> String {
    let mut out = Vec::new();
    names::quote(value, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn leading(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Streams<'_> = Streams::Proto(b"");
    const OLD: &str = "entry for stream '{job=\"a\"}' has timestamp too old: 2020-01-01T00:00:00Z, oldest acceptable \
        timestamp is: 2026-01-01T00:00:00Z";
    const WIDE: &str = "entry for stream '{a=\"1\", b=\"x, y=\\\"z\\\"}'\", service_name=\"unknown_service\"}' has 3 label names; limit 1";

    #[test]
    fn entries_are_counted_by_message() {
        let check = |words: &str, expected: u64| assert_eq!(count(words, NONE), expected, "{words}");
        check("", 1);
        check(OLD, 1);
        check(&format!("3 errors like: {OLD}"), 3);
        check(
            &format!("3 errors like: {OLD}; 12 errors like: max entry size '5' bytes"),
            15,
        );
        // A semicolon of its own, and a number that is none of Loki's.
        check(WIDE, 1);
        check(&format!("1 errors like: {WIDE}; 1 errors like: {OLD}"), 2);
        check(&format!("{OLD} for 7 errors like: x"), 1);
        check("99999999999999999999999 errors like: x", 1);
        let most = u64::MAX;
        check(&format!("{most} errors like: x; {most} errors like: y"), most);
        check(&format!("total ignored: {most}, total ignored: {most}"), most);
        check(
            "reason, total ignored: 3 out of 5 for stream: {}; total ignored: 4 out of 4",
            7,
        );
        check("total ignored: 0 out of 5", 1);
    }

    #[test]
    fn labels_are_read_as_they_are_shown() {
        let check = |message: &str, expected: Option<&[(&str, &str)]>| {
            assert_eq!(labels(message).as_deref(), expected, "{message}");
        };
        check(OLD, Some(&[("job", "\"a\"")]));
        check(
            WIDE,
            Some(&[
                ("a", "\"1\""),
                ("b", "\"x, y=\\\"z\\\"}'\""),
                ("service_name", "\"unknown_service\""),
            ]),
        );
        check("stream '{}' has", None);
        check("stream '{a=\"b\"", None);
        check("stream '{a=\"b\\", None);
        check("stream '{a=b}'", None);
        check("stream '{a=\"ü\\ü\"}'", Some(&[("a", "\"ü\\ü\"")]));
        check("nothing", None);
    }

    /// Three entries under the labels of [`WIDE`] without the one that Loki adds, one under others.
    #[test]
    fn a_stream_is_counted_with_its_entries() {
        let value = "x, y=\"z\"}'";
        let mut plain = Vec::new();
        for (text, entries) in [("{a=\"1\"}", 1), ("{a=\"1\", b=\"x, y=\\\"z\\\"}'\"}", 3)] {
            let mut stream = Vec::new();
            wire::field::write_header(1, text.len(), &mut stream);
            stream.extend_from_slice(text.as_bytes());
            for _ in 0..entries {
                wire::field::write_header(2, 0, &mut stream);
            }
            wire::field::write_header(1, stream.len(), &mut plain);
            plain.extend_from_slice(&stream);
        }
        let proto = snap::raw::Encoder::new().compress_vec(&plain).expect("a block");
        let json = serde_json::json!({"streams": [
            {"stream": {"a": "1"}, "values": [["1", "x"]]},
            {"stream": {"b": value, "a": "1"}, "values": [["1", "x"], ["2", "x"], ["3", "x"]]},
        ]})
        .to_string();
        let check = |words: &str, expected: u64| {
            assert_eq!(count(words, Streams::Proto(&proto)), expected, "{words}");
            assert_eq!(count(words, Streams::Json(json.as_bytes())), expected, "{words}");
        };
        check(WIDE, 3);
        check(&format!("1 errors like: {WIDE}; 2 errors like: {OLD}"), 5);
        check("stream '{a=\"1\"}' has label value too long: '1'", 1);
        check("stream '{a=\"2\"}' has label value too long: '2'", 1);
        check(
            "missing required labels 'x' for user 'u' for stream '{a=\"1\", b=\"x, y=\\\"z\\\"}'\"}' (policy: '')",
            3,
        );
        // An entry of it.
        check(
            &WIDE.replace("has 3 label names; limit 1", "has timestamp too new: x"),
            1,
        );
    }
}
