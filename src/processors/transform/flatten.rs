//! `flatten_data`: every log record under a resource and scope of its own, so that a statement that writes to those writes
//! to one record's; and equal ones together again.
//!
//! As in the collector a flattened record has its resource's attributes, its scope's attributes, name and version, and the
//! scope's schema URL; what else headers had is gone. Together again means: resources with equal attributes are one, then
//! scopes with equal attributes, name and version, whatever the order of attributes; of each the first one's header stays,
//! and everything stands where it first appeared.

use std::collections::HashMap;

use wire::field::{Field, Fields, LEN};
use wire::view::identity::{self, Order};
use wire::view::{Depth, Kind, Scratch, View};
use wire::{Malformed, Signal, write};

/// Most bytes that headers of one request may come to, each record having its own.
pub(super) const HEADER_BYTES_MAX: usize = 256 << 20;

/// Fields: of groups in a request, of headers and children in a group, of the schema URL beside them.
const GROUP: u32 = 1;
const HEADER: u32 = 1;
const CHILD: u32 = 2;
const SCHEMA_URL: u32 = 3;
/// Of a resource: its attributes. Of a scope: name, version, attributes.
const OF_RESOURCE: &[u32] = &[1];
const OF_SCOPE: &[u32] = &[1, 2, 3];

/// Writes each record under headers of its own. `None` if those would pass [`HEADER_BYTES_MAX`].
pub(super) fn flatten(request: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut out = Vec::with_capacity(2 * request.len());
    let (mut resource, mut scope) = (Vec::new(), Vec::new());
    let mut header_bytes = 0;
    for group in nested(request, 0, request.len(), GROUP) {
        let group = group?;
        header(request, &group, OF_RESOURCE, &mut resource)?;
        for child in nested(request, group.value, group.end, CHILD) {
            let child = child?;
            header(request, &child, OF_SCOPE, &mut scope)?;
            for field in nested(request, child.value, child.end, SCHEMA_URL) {
                let field = field?;
                scope.extend_from_slice(&request[field.start..field.end]);
            }
            for record in nested(request, child.value, child.end, CHILD) {
                let record = record?;
                header_bytes += resource.len() + scope.len();
                if header_bytes > HEADER_BYTES_MAX {
                    return Ok(None);
                }
                write::message(GROUP, &mut out, |out| {
                    out.extend_from_slice(&resource);
                    write::message(CHILD, out, |out| {
                        out.extend_from_slice(&scope);
                        out.extend_from_slice(&request[record.start..record.end]);
                    });
                });
            }
        }
    }
    Ok(Some(out))
}

/// Nested messages and texts of this number.
fn nested(
    request: &[u8],
    start: usize,
    end: usize,
    number: u32,
) -> impl Iterator<Item = Result<Field, Malformed>> {
    Fields::new(&request[..end], start).filter(move |field| match field {
        Ok(field) => field.number == number && field.wire == LEN,
        Err(_) => true,
    })
}

/// The header of a group with these of its fields alone; there is one even if there was none.
fn header(request: &[u8], group: &Field, keeps: &[u32], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.clear();
    for header in nested(request, group.value, group.end, HEADER) {
        let header = header?;
        for field in Fields::new(&request[..header.end], header.value) {
            let field = field?;
            if keeps.contains(&field.number) {
                out.extend_from_slice(&request[field.start..field.end]);
            }
        }
    }
    write::frame(HEADER, 0, out);
    Ok(())
}

/// A group that stays: its header, and what goes under it.
struct Group<'v> {
    header: Vec<&'v [u8]>,
    scopes: Vec<Scope<'v>>,
}

struct Scope<'v> {
    header: Vec<&'v [u8]>,
    records: Vec<&'v [u8]>,
}

/// Lays equal resources and scopes together.
pub(super) fn regroup(request: &[u8], scratch: &mut Scratch) -> Result<Vec<u8>, Malformed> {
    let view = View::new(scratch, Signal::Logs, request, Depth::Record)?;
    let (mut order, mut key) = (Order::default(), Vec::new());
    let mut groups: Vec<Group<'_>> = Vec::new();
    let (mut resources, mut scopes) = (HashMap::new(), HashMap::new());
    let (mut group, mut scope) = (0, 0);
    for n in view.nodes() {
        match view.kind(n) {
            Kind::Resource => {
                key.clear();
                order.attributes(&view, n, &mut key);
                group = known(&mut resources, &key, groups.len());
                if group == groups.len() {
                    groups.push(Group {
                        header: fields_but(view.raw(n), CHILD)?,
                        scopes: Vec::new(),
                    });
                }
            }
            Kind::Scope => {
                key.clear();
                identity::text(&(group as u64).to_le_bytes(), &mut key);
                identity::text(view.text(n, 1), &mut key);
                identity::text(view.text(n, 2), &mut key);
                order.attributes(&view, n, &mut key);
                let here = &mut groups[group].scopes;
                scope = known(&mut scopes, &key, here.len());
                if scope == here.len() {
                    here.push(Scope {
                        header: fields_but(view.raw(n), CHILD)?,
                        records: Vec::new(),
                    });
                }
            }
            Kind::LogRecord => groups[group].scopes[scope].records.push(view.raw(n)),
            _ => {}
        }
    }
    let mut out = Vec::with_capacity(request.len());
    for group in &groups {
        write::message(GROUP, &mut out, |out| {
            group.header.iter().for_each(|part| out.extend_from_slice(part));
            for scope in &group.scopes {
                write::message(CHILD, out, |out| {
                    scope.header.iter().for_each(|part| out.extend_from_slice(part));
                    for record in &scope.records {
                        write::bytes(CHILD, record, out);
                    }
                });
            }
        });
    }
    Ok(out)
}

/// The place of what has this key; a new one gets the next.
fn known(places: &mut HashMap<Vec<u8>, usize>, key: &[u8], next: usize) -> usize {
    match places.get(key) {
        Some(place) => *place,
        None => {
            places.insert(key.to_vec(), next);
            next
        }
    }
}

/// All fields of a message but those of one number.
fn fields_but(message: &[u8], number: u32) -> Result<Vec<&[u8]>, Malformed> {
    let mut parts = Vec::new();
    for field in Fields::new(message, 0) {
        let field = field?;
        if field.number != number {
            parts.push(&message[field.start..field.end]);
        }
    }
    Ok(parts)
}
