//! What was done to a map, told in the map itself.

use wire::view::{Any, NewValue, NodeId, View};

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Summary {
    /// Nothing.
    Silent,
    /// How many.
    Info,
    /// How many, and which.
    Debug,
}

impl Summary {
    /// Whatever is unknown is silent, as in the collector.
    pub(super) fn new(text: &str) -> Summary {
        match text {
            "debug" => Summary::Debug,
            "info" => Summary::Info,
            _ => Summary::Silent,
        }
    }
}

/// Keys under which summaries stand: allowed always, so that one redaction may follow another.
pub(super) const SUMMARY_KEYS: [&[u8]; 14] = [
    b"redaction.redacted.keys",
    b"redaction.redacted.count",
    b"redaction.masked.keys",
    b"redaction.masked.count",
    b"redaction.allowed.keys",
    b"redaction.allowed.count",
    b"redaction.ignored.count",
    b"redaction.body.redacted.keys",
    b"redaction.body.redacted.count",
    b"redaction.body.masked.keys",
    b"redaction.body.masked.count",
    b"redaction.body.allowed.keys",
    b"redaction.body.allowed.count",
    b"redaction.body.ignored.count",
];

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Redacted,
    Masked,
    Allowed,
    Ignored,
}

/// In the order in which summaries are written.
const KINDS: [Done; 4] = [Done::Redacted, Done::Masked, Done::Allowed, Done::Ignored];

/// Whose summary it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Attributes,
    Body,
}

/// Where names and count of a kind stand; of what was ignored only the count is told.
fn keys(subject: Subject, done: Done) -> (&'static [u8], &'static [u8]) {
    let first = match subject {
        Subject::Attributes => 0,
        Subject::Body => 7,
    };
    let at = first + 2 * done as usize;
    match done {
        Done::Ignored => (b"", SUMMARY_KEYS[at]),
        _ => (SUMMARY_KEYS[at], SUMMARY_KEYS[at + 1]),
    }
}

/// Counts, and in debug mode names, of one map or body.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: [i64; 4],
    names: [Vec<Vec<u8>>; 4],
}

impl Tally {
    pub(super) fn clear(&mut self) {
        self.counts = [0; 4];
        self.names.iter_mut().for_each(Vec::clear);
    }

    /// Counts one; keeps its name if names are told.
    pub(super) fn add(&mut self, summary: Summary, done: Done, name: &[u8]) {
        if summary == Summary::Silent {
            return;
        }
        self.counts[done as usize] += 1;
        if summary == Summary::Debug && done != Done::Ignored {
            self.names[done as usize].push(name.to_vec());
        }
    }

    /// Writes what was counted into the attributes of `n`, added to what an earlier summary says there.
    pub(super) fn write(&mut self, summary: Summary, subject: Subject, view: &mut View<'_>, n: NodeId) {
        if summary == Summary::Silent {
            return;
        }
        for done in KINDS {
            let (names_key, count_key) = keys(subject, done);
            let count = self.counts[done as usize];
            if count == 0 {
                continue;
            }
            let names = &mut self.names[done as usize];
            if !names.is_empty() {
                if let Some(before) = view.find(n, names_key)
                    && let Some(text) = view.value(n, before).as_str()
                    && !text.is_empty()
                {
                    names.extend(text.split(|b| *b == b',').map(<[u8]>::to_vec));
                }
                names.sort_unstable();
                view.put(n, names_key, NewValue::Str(&names.join(&b',')));
            }
            let before = match view.get(n, count_key).map(|v| v.any()) {
                Some(Any::Int(before)) => before,
                _ => 0,
            };
            view.put(n, count_key, NewValue::Int(before.saturating_add(count)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found() {
        let mut found = Vec::new();
        for subject in [Subject::Attributes, Subject::Body] {
            for done in KINDS {
                let (names, count) = keys(subject, done);
                assert!(count.ends_with(b".count"));
                assert_eq!(names.is_empty(), done == Done::Ignored);
                assert!(names.is_empty() || names[..names.len() - 4] == count[..count.len() - 5]);
                found.extend([names, count].into_iter().filter(|k| !k.is_empty()));
            }
        }
        assert_eq!(found, SUMMARY_KEYS);
    }
}
