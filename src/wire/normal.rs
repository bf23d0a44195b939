//! Non-canonical payloads, rewritten the way the collector reads them.
//!
//! The collector's reader (pdata's generated code) takes the last of several scalars and the last member of a oneof
//! whole; a singular message that stands there twice is read into the same struct, which is what reading the two
//! contents end to end gives; field 1000 of a group is its scopes if it has no others. Written out like that, every
//! reader sees what the collector sees, and nothing hides in a field that some reader ignores.

use crate::field::{self, Field, Fields, Malformed};
use crate::otlp::{self, Kind, Message, Role, Rule};
use crate::validate::{Limits, short_attribute, validate};
use crate::view::DEPTH_MAX;
use crate::{Signal, varint};

/// Rewrites one encoded export request in canonical form.
///
/// Fields keep their order; what stands alone keeps its bytes. Unknown fields are kept, also those of merged messages,
/// unless `drop_unknown`. Errors: as [`validate`], with nesting bounded by [`DEPTH_MAX`].
pub fn normalize(signal: Signal, bytes: &[u8], drop_unknown: bool) -> Result<Vec<u8>, Malformed> {
    let limits = Limits {
        depth_max: DEPTH_MAX,
        strict_utf8: false,
    };
    validate(signal, bytes, &limits)?;
    let mut out = Vec::with_capacity(bytes.len());
    message(otlp::request(signal), bytes, drop_unknown, &mut out)?;
    Ok(out)
}

/// Appends the canonical form of one message's content.
fn message(
    table: &'static Message,
    content: &[u8],
    drop_unknown: bool,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let plan = Plan::of(table, content)?;
    let mut pos = 0;
    while pos < content.len() {
        if let Some(end) = plain(table, content, pos) {
            out.extend_from_slice(&content[pos..end]);
            pos = end;
            continue;
        }
        let field = field::next(content, &mut pos)?;
        let i = field.start;
        let Some(slot) = table.slot(field.number) else {
            if !drop_unknown {
                out.extend_from_slice(&content[field.start..field.end]);
            }
            continue;
        };
        let row = &table.fields[slot];
        let stays = match (row.rule, row.kind) {
            (Rule::Repeated, _) => row.role != Role::Deprecated || !plan.scopes,
            (Rule::Single, Kind::Message(_)) => plan.first[slot] == i,
            (Rule::Single, _) => plan.last[slot] == i,
            (Rule::Oneof, _) => plan.oneof == i,
        };
        if !stays {
            continue;
        }
        let Kind::Message(nested) = row.kind else {
            out.extend_from_slice(&content[field.start..field.end]);
            continue;
        };
        let number = if row.role == Role::Deprecated {
            otlp::SCOPES
        } else {
            field.number
        };
        let at = out.len();
        if row.rule == Rule::Single && plan.last[slot] != i {
            message(nested, &merged(content, &field), drop_unknown, out)?;
        } else {
            message(nested, &content[field.value..field.end], drop_unknown, out)?;
        }
        frame(number, at, out);
    }
    Ok(())
}

/// The end of the attribute at `pos` if it is of the usual form: nothing in it can be otherwise than canonical.
#[inline(always)]
fn plain(table: &'static Message, content: &[u8], pos: usize) -> Option<usize> {
    let tag = table.attributes_tag();
    if tag != 0 && content[pos] == tag {
        short_attribute::<false>(content, pos, tag)
    } else {
        None
    }
}

/// Which occurrence of each field counts, by where it begins.
struct Plan {
    first: [usize; FIELDS_MAX],
    last: [usize; FIELDS_MAX],
    oneof: usize,
    scopes: bool,
}

/// More fields than any message has.
const FIELDS_MAX: usize = 18;

impl Plan {
    fn of(table: &'static Message, content: &[u8]) -> Result<Plan, Malformed> {
        let mut plan = Plan {
            first: [usize::MAX; FIELDS_MAX],
            last: [usize::MAX; FIELDS_MAX],
            oneof: usize::MAX,
            scopes: false,
        };
        let mut pos = 0;
        while pos < content.len() {
            if let Some(end) = plain(table, content, pos) {
                pos = end;
                continue;
            }
            let field = field::next(content, &mut pos)?;
            let Some(slot) = table.slot(field.number) else {
                continue;
            };
            if plan.first[slot] == usize::MAX {
                plan.first[slot] = field.start;
            }
            plan.last[slot] = field.start;
            let row = &table.fields[slot];
            if row.rule == Rule::Oneof {
                plan.oneof = field.start;
            }
            plan.scopes |= row.role == Role::Node(otlp::NodeKind::Scope);
        }
        Ok(plan)
    }
}

/// The contents of a field and of all later ones of its number, end to end.
fn merged(content: &[u8], first: &Field) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() - first.value);
    for field in Fields::new(content, first.start).map_while(Result::ok) {
        if field.number == first.number {
            out.extend_from_slice(&content[field.value..field.end]);
        }
    }
    out
}

/// Puts tag and length before what was appended since `at`.
fn frame(number: u32, at: usize, out: &mut Vec<u8>) {
    let len = out.len() - at;
    field::write_header(number, len, out);
    let header = out.len() - at - len;
    debug_assert_eq!(header + len, field::framed_len(number, len));
    debug_assert!(header > varint::len(len as u64));
    out[at..].rotate_right(header);
}
