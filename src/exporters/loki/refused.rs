//! How many records an answer calls refused.
//!
//! In: the words of a 400 after which the rest is stored. Loki has a message for each entry that it refuses, and counts
//! those that are equal; but one message for a stream that it refuses, however many entries that has. Those are counted
//! in what was sent, by the labels that the message shows. Read from v3.7.6: `pkg/util/errors.go`,
//! `pkg/validation/validate.go`, `pkg/ingester/stream.go`.

use std::collections::HashMap;

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
    // There may be a message for each stream: what was sent is read once.
    let mut index = None;
    let of_message = |(times, message): (u64, &str)| match labels(message) {
        Some(labels) if OF_STREAMS.iter().any(|piece| message.contains(piece)) => {
            let index = index.get_or_insert_with(|| Index::of(streams));
            index.lines(labels).max(times)
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

/// Entries that were sent, by stream.
enum Index {
    /// By their labels, as [`key`] writes them.
    Labels(HashMap<String, u64>),
    /// By the attributes of their resources, with the names that they have as labels.
    Resources(Vec<(Vec<(String, String)>, u64)>),
}

impl Index {
    fn of(streams: Streams<'_>) -> Index {
        match streams {
            Streams::Proto(body) => Index::Labels(proto(body).unwrap_or_default()),
            Streams::Json(body) => Index::Labels(json(body).unwrap_or_default()),
            Streams::Otlp(payload) => Index::Resources(payload.chunks.iter().flat_map(otlp).collect()),
        }
    }

    /// Entries of the stream that is shown with these labels; 0 if there is none.
    fn lines(&self, mut labels: Vec<(&str, &str)>) -> u64 {
        match self {
            Index::Labels(streams) => {
                let shown = streams.get(&key(&mut labels)).copied();
                shown.unwrap_or_else(|| {
                    labels.retain(|(name, _)| *name != ADDED);
                    streams.get(&key(&mut labels)).copied().unwrap_or(0)
                })
            }
            Index::Resources(resources) => {
                let is_of = |own: &[(String, String)]| {
                    let has = |name: &str| own.iter().any(|(own, _)| own == name);
                    labels.iter().all(|(name, value)| {
                        let is_own = own.iter().any(|(own, text)| own == name && text == value);
                        is_own || (*name == ADDED && !has(ADDED))
                    })
                };
                let of_stream = resources.iter().filter(|(own, _)| is_of(own));
                of_stream.map(|(_, records)| *records).sum()
            }
        }
    }
}

/// Labels in one order, as one text.
fn key(labels: &mut [(&str, &str)]) -> String {
    labels.sort_unstable();
    labels
        .iter()
        .map(|(name, value)| format!("{name}={value},"))
        .collect()
}

fn proto(body: &[u8]) -> Option<HashMap<String, u64>> {
    let plain = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    let streams = record::each(&plain, Span::new(0, plain.len()), 1).filter_map(|stream| {
        let text = record::first(&plain, stream, 1).of(&plain);
        let quoted = format!("'{}'", String::from_utf8_lossy(text));
        let entries = record::each(&plain, stream, 2).count() as u64;
        Some((key(&mut labels(&quoted)?), entries))
    });
    Some(streams.collect())
}

fn json(body: &[u8]) -> Option<HashMap<String, u64>> {
    let push: serde_json::Value = serde_json::from_slice(body).ok()?;
    let streams = push["streams"].as_array()?.iter().filter_map(|stream| {
        let own = stream["stream"].as_object()?.iter();
        let own: Vec<(&str, String)> = own
            .map(|(name, value)| {
                (
                    name.as_str(),
                    quoted(value.as_str().unwrap_or_default().as_bytes()),
                )
            })
            .collect();
        let mut own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Some((key(&mut own), stream["values"].as_array()?.len() as u64))
    });
    Some(streams.collect())
}

/// The attributes of each resource, and how many records it has.
fn otlp(chunk: &Chunk) -> Vec<(Vec<(String, String)>, u64)> {
    let bytes = chunk.bytes();
    let groups = record::each(&bytes, Span::new(0, bytes.len()), 1).map(|group| {
        let mut attrs = Vec::new();
        record::attributes(&bytes, record::first(&bytes, group, 1), 1, &mut attrs);
        let own = attrs.iter().map(|attr| {
            let (mut name, mut text) = (Vec::new(), Vec::new());
            names::sanitize(attr.key.of(&bytes), &mut name);
            Value::new(attr.value.of(&bytes)).as_string(&mut text);
            (String::from_utf8_lossy(&name).into_owned(), quoted(&text))
        });
        let scopes = record::each(&bytes, group, 2);
        let records = scopes.map(|scope| record::each(&bytes, scope, 2).count() as u64);
        (own.collect(), records.sum())
    });
    groups.collect()
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
