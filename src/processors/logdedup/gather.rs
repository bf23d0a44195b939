//! What is gathered: one entry for each distinct record, with how often and when it came.
//!
//! In: log records of views. Out: at each interval one request per owner, one record per entry in the order of first
//! appearance. Entries are told apart by a hash of 128 bits, seeded anew by each process, over what makes a record
//! distinct: owner, resource attributes, scope, and the record's content or chosen fields.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wire::field::{Fields, LEN};
use wire::view::identity::{self, Order};
use wire::view::{NewValue, NodeId, View};
use wire::{Chunk, Origin, Shape, write};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::fields::Field;

/// Hash of what makes something distinct.
type Key = u128;

// Field numbers of LogRecord, as `otlp::LOG_RECORD` has them (a test compares).
const TIME: u32 = 1;
const SEVERITY: u32 = 2;
const SEVERITY_TEXT: u32 = 3;
const BODY: u32 = 5;
const ATTRIBUTES: u32 = 6;
const OBSERVED: u32 = 11;

const FIRST: &[u8] = b"first_observed_timestamp";
const LAST: &[u8] = b"last_observed_timestamp";

/// Bytes that an entry costs beside its record, about.
pub(super) const ENTRY_BYTES: usize = 256;

/// How records are told apart, and how they are written.
pub(super) struct Rules {
    /// Removed from records first.
    pub(super) excluded: Vec<Field>,
    /// What alone makes a record distinct; all of it if empty, or if a record has none of these.
    pub(super) included: Vec<Field>,
    /// Key of the attribute with the count.
    pub(super) count_attribute: Box<[u8]>,
    /// In which times are told.
    pub(super) zone: TimeZone,
    /// Of the hashes.
    pub(super) seed: u64,
}

/// A distinct record as one request brought it.
pub(super) struct Found {
    key: Key,
    resource: Key,
    scope: Key,
    owner: Option<Arc<str>>,
    /// Content of the record, but for its times and what is told of it.
    record: Vec<u8>,
    count: u64,
}

/// What one request brought.
#[derive(Default)]
pub(super) struct Harvest {
    found: Vec<Found>,
    by_key: HashMap<Key, usize>,
    /// Resource and scope messages, by their keys.
    headers: HashMap<Key, Vec<u8>>,
    /// Encoded bytes, about.
    pub(super) bytes: usize,
    /// Whether there may be unknown fields in what was taken.
    pub(super) unknown_fields: bool,
    order: Order,
    text: Vec<u8>,
}

impl Harvest {
    /// Takes one record, whose excluded fields go first. The caller removes it from the view.
    pub(super) fn take(&mut self, rules: &Rules, owner: Option<&Arc<str>>, view: &mut View<'_>, n: NodeId) {
        rules.excluded.iter().for_each(|field| field.remove(view, n));
        let scope = view.parent(n).expect("a record is in a scope");
        let resource = view.parent(scope).expect("a scope is in a resource group");
        let resource = self.resource(rules, owner, view, resource);
        let scope = self.scope(rules, resource, view, scope);
        let key = self.record(rules, scope, view, n);
        if let Some(&known) = self.by_key.get(&key) {
            self.found[known].count += 1;
            return;
        }
        let mut record = Vec::with_capacity(view.raw(n).len());
        encode(view, n, &rules.count_attribute, &mut record);
        record.shrink_to_fit();
        self.bytes += record.len() + ENTRY_BYTES;
        self.by_key.insert(key, self.found.len());
        self.found.push(Found {
            key,
            resource,
            scope,
            owner: owner.cloned(),
            record,
            count: 1,
        });
    }

    /// Records that were taken.
    pub(super) fn items(&self) -> u64 {
        self.found.iter().map(|f| f.count).sum()
    }

    fn resource(&mut self, rules: &Rules, owner: Option<&Arc<str>>, view: &View<'_>, n: NodeId) -> Key {
        self.text.clear();
        self.text.push(u8::from(owner.is_some()));
        identity::text(owner.map_or(&[], |o| o.as_bytes()), &mut self.text);
        self.order.attributes(view, n, &mut self.text);
        self.header(rules, b'r', view, n)
    }

    fn scope(&mut self, rules: &Rules, resource: Key, view: &View<'_>, n: NodeId) -> Key {
        self.text.clear();
        self.text.extend_from_slice(&resource.to_le_bytes());
        self.order.attributes(view, n, &mut self.text);
        identity::text(view.text(n, 1), &mut self.text);
        identity::text(view.text(n, 2), &mut self.text);
        self.header(rules, b's', view, n)
    }

    /// Key of the text; the message of the first that has it is kept.
    fn header(&mut self, rules: &Rules, kind: u8, view: &View<'_>, n: NodeId) -> Key {
        self.text.push(kind);
        let key = xxh3_128_with_seed(&self.text, rules.seed);
        let bytes = &mut self.bytes;
        self.headers.entry(key).or_insert_with(|| {
            let message = inner(view.raw(n));
            *bytes += message.len() + ENTRY_BYTES;
            message.to_vec()
        });
        key
    }

    fn record(&mut self, rules: &Rules, scope: Key, view: &View<'_>, n: NodeId) -> Key {
        self.text.clear();
        self.text.extend_from_slice(&scope.to_le_bytes());
        let mut has_some = false;
        for (i, field) in rules.included.iter().enumerate() {
            let Some(value) = field.find(view, n) else {
                continue;
            };
            has_some = true;
            self.text.extend_from_slice(&(i as u32).to_le_bytes());
            let start = self.text.len();
            value.as_string(&mut self.text);
            let len = self.text.len() - start;
            self.text.extend_from_slice(&(len as u64).to_le_bytes());
        }
        if !has_some {
            self.text.push(0);
            self.order.attributes(view, n, &mut self.text);
            match view.body(n) {
                Some(body) => identity::value(body, &mut self.text),
                None => self.text.push(0),
            }
            let severity = view.number(n, SEVERITY).unwrap_or(0);
            self.text.extend_from_slice(&severity.to_le_bytes());
            identity::text(view.text(n, SEVERITY_TEXT), &mut self.text);
        }
        xxh3_128_with_seed(&self.text, rules.seed)
    }
}

/// Content of field 1 of a group: its resource or scope.
fn inner(group: &[u8]) -> &[u8] {
    let mut fields = Fields::new(group, 0).map_while(Result::ok);
    let found = fields.find(|f| f.number == 1 && f.wire == LEN);
    found.map_or(&[], |f| &group[f.value..f.end])
}

/// Appends a record as it is now, but for its times and the attributes that will be told anew.
fn encode(view: &View<'_>, n: NodeId, count_attribute: &[u8], out: &mut Vec<u8>) {
    let raw = view.raw(n);
    for field in Fields::new(raw, 0).map_while(Result::ok) {
        if !matches!(field.number, TIME | OBSERVED | BODY | ATTRIBUTES) {
            out.extend_from_slice(&raw[field.start..field.end]);
        }
    }
    if let Some(body) = view.body(n) {
        write::bytes(BODY, body.raw(), out);
    }
    for i in 0..view.attrs(n) {
        let (key, value) = (view.key(n, i), view.value(n, i));
        if key != count_attribute && key != FIRST && key != LAST {
            write::message(ATTRIBUTES, out, |out| {
                write::bytes(1, key, out);
                write::bytes(2, value.raw(), out);
            });
        }
    }
}

// --- Gathered ---

struct Entry {
    resource: Key,
    scope: Key,
    owner: Option<Arc<str>>,
    record: Vec<u8>,
    count: u64,
    /// Nanoseconds since 1970.
    first: u64,
    last: u64,
}

/// Everything since the last interval.
#[derive(Default)]
pub(super) struct Gathered {
    entries: Vec<Entry>,
    by_key: HashMap<Key, usize>,
    headers: HashMap<Key, Vec<u8>>,
    unknown_fields: bool,
}

/// What a harvest came to: by owner, new entries and records that became part of one.
pub(super) type Came = Vec<(Option<Arc<str>>, u64, u64)>;

impl Gathered {
    /// Adds what a request brought at `now` (nanoseconds since 1970). Gives the bytes that it came to beside what was
    /// there.
    pub(super) fn add(&mut self, harvest: Harvest, now: u64) -> (Came, usize) {
        let mut came = Came::new();
        let mut bytes = 0;
        self.unknown_fields |= harvest.unknown_fields;
        for found in harvest.found {
            let at = match came.iter().position(|(owner, ..)| *owner == found.owner) {
                Some(at) => at,
                None => {
                    came.push((found.owner.clone(), 0, 0));
                    came.len() - 1
                }
            };
            let (_, made, merged) = &mut came[at];
            if let Some(&known) = self.by_key.get(&found.key) {
                let entry = &mut self.entries[known];
                (entry.count, entry.last) = (entry.count + found.count, now);
                *merged += found.count;
                continue;
            }
            *made += 1;
            *merged += found.count - 1;
            bytes += found.record.len() + ENTRY_BYTES;
            self.by_key.insert(found.key, self.entries.len());
            self.entries.push(Entry {
                resource: found.resource,
                scope: found.scope,
                owner: found.owner,
                record: found.record,
                count: found.count,
                first: now,
                last: now,
            });
        }
        for (key, message) in harvest.headers {
            self.headers.entry(key).or_insert_with(|| {
                bytes += message.len() + ENTRY_BYTES;
                message
            });
        }
        (came, bytes)
    }

    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts of all entries.
    pub(super) fn counts(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|e| e.count)
    }

    /// One chunk for each owner, as of `now`.
    pub(super) fn encode(&self, rules: &Rules, now: u64) -> Vec<Chunk> {
        let mut tree: Vec<Owned<'_>> = Vec::new();
        let mut places: HashMap<(Key, Key), (usize, usize, usize)> = HashMap::new();
        let mut resources: HashMap<Key, (usize, usize)> = HashMap::new();
        let mut owners: HashMap<Option<&str>, usize> = HashMap::new();
        for entry in &self.entries {
            let owner = *owners.entry(entry.owner.as_deref()).or_insert_with(|| {
                tree.push(Owned {
                    owner: entry.owner.clone(),
                    items: 0,
                    resources: Vec::new(),
                });
                tree.len() - 1
            });
            let (_, resource) = *resources.entry(entry.resource).or_insert_with(|| {
                tree[owner].resources.push((entry.resource, Vec::new()));
                (owner, tree[owner].resources.len() - 1)
            });
            let (.., scope) = *places.entry((entry.resource, entry.scope)).or_insert_with(|| {
                let scopes = &mut tree[owner].resources[resource].1;
                scopes.push((entry.scope, Vec::new()));
                (owner, resource, scopes.len() - 1)
            });
            tree[owner].resources[resource].1[scope].1.push(entry);
            tree[owner].items += 1;
        }
        tree.into_iter()
            .map(|owned| self.chunk(rules, owned, now))
            .collect()
    }

    fn chunk(&self, rules: &Rules, owned: Owned<'_>, now: u64) -> Chunk {
        let header = |key: &Key| self.headers.get(key).map_or(&[][..], Vec::as_slice);
        let mut out = Vec::new();
        for (resource, scopes) in &owned.resources {
            write::message(1, &mut out, |out| {
                write::bytes(1, header(resource), out);
                for (scope, entries) in scopes {
                    write::message(2, out, |out| {
                        write::bytes(1, header(scope), out);
                        for entry in entries {
                            write::message(2, out, |out| entry.encode(rules, now, out));
                        }
                    });
                }
            });
        }
        let shape = Shape {
            items: owned.items,
            unknown_fields: self.unknown_fields,
            ..Shape::default()
        };
        let mut chunk = Chunk::new(out.into(), shape);
        chunk.origin = Origin {
            tenant: owned.owner,
            ..Origin::default()
        };
        chunk
    }
}

/// Entries of one owner by resource and scope.
struct Owned<'e> {
    owner: Option<Arc<str>>,
    items: u32,
    resources: Vec<(Key, Vec<(Key, Vec<&'e Entry>)>)>,
}

impl Entry {
    fn encode(&self, rules: &Rules, now: u64, out: &mut Vec<u8>) {
        write::fixed(TIME, now, out);
        out.extend_from_slice(&self.record);
        let count = NewValue::Int(i64::try_from(self.count).unwrap_or(i64::MAX));
        write::attribute(ATTRIBUTES, &rules.count_attribute, count, out);
        let mut tell = |key: &[u8], at: u64| {
            let text = rfc3339(at, &rules.zone);
            write::attribute(ATTRIBUTES, key, NewValue::Str(text.as_bytes()), out);
        };
        tell(FIRST, self.first);
        tell(LAST, self.last);
        write::fixed(OBSERVED, self.first, out);
    }
}

/// A time in seconds as RFC 3339 has it: `2026-03-29T03:00:00+02:00`, and `Z` where the offset is zero.
fn rfc3339(nanos: u64, zone: &TimeZone) -> String {
    let at = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
    let zoned = at.to_zoned(zone.clone());
    let text = zoned.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    match zoned.offset().seconds() {
        0 => text + "Z",
        _ => text + &zoned.strftime("%:z").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use wire::otlp::{LOG_RECORD, Role};

    use super::*;

    #[test]
    fn numbers_are_those_of_the_table() {
        for (number, name) in [
            (TIME, "time_unix_nano"),
            (SEVERITY, "severity_number"),
            (SEVERITY_TEXT, "severity_text"),
            (OBSERVED, "observed_time_unix_nano"),
        ] {
            assert_eq!(LOG_RECORD.named(name).map(|f| f.number), Some(number), "{name}");
        }
        assert_eq!(LOG_RECORD.with_role(Role::Body).map(|f| f.number), Some(BODY));
        assert_eq!(
            LOG_RECORD.with_role(Role::Attributes).map(|f| f.number),
            Some(ATTRIBUTES)
        );
    }

    #[test]
    fn times_are_told_as_the_zone_has_them() {
        let check = |seconds: u64, zone: &str, expected: &str| {
            let zone = TimeZone::get(zone).unwrap();
            assert_eq!(rfc3339(seconds * 1_000_000_000 + 999_999_999, &zone), expected);
        };
        check(0, "UTC", "1970-01-01T00:00:00Z");
        check(1_774_745_999, "Europe/Berlin", "2026-03-29T01:59:59+01:00");
        check(1_774_746_000, "Europe/Berlin", "2026-03-29T03:00:00+02:00");
        check(1_767_225_600, "Europe/London", "2026-01-01T00:00:00Z");
        check(1_782_864_000, "America/St_Johns", "2026-06-30T21:30:00-02:30");
    }
}
