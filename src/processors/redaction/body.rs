//! The body of a log record.
//!
//! A scalar is searched as text, whatever its type. In a map or list every scalar within is, and the rules on keys hold
//! at every depth. What changed becomes text; an untouched part keeps its bytes. The collector's order of steps is kept,
//! its oddities too: a scalar body that is allowed gets no summary.

use std::ops::Range;

use wire::field::write_header;
use wire::view::{Any, NewValue, NodeId, Value, View, any_encode};

use super::apply::Program;
use super::rules::{Key, Scratch};
use super::summary::{Done, Subject, Summary};

/// Field numbers of `AnyValue`, `ArrayValue`, `KeyValueList` and `KeyValue`.
pub(super) const ANY_LIST: u32 = 5;
pub(super) const ANY_MAP: u32 = 6;
pub(super) const VALUES: u32 = 1;
pub(super) const KEY: u32 = 1;
pub(super) const VALUE: u32 = 2;

/// Values nested deeper than this are masked whole: the door refuses them, so no honest one gets here.
const DEPTH_MAX: usize = 256;

impl Program {
    /// Redacts the body of one log record.
    pub(super) fn body(&self, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        let body = view.body(n).unwrap_or(Value::new(&[]));
        match body.any() {
            Any::Map(_) | Any::List(_) => self.structured(view, n, s),
            _ => self.scalar(view, n, s),
        }
    }

    fn scalar(&self, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        let body = view.body(n).unwrap_or(Value::new(&[]));
        let text = match body.any() {
            Any::Str(text) => text,
            _ => {
                s.rendered.clear();
                body.as_string(&mut s.rendered);
                &s.rendered[..]
            }
        };
        let patterns = self.rules.finder.patterns(text, &mut s.regions);
        let url = self.rules.urls.is_some();
        let changed = (patterns != 0 || url) && self.rules.redact(&mut s.values, text, patterns, url);
        if !changed || self.rules.is_allowed(&mut s.values, text) {
            return;
        }
        view.set_body(n, NewValue::Str(&s.values.text));
        s.tally.clear();
        s.tally.add(self.summary, Done::Masked, b"body");
        s.tally.write(self.summary, Subject::Body, view, n);
    }

    fn structured(&self, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        let body = view.body(n).unwrap_or(Value::new(&[]));
        if self.only_values_count() && !self.may_change(body, s, DEPTH_MAX) {
            return;
        }
        s.tally.clear();
        s.path.clear();
        let mut out = std::mem::take(&mut s.body);
        out.clear();
        let changed = self.value(body, s, &mut out, DEPTH_MAX);
        if changed {
            view.set_body(n, NewValue::Encoded(&out));
        }
        s.body = out;
        s.tally.write(self.summary, Subject::Body, view, n);
    }

    /// Whether nothing is done or counted but where a value matches.
    fn only_values_count(&self) -> bool {
        let counted = self.summary != Summary::Silent && !self.rules.allowed_values.is_empty();
        self.rules.keys_are_open() && !counted && self.rules.urls.is_none()
    }

    /// Whether any value within may match.
    fn may_change(&self, value: Value<'_>, s: &mut Scratch, depth: usize) -> bool {
        if depth == 0 {
            return true;
        }
        match value.any() {
            Any::Map(mut entries) => entries.any(|(_, v)| self.may_change(v, s, depth - 1)),
            Any::List(mut values) => values.any(|v| self.may_change(v, s, depth - 1)),
            Any::Str(text) => self.rules.finder.patterns(text, &mut s.regions) != 0,
            _ => {
                s.rendered.clear();
                value.as_string(&mut s.rendered);
                self.rules.finder.patterns(&s.rendered, &mut s.regions) != 0
            }
        }
    }

    /// Appends the `AnyValue` of a redacted value to `out`. True if it is another one than it was.
    fn value(&self, value: Value<'_>, s: &mut Scratch, out: &mut Vec<u8>, depth: usize) -> bool {
        let start = out.len();
        let changed = match value.any() {
            _ if depth == 0 => {
                self.rules.block(&mut s.values, b"");
                any_encode(NewValue::Str(&s.values.text), out);
                return true;
            }
            Any::Map(entries) => {
                let entries: Vec<_> = entries.collect();
                self.entries(&entries, s, out, depth)
            }
            Any::List(values) => {
                let mut changed = false;
                for (i, element) in values.enumerate() {
                    let before = s.path.len();
                    step(&mut s.path, format!("[{i}]").as_bytes());
                    let at = out.len();
                    changed |= self.value(element, s, out, depth - 1);
                    insert_header(out, at, VALUES);
                    s.path.truncate(before);
                }
                insert_header(out, start, ANY_LIST);
                changed
            }
            other => {
                let text = match other {
                    Any::Str(text) => text,
                    _ => {
                        s.rendered.clear();
                        value.as_string(&mut s.rendered);
                        &s.rendered[..]
                    }
                };
                let counted = self.summary != Summary::Silent;
                if counted && self.rules.is_allowed(&mut s.values, text) {
                    s.tally.add(self.summary, Done::Allowed, &s.path);
                    out.extend_from_slice(value.raw());
                    return false;
                }
                let patterns = self.rules.finder.patterns(text, &mut s.regions);
                let url = self.rules.urls.is_some();
                let changed = (patterns != 0 || url)
                    && self.rules.redact(&mut s.values, text, patterns, url)
                    && (counted || !self.rules.is_allowed(&mut s.values, text));
                if changed {
                    s.tally.add(self.summary, Done::Masked, &s.path);
                    any_encode(NewValue::Str(&s.values.text), out);
                }
                changed
            }
        };
        if !changed {
            out.truncate(start);
            out.extend_from_slice(value.raw());
        }
        changed
    }

    /// Appends the `AnyValue` of a redacted map to `out`; what it appends is of use only if it says true.
    fn entries(
        &self,
        entries: &[(&[u8], Value<'_>)],
        s: &mut Scratch,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> bool {
        let start = out.len();
        let mut kept = Vec::with_capacity(entries.len());
        let mut denied = Vec::new();
        let mut changed = false;
        for (i, (key, value)) in entries.iter().enumerate() {
            let (before, at) = (s.path.len(), out.len());
            step(&mut s.path, key);
            match self.rules.key(&mut s.keys, usize::MAX, key) {
                Key::Ignored => {
                    s.tally.add(self.summary, Done::Ignored, &s.path);
                    out.extend_from_slice(value.raw());
                }
                Key::Denied => {
                    s.tally.add(self.summary, Done::Redacted, &s.path);
                    denied.push(i as u32);
                }
                Key::Blocked => {
                    self.rules
                        .block(&mut s.values, value.as_str().unwrap_or_default());
                    s.tally.add(self.summary, Done::Masked, &s.path);
                    any_encode(NewValue::Str(&s.values.text), out);
                    changed = true;
                }
                Key::Open => changed |= self.value(*value, s, out, depth - 1),
            }
            kept.push((*key, at..out.len()));
            s.path.truncate(before);
        }
        if !denied.is_empty() {
            changed = true;
            let first = |kept: &Vec<(&[u8], Range<usize>)>, slot: usize| {
                kept.iter().position(|(key, _)| *key == kept[slot].0)
            };
            s.removal
                .run(kept.len(), &denied, &mut kept, first, |kept, slot| {
                    kept.swap_remove(slot);
                });
        }
        if changed {
            let mut map = Vec::with_capacity(out.len() - start + 16 * kept.len());
            for (key, value) in kept {
                let at = map.len();
                write_header(KEY, key.len(), &mut map);
                map.extend_from_slice(key);
                write_header(VALUE, value.len(), &mut map);
                map.extend_from_slice(&out[value]);
                insert_header(&mut map, at, VALUES);
            }
            out.truncate(start);
            write_header(ANY_MAP, map.len(), out);
            out.extend_from_slice(&map);
        }
        changed
    }
}

/// One step further into a body: `a.b.[0]`.
fn step(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'.');
    }
    path.extend_from_slice(name);
}

/// Makes a field of what stands in `out` from `at` on.
pub(super) fn insert_header(out: &mut Vec<u8>, at: usize, number: u32) {
    let mut header = Vec::with_capacity(12);
    write_header(number, out.len() - at, &mut header);
    out.splice(at..at, header);
}
