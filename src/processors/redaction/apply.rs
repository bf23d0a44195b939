//! The rules over one chunk.
//!
//! Two ways through an attribute map, with equal results. Where only values are searched and nobody wants to know what
//! was left alone, the regions found in the chunk lead straight to the few values that may match ([`Program::regions`]).
//! Everything else goes through each map entry by entry ([`Program::map`]), still asking the regions before a regex:
//! other rules, maps that were written to before, values that are rendered as text first.

use wire::view::{Any, Kind, NewValue, NodeId, Part, View};

use super::find::{Patterns, Region};
use super::rules::{Key, Rules, Scratch};
use super::summary::{Done, Subject, Summary};

/// The rules, and how they are run.
pub(super) struct Program {
    pub(super) rules: Rules,
    pub(super) summary: Summary,
    /// Whether regions alone lead to every value that changes.
    pub(super) by_region: bool,
}

impl Program {
    /// Compiles what follows from the rules.
    pub(super) fn new(rules: Rules, summary: Summary) -> Program {
        // With a summary, allowed and ignored values are counted though nothing happens to them.
        let counts_untouched =
            summary != Summary::Silent && (!rules.allowed_values.is_empty() || rules.ignores());
        let by_region = rules.allow_all_keys
            && rules.blocked_key_patterns.is_empty()
            && !rules.all_types
            && rules.finder.always == 0
            && rules.urls.as_ref().is_none_or(|urls| !urls.has_attributes())
            && !counts_untouched;
        Program {
            rules,
            summary,
            by_region,
        }
    }

    /// Redacts one chunk.
    pub(super) fn run(&self, view: &mut View<'_>, s: &mut Scratch) {
        self.rules.finder.search(view.bytes(), &mut s.regions);
        if self.by_region {
            // Maps first that were written to before: the regions do not lead there.
            s.written.clear();
            if view.is_edited() {
                let written = view.nodes().filter(|n| view.map_edited(*n));
                s.written.extend(written);
                for i in 0..s.written.len() {
                    let n = s.written[i];
                    if is_redacted(view.kind(n)) && !view.is_removed(n) {
                        self.map(view, n, s);
                    }
                }
            }
            self.regions(view, s);
        } else {
            for n in view.nodes() {
                if is_redacted(view.kind(n)) && !view.is_removed(n) {
                    self.map(view, n, s);
                }
            }
        }
        if view.signal() == wire::Signal::Logs {
            for n in view.nodes() {
                if view.kind(n) == Kind::LogRecord && !view.is_removed(n) {
                    self.body(view, n, s);
                }
            }
        }
        self.span_names(view, s);
    }

    /// From regions to the attribute values that they overlap.
    fn regions(&self, view: &mut View<'_>, s: &mut Scratch) {
        let regions = std::mem::take(&mut s.regions.list);
        s.tally.clear();
        let mut map = None;
        // Several regions in one value are one value, with the patterns of all of them.
        let mut open: Option<(NodeId, usize, Patterns)> = None;
        for Region { start, end, patterns } in regions.iter().copied() {
            let mut at = start;
            while at < end {
                let found = view.locate(at);
                let part_end = found.and_then(|(n, part)| Some(view.extent(n, part)?.end));
                at = part_end.unwrap_or(0).max(at + 1);
                let Some((n, Part::AttrValue(i))) = found else {
                    continue;
                };
                match &mut open {
                    Some((node, place, all)) if (*node, *place) == (n, i) => *all |= patterns,
                    _ => {
                        if let Some(value) = open.replace((n, i, patterns)) {
                            self.region_value(view, value, &mut map, s);
                        }
                    }
                }
            }
        }
        if let Some(value) = open {
            self.region_value(view, value, &mut map, s);
        }
        if let Some(n) = map {
            s.tally.write(self.summary, Subject::Attributes, view, n);
        }
        s.regions.list = regions;
    }

    /// One value that may match. `map` is the last map in which something changed: its summary is written before that
    /// of another is begun.
    fn region_value(
        &self,
        view: &mut View<'_>,
        (n, i, patterns): (NodeId, usize, Patterns),
        map: &mut Option<NodeId>,
        s: &mut Scratch,
    ) {
        let skipped = !is_redacted(view.kind(n)) || view.is_removed(n) || s.written.binary_search(&n).is_ok();
        if skipped {
            return;
        }
        // Values change in place here and summaries go to the end: the place is still that of the original map.
        let Some(text) = view.value(n, i).as_str() else {
            return;
        };
        if !self.rules.redact(&mut s.values, text, patterns, false)
            || self.rules.key(&mut s.keys, i, view.key(n, i)) == Key::Ignored
            || self.rules.is_allowed(&mut s.values, text)
        {
            return;
        }
        if *map != Some(n) {
            if let Some(before) = map.replace(n) {
                s.tally.write(self.summary, Subject::Attributes, view, before);
            }
            s.tally.clear();
        }
        s.tally.add(self.summary, Done::Masked, view.key(n, i));
        view.set(n, i, NewValue::Str(&s.values.text));
    }

    /// One map, entry by entry.
    fn map(&self, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        let rules = &self.rules;
        s.tally.clear();
        s.denied.clear();
        for i in 0..view.attrs(n) {
            let key = rules.key(&mut s.keys, i, view.key(n, i));
            match key {
                Key::Ignored => {
                    s.tally.add(self.summary, Done::Ignored, view.key(n, i));
                    continue;
                }
                Key::Denied => {
                    s.tally.add(self.summary, Done::Redacted, view.key(n, i));
                    s.denied.push(i as u32);
                    continue;
                }
                Key::Blocked | Key::Open => {}
            }
            let value = view.value(n, i);
            let text = match value.any() {
                Any::Str(text) => text,
                _ => {
                    s.rendered.clear();
                    if rules.all_types {
                        value.as_string(&mut s.rendered);
                    }
                    &s.rendered[..]
                }
            };
            // Whether a value is allowed matters where it would change, and where it is counted.
            let allowed_first = key == Key::Blocked || self.summary != Summary::Silent;
            if allowed_first && rules.is_allowed(&mut s.values, text) {
                s.tally.add(self.summary, Done::Allowed, view.key(n, i));
                continue;
            }
            if key == Key::Blocked {
                rules.block(&mut s.values, text);
            } else {
                let patterns = rules.finder.patterns(text, &mut s.regions);
                let url = rules
                    .urls
                    .as_ref()
                    .is_some_and(|urls| urls.is_url(view.key(n, i)));
                let changed = (patterns != 0 || url) && rules.redact(&mut s.values, text, patterns, url);
                if !changed || (!allowed_first && rules.is_allowed(&mut s.values, text)) {
                    continue;
                }
            }
            s.tally.add(self.summary, Done::Masked, view.key(n, i));
            view.set(n, i, NewValue::Str(&s.values.text));
        }
        let count = view.attrs(n);
        s.removal.run(
            count,
            &s.denied,
            view,
            |view, slot| view.find(n, view.key(n, slot)),
            |view, slot| {
                view.remove(n, slot);
            },
        );
        s.tally.write(self.summary, Subject::Attributes, view, n);
    }
}

/// Whether attributes of this kind of node are redacted. Not those of links and exemplars, as in the collector.
pub(super) fn is_redacted(kind: Kind) -> bool {
    match kind {
        Kind::Resource | Kind::Scope | Kind::LogRecord | Kind::Span | Kind::Event => true,
        Kind::NumberPoint | Kind::HistogramPoint | Kind::ExpHistogramPoint | Kind::SummaryPoint => true,
        Kind::Link | Kind::Exemplar | Kind::Metric => false,
    }
}
