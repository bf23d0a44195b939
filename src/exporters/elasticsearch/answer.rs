//! What Elasticsearch answers to `_bulk`, and what it means for each item.
//!
//! A 200 says nothing yet: each document has a status of its own. What is stored is never sent again, what may be taken
//! later is owed, what can never be taken is refused with the type and the words of the error. A document whose answer
//! is missing or cannot be read counts as not stored.

use std::borrow::Cow;
use std::fmt;

use component::prelude::*;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use wire::slice;

use super::bulk::{Bulk, Fate};

/// What came of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stored,
    /// It was there before.
    Known,
    /// Stored, but in the failure store of its data stream.
    Failed,
    /// To be sent again, for the status.
    Owed(u16),
    /// Never: an index into the reasons.
    Refused(u16),
}

/// As much of an error's type is the rule under which items are booked.
const KIND_BYTES_MAX: usize = 64;
/// As much of an error's words as is logged and handed on.
const REASON_BYTES_MAX: usize = 512;

/// Type and reason; old and foreign servers have but a reason, as text.
#[derive(Default)]
struct Error<'a> {
    kind: Text<'a>,
    reason: Text<'a>,
}

/// A text that may quote a document, and break off within a character: what is wrong with it must not hide the answers
/// behind it.
#[derive(Default)]
struct Text<'a>(Cow<'a, [u8]>);

impl Text<'_> {
    /// At most so many bytes of it.
    fn shown(&self, max: usize) -> String {
        net::grpc::truncated(&String::from_utf8_lossy(&self.0), max).to_owned()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Bytes;

        impl<'de> Visitor<'de> for Bytes {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_bytes<E>(self, text: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_bytes<E>(self, text: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Error<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Error<'a>, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Error<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error")
            }

            fn visit_str<E>(self, reason: &str) -> Result<Error<'de>, E> {
                let reason = Text(Cow::Owned(reason.as_bytes().to_owned()));
                Ok(Error {
                    reason,
                    ..Error::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Error<'de>, A::Error> {
                let mut error = Error::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    match &*key.0 {
                        b"type" => error.kind = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        b"reason" => error.reason = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(error)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default)]
    status: Option<u16>,
    #[serde(borrow, default)]
    error: Option<Error<'a>>,
    #[serde(borrow, default)]
    failure_store: Option<Text<'a>>,
}

/// Statuses that mean "later" for a document.
pub(super) fn is_later(status: u16, more: &[u16]) -> bool {
    matches!(status, 401 | 403 | 404 | 429 | 500 | 502..=504) || more.contains(&status)
}

/// Reads an answer. For each document what came of it, as far as the answer goes; no more than were sent.
///
/// `words`: the words of errors are kept, which may show what the document holds; else their type alone.
pub(super) fn read(body: &[u8], retried: &[u16], words: bool, bulk: &mut Bulk) -> Vec<Verdict> {
    let sent = bulk.documents.len();
    let mut out = Vec::with_capacity(sent);
    let mut answer = Answer {
        retried,
        words,
        bulk,
        out: &mut out,
        sent,
        errors: None,
        has_items: false,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = (&mut answer).deserialize(&mut json);
    let (errors, has_items) = (answer.errors, answer.has_items);
    // A list without an item says that no document was seen.
    if read.is_ok() && errors == Some(false) && !has_items {
        out.resize(sent, Verdict::Stored);
    }
    out
}

struct Answer<'o> {
    retried: &'o [u16],
    words: bool,
    bulk: &'o mut Bulk,
    out: &'o mut Vec<Verdict>,
    sent: usize,
    errors: Option<bool>,
    has_items: bool,
}

impl Answer<'_> {
    fn judge(&mut self, item: &Item<'_>) -> Verdict {
        let status = item
            .status
            .unwrap_or(if item.error.is_some() { 400 } else { 200 });
        match status {
            200..=299 if item.error.is_none() => match &item.failure_store {
                Some(Text(used)) if **used == *b"used" => Verdict::Failed,
                _ => Verdict::Stored,
            },
            409 => Verdict::Known,
            status if is_later(status, self.retried) => Verdict::Owed(status),
            status => {
                let error = item.error.as_ref();
                let kind = error.map_or(String::new(), |e| e.kind.shown(KIND_BYTES_MAX));
                let reason = error.map_or(String::new(), |e| e.reason.shown(REASON_BYTES_MAX));
                let (rule, told) = match kind.as_str() {
                    "" => (
                        format!("status_{status}"),
                        format!("Elasticsearch answered {status}"),
                    ),
                    kind => (kind.to_owned(), format!("Elasticsearch answered {status} {kind}")),
                };
                let message = match self.words && !reason.is_empty() {
                    true => format!("{told}: {reason}"),
                    false => told,
                };
                // The words of one kind of error differ by document: the first of them stand for all.
                let known = self.bulk.reasons.iter().position(|r| r.rule == rule);
                let number = known.map_or_else(|| self.bulk.reason(&rule, &message), |at| at as u16);
                Verdict::Refused(number)
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Answer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Answer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer to _bulk")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "errors" => self.errors = Some(map.next_value()?),
                "items" => {
                    self.has_items = true;
                    map.next_value_seed(Items(&mut *self))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Items<'x, 'o>(&'x mut Answer<'o>);

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list with an item for each document")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(verdict) = seq.next_element_seed(One(&mut *self.0))? {
            if self.0.out.len() == self.0.sent {
                return Err(serde::de::Error::custom("more items than documents"));
            }
            self.0.out.push(verdict);
        }
        Ok(())
    }
}

/// One item: an object with the action's name, `create`.
struct One<'x, 'o>(&'x mut Answer<'o>);

impl<'de> DeserializeSeed<'de> for One<'_, '_> {
    type Value = Verdict;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Verdict, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One<'_, '_> {
    type Value = Verdict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the name of the action")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Verdict, A::Error> {
        let mut verdict = None;
        while map.next_key::<IgnoredAny>()?.is_some() {
            let item: Item<'de> = map.next_value()?;
            verdict = Some(self.0.judge(&item));
        }
        verdict.ok_or_else(|| serde::de::Error::custom("an item without an action"))
    }
}

/// Counts of documents, for the log and the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) known: usize,
    pub(super) failed: usize,
}

/// Tells each item what came of its documents: owed if one of them is, else refused if one of them is. What has no
/// verdict is owed. Gives the statuses of those that are owed, without doubles, and counts.
pub(super) fn settle(verdicts: &[Verdict], bulk: &mut Bulk) -> (Vec<u16>, Counts) {
    let mut statuses: Vec<u16> = Vec::new();
    let mut counts = Counts::default();
    for (at, (from, count)) in bulk.documents.iter().enumerate() {
        let fate = match verdicts.get(at) {
            Some(Verdict::Stored) => continue,
            Some(Verdict::Known) => {
                counts.known += 1;
                continue;
            }
            Some(Verdict::Failed) => {
                counts.failed += 1;
                continue;
            }
            Some(Verdict::Owed(status)) => {
                if !statuses.contains(status) && statuses.len() < 16 {
                    statuses.push(*status);
                }
                Fate::Owed
            }
            Some(Verdict::Refused(reason)) => Fate::Refused(*reason),
            None => Fate::Owed,
        };
        for item in &bulk.members[*from as usize..(*from + *count) as usize] {
            let known = &mut bulk.fates[*item as usize];
            if *known != Fate::Owed {
                *known = fate;
            }
        }
    }
    (statuses, counts)
}

/// The items of a batch whose fate is `wanted`, as slices that know their places; empty if there are none.
pub(super) fn pieces(batch: &Payload, fates: &[Fate], wanted: fn(Fate) -> bool) -> Payload {
    let mut out = Payload {
        signal: batch.signal,
        chunks: Vec::new(),
        items: 0,
        context: batch.context.clone(),
    };
    let mut rest = fates;
    for chunk in &batch.chunks {
        let (own, after) = rest.split_at((chunk.shape.items as usize).min(rest.len()));
        rest = after;
        cut(&mut out, chunk, own, wanted);
    }
    out
}

/// By halves: each cut walks the chunk that it cuts.
fn cut(out: &mut Payload, chunk: &Chunk, fates: &[Fate], wanted: fn(Fate) -> bool) {
    let count = fates.iter().filter(|fate| wanted(**fate)).count();
    if count == 0 {
        return;
    }
    if count == fates.len() {
        return out.push(chunk.clone());
    }
    // Where what is wanted begins or ends, as near to the middle as it comes.
    let middle = fates.len() / 2;
    let changes = (1..fates.len()).filter(|at| wanted(fates[at - 1]) != wanted(fates[*at]));
    let Some(at) = changes.min_by_key(|at| at.abs_diff(middle)) else {
        return;
    };
    let (left, right) = fates.split_at(at);
    let (at, end) = (at as u32, fates.len() as u32);
    for (from, to, fates) in [(0, at, left), (at, end, right)] {
        if let Some(piece) = slice(out.signal, chunk, from, to) {
            cut(out, &piece, fates, wanted);
        }
    }
}
