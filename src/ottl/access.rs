//! Reading and writing the places that paths name.

use std::borrow::Cow;

use wire::field::{Fields, LEN, VARINT};
use wire::otlp;
use wire::varint;
use wire::view::{Any, Depth, Kind, NewValue, NodeId, Value, View};

use crate::error::{Error, Result};
use crate::eval::{Cx, Item, Key, KeyVal, Read, descend};
use crate::paths::{Level, Place, Resolved, point_kind};
use crate::table::{MapMut, NodeMap, Table};
use crate::time::Time;
use crate::tracestate;
use crate::value::{ListBuilder, Map, MapBuilder, Opaque, OpaqueKind, Val, hex};

/// A path, resolved.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) at: Resolved,
    pub(crate) keys: Vec<Key>,
}

/// Longest list that is made by writing beyond the end of one that does not exist.
const NEW_LIST_MAX: i64 = 10_000;

fn node(item: &Item, level: Level) -> NodeId {
    item[level as usize]
}

impl Access {
    /// The value there now.
    pub(crate) fn get<'c>(&'c self, cx: Read<'c>) -> Result<Val<'c>> {
        let Some(view) = cx.view else {
            return Err(Error::new("a path has no value here"));
        };
        let n = node(&cx.item, self.at.level);
        match self.at.place {
            Place::Attrs => self.within(Map::Node(view, n), cx),
            Place::Cache => self.within(Map::Table(cx.cache), cx),
            Place::Body => {
                let body = view.body(n).map_or(Val::Nil, Val::from_any);
                if !self.keys.is_empty() && !matches!(body, Val::Map(_) | Val::List(_)) {
                    return Err(Error::expected("a log body that is map or list", &body));
                }
                self.index(body, &self.keys, cx)
            }
            Place::TraceState if !self.keys.is_empty() => match self.keys[0].eval(cx)? {
                KeyVal::Str(key) => Ok(match tracestate::get(view.text(n, self.field(view, n)), &key) {
                    Ok(value) => Val::str(value.unwrap_or(&[])),
                    Err(_) => Val::Nil,
                }),
                KeyVal::Int(_) => Err(Error::new("the trace state is indexed by text")),
            },
            Place::ClientAddr | Place::ClientMetadata | Place::ClientAuth => self.client(cx),
            _ => Ok(self.plain(view, n)),
        }
    }

    /// The node and the key, if it is one of a node's attributes by a literal key.
    pub(crate) fn attribute(&self, cx: &Cx<'_, '_>) -> Option<(NodeId, &[u8])> {
        match (self.at.place, &*self.keys) {
            (Place::Attrs, [Key::Str(key)]) => Some((node(&cx.item, self.at.level), key)),
            _ => None,
        }
    }

    /// A map, or what lies below it.
    fn within<'c>(&'c self, map: Map<'c>, cx: Read<'c>) -> Result<Val<'c>> {
        let Some((first, rest)) = self.keys.split_first() else {
            return Ok(Val::Map(map));
        };
        match first.eval(cx)? {
            KeyVal::Str(key) => match descend(Val::Map(map), &KeyVal::Str(key))? {
                Some(value) => self.index(value, rest, cx),
                None => Ok(Val::Nil),
            },
            KeyVal::Int(_) => Err(Error::new("a map does not support int indexing")),
        }
    }

    fn index<'c>(&'c self, mut value: Val<'c>, keys: &'c [Key], cx: Read<'c>) -> Result<Val<'c>> {
        for key in keys {
            match descend(value, &key.eval(cx)?)? {
                Some(found) => value = found,
                None => return Ok(Val::Nil),
            }
        }
        Ok(value)
    }

    /// Number of the field in the node's message; 0 if that has none.
    fn field(&self, view: &View<'_>, n: NodeId) -> u32 {
        u32::from(self.at.fields[point_kind(view.kind(n))])
    }

    /// The value of a field.
    pub(crate) fn plain<'c>(&self, view: &'c View<'c>, n: NodeId) -> Val<'c> {
        let field = self.field(view, n);
        let number = || view.number(n, field).unwrap_or(0);
        let content = || view.text(n, field);
        match self.at.place {
            Place::MetricType => Val::Int(metric_type(view.metric_data(n))),
            Place::EventIndex => {
                let span = view.parent(n).unwrap_or(0);
                Val::Int((span..n).filter(|m| view.kind(*m) == Kind::Event).count() as i64)
            }
            Place::Slice(OpaqueKind::DataPoints) => {
                let below = n + 1..view.subtree_end(n);
                let points = below.filter(|m| view.parent(*m) == Some(n) && !view.is_removed(*m));
                Val::Opaque(Opaque {
                    kind: OpaqueKind::DataPoints,
                    raw: Cow::Borrowed(view.raw(n)),
                    len: Some(points.count() as u32),
                })
            }
            Place::Temporality if matches!(view.metric_data(n), Some(7 | 9 | 10)) => {
                Val::Int(number() as i32 as i64)
            }
            Place::Monotonic if view.metric_data(n) == Some(7) => Val::Bool(number() != 0),
            Place::BodyText => match view.body(n) {
                Some(body) if let Some(text) = body.as_str() => Val::str(text),
                Some(body) => {
                    let mut out = Vec::new();
                    body.as_string(&mut out);
                    Val::text(out)
                }
                None => Val::str(b""),
            },
            // Of another kind of data point, or of a metric without such data.
            Place::Temporality | Place::Monotonic => Val::Nil,
            _ if field == 0 => Val::Nil,
            Place::Text | Place::TraceState => Val::str(content()),
            Place::U32 | Place::Flags | Place::U64 => Val::Int(number() as i64),
            Place::I32 => Val::Int(i64::from(number() as i32)),
            Place::Zigzag => Val::Int(i64::from(unzigzag(number()))),
            Place::Double | Place::ValueDouble => Val::Float(f64::from_bits(number())),
            Place::ValueInt => Val::Int(number() as i64),
            Place::Time => Val::Time(Time::from_unix_nano(number() as i64)),
            Place::TraceId => Val::TraceId(content().try_into().unwrap_or_default()),
            Place::SpanId => Val::SpanId(content().try_into().unwrap_or_default()),
            Place::TraceIdText => id_text(content()),
            Place::SpanIdText => id_text(content()),
            Place::KindText => Val::str(span_kind(number(), true)),
            Place::KindDeprecated => Val::str(span_kind(number(), false)),
            Place::Status => message(OpaqueKind::Status, content()),
            Place::Buckets => message(OpaqueKind::Buckets, content()),
            Place::StatusCode => Val::Int(i64::from(nested_number(content(), 3) as i32)),
            Place::StatusMessage => Val::str(nested_content(content(), 2)),
            Place::BucketsOffset => Val::Int(i64::from(unzigzag(nested_number(content(), 1)))),
            Place::BucketsCounts => varints(nested_content(content(), 2)),
            Place::U64List => fixed_list(view, n, field, |bits| Val::Int(bits as i64)),
            Place::F64List => fixed_list(view, n, field, |bits| Val::Float(f64::from_bits(bits))),
            Place::Slice(kind) => slice(view, n, field, kind),
            Place::Attrs
            | Place::Cache
            | Place::Body
            | Place::ClientAddr
            | Place::ClientMetadata
            | Place::ClientAuth => Val::Nil,
        }
    }

    fn client<'c>(&'c self, cx: Read<'c>) -> Result<Val<'c>> {
        let Some(env) = cx.env else {
            return Err(Error::new("a path has no value here"));
        };
        let list = |values: &[String]| {
            let mut list = ListBuilder::default();
            values.iter().for_each(|v| list.push_str(v.as_bytes()));
            list
        };
        let whole = match (self.at.place, self.keys.first()) {
            (Place::ClientAddr, _) => {
                return Ok(env
                    .context
                    .peer
                    .map_or(Val::Nil, |peer| Val::text(peer.to_string())));
            }
            (Place::ClientMetadata, Some(key)) => {
                let KeyVal::Str(key) = key.eval(cx)? else {
                    return Err(Error::new("the metadata is indexed by text"));
                };
                let values = env.context.metadata(std::str::from_utf8(&key).unwrap_or(""));
                if values.is_empty() {
                    return Ok(Val::Nil);
                }
                return self.index(list(values).value(), &self.keys[1..], cx);
            }
            (Place::ClientMetadata, None) => {
                let mut map = MapBuilder::default();
                for (key, values) in &env.context.metadata {
                    map.put_raw(key.as_bytes(), &list(values).finish());
                }
                map
            }
            _ => {
                let mut map = MapBuilder::default();
                for (key, value) in &env.context.auth {
                    map.put_str(key, value.as_bytes());
                }
                map
            }
        };
        self.index(whole.value(), &self.keys, cx)
    }

    /// Writes a value that is not nil. Errors: a type that the place does not have, or nothing can be written there.
    pub(crate) fn set(&self, cx: &mut Cx<'_, '_>, value: &Val<'_>) -> Result<()> {
        let n = node(&cx.item, self.at.level);
        match self.at.place {
            Place::Attrs | Place::Cache | Place::Body => self.set_value(cx, n, value),
            Place::TraceState if !self.keys.is_empty() => {
                let Val::Str(value) = value else {
                    return Err(Error::expected("string", value));
                };
                let field = self.field(cx.view, n);
                let changed = match self.keys[0].eval(cx.read())? {
                    KeyVal::Str(key) => tracestate::put(cx.view.text(n, field), &key, value),
                    KeyVal::Int(_) => return Err(Error::new("the trace state is indexed by text")),
                };
                if let Some(header) = changed {
                    cx.view.set_text(n, field, &header);
                }
                Ok(())
            }
            place if place.is_read_only() => Err(Error::new("the path is read only")),
            _ => {
                let field = self.field(cx.view, n);
                self.set_plain(cx.view, n, field, value)
            }
        }
    }

    /// Writes an attribute, the scratch map or the body, or into them.
    fn set_value(&self, cx: &mut Cx<'_, '_>, n: NodeId, value: &Val<'_>) -> Result<()> {
        if let ([Key::Str(key)], Place::Attrs) = (&*self.keys, self.at.place) {
            cx.view.put(n, key, value.new_value()?);
            return Ok(());
        }
        let keys = self.keys.iter().map(|k| {
            Ok(match k.eval(cx.read())? {
                KeyVal::Str(key) => KeyVal::Str(Cow::Owned(key.into_owned())),
                KeyVal::Int(i) => KeyVal::Int(i),
            })
        });
        let keys = keys.collect::<Result<Vec<KeyVal<'static>>>>()?;
        if self.at.place == Place::Body {
            if keys.is_empty() {
                cx.view.set_body(n, value.new_value()?);
                return Ok(());
            }
            let body = cx.view.body(n).map_or(&[][..], |body| body.raw());
            if !matches!(Value::new(body).any(), Any::Map(_) | Any::List(_)) {
                return Err(Error::new("the log body is neither map nor list"));
            }
            let mut raw = Vec::new();
            value.encode(&mut raw)?;
            let body = nested_set(body, &keys, &raw)?;
            cx.view.set_body(n, NewValue::Encoded(&body));
            return Ok(());
        }
        let mut node_map = NodeMap(cx.view, n);
        let map: &mut dyn MapMut = match self.at.place {
            Place::Cache => cx.cache,
            _ => &mut node_map,
        };
        match &*keys {
            [] => {
                let Val::Map(new) = value else {
                    return Err(Error::expected("map", value));
                };
                map.retain(&mut |_, _| false);
                new.each(|key, value| map.put(key, NewValue::Encoded(value.raw())));
            }
            [KeyVal::Int(_), ..] => return Err(Error::new("a map does not support int indexing")),
            [KeyVal::Str(key)] => map.put(key, value.new_value()?),
            [KeyVal::Str(key), rest @ ..] => {
                let mut raw = Vec::new();
                value.encode(&mut raw)?;
                let old = map.find(key).map_or(&[][..], |i| map.value(i).raw());
                let new = nested_set(old, rest, &raw)?;
                map.put(key, NewValue::Encoded(&new));
            }
        }
        Ok(())
    }

    fn set_plain(&self, view: &mut View<'_>, n: NodeId, field: u32, value: &Val<'_>) -> Result<()> {
        let place = self.at.place;
        match place {
            Place::MetricType => return int(value).map(|_| ()),
            Place::Temporality => {
                let bits = int(value)? as i32 as i64 as u64;
                if matches!(view.metric_data(n), Some(7 | 9 | 10)) {
                    put_number(view, n, field, bits);
                }
                return Ok(());
            }
            Place::Monotonic => {
                let Val::Bool(b) = value else {
                    return Err(Error::expected("bool", value));
                };
                if view.metric_data(n) == Some(7) {
                    put_number(view, n, field, u64::from(*b));
                }
                return Ok(());
            }
            Place::Slice(kind) => {
                return match value {
                    Val::Opaque(same) if same.kind == kind && same.raw == view.raw(n) => Ok(()),
                    Val::Opaque(_) => Err(Error::new("slices cannot be copied from one item to another")),
                    other => Err(Error::expected("slice of the same kind", other)),
                };
            }
            Place::BodyText => {
                view.set_body(n, NewValue::Str(str(value)?));
                return Ok(());
            }
            _ if field == 0 => return Err(Error::new("this kind of data point has no such field")),
            _ => {}
        }
        match place {
            Place::Text | Place::TraceState => view.set_text(n, field, str(value)?),
            Place::U32 => put_number(view, n, field, u64::from(int(value)? as u32)),
            Place::Flags => {
                let flags = u32::try_from(int(value)?);
                let flags = flags.map_err(|_| Error::new("flags must fit 32 bits, without a sign"))?;
                put_number(view, n, field, u64::from(flags));
            }
            Place::I32 => put_number(view, n, field, int(value)? as i32 as i64 as u64),
            Place::U64 => put_number(view, n, field, int(value)? as u64),
            Place::Zigzag => put_number(view, n, field, zigzag(int(value)? as i32)),
            Place::Double => view.set_number(n, field, float(value)?.to_bits()),
            Place::ValueDouble => {
                let bits = float(value)?.to_bits();
                view.clear_number(n, otlp_number("as_int"));
                view.set_number(n, field, bits);
            }
            Place::ValueInt => {
                let bits = int(value)? as u64;
                view.clear_number(n, otlp_number("as_double"));
                view.set_number(n, field, bits);
            }
            Place::Time => match value {
                Val::Time(time) => put_number(view, n, field, time.unix_nano() as u64),
                other => return Err(Error::expected("time", other)),
            },
            Place::TraceId => match value {
                Val::TraceId(id) => view.set_text(n, field, if *id == [0; 16] { &[] } else { id }),
                other => return Err(Error::expected("trace id", other)),
            },
            Place::SpanId => match value {
                Val::SpanId(id) => view.set_text(n, field, if *id == [0; 8] { &[] } else { id }),
                other => return Err(Error::expected("span id", other)),
            },
            Place::TraceIdText => set_id::<16>(view, n, field, value)?,
            Place::SpanIdText => set_id::<8>(view, n, field, value)?,
            Place::KindText => {
                let name = str(value)?;
                let kind = SPAN_KINDS.iter().position(|k| k.as_bytes() == name);
                put_number(
                    view,
                    n,
                    field,
                    kind.ok_or(Error::new("unknown span kind"))? as u64,
                );
            }
            Place::KindDeprecated => {
                let name = str(value)?;
                let kind = span_kinds().iter().find(|(k, _)| k.as_bytes() == name);
                put_number(
                    view,
                    n,
                    field,
                    kind.ok_or(Error::new("unknown span kind"))?.1 as u64,
                );
            }
            Place::U64List | Place::F64List => {
                let packed = packed_fixed(value, place == Place::F64List)?;
                view.set_content(n, field, &packed);
            }
            _ => {
                let content = self.nested(view.text(n, field), value)?;
                view.set_content(n, field, &content);
            }
        }
        Ok(())
    }

    /// The new content of a nested message of which a part, or all, is set.
    fn nested(&self, old: &[u8], value: &Val<'_>) -> Result<Vec<u8>> {
        let whole = |kind| match value {
            Val::Opaque(opaque) if opaque.kind == kind => Ok(opaque.raw.to_vec()),
            other => Err(Error::expected("message of the same kind", other)),
        };
        let mut field = Vec::new();
        let number = match self.at.place {
            Place::Status => return whole(OpaqueKind::Status),
            Place::Buckets => return whole(OpaqueKind::Buckets),
            Place::StatusCode => {
                let code = int(value)? as i32 as i64 as u64;
                if code != 0 {
                    field.push(3 << 3);
                    varint::write(code, &mut field);
                }
                3
            }
            Place::StatusMessage => {
                let text = str(value)?;
                if !text.is_empty() {
                    wire::field::write_header(2, text.len(), &mut field);
                    field.extend_from_slice(text);
                }
                2
            }
            Place::BucketsOffset => {
                let offset = zigzag(int(value)? as i32);
                if offset != 0 {
                    field.push(1 << 3);
                    varint::write(offset, &mut field);
                }
                1
            }
            _ => {
                let mut packed = Vec::new();
                for count in ints(value)? {
                    varint::write(count? as u64, &mut packed);
                }
                if !packed.is_empty() {
                    wire::field::write_header(2, packed.len(), &mut field);
                    field.extend_from_slice(&packed);
                }
                2
            }
        };
        // Fields stay in the order of their numbers, as an encoder writes them.
        let mut out = Vec::with_capacity(old.len() + field.len());
        let mut rest = Some(field);
        for f in Fields::new(old, 0).map_while(std::result::Result::ok) {
            if f.number >= number
                && let Some(field) = rest.take()
            {
                out.extend_from_slice(&field);
            }
            if f.number != number {
                out.extend_from_slice(&old[f.start..f.end]);
            }
        }
        out.extend_from_slice(&rest.unwrap_or_default());
        Ok(out)
    }

    /// Hands the map there to an editor, and writes what became of it. Errors: there is no map.
    pub(crate) fn with_map<R>(
        &self,
        cx: &mut Cx<'_, '_>,
        edit: impl FnOnce(&mut dyn MapMut) -> Result<R>,
    ) -> Result<R> {
        match (self.at.place, &*self.keys) {
            (Place::Attrs, []) => edit(&mut NodeMap(cx.view, node(&cx.item, self.at.level))),
            (Place::Cache, []) => edit(cx.cache),
            _ => {
                let before = match self.get(cx.read())? {
                    Val::Map(map) => Table::of(&map),
                    other => return Err(Error::expected("map", &other)),
                };
                let mut table = before.clone();
                let result = edit(&mut table)?;
                if table != before {
                    self.set(cx, &Val::Map(Map::Encoded(Cow::Owned(table.encoded()))))?;
                }
                Ok(result)
            }
        }
    }
}

/// Puts an encoded value where keys lead, making what is missing.
fn nested_set(old: &[u8], keys: &[KeyVal<'_>], new: &[u8]) -> Result<Vec<u8>> {
    let Some((first, rest)) = keys.split_first() else {
        return Ok(new.to_vec());
    };
    match (Value::new(old).any(), first) {
        (Any::Empty, KeyVal::Str(key)) => {
            let mut map = MapBuilder::default();
            map.put_raw(key, &nested_set(&[], rest, new)?);
            Ok(map.finish())
        }
        (Any::Map(entries), KeyVal::Str(key)) => {
            let mut map = MapBuilder::default();
            let mut found = false;
            for (k, value) in entries {
                if k == &**key && !std::mem::replace(&mut found, true) {
                    map.put_raw(k, &nested_set(value.raw(), rest, new)?);
                } else {
                    map.put_raw(k, value.raw());
                }
            }
            if !found {
                map.put_raw(key, &nested_set(&[], rest, new)?);
            }
            Ok(map.finish())
        }
        (Any::Empty, KeyVal::Int(at)) => {
            if !(0..NEW_LIST_MAX).contains(at) {
                return Err(Error::new("index out of range of a new list"));
            }
            let mut list = ListBuilder::default();
            (0..*at).for_each(|_| list.push_raw(&[]));
            list.push_raw(&nested_set(&[], rest, new)?);
            Ok(list.finish())
        }
        (Any::List(values), KeyVal::Int(at)) => {
            let mut list = ListBuilder::default();
            let mut found = false;
            for (i, value) in values.enumerate() {
                if i64::try_from(i) == Ok(*at) {
                    found = true;
                    list.push_raw(&nested_set(value.raw(), rest, new)?);
                } else {
                    list.push_raw(value.raw());
                }
            }
            if found {
                Ok(list.finish())
            } else {
                Err(Error::new("index out of range of the list"))
            }
        }
        _ => Err(Error::new("the value there cannot be indexed so")),
    }
}

// --- Types that setters take ---

fn int(value: &Val<'_>) -> Result<i64> {
    match value {
        Val::Int(i) => Ok(*i),
        other => Err(Error::expected("int64", other)),
    }
}

fn float(value: &Val<'_>) -> Result<f64> {
    match value {
        Val::Float(f) => Ok(*f),
        other => Err(Error::expected("float64", other)),
    }
}

fn str<'a>(value: &'a Val<'_>) -> Result<&'a [u8]> {
    match value {
        Val::Str(text) => Ok(text),
        other => Err(Error::expected("string", other)),
    }
}

fn ints<'a>(value: &'a Val<'_>) -> Result<impl Iterator<Item = Result<i64>> + 'a> {
    let items = value
        .items()
        .ok_or_else(|| Error::expected("list of int64", value))?;
    Ok(items.map(|item| match item.any() {
        Any::Int(i) => Ok(i),
        _ => Err(Error::expected("list of int64", &Val::from_any(item))),
    }))
}

fn packed_fixed(value: &Val<'_>, floats: bool) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if !floats {
        for i in ints(value)? {
            out.extend_from_slice(&i?.to_le_bytes());
        }
        return Ok(out);
    }
    for item in value
        .items()
        .ok_or_else(|| Error::expected("list of float64", value))?
    {
        match item.any() {
            Any::Double(f) => out.extend_from_slice(&f.to_le_bytes()),
            _ => return Err(Error::expected("list of float64", &Val::from_any(item))),
        }
    }
    Ok(out)
}

fn set_id<const N: usize>(view: &mut View<'_>, n: NodeId, field: u32, value: &Val<'_>) -> Result<()> {
    let id: [u8; N] =
        unhex(str(value)?).ok_or(Error::new("an id has 32 (trace) or 16 (span) hexadecimal digits"))?;
    view.set_text(n, field, if id == [0; N] { &[] } else { &id });
    Ok(())
}

/// The bytes of exactly so many hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut id = [0; N];
    for (byte, pair) in id.iter_mut().zip(text.as_chunks::<2>().0) {
        let digit = |b: u8| char::from(b).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(id)
}

/// Writes a number; zero is absence.
fn put_number(view: &mut View<'_>, n: NodeId, field: u32, value: u64) {
    if value == 0 {
        view.clear_number(n, field);
    } else {
        view.set_number(n, field, value);
    }
}

fn otlp_number(name: &str) -> u32 {
    otlp::NUMBER_POINT.named(name).map_or(0, |f| f.number)
}

// --- Parts of messages ---

fn message(kind: OpaqueKind, raw: &[u8]) -> Val<'_> {
    Val::Opaque(Opaque {
        kind,
        raw: Cow::Borrowed(raw),
        len: None,
    })
}

fn slice<'c>(view: &'c View<'c>, n: NodeId, field: u32, kind: OpaqueKind) -> Val<'c> {
    let raw = view.raw(n);
    let node_kind = match kind {
        OpaqueKind::Events => Some(Kind::Event),
        OpaqueKind::Links => Some(Kind::Link),
        OpaqueKind::Exemplars => Some(Kind::Exemplar),
        _ => None,
    };
    let count = match node_kind {
        Some(kind) if view.depth() == Depth::All => {
            let below = n + 1..view.subtree_end(n);
            below
                .filter(|m| view.kind(*m) == kind && view.parent(*m) == Some(n) && !view.is_removed(*m))
                .count()
        }
        _ => Fields::new(raw, 0)
            .flatten()
            .filter(|f| f.number == field)
            .count(),
    };
    Val::Opaque(Opaque {
        kind,
        raw: Cow::Borrowed(raw),
        len: Some(count as u32),
    })
}

fn nested_number(raw: &[u8], number: u32) -> u64 {
    let fields = Fields::new(raw, 0).map_while(std::result::Result::ok);
    let last = fields.filter(|f| f.number == number && f.wire == VARINT).last();
    last.and_then(|f| varint::read(&raw[f.value..f.end], &mut 0).ok())
        .unwrap_or(0)
}

fn nested_content(raw: &[u8], number: u32) -> &[u8] {
    let fields = Fields::new(raw, 0).map_while(std::result::Result::ok);
    let last = fields.filter(|f| f.number == number && f.wire == LEN).last();
    last.map_or(&[], |f| &raw[f.value..f.end])
}

fn varints(packed: &[u8]) -> Val<'static> {
    let mut list = ListBuilder::default();
    let mut at = 0;
    while let Ok(count) = varint::read(packed, &mut at) {
        // Whole numbers can always be written.
        let _ = list.push(&Val::Int(count as i64));
    }
    list.value()
}

fn fixed_list<'c>(view: &'c View<'c>, n: NodeId, field: u32, value: fn(u64) -> Val<'static>) -> Val<'c> {
    let mut list = ListBuilder::default();
    let mut push = |bytes: &[u8; 8]| {
        // Numbers can always be written.
        let _ = list.push(&value(u64::from_le_bytes(*bytes)));
    };
    let packed = view.text(n, field);
    packed.as_chunks::<8>().0.iter().for_each(&mut push);
    if packed.is_empty() {
        // Each number for itself, as old encoders write them.
        let raw = view.raw(n);
        let single = Fields::new(raw, 0).flatten().filter(|f| f.number == field);
        single
            .filter_map(|f| raw[f.value..f.end].try_into().ok())
            .for_each(|bytes| push(&bytes));
    }
    list.value()
}

fn id_text(id: &[u8]) -> Val<'static> {
    let mut out = Vec::with_capacity(id.len() * 2);
    hex(id, &mut out);
    Val::text(out)
}

const SPAN_KINDS: [&str; 6] = [
    "Unspecified",
    "Internal",
    "Server",
    "Client",
    "Producer",
    "Consumer",
];

fn span_kinds() -> &'static [(&'static str, i32)] {
    match otlp::SPAN.named("kind").map(|f| f.kind) {
        Some(otlp::Kind::Enum(names)) => names,
        _ => &[],
    }
}

fn span_kind(number: u64, short: bool) -> &'static [u8] {
    let at = number as usize;
    if short {
        return SPAN_KINDS.get(at).map_or(&[], |k| k.as_bytes());
    }
    span_kinds().get(at).map_or(&[], |(name, _)| name.as_bytes())
}

fn metric_type(data: Option<u32>) -> i64 {
    match data {
        Some(5) => 1,
        Some(7) => 2,
        Some(9) => 3,
        Some(10) => 4,
        Some(11) => 5,
        _ => 0,
    }
}

fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)) as u32)
}

fn unzigzag(value: u64) -> i32 {
    let value = value as u32;
    (value >> 1) as i32 ^ -((value & 1) as i32)
}
