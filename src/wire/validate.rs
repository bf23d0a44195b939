//! The walk at the door: is it well formed, how many items are in it, would every reader see the same.
//!
//! Everything follows from the table in [`crate::otlp`]; only the usual form of an attribute has a path of its own, since
//! a record has two dozen of them. What the collector accepts passes, but for two things that no encoder makes: tags
//! beyond 32 bits and varints beyond 64.

use crate::field::{self, FIXED32, FIXED64, GROUP, LEN, Malformed, Reason, VARINT};
use crate::otlp::{self, Field, Kind, Message, Role, Rule};
use crate::view::{DEPTH_MAX, short_entry};
use crate::{Shape, Signal, varint};

/// What the door tolerates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most levels of lists and maps within a value; never more than [`DEPTH_MAX`]. Default 64.
    pub depth_max: u32,
    /// Refuse text that is not UTF-8. Default false, as the collector.
    pub strict_utf8: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            depth_max: 64,
            strict_utf8: false,
        }
    }
}

/// Walks an encoded export request once.
///
/// Checked: wire types, lengths, id lengths, nesting of values and, if asked, UTF-8. Unknown fields are skipped and noted.
/// Errors: the first fault, with its place. Cost: about 5 ns an attribute; no allocation.
pub fn validate(signal: Signal, bytes: &[u8], limits: &Limits) -> Result<Shape, Malformed> {
    if bytes.len() >= u32::MAX as usize {
        return Err(Malformed::new(u32::MAX as usize, Reason::Size));
    }
    let mut walk = Walk {
        shape: Shape::default(),
        depth_max: limits.depth_max.min(DEPTH_MAX),
    };
    let request = otlp::request(signal);
    if limits.strict_utf8 {
        walk.message::<true>(request, bytes, 0, 0)?;
    } else {
        walk.message::<false>(request, bytes, 0, 0)?;
    }
    Ok(walk.shape)
}

struct Walk {
    shape: Shape,
    depth_max: u32,
}

/// In `seen`: a member of the message's oneof.
const ONEOF: u32 = 1 << 31;

impl Walk {
    /// Walks the message that begins at `pos` and ends with `buf`.
    fn message<const UTF8: bool>(
        &mut self,
        message: &'static Message,
        buf: &[u8],
        mut pos: usize,
        depth: u32,
    ) -> Result<(), Malformed> {
        let tag = message.attributes_tag();
        let items = self.shape.items;
        let mut deprecated_items = 0;
        let mut seen = 0u32;
        while pos < buf.len() {
            if tag != 0 && buf[pos] == tag {
                while let Some(end) = short_attribute::<UTF8>(buf, pos, tag) {
                    pos = end;
                }
                if pos == buf.len() {
                    break;
                }
            }
            let start = pos;
            let (number, wire) = field::tag(buf, &mut pos)?;
            let Some(slot) = message.slot(number) else {
                self.shape.unknown_fields = true;
                pos = start;
                field::next(buf, &mut pos)?;
                continue;
            };
            let row = &message.fields[slot];
            let bit = match row.rule {
                Rule::Single => 1 << slot,
                Rule::Oneof => ONEOF,
                Rule::Repeated => 0,
            };
            if seen & bit != 0 {
                self.shape.non_canonical = true;
                if row.role == Role::Inner && row.rule == Rule::Oneof {
                    // The later data replaces the earlier, points and all.
                    self.shape.items = items;
                }
            }
            seen |= bit;
            if wire != row.kind.wire() {
                pos = packed(row, wire, buf, start, pos)?;
                continue;
            }
            match wire {
                VARINT => {
                    varint::read(buf, &mut pos)?;
                }
                FIXED64 | FIXED32 => {
                    pos += if wire == FIXED64 { 8 } else { 4 };
                    if pos > buf.len() {
                        return Err(Malformed::new(start, Reason::Truncated));
                    }
                }
                _ => {
                    let end = field::length(buf, &mut pos)?;
                    match row.kind {
                        Kind::Message(nested) => {
                            let before = self.shape.items;
                            self.shape.items += u32::from(is_item(row.role));
                            let depth = self.deeper(nested, depth, start)?;
                            self.message::<UTF8>(nested, &buf[..end], pos, depth)?;
                            if row.role == Role::Deprecated {
                                deprecated_items += self.shape.items - before;
                                self.shape.items = before;
                                self.shape.non_canonical = true;
                            }
                        }
                        _ => content::<UTF8>(row, &buf[pos..end], start)?,
                    }
                    pos = end;
                }
            }
            if row.role == Role::Node(otlp::NodeKind::Scope) {
                seen |= 1 << slot;
            }
        }
        // The old list is read only where the new one is empty.
        if deprecated_items > 0 {
            let scopes = message.slot(otlp::SCOPES).map_or(0, |slot| 1 << slot);
            if seen & scopes == 0 {
                self.shape.items += deprecated_items;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn deeper(&self, nested: &'static Message, depth: u32, at: usize) -> Result<u32, Malformed> {
        if !std::ptr::eq(nested, &otlp::ANY_VALUE) {
            return Ok(depth);
        }
        if depth > self.depth_max {
            return Err(Malformed::new(at, Reason::Depth));
        }
        Ok(depth + 1)
    }
}

#[inline(always)]
fn is_item(role: Role) -> bool {
    match role {
        Role::Node(kind) => kind.is_item(),
        Role::Item => true,
        _ => false,
    }
}

/// The end of the attribute at `pos` if it is of the usual form and holds a scalar; else none, and the slow way decides.
#[inline(always)]
pub(crate) fn short_attribute<const UTF8: bool>(buf: &[u8], pos: usize, tag: u8) -> Option<usize> {
    let (key_len, value) = short_entry(buf, pos, tag)?;
    let end = pos + 4 + key_len + value.len();
    if UTF8 && std::str::from_utf8(&buf[pos + 4..pos + 4 + key_len]).is_err() {
        return None;
    }
    // Text: its header is that of the value, 0x0a, and two bytes less.
    let n = value.len();
    if n >= 4 && value[2] == 0x0a && value[3] as usize == n - 4 {
        return (!UTF8 || std::str::from_utf8(&value[4..]).is_ok()).then_some(end);
    }
    let simple = match &value[2..] {
        [] => true,
        [0x18, last] | [0x10, last] => *last < 0x80,
        [0x18, first, last] => *first >= 0x80 && *last < 0x80,
        [0x18, number @ .., last] => *last < 0x80 && number.len() < 9 && number.iter().all(|b| *b >= 0x80),
        [0x21, number @ ..] => number.len() == 8,
        _ => false,
    };
    simple.then_some(end)
}

/// What ids and text must be.
#[inline(always)]
fn content<const UTF8: bool>(row: &Field, value: &[u8], start: usize) -> Result<(), Malformed> {
    match row.role {
        Role::TraceId if value.len() != 16 && !value.is_empty() => {
            return Err(Malformed::new(start, Reason::TraceId));
        }
        Role::SpanId if value.len() != 8 && !value.is_empty() => {
            return Err(Malformed::new(start, Reason::SpanId));
        }
        _ => {}
    }
    if UTF8 && matches!(row.kind, Kind::Text) && std::str::from_utf8(value).is_err() {
        return Err(Malformed::new(start, Reason::Utf8));
    }
    Ok(())
}

/// A repeated number in packed form; gives its end. Any other difference in wire type is a fault.
#[cold]
fn packed(row: &Field, wire: u8, buf: &[u8], start: usize, mut pos: usize) -> Result<usize, Malformed> {
    if row.rule != Rule::Repeated || wire != LEN || row.kind.wire() == LEN || wire == GROUP {
        return Err(Malformed::new(start, Reason::WireType));
    }
    let end = field::length(buf, &mut pos)?;
    let size = match row.kind.wire() {
        FIXED64 => 8,
        FIXED32 => 4,
        _ => {
            while pos < end {
                varint::read(&buf[..end], &mut pos)?;
            }
            return Ok(end);
        }
    };
    if !(end - pos).is_multiple_of(size) {
        return Err(Malformed::new(start, Reason::Packed));
    }
    Ok(end)
}
