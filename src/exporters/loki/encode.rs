//! From a batch to a push: records gathered into streams, in the order of their times.
//!
//! In: chunks of OTLP. Out: one push of one tenant, or what stands in its way: records that Loki would refuse, records
//! of several tenants, too many bytes. One walk over the bytes; what records of a resource and scope share is written
//! once and copied. Nothing is allocated by record once the [`Scratch`] is warm.

use std::collections::HashMap;

use bytes::Bytes;
use component::prelude::*;
use wire::field::{self, Fields, LEN};
use wire::varint;
use wire::view::{Any, Value};

use super::apart::{self, Group, MARK, apart, canonical, in_pieces, shard};
use super::config::{Format, Oversize};
use super::labels::{Piece, Rules, Set, Template};
use super::line::{self, Shared};
use super::metadata::{Names, Tally, Writer};
use super::names;
use super::record::{self, Attr, Record, Span};

struct Packer(snap::raw::Encoder);

impl Default for Packer {
    fn default() -> Packer {
        Packer(snap::raw::Encoder::new())
    }
}

/// Memory of an encoder, kept between batches.
#[derive(Default)]
pub(super) struct Scratch {
    resource: Vec<Attr>,
    scope: Vec<Attr>,
    attrs: Vec<Attr>,
    base: Set,
    own: Set,
    merged: Set,
    order: Vec<u32>,
    names: Names,
    room: (Vec<u8>, Vec<u8>),
    line: Vec<u8>,
    /// What lines of this scope end in.
    line_end: Vec<u8>,
    /// Metadata of this scope and its resource.
    metadata: Vec<u8>,
    key: Vec<u8>,
    last_key: Vec<u8>,
    known: HashMap<Vec<u8>, u32>,
    by_text: HashMap<Vec<u8>, u32>,
    streams: Vec<Stream>,
    texts: Vec<u8>,
    entries: Vec<u8>,
    records: Vec<Entry>,
    groups: Vec<Group>,
    tenant: Vec<u8>,
    verdicts: Vec<u16>,
    out: Vec<u8>,
    packer: Packer,
    packed: Vec<u8>,
}

impl Scratch {
    fn clear(&mut self) {
        self.known.clear();
        self.by_text.clear();
        self.last_key.clear();
        self.streams.clear();
        self.texts.clear();
        self.entries.clear();
        self.records.clear();
        self.groups.clear();
        self.verdicts.clear();
        self.out.clear();
    }

    #[cfg(test)]
    pub(super) fn line_len(&self) -> usize {
        self.line.len()
    }

    /// Whether it is worth keeping: one that held an unusual batch is let go.
    pub(super) fn is_usual(&self) -> bool {
        let all = [
            &self.entries,
            &self.texts,
            &self.line,
            &self.line_end,
            &self.metadata,
            &self.out,
            &self.packed,
        ];
        all.into_iter().map(Vec::capacity).sum::<usize>() <= KEPT_BYTES_MAX
    }
}

/// As much memory is kept for the next batch.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Where the configuration has no limit: a push is held in memory three times. Those of the tests are small.
const PUSH_BYTES_MAX: usize = if cfg!(test) { 4 << 20 } else { 64 << 20 };
/// Groups of records that are told apart in a batch; with more it is cut.
const GROUPS_MAX: usize = 1024;
/// Names of a hint that are heeded.
const HINTED_MAX: usize = 128;
/// Dots of a hinted name at which a map may end.
const DOTS_MAX: usize = 32;
/// What stands at the end of a line that was cut.
const CUT: &[u8] = b"...[cut]";

struct Stream {
    /// Its labels, in `texts`.
    text: (usize, usize),
    fault: Option<&'static str>,
}

#[derive(Clone, Copy)]
struct Entry {
    stream: u32,
    len: u32,
    time: i64,
    start: usize,
}

/// A push.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) body: Bytes,
    /// Empty = none.
    pub(super) tenant: Vec<u8>,
    /// For `X-Loki-Backfill-Shard`.
    pub(super) shard: Option<String>,
    /// Lines that were cut.
    pub(super) cut: u64,
    /// Bytes before compression.
    #[cfg(test)]
    pub(super) bytes: usize,
}

/// What came of a batch.
#[derive(Debug)]
pub(super) enum Encoded {
    /// No record in it.
    Nothing,
    Push(Push),
    /// Not one push: two or more pieces.
    Apart(Vec<Payload>),
    /// Halve it.
    TooLarge,
    /// Loki would take none of it, by this rule.
    Rejected(&'static str),
}

/// What the records of a batch share.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    /// The gateway's own tenant.
    pub(super) own_tenant: &'a str,
    /// Whose records are where they do not say it themselves; empty = nobody's.
    pub(super) tenant: &'a [u8],
    /// Nanoseconds since 1970.
    pub(super) now: u64,
}

/// Makes one push of a batch.
///
/// Errors: a chunk that cannot be read, which was refused at the door.
pub(super) fn encode(
    rules: &Rules,
    payload: &Payload,
    batch: Batch<'_>,
    s: &mut Scratch,
) -> Result<Encoded, wire::Malformed> {
    s.clear();
    let limit = or_most(rules.limits.max_push_bytes).min(PUSH_BYTES_MAX);
    let mut encoder = Encoder {
        rules,
        batch,
        limit,
        s,
        resources: 0,
        cut: 0,
        is_full: false,
    };
    for chunk in &payload.chunks {
        encoder.chunk(&canonical(chunk, payload.signal)?.bytes());
        if encoder.is_full {
            break;
        }
    }
    let (cut, is_full) = (encoder.cut, encoder.is_full);
    let count = s.verdicts.len();
    if count == 0 {
        return Ok(Encoded::Nothing);
    }
    // Those behind the one that was too much were not looked at.
    if is_full && count > 1 {
        return Ok(in_pieces(payload, (count * 9 / 10).max(1)));
    }
    if is_full && payload.items > 1 {
        // The first alone is more than a push.
        let mut verdicts = vec![0; payload.items];
        verdicts[0] = 1;
        return apart(payload, &verdicts);
    }
    let first = s.verdicts[0];
    if s.verdicts.iter().any(|verdict| *verdict != first) {
        return apart(payload, &s.verdicts);
    }
    let group = s.groups[usize::from(first)].clone();
    if let Some(fault) = group.fault {
        return Ok(Encoded::Rejected(fault));
    }
    let streams = rules.limits.max_push_streams as usize;
    if streams > 0 && s.streams.len() > streams && count > 1 {
        return Ok(in_pieces(payload, count.div_ceil(2)));
    }
    let order = |e: &Entry| (e.stream, e.time, e.start);
    if !s.records.is_sorted_by_key(order) {
        s.records.sort_unstable_by_key(order);
    }
    let shard = shard(rules, &group);
    let body = if rules.is_json {
        write_json(s);
        Bytes::copy_from_slice(&s.out)
    } else {
        write_proto(s);
        s.packed.resize(snap::raw::max_compress_len(s.out.len()), 0);
        let len = s.packer.0.compress(&s.out, &mut s.packed);
        let len = len.expect("there is room for the most that it can become");
        Bytes::copy_from_slice(&s.packed[..len])
    };
    Ok(Encoded::Push(Push {
        body,
        tenant: group.tenant,
        shard,
        cut,
        #[cfg(test)]
        bytes: s.out.len(),
    }))
}

struct Encoder<'a> {
    rules: &'a Rules,
    batch: Batch<'a>,
    limit: usize,
    s: &'a mut Scratch,
    resources: u32,
    cut: u64,
    is_full: bool,
}

/// What is known of a resource before its records are read.
#[derive(Default)]
struct Known {
    format: Option<Format>,
    stream: Option<u32>,
    tenant: Option<Vec<u8>>,
    /// The attribute that the resource says has the tenant, and that the resource does not have.
    tenant_name: Option<Vec<u8>>,
    is_marked: bool,
}

/// Of a scope.
struct Place {
    scope: Span,
    name: Span,
    version: Span,
    is_line_end_made: bool,
    metadata: Option<Tally>,
}

const TENANT_HINT: &[u8] = b"loki.tenant";
const FORMAT_HINT: &[u8] = b"loki.format";
const RESOURCE_HINT: &[u8] = b"loki.resource.labels";
const ATTRIBUTE_HINT: &[u8] = b"loki.attribute.labels";

impl Encoder<'_> {
    fn chunk(&mut self, bytes: &[u8]) {
        let whole = Span::new(0, bytes.len());
        for resource_logs in record::each(bytes, whole, 1) {
            self.resource(bytes, resource_logs);
            if self.is_full {
                return;
            }
        }
    }

    fn resource(&mut self, bytes: &[u8], span: Span) {
        self.resources += 1;
        let rules = self.rules;
        let s = &mut *self.s;
        s.resource.clear();
        record::attributes(bytes, record::first(bytes, span, 1), 1, &mut s.resource);
        let mut known = Known {
            is_marked: find(bytes, &s.resource, MARK).is_some(),
            ..Known::default()
        };
        s.base.clear();
        if rules.exporter {
            s.base.set(b"exporter", |out| out.extend_from_slice(b"OTLP"));
        }
        let text = |key: &[u8], attrs: &[Attr], out: &mut Vec<u8>| {
            if let Some(at) = find(bytes, attrs, key) {
                value(bytes, &attrs[at]).as_string(out);
            }
        };
        if rules.job && find(bytes, &s.resource, b"service.name").is_some() {
            let attrs = &s.resource;
            s.base.set(b"job", |out| {
                let start = out.len();
                text(b"service.namespace", attrs, out);
                if out.len() > start || find(bytes, attrs, b"service.namespace").is_some() {
                    out.push(b'/');
                }
                text(b"service.name", attrs, out);
            });
        }
        if rules.instance {
            let attrs = &s.resource;
            s.base
                .set(b"instance", |out| text(b"service.instance.id", attrs, out));
        }
        for promoted in &rules.resource {
            if let Some(at) = find(bytes, &s.resource, &promoted.key) {
                s.resource[at].is_hidden = true;
                s.base.set(&promoted.label, |out| {
                    value(bytes, &s.resource[at]).as_string(out)
                });
            }
        }
        for (label, template) in &rules.of_resource {
            let attrs = &s.resource;
            s.base.set(label, |out| {
                fill(template, bytes, attrs, &[], self.batch.own_tenant, out);
            });
        }
        if rules.hints {
            if let Some(at) = take_hint(bytes, &mut s.resource, FORMAT_HINT) {
                let mut name = Vec::new();
                value(bytes, &s.resource[at]).as_string(&mut name);
                known.format = Format::named(&name);
            }
            if let Some(at) = take_hint(bytes, &mut s.resource, RESOURCE_HINT) {
                let hint = value(bytes, &s.resource[at]);
                hinted(bytes, &mut s.resource, hint, &mut s.base);
            }
            if let Some(at) = take_hint(bytes, &mut s.resource, TENANT_HINT) {
                let name = value(bytes, &s.resource[at]).as_str().unwrap_or_default();
                match find(bytes, &s.resource, name).filter(|_| rules.tenant_hint) {
                    Some(at) => known.tenant = value(bytes, &s.resource[at]).as_str().map(<[u8]>::to_vec),
                    None => known.tenant_name = Some(name.to_vec()),
                }
            }
            // What speaks of records is said in records.
            take_hint(bytes, &mut s.resource, ATTRIBUTE_HINT);
        }
        if let Some(key) = &rules.tenant_key
            && let Some(at) = find(bytes, &s.resource, key)
        {
            let mut tenant = Vec::new();
            value(bytes, &s.resource[at]).as_string(&mut tenant);
            known.tenant = Some(tenant).filter(|tenant| !tenant.is_empty()).or(known.tenant);
        }
        for scope_logs in record::each(bytes, span, 2) {
            let scope = record::first(bytes, scope_logs, 1);
            let mut place = Place {
                scope,
                name: record::first(bytes, scope, 1),
                version: record::first(bytes, scope, 2),
                is_line_end_made: false,
                metadata: None,
            };
            self.s.scope.clear();
            record::attributes(bytes, place.scope, 3, &mut self.s.scope);
            for record in record::each(bytes, scope_logs, 2) {
                let verdict = self.record(bytes, record, &mut known, &mut place);
                let verdict = verdict.unwrap_or_else(|fault| self.group(Some(fault), &[], None, false));
                self.s.verdicts.push(verdict);
                let bytes = self.s.entries.len() + self.s.texts.len();
                if bytes > self.limit || self.s.groups.len() > GROUPS_MAX {
                    self.is_full = true;
                    return;
                }
            }
        }
    }

    fn group(
        &mut self,
        fault: Option<&'static str>,
        tenant: &[u8],
        hour: Option<u64>,
        is_marked: bool,
    ) -> u16 {
        let last = self.s.verdicts.last().copied();
        apart::number(&mut self.s.groups, last, fault, tenant, hour, is_marked)
    }

    /// Encodes a record as an entry of its stream, or says by which rule it must not be sent.
    fn record(
        &mut self,
        bytes: &[u8],
        span: Span,
        known: &mut Known,
        place: &mut Place,
    ) -> Result<u16, &'static str> {
        let (rules, limits) = (self.rules, &self.rules.limits);
        self.s.attrs.clear();
        let record = record::read(bytes, span, &mut self.s.attrs);
        let time = record.time_or(self.batch.now);
        let mut format = known.format.unwrap_or(rules.format);
        self.s.tenant.clear();
        let mut names_resource = false;
        let s = &mut *self.s;
        s.own.clear();
        for promoted in &rules.attributes {
            if let Some(at) = find(bytes, &s.attrs, &promoted.key) {
                s.attrs[at].is_hidden = true;
                s.own
                    .set(&promoted.label, |out| value(bytes, &s.attrs[at]).as_string(out));
            }
        }
        for (label, template) in &rules.of_record {
            let (resource, attrs) = (&s.resource, &s.attrs);
            s.own.set(label, |out| {
                fill(template, bytes, resource, attrs, self.batch.own_tenant, out);
            });
        }
        if rules.hints
            && (known.tenant_name.is_some()
                || s.attrs
                    .iter()
                    .any(|attr| attr.key.of(bytes).starts_with(b"loki.")))
        {
            if let Some(at) = take_hint(bytes, &mut s.attrs, RESOURCE_HINT) {
                names_resource = true;
                (place.is_line_end_made, place.metadata) = (false, None);
                let hint = value(bytes, &s.attrs[at]);
                hinted(bytes, &mut s.resource, hint, &mut s.own);
            }
            if let Some(at) = take_hint(bytes, &mut s.attrs, ATTRIBUTE_HINT) {
                let hint = value(bytes, &s.attrs[at]);
                hinted(bytes, &mut s.attrs, hint, &mut s.own);
            }
            let hint = take_hint(bytes, &mut s.attrs, TENANT_HINT);
            if rules.tenant_hint && known.tenant.is_none() {
                let name = match (&known.tenant_name, hint) {
                    (Some(name), _) => name,
                    (None, Some(at)) => value(bytes, &s.attrs[at]).as_str().unwrap_or_default(),
                    (None, None) => b"",
                };
                let found = match find(bytes, &s.resource, name) {
                    Some(at) => Some(value(bytes, &s.resource[at])),
                    None => find(bytes, &s.attrs, name).map(|at| value(bytes, &s.attrs[at])),
                };
                if let Some(tenant) = found
                    .and_then(|found| found.as_str())
                    .filter(|_| !name.is_empty())
                {
                    s.tenant.extend_from_slice(tenant);
                }
            }
            if let Some(at) = take_hint(bytes, &mut s.attrs, FORMAT_HINT)
                && known.format.is_none()
            {
                s.room.0.clear();
                value(bytes, &s.attrs[at]).as_string(&mut s.room.0);
                format = Format::named(&s.room.0).unwrap_or(format);
            }
        }
        if rules.level && record.severity != 0 {
            if let Some(at) = find(bytes, &s.attrs, b"level") {
                s.attrs[at].is_hidden = true;
                s.own
                    .set(b"level", |out| value(bytes, &s.attrs[at]).as_string(out));
            } else {
                s.own
                    .set(b"level", |out| out.extend_from_slice(level(record.severity)));
            }
        }
        if let Some(key) = &rules.tenant_key
            && known.tenant.is_none()
            && let Some(at) = find(bytes, &s.attrs, key)
        {
            s.tenant.clear();
            value(bytes, &s.attrs[at]).as_string(&mut s.tenant);
        }
        let is_backfill = known.is_marked || !rules.backfill_shard.is_empty();
        let group = self.group_of(known, time);
        let stream = self.stream(known);
        let encoded = group.and_then(|group| {
            let stream = stream?;
            if !is_backfill {
                let age = limits.max_age.0.as_nanos() as u64;
                if age > 0 && time < self.batch.now.saturating_sub(age) {
                    return Err("too_old");
                }
                let ahead = limits.max_ahead.0.as_nanos() as u64;
                if ahead > 0 && time > self.batch.now.saturating_add(ahead) {
                    return Err("too_new");
                }
            }
            self.entry(bytes, &record, format, time, stream, place)?;
            Ok(group)
        });
        if names_resource {
            // The next record's resource is whole again; what its line and metadata share is written anew.
            self.restore_resource(bytes);
            (place.is_line_end_made, place.metadata) = (false, None);
        }
        encoded
    }

    /// Shows again what a record alone has made a label.
    fn restore_resource(&mut self, bytes: &[u8]) {
        let s = &mut *self.s;
        for attr in &mut s.resource {
            let key = attr.key.of(bytes);
            let is_label = self.rules.resource.iter().any(|promoted| promoted.key == key);
            let is_hint =
                self.rules.hints && [TENANT_HINT, FORMAT_HINT, RESOURCE_HINT, ATTRIBUTE_HINT].contains(&key);
            attr.is_hidden = is_label || is_hint;
        }
        if self.rules.hints
            && let Some(at) = find(bytes, &s.resource, RESOURCE_HINT)
        {
            let hint = value(bytes, &s.resource[at]);
            s.merged.clear();
            hinted(bytes, &mut s.resource, hint, &mut s.merged);
        }
    }

    /// The group of a record, whose own tenant is in the scratch.
    fn group_of(&mut self, known: &Known, time: u64) -> Result<u16, &'static str> {
        let own = std::mem::take(&mut self.s.tenant);
        let tenant = match (&own, &known.tenant) {
            (own, None) if !own.is_empty() => own,
            (_, Some(tenant)) if !tenant.is_empty() => tenant,
            _ => self.batch.tenant,
        };
        let needs_hour = apart::needs_hour(self.rules, known.is_marked);
        let group = match tenant.is_empty() || super::is_tenant(tenant) {
            true => Ok(self.group(
                None,
                tenant,
                needs_hour.then(|| apart::hour(time)),
                known.is_marked,
            )),
            false => Err("tenant_invalid"),
        };
        self.s.tenant = own;
        group
    }

    /// The stream of the record whose own labels are made.
    fn stream(&mut self, known: &mut Known) -> Result<u32, &'static str> {
        let s = &mut *self.s;
        let number = if s.own.is_empty() {
            match known.stream {
                Some(stream) => stream,
                None => {
                    let stream = self.make_stream();
                    known.stream = Some(stream);
                    stream
                }
            }
        } else {
            s.key.clear();
            s.key.extend_from_slice(&self.resources.to_le_bytes());
            s.own.append_key(&mut s.key);
            if s.key == s.last_key
                && let Some(last) = s.records.last()
            {
                last.stream
            } else if let Some(stream) = s.known.get(&s.key) {
                *stream
            } else {
                let key = s.key.clone();
                let stream = self.make_stream();
                self.s.known.insert(key, stream);
                stream
            }
        };
        let s = &mut *self.s;
        match s.streams[number as usize].fault {
            Some(fault) => Err(fault),
            None => Ok(number),
        }
    }

    /// The stream of the labels of the resource and the record together, which may be another resource's too.
    fn make_stream(&mut self) -> u32 {
        let s = &mut *self.s;
        s.merged.clear();
        s.merged.merge(&s.base);
        s.merged.merge(&s.own);
        s.merged.sort();
        let start = s.texts.len();
        match self.rules.is_json {
            true => s.merged.write_json(&mut s.texts),
            false => s.merged.write(&mut s.texts),
        }
        if let Some(stream) = s.by_text.get(&s.texts[start..]) {
            s.texts.truncate(start);
            return *stream;
        }
        let number = s.streams.len() as u32;
        s.by_text.insert(s.texts[start..].to_vec(), number);
        s.streams.push(Stream {
            text: (start, s.texts.len()),
            fault: s.merged.fault(&self.rules.limits),
        });
        number
    }

    fn entry(
        &mut self,
        bytes: &[u8],
        record: &Record,
        format: Format,
        time: u64,
        stream: u32,
        place: &mut Place,
    ) -> Result<(), &'static str> {
        let (rules, limits) = (self.rules, &self.rules.limits);
        let s = &mut *self.s;
        let start = s.entries.len();
        let time = time as i64;
        timestamp(time, &mut s.entries);
        let shared = Shared {
            resource: &s.resource,
            scope_name: place.name.of(bytes),
            scope_version: place.version.of(bytes),
            scope: &s.scope,
        };
        s.line.clear();
        let max = or_most(limits.max_line_size);
        let body = Value::new(record.body.of(bytes));
        let text: &[u8] = match (format, body.any()) {
            (Format::Raw, Any::Str(text)) => text,
            (Format::Raw, _) => {
                line::as_text(body, &mut s.line);
                &s.line
            }
            (Format::Json, _) => {
                if !std::mem::replace(&mut place.is_line_end_made, true) {
                    s.line_end.clear();
                    line::json_shared(bytes, &shared, &mut s.order, &mut s.line_end);
                }
                line::json(bytes, record, &s.attrs, &s.line_end, &mut s.order, &mut s.line);
                &s.line
            }
            (Format::Logfmt, _) => {
                line::logfmt(bytes, record, &s.attrs, &shared, max, &mut s.line);
                &s.line
            }
        };
        if text.len() > max {
            if limits.oversize == Oversize::Reject || limits.max_line_size == 0 {
                s.entries.truncate(start);
                return Err("line_too_long");
            }
            let kept = boundary(text, max.saturating_sub(CUT.len()));
            field::write_header(2, kept + CUT.len().min(max), &mut s.entries);
            s.entries.extend_from_slice(&text[..kept]);
            s.entries.extend_from_slice(&CUT[..CUT.len().min(max)]);
            self.cut += 1;
        } else {
            field::write_header(2, text.len(), &mut s.entries);
            s.entries.extend_from_slice(text);
        }
        if rules.metadata {
            let most = Tally {
                entries: or_most(limits.max_structured_metadata_entries),
                bytes: or_most(limits.max_structured_metadata_size),
            };
            let common = *place.metadata.get_or_insert_with(|| {
                s.metadata.clear();
                let mut tally = Tally::default();
                let mut writer = Writer {
                    out: &mut s.metadata,
                    tally: &mut tally,
                    most,
                    room: &mut s.room,
                };
                writer.attributes(bytes, &s.resource, &rules.dropped, None);
                writer.attributes(bytes, &s.scope, &rules.dropped, None);
                writer.scope(bytes, place.scope);
                tally
            });
            let mut tally = common;
            let mut writer = Writer {
                out: &mut s.entries,
                tally: &mut tally,
                most,
                room: &mut s.room,
            };
            writer.attributes(bytes, &s.attrs, &rules.dropped, Some(&mut s.names));
            writer.record(bytes, record);
            s.entries.extend_from_slice(&s.metadata);
            let fault = if tally.entries > most.entries {
                Some("too_much_metadata")
            } else if tally.bytes > most.bytes {
                Some("metadata_too_large")
            } else {
                None
            };
            if let Some(fault) = fault {
                s.entries.truncate(start);
                return Err(fault);
            }
        }
        s.records.push(Entry {
            stream,
            // A line and its metadata come out of a payload of at most 1 GiB; a batch beyond the limit ends here.
            len: u32::try_from(s.entries.len() - start).unwrap_or(u32::MAX),
            time,
            start,
        });
        std::mem::swap(&mut s.last_key, &mut s.key);
        if s.own.is_empty() {
            s.last_key.clear();
        }
        Ok(())
    }
}

/// A limit of the configuration; where it has none, what a push is held to in any case.
fn or_most(limit: u32) -> usize {
    match limit {
        0 => PUSH_BYTES_MAX,
        limit => limit as usize,
    }
}

/// Where a text of at most `max` bytes ends without cutting a character.
fn boundary(text: &[u8], max: usize) -> usize {
    let mut end = max.min(text.len());
    let is_inner = |byte: u8| byte & 0xc0 == 0x80;
    let least = end.saturating_sub(3);
    while end > least && text.get(end).is_some_and(|byte| is_inner(*byte)) {
        end -= 1;
    }
    end
}

/// Field 1 of an entry.
fn timestamp(nanos: i64, out: &mut Vec<u8>) {
    let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let len = |value: i64| {
        if value == 0 {
            0
        } else {
            1 + varint::len(value as u64)
        }
    };
    field::write_header(1, len(seconds) + len(nanos), out);
    for (number, value) in [(1, seconds), (2, nanos)] {
        if value != 0 {
            wire::write::int(number, value as u64, out);
        }
    }
}

fn find(bytes: &[u8], attrs: &[Attr], key: &[u8]) -> Option<usize> {
    attrs.iter().position(|attr| attr.key.of(bytes) == key)
}

fn value<'a>(bytes: &'a [u8], attr: &Attr) -> Value<'a> {
    Value::new(attr.value.of(bytes))
}

/// A hint is shown nowhere.
fn take_hint(bytes: &[u8], attrs: &mut [Attr], hint: &[u8]) -> Option<usize> {
    let at = find(bytes, attrs, hint)?;
    attrs[at].is_hidden = true;
    Some(at)
}

/// Makes labels of the attributes that a hint names.
fn hinted(bytes: &[u8], attrs: &mut [Attr], hint: Value<'_>, set: &mut Set) {
    let mut label = |name: &[u8]| {
        let name = name.trim_ascii();
        let found = match find(bytes, attrs, name) {
            Some(at) => {
                attrs[at].is_hidden = true;
                Some(value(bytes, &attrs[at]))
            }
            None => nested(bytes, attrs, name),
        };
        if let Some(found) = found {
            let (mut named, mut text) = (Vec::new(), Vec::new());
            names::hinted(name, &mut named);
            found.as_string(&mut text);
            set.set(&named, |out| out.extend_from_slice(&text));
        }
    };
    match hint.any() {
        Any::Str(text) => {
            let names = text.split(|byte| *byte == b',');
            names.take(HINTED_MAX).for_each(label);
        }
        Any::List(values) => {
            for one in values.take(HINTED_MAX) {
                let mut name = Vec::new();
                one.as_string(&mut name);
                label(&name);
            }
        }
        _ => {
            let mut name = Vec::new();
            hint.as_string(&mut name);
            label(&name);
        }
    }
}

/// `a.b` as what `b` is in the map `a`; names of maps and in them may have dots of their own, and the longest goes first.
fn nested<'a>(bytes: &'a [u8], attrs: &[Attr], name: &[u8]) -> Option<Value<'a>> {
    let of_attrs = |name: &[u8]| find(bytes, attrs, name).map(|at| value(bytes, &attrs[at]));
    let (mut found, mut rest) = longest(name, of_attrs)?;
    while !rest.is_empty() {
        let Any::Map(entries) = found.any() else {
            return None;
        };
        let of_map = |name: &[u8]| {
            entries
                .clone()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        (found, rest) = match of_map(rest) {
            Some(whole) => (whole, &b""[..]),
            None => longest(rest, of_map)?,
        };
    }
    Some(found)
}

/// The map with the longest name that ends at a dot of this one, and what stands behind the dot.
fn longest<'a, 'n>(
    name: &'n [u8],
    find: impl Fn(&[u8]) -> Option<Value<'a>>,
) -> Option<(Value<'a>, &'n [u8])> {
    let dots = (0..name.len()).rev().filter(|at| name[*at] == b'.');
    dots.take(DOTS_MAX)
        .find_map(|dot| Some((find(&name[..dot]).filter(is_map)?, &name[dot + 1..])))
}

fn is_map(value: &Value<'_>) -> bool {
    matches!(value.any(), Any::Map(_))
}

fn fill(
    template: &Template,
    bytes: &[u8],
    resource: &[Attr],
    attrs: &[Attr],
    tenant: &str,
    out: &mut Vec<u8>,
) {
    for piece in &template.0 {
        let (attrs, key) = match piece {
            Piece::Text(text) => {
                out.extend_from_slice(text);
                continue;
            }
            Piece::Tenant => {
                out.extend_from_slice(tenant.as_bytes());
                continue;
            }
            Piece::Resource(key) => (resource, key),
            Piece::Attribute(key) => (attrs, key),
        };
        if let Some(at) = find(bytes, attrs, key) {
            value(bytes, &attrs[at]).as_string(out);
        }
    }
}

/// The name of a severity.
fn level(severity: u64) -> &'static [u8] {
    const NAMES: [&str; 24] = [
        "TRACE", "TRACE2", "TRACE3", "TRACE4", "DEBUG", "DEBUG2", "DEBUG3", "DEBUG4", "INFO", "INFO2",
        "INFO3", "INFO4", "WARN", "WARN2", "WARN3", "WARN4", "ERROR", "ERROR2", "ERROR3", "ERROR4", "FATAL",
        "FATAL2", "FATAL3", "FATAL4",
    ];
    let at = usize::try_from(severity).ok().and_then(|at| at.checked_sub(1));
    at.and_then(|at| NAMES.get(at))
        .map_or(b"", |name| name.as_bytes())
}

/// A `PushRequest` of all entries, which are sorted by stream.
fn write_proto(s: &mut Scratch) {
    let (out, entries) = (&mut s.out, &s.entries);
    out.reserve(entries.len() + s.records.len() * 6 + s.texts.len() + s.streams.len() * 16);
    for run in s.records.chunk_by(|a, b| a.stream == b.stream) {
        let (from, to) = s.streams[run[0].stream as usize].text;
        let labels = &s.texts[from..to];
        let framed = |len: usize| 1 + varint::len(len as u64) + len;
        let len = framed(labels.len()) + run.iter().map(|e| framed(e.len as usize)).sum::<usize>();
        field::write_header(1, len, out);
        field::write_header(1, labels.len(), out);
        out.extend_from_slice(labels);
        for entry in run {
            field::write_header(2, entry.len as usize, out);
            out.extend_from_slice(&entries[entry.start..entry.start + entry.len as usize]);
        }
    }
}

/// The same as JSON.
fn write_json(s: &mut Scratch) {
    let out = &mut s.out;
    out.extend_from_slice(b"{\"streams\":[");
    for (at, run) in s.records.chunk_by(|a, b| a.stream == b.stream).enumerate() {
        let (from, to) = s.streams[run[0].stream as usize].text;
        out.extend_from_slice(if at > 0 { b",{\"stream\":" } else { b"{\"stream\":" });
        out.extend_from_slice(&s.texts[from..to]);
        out.extend_from_slice(b",\"values\":[");
        for (at, entry) in run.iter().enumerate() {
            out.extend_from_slice(if at > 0 { b",[\"" } else { b"[\"" });
            if entry.time < 0 {
                out.push(b'-');
            }
            line::decimal(entry.time.unsigned_abs(), out);
            out.extend_from_slice(b"\",");
            let message = &s.entries[entry.start..entry.start + entry.len as usize];
            let mut pairs = 0;
            for field in Fields::new(message, 0)
                .map_while(Result::ok)
                .filter(|f| f.wire == LEN)
            {
                let content = &message[field.value..field.end];
                match field.number {
                    2 => names::json_text(content, out),
                    3 => {
                        out.extend_from_slice(if pairs > 0 { b"," } else { b",{" });
                        pairs += 1;
                        let whole = Span::new(0, content.len());
                        names::json_text(record::first(content, whole, 1).of(content), out);
                        out.push(b':');
                        names::json_text(record::first(content, whole, 2).of(content), out);
                    }
                    _ => {}
                }
            }
            out.extend_from_slice(if pairs > 0 { b"}]" } else { b"]" });
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
}
