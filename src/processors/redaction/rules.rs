//! The user's rules, compiled: what is decided about a key, and what is left of a value.

use std::collections::{HashMap, HashSet};

use codec::pattern::{Pattern, PatternCache};
use wire::scan::Hit;

use super::find::{Finder, Patterns, Regions, bit};
use super::mask::Mask;
use super::summary::{SUMMARY_KEYS, Tally};
use super::url::{Urls, shorten};
use crate::removal::Removal;

/// Decisions remembered by key; a chunk with more different keys decides the others each time.
const DECISIONS_MAX: usize = 4096;

/// Longer keys are decided each time.
const KEY_LEN_MAX: usize = 256;

/// Places in a map for which the last key is remembered.
const HINTS_MAX: usize = 64;

/// All rules but those of the summary.
pub(super) struct Rules {
    pub(super) allow_all_keys: bool,
    pub(super) allowed_keys: HashSet<Vec<u8>>,
    pub(super) ignored_keys: HashSet<Vec<u8>>,
    pub(super) ignored_key_patterns: Vec<Pattern>,
    pub(super) blocked_key_patterns: Vec<Pattern>,
    pub(super) allowed_values: Vec<Pattern>,
    pub(super) blocked_values: Vec<Pattern>,
    pub(super) all_types: bool,
    pub(super) mask: Mask,
    pub(super) finder: Finder,
    pub(super) urls: Option<Urls>,
}

/// What becomes of an entry by its key alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Not looked at.
    Ignored,
    /// Removed.
    Denied,
    /// Its value is masked whole (unless the value is allowed).
    Blocked,
    /// Its value is searched.
    Open,
}

/// What the rules write to: one a running call, reused.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) regions: Regions,
    pub(super) keys: KeyCache,
    pub(super) values: Values,
    /// A value rendered as text.
    pub(super) rendered: Vec<u8>,
    pub(super) tally: Tally,
    /// Keys to remove from the map at hand, by place.
    pub(super) denied: Vec<u32>,
    pub(super) removal: Removal,
    /// Maps that were written to before this stage, ascending.
    pub(super) written: Vec<u32>,
    /// Place in a structured body, for summaries.
    pub(super) path: Vec<u8>,
    /// A structured body, encoded anew.
    pub(super) body: Vec<u8>,
}

/// Decisions on keys.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    caches: Vec<PatternCache>,
    known: HashMap<Box<[u8]>, Key>,
    hints: Vec<Option<(Box<[u8]>, Key)>>,
}

/// Caches of the value patterns, and the value as it is after the last of them.
#[derive(Debug, Default)]
pub(super) struct Values {
    allowed: Vec<PatternCache>,
    blocked: Vec<PatternCache>,
    /// The masked value, after [`Rules::redact`] said so.
    pub(super) text: Vec<u8>,
    next: Vec<u8>,
    hits: Vec<Hit>,
}

impl Rules {
    /// Scratch for these rules.
    pub(super) fn scratch(&self) -> Scratch {
        let caches = |patterns: &[Pattern]| patterns.iter().map(Pattern::cache).collect::<Vec<_>>();
        let mut scratch = Scratch::default();
        scratch.keys.caches = caches(&self.ignored_key_patterns);
        scratch.keys.caches.extend(caches(&self.blocked_key_patterns));
        scratch.values.allowed = caches(&self.allowed_values);
        scratch.values.blocked = caches(&self.blocked_values);
        scratch
    }

    /// Whether nothing can come of them: then not even a summary is written.
    pub(super) fn do_nothing(&self) -> bool {
        self.keys_are_open()
            && self.blocked_values.is_empty()
            && self.allowed_values.is_empty()
            && self.urls.is_none()
    }

    /// Whether every key is open.
    pub(super) fn keys_are_open(&self) -> bool {
        self.allow_all_keys && self.blocked_key_patterns.is_empty() && !self.ignores()
    }

    /// Whether any key is ignored.
    pub(super) fn ignores(&self) -> bool {
        !self.ignored_keys.is_empty() || !self.ignored_key_patterns.is_empty()
    }

    /// What becomes of an entry with this key. `place` is where it stands in its map: neighbouring records mostly have
    /// the same key there.
    pub(super) fn key(&self, cache: &mut KeyCache, place: usize, key: &[u8]) -> Key {
        if self.keys_are_open() {
            return Key::Open;
        }
        if let Some(Some((known, decision))) = cache.hints.get(place)
            && **known == *key
        {
            return *decision;
        }
        if key.len() > KEY_LEN_MAX {
            return self.decide(&mut cache.caches, key);
        }
        let decision = match cache.known.get(key) {
            Some(decision) => *decision,
            None => {
                let decision = self.decide(&mut cache.caches, key);
                if cache.known.len() < DECISIONS_MAX {
                    cache.known.insert(key.into(), decision);
                }
                decision
            }
        };
        if place < HINTS_MAX {
            if cache.hints.len() <= place {
                cache.hints.resize(place + 1, None);
            }
            // The first key seen at a place stays: alternating layouts must not allocate for each record.
            cache.hints[place].get_or_insert_with(|| (key.into(), decision));
        }
        decision
    }

    fn decide(&self, caches: &mut [PatternCache], key: &[u8]) -> Key {
        let (ignored, blocked) = caches.split_at_mut(self.ignored_key_patterns.len());
        if self.ignored_keys.contains(key) || any(&self.ignored_key_patterns, ignored, key) {
            return Key::Ignored;
        }
        let allowed = self.allow_all_keys || self.allowed_keys.contains(key) || SUMMARY_KEYS.contains(&key);
        if !allowed {
            return Key::Denied;
        }
        if any(&self.blocked_key_patterns, blocked, key) {
            return Key::Blocked;
        }
        Key::Open
    }

    /// Whether a value is let alone for what it holds.
    pub(super) fn is_allowed(&self, values: &mut Values, text: &[u8]) -> bool {
        any(&self.allowed_values, &mut values.allowed, text)
    }

    /// Masks what the blocked values match, each in order, each on what the ones before it left. True if the text
    /// changed; it then is in `values.text`. Only `candidates` are tried on the text as it came. A URL is shortened then.
    pub(super) fn redact(
        &self,
        values: &mut Values,
        text: &[u8],
        mut candidates: Patterns,
        url: bool,
    ) -> bool {
        let Values {
            blocked,
            text: now,
            next,
            hits,
            ..
        } = values;
        let mut touched = false;
        for (i, (pattern, cache)) in self.blocked_values.iter().zip(blocked).enumerate() {
            if candidates & bit(i) == 0 {
                continue;
            }
            next.clear();
            let current = if touched { &now[..] } else { text };
            if pattern.replace_all(cache, current, next, |secret, out| self.mask.append(secret, out)) {
                std::mem::swap(now, next);
                touched = true;
                candidates = self.finder.search_one(now, hits);
            }
        }
        if url {
            next.clear();
            shorten(if touched { &now[..] } else { text }, next);
            std::mem::swap(now, next);
            touched = true;
        }
        touched && now[..] != *text
    }

    /// Masks a whole value; it then is in `values.text`.
    pub(super) fn block(&self, values: &mut Values, text: &[u8]) {
        values.text.clear();
        self.mask.append_lines(text, &mut values.text);
    }
}

fn any(patterns: &[Pattern], caches: &mut [PatternCache], text: &[u8]) -> bool {
    patterns
        .iter()
        .zip(caches)
        .any(|(pattern, cache)| pattern.is_match(cache, text))
}
