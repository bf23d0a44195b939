//! One chunk seen through a flat index, with edits.
//!
//! In: the bytes of one encoded request and a [`Scratch`] that is reused. Nodes (resource groups, scopes, records and
//! what they hold) are numbered in pre-order; an attribute is four offsets. Reading goes to the original bytes; the first
//! write to an attribute map copies its offsets, never its bytes, and from then on the map is read and written there.
//! [`View::finish`] splices what was touched and leaves every other byte as it came.
//!
//! The view trusts a payload that [`crate::validate`] accepted and [`crate::normalize`] made canonical: of a singular
//! field that is repeated it sees the last. It never panics on others.

mod edit;
mod glance;
pub mod identity;
mod index;
mod locate;
mod splice;
mod value;

use std::ops::Range;

use crate::field::{Fields, LEN, Malformed};
use crate::otlp::{self, Role};
use crate::{Signal, split, varint};

pub use crate::otlp::NodeKind as Kind;
pub use glance::Glance;
pub(crate) use index::short_entry;
pub use locate::Part;
pub use value::{Any, DEPTH_MAX, Entries, NewValue, Value, Values, any_encode};

/// Number of a node, in pre-order: a node stands before all that it holds.
pub type NodeId = u32;

/// How deep the flat index goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Nothing is read.
    None,
    /// Resources and their attributes.
    Resource,
    /// Scopes and their attributes too.
    Scope,
    /// Records (log records, spans, metrics and data points) and their attributes too.
    Record,
    /// Everything with attributes: events, links, exemplars too.
    All,
}

/// Memory of a view: kept between payloads, so that a warm one allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    nodes: Vec<Node>,
    attrs: Vec<Attr>,
    odd: Vec<Odd>,
    frames: Vec<Frame>,
    arena: Vec<u8>,
    edits: Vec<Edit>,
    edited: Vec<Attr>,
    fields: Vec<FieldEdit>,
    patches: Vec<splice::Patch>,
}

impl Scratch {
    fn clear(&mut self) {
        self.nodes.clear();
        self.attrs.clear();
        self.odd.clear();
        self.frames.clear();
        self.arena.clear();
        self.edits.clear();
        self.edited.clear();
        self.fields.clear();
        self.patches.clear();
    }
}

/// One chunk seen through a flat index, with edits.
#[derive(Debug)]
pub struct View<'a> {
    signal: Signal,
    depth: Depth,
    bytes: &'a [u8],
    s: &'a mut Scratch,
    /// Whether a node was removed.
    removed: bool,
    /// Whether an edit did not fit 32-bit offsets any more.
    overflowed: bool,
}

/// What became of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Nobody wrote: the original bytes go on.
    Unchanged,
    /// The new encoding.
    Edited {
        /// The request.
        bytes: Vec<u8>,
        /// Log records, spans or data points left in it.
        items: u32,
    },
}

/// No offset, no index.
const NONE: u32 = u32::MAX;
/// In `Attr::key_len`: the key's entry does not lie in the bytes the way we would write it; see `Odd`.
const IRREGULAR: u32 = 1 << 31;
/// Longest payload that the index takes, in bytes; leaves room for edits below 2^32.
pub const BYTES_MAX: usize = 1 << 30;

/// One attribute: where its key and its value (an `AnyValue` message) lie. Offsets at or beyond the payload's length mean
/// the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attr {
    key_off: u32,
    key_len: u32,
    val_off: u32,
    val_len: u32,
}

impl Attr {
    #[inline(always)]
    fn key_len(&self) -> usize {
        (self.key_len & !IRREGULAR) as usize
    }
}

/// Where an irregular entry lies: value before key, one of them absent, unknown fields, or lengths in long form.
#[derive(Clone, Copy, Debug)]
struct Odd {
    /// Its tag.
    start: u32,
    /// Its key's offset: finds it.
    key_off: u32,
    /// Its value's offset: an entry with this key and another value was written to.
    val_off: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Content of the message.
    start: u32,
    end: u32,
    attrs: u32,
    attrs_len: u32,
    parent: u32,
    subtree_end: u32,
    edit: u32,
    /// Message within that holds attributes (resource, scope) or points (metric).
    frame: u32,
    /// Body of a log record.
    body: u32,
    body_len: u32,
    kind: Kind,
    /// Bytes of tag and length before `start`.
    header: u8,
    removed: bool,
}

/// The inner message of a resource group, a scope group or a metric.
#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u32,
    header: u8,
    start: u32,
    end: u32,
}

/// What was written to a node; each ancestor of a touched node has one too.
#[derive(Clone, Copy, Debug)]
struct Edit {
    /// Entries in `Scratch::edited`; `NONE` if the map is untouched.
    map: u32,
    map_len: u32,
    map_cap: u32,
    /// New body; `NONE` if untouched.
    body: u32,
    body_len: u32,
    /// First of a list of `FieldEdit`.
    fields: u32,
    /// Nodes directly below that stay, and whether any was removed.
    live: u32,
    bereft: bool,
    /// Growth of the message, and of the part of it that is in the frame.
    delta: i64,
    frame_delta: i64,
}

#[derive(Clone, Copy, Debug)]
struct FieldEdit {
    number: u32,
    wire: u8,
    /// Content in the arena: text, or the number's bytes on the wire.
    off: u32,
    len: u32,
    next: u32,
}

impl<'a> View<'a> {
    /// Indexes one encoded request down to `depth`.
    ///
    /// Errors: the structure cannot be read (it was not validated), or is larger than [`BYTES_MAX`].
    /// Cost: one pass; no allocation once `scratch` is warm.
    pub fn new(
        scratch: &'a mut Scratch,
        signal: Signal,
        bytes: &'a [u8],
        depth: Depth,
    ) -> Result<View<'a>, Malformed> {
        View::sifted(scratch, signal, bytes, depth, |_| true)
    }

    /// As [`new`](View::new), without the log records and spans that do not pass: they are removed as
    /// [`remove_node`](View::remove_node) does, and never indexed. `passes` is given each record's message as it came, in
    /// the order of the bytes; removed ones that lie beside each other are one node.
    ///
    /// Metrics and data points are not asked about, and nothing is with a depth that does not reach records.
    pub fn sifted(
        scratch: &'a mut Scratch,
        signal: Signal,
        bytes: &'a [u8],
        depth: Depth,
        passes: impl FnMut(&[u8]) -> bool,
    ) -> Result<View<'a>, Malformed> {
        scratch.clear();
        index::build(scratch, signal, bytes, depth, passes)?;
        let mut view = View {
            signal,
            depth,
            bytes,
            s: scratch,
            removed: false,
            overflowed: false,
        };
        for n in view.nodes() {
            if view.is_removed(n) {
                view.bereave(n);
            }
        }
        Ok(view)
    }

    /// What kind of telemetry it holds.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// How deep the index goes.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// The original bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All nodes, in pre-order; removed ones included.
    pub fn nodes(&self) -> Range<NodeId> {
        0..self.s.nodes.len() as NodeId
    }

    /// What the node is.
    #[inline]
    pub fn kind(&self, n: NodeId) -> Kind {
        self.node(n).kind
    }

    /// The node that holds it; none for a resource group.
    #[inline]
    pub fn parent(&self, n: NodeId) -> Option<NodeId> {
        let parent = self.node(n).parent;
        (parent != NONE).then_some(parent)
    }

    /// One more than the last node that it holds: `n + 1..subtree_end(n)` are its descendants.
    #[inline]
    pub fn subtree_end(&self, n: NodeId) -> NodeId {
        self.node(n).subtree_end
    }

    /// Whether it, or a node that holds it, was removed.
    #[inline]
    pub fn is_removed(&self, n: NodeId) -> bool {
        self.node(n).removed
    }

    /// Log records, spans or data points in it that were not removed; 1 for a record itself.
    pub fn items(&self, n: NodeId) -> u32 {
        let node = self.node(n);
        if node.kind.is_item() {
            return u32::from(!node.removed);
        }
        if self.depth >= Depth::Record {
            let below = &self.s.nodes[n as usize..node.subtree_end as usize];
            return below.iter().filter(|b| b.kind.is_item() && !b.removed).count() as u32;
        }
        if node.removed {
            return 0;
        }
        split::count_below(
            otlp::node(self.signal, node.kind),
            &self.bytes[..node.end as usize],
            node.start as usize,
        )
    }

    /// The bytes of the node's message as they came, without tag and length.
    pub fn raw(&self, n: NodeId) -> &'a [u8] {
        let node = self.node(n);
        &self.bytes[node.start as usize..node.end as usize]
    }

    /// How many attributes it has now.
    #[inline]
    pub fn attrs(&self, n: NodeId) -> usize {
        self.entries(n).len()
    }

    /// Key of its `i`-th attribute; empty beyond the end.
    #[inline]
    pub fn key(&self, n: NodeId, i: usize) -> &[u8] {
        match self.entries(n).get(i) {
            Some(attr) => self.slice(attr.key_off, attr.key_len()),
            None => &[],
        }
    }

    /// Value of its `i`-th attribute; empty beyond the end.
    #[inline]
    pub fn value(&self, n: NodeId, i: usize) -> Value<'_> {
        match self.entries(n).get(i) {
            Some(attr) => Value::new(self.slice(attr.val_off, attr.val_len as usize)),
            None => Value::new(&[]),
        }
    }

    /// The first attribute with this key. Lengths are compared before bytes, so a miss costs about a nanosecond for
    /// three attributes.
    #[inline]
    pub fn find(&self, n: NodeId, key: &[u8]) -> Option<usize> {
        let last = key.last();
        self.entries(n).iter().position(|attr| {
            if attr.key_len() != key.len() {
                return false;
            }
            // Keys of one length often begin alike, and a call to compare costs more than a look.
            let there = self.slice(attr.key_off, key.len());
            there.last() == last && there == key
        })
    }

    /// The value of the first attribute with this key.
    #[inline]
    pub fn get(&self, n: NodeId, key: &[u8]) -> Option<Value<'_>> {
        self.find(n, key).map(|i| self.value(n, i))
    }

    /// Whether its attributes were written to: then they no longer are those of the original bytes.
    #[inline]
    pub fn map_edited(&self, n: NodeId) -> bool {
        self.edit(n).is_some_and(|e| e.map != NONE)
    }

    /// Whether its attributes, its body or a field of its own was written to.
    #[inline]
    pub fn is_written(&self, n: NodeId) -> bool {
        self.edit(n)
            .is_some_and(|e| e.map != NONE || e.body != NONE || e.fields != NONE)
    }

    /// Body of a log record; none if absent, or if it is no log record.
    pub fn body(&self, n: NodeId) -> Option<Value<'_>> {
        let node = self.node(n);
        let (off, len) = match self.edit(n) {
            Some(edit) if edit.body != NONE => (edit.body, edit.body_len),
            _ => (node.body, node.body_len),
        };
        (off != NONE).then(|| Value::new(self.slice(off, len as usize)))
    }

    /// Whether the body was written to.
    pub fn body_edited(&self, n: NodeId) -> bool {
        self.edit(n).is_some_and(|e| e.body != NONE)
    }

    /// A string or bytes field of the node, as it is now, or the content of a nested message or of a packed list; empty if
    /// absent.
    ///
    /// Numbers are those of the node's message in [`otlp`]. For a scope, 1 and 2 are name and version of
    /// `InstrumentationScope`; 3 is the group's `schema_url`, as for a resource.
    pub fn text(&self, n: NodeId, field: u32) -> &[u8] {
        if let Some(edit) = self.field_edit(n, field, false) {
            return self.slice(edit.off, edit.len as usize);
        }
        match self.original_field(n, field, false) {
            Some((LEN, value)) => value,
            _ => &[],
        }
    }

    /// A numeric field of the node, as it is now: the varint, or the 4 or 8 bytes as a little-endian number; none if
    /// absent.
    ///
    /// Numbers are those of the node's message. For a resource or scope, `dropped_attributes_count`; for a metric, the
    /// fields of its data.
    pub fn number(&self, n: NodeId, field: u32) -> Option<u64> {
        let (wire, value) = match self.field_edit(n, field, true) {
            Some(edit) => (edit.wire, self.slice(edit.off, edit.len as usize)),
            None => self.original_field(n, field, true)?,
        };
        match wire {
            crate::field::VARINT => varint::read(value, &mut 0).ok(),
            crate::field::FIXED64 => value.try_into().map(u64::from_le_bytes).ok(),
            crate::field::FIXED32 => value.try_into().map(u32::from_le_bytes).ok().map(u64::from),
            _ => None,
        }
    }

    /// Number of the `data` member of a metric: 5 gauge, 7 sum, 9 histogram, 10 exponential histogram, 11 summary.
    pub fn metric_data(&self, n: NodeId) -> Option<u32> {
        let node = self.node(n);
        (node.kind == Kind::Metric && node.frame != NONE).then(|| self.s.frames[node.frame as usize].number)
    }

    /// Whether anything was written or removed.
    #[inline]
    pub fn is_edited(&self) -> bool {
        !self.s.edits.is_empty()
    }

    /// Whether an edit was refused because all edits together passed 32-bit offsets. The value is then empty, not the
    /// old one. Refuse the payload.
    pub fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Splices the edits into the bytes. Groups that lost their last record go too.
    ///
    /// Cost: proportional to what was touched, and one pass of copies.
    pub fn finish(self) -> Finished {
        if self.is_edited() {
            splice::finish(self)
        } else {
            Finished::Unchanged
        }
    }

    #[inline(always)]
    fn node(&self, n: NodeId) -> &Node {
        &self.s.nodes[n as usize]
    }

    #[inline(always)]
    fn edit(&self, n: NodeId) -> Option<&Edit> {
        let edit = self.node(n).edit;
        (edit != NONE).then(|| &self.s.edits[edit as usize])
    }

    #[inline(always)]
    fn entries(&self, n: NodeId) -> &[Attr] {
        let node = self.node(n);
        if node.edit != NONE {
            let edit = &self.s.edits[node.edit as usize];
            if edit.map != NONE {
                return &self.s.edited[edit.map as usize..(edit.map + edit.map_len) as usize];
            }
        }
        &self.s.attrs[node.attrs as usize..(node.attrs + node.attrs_len) as usize]
    }

    #[inline(always)]
    fn slice(&self, off: u32, len: usize) -> &[u8] {
        let off = off as usize;
        match self.bytes.get(off..off + len) {
            Some(slice) => slice,
            None => &self.s.arena[off - self.bytes.len()..][..len],
        }
    }

    fn field_edit(&self, n: NodeId, number: u32, numeric: bool) -> Option<&FieldEdit> {
        let mut next = self.edit(n)?.fields;
        while next != NONE {
            let edit = &self.s.fields[next as usize];
            if edit.number == number && (edit.wire != LEN) == numeric {
                return Some(edit);
            }
            next = edit.next;
        }
        None
    }

    /// Whether a field of the node lives in its frame, and the table of the message where it lives.
    ///
    /// Of a resource or scope group that is all but the group's own `schema_url`; of a metric the numbers, which are
    /// those of its data.
    fn home(&self, n: NodeId, number: u32, numeric: bool) -> (bool, Option<&'static otlp::Message>) {
        let node = self.node(n);
        let message = otlp::node(self.signal, node.kind);
        let framed = match node.kind {
            Kind::Resource | Kind::Scope => {
                numeric || message.named("schema_url").map(|f| f.number) != Some(number)
            }
            Kind::Metric => numeric,
            _ => false,
        };
        if !framed {
            return (false, Some(message));
        }
        let field = match node.kind {
            Kind::Metric => self.metric_data(n).and_then(|number| message.field(number)),
            _ => message.with_role(Role::Inner),
        };
        match field.map(|f| f.kind) {
            Some(otlp::Kind::Message(inner)) => (true, Some(inner)),
            _ => (true, None),
        }
    }

    /// Bounds of the node's message, or of its frame.
    fn bounds(&self, n: NodeId, framed: bool) -> Option<(usize, usize)> {
        let node = self.node(n);
        if !framed {
            return Some((node.start as usize, node.end as usize));
        }
        let frame = self.s.frames.get(node.frame as usize)?;
        Some((frame.start as usize, frame.end as usize))
    }

    /// Wire type and content of a field as it came. Canonical messages have it once, so the first is taken.
    fn original_field(&self, n: NodeId, number: u32, numeric: bool) -> Option<(u8, &'a [u8])> {
        let (framed, table) = self.home(n, number, numeric);
        table?.field(number)?;
        let (start, end) = self.bounds(n, framed)?;
        let bytes = self.bytes;
        Fields::new(&bytes[..end], start)
            .map_while(Result::ok)
            .find(|f| f.number == number)
            .map(|f| (f.wire, &bytes[f.value..f.end]))
    }
}
