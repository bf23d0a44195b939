//! Regular expressions as Go's `regexp` understands them, and what a text must hold for one to match.
//!
//! A [`Pattern`] is compiled from a user's expression. Texts are bytes: where one is not UTF-8, every byte that belongs
//! to no character counts as one U+FFFD, as in Go, so that `.` and negated classes go through it and nothing hides
//! behind a broken byte. [`Pattern::gates`] says which literals or runs a match cannot be without.

mod gate;
mod go;

use regex_automata::meta::{self, Regex};
use regex_automata::util::captures::Captures;
use regex_automata::{Input, Span};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use wire::scan::Gate;

/// Larger automata are refused; more than any expression that a person writes.
const SIZE_MAX: usize = 32 << 20;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    hir: Hir,
    source: String,
}

/// Why an expression cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct PatternError(String);

/// What searching needs to write to: one for each pattern and each user of it, reused.
#[derive(Clone, Debug)]
pub struct PatternCache {
    search: meta::Cache,
    broken: Broken,
    /// Made when groups are first asked for.
    groups: Option<Captures>,
}

impl Pattern {
    /// Compiles an expression in Go's syntax.
    pub fn new(source: &str) -> Result<Pattern, PatternError> {
        Pattern::build(source, true)
    }

    /// As [`Pattern::new`], for one of hundreds of which each is seldom searched with: slower on long texts, but without
    /// an automaton that grows while it searches, so that a [`PatternCache`] is small and can be made for each search.
    pub fn seldom(source: &str) -> Result<Pattern, PatternError> {
        Pattern::build(source, false)
    }

    fn build(source: &str, often: bool) -> Result<Pattern, PatternError> {
        let hir = parse(source)?;
        let config = meta::Config::new()
            .utf8_empty(true)
            .hybrid(often)
            .nfa_size_limit(Some(SIZE_MAX));
        let regex = meta::Builder::new()
            .configure(config)
            .build_from_hir(&hir)
            .map_err(|_| PatternError("expression too large".into()))?;
        Ok(Pattern {
            regex,
            hir,
            source: source.to_owned(),
        })
    }

    /// The gates of an expression that need not be compiled for it; see [`Pattern::gates`].
    pub fn gates_of(source: &str) -> Result<Option<Vec<Gate>>, PatternError> {
        Ok(gate::necessary(&parse(source)?))
    }

    /// As the user wrote it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A cache for the searches below.
    pub fn cache(&self) -> PatternCache {
        PatternCache {
            search: self.regex.create_cache(),
            broken: Broken::default(),
            groups: None,
        }
    }

    /// Whether the empty text matches.
    pub fn matches_empty(&self, cache: &mut PatternCache) -> bool {
        self.is_match(cache, b"")
    }

    /// What no match can be without: at least one of these gates occurs within every match. `None` if nothing of use is
    /// known; then every text must be searched.
    pub fn gates(&self) -> Option<Vec<Gate>> {
        gate::necessary(&self.hir)
    }

    /// Whether it matches anywhere in the text.
    pub fn is_match(&self, cache: &mut PatternCache, text: &[u8]) -> bool {
        let PatternCache { search, broken, .. } = cache;
        let input = Input::new(broken.repair(text).text).earliest(true);
        self.regex.search_half_with(search, &input).is_some()
    }

    /// Appends the text to `out`, every match replaced by what `replace` appends for it. False, and nothing appended,
    /// if there is no match. As Go's `ReplaceAllStringFunc`: an empty match right behind a match does not count.
    pub fn replace_all(
        &self,
        cache: &mut PatternCache,
        text: &[u8],
        out: &mut Vec<u8>,
        mut replace: impl FnMut(&[u8], &mut Vec<u8>),
    ) -> bool {
        let PatternCache { search, broken, .. } = cache;
        let repaired = broken.repair(text);
        let (mut from, mut last_end, mut copied, mut any) = (0, 0, 0, false);
        while from <= repaired.text.len() {
            let input = Input::new(repaired.text).range(from..);
            let Some(found) = self.regex.search_with(search, &input) else {
                break;
            };
            let Span { start, end } = found.span();
            if end > last_end || start == 0 {
                let (start, end) = (repaired.original(start), repaired.original(end));
                out.extend_from_slice(&text[copied..start]);
                replace(&text[start..end], out);
                (copied, any) = (end, true);
            }
            last_end = end;
            from = if end > from {
                end
            } else {
                from + char_len(repaired.text, from)
            };
        }
        if any {
            out.extend_from_slice(&text[copied..]);
        }
        any
    }

    /// As [`Pattern::replace_all`], but `replace` is given the match's groups as ranges of the text, the whole match
    /// first.
    pub fn replace_all_groups(
        &self,
        cache: &mut PatternCache,
        text: &[u8],
        out: &mut Vec<u8>,
        mut replace: impl FnMut(&[Option<(usize, usize)>], &mut Vec<u8>),
    ) -> bool {
        let PatternCache {
            search,
            broken,
            groups,
        } = cache;
        let repaired = broken.repair(text);
        let found = groups.get_or_insert_with(|| self.regex.create_captures());
        let mut ranges = Vec::new();
        let (mut from, mut last_end, mut copied, mut any) = (0, 0, 0, false);
        while from <= repaired.text.len() {
            self.regex
                .search_captures_with(search, &Input::new(repaired.text).range(from..), found);
            let Some(Span { start, end }) = found.get_match().map(|m| m.span()) else {
                break;
            };
            if end > last_end || start == 0 {
                ranges.clear();
                ranges.extend((0..found.group_len()).map(|i| {
                    let span = found.get_group(i)?;
                    Some((repaired.original(span.start), repaired.original(span.end)))
                }));
                out.extend_from_slice(&text[copied..repaired.original(start)]);
                replace(&ranges, out);
                (copied, any) = (repaired.original(end), true);
            }
            last_end = end;
            from = if end > from {
                end
            } else {
                from + char_len(repaired.text, from)
            };
        }
        if any {
            out.extend_from_slice(&text[copied..]);
        }
        any
    }

    /// Number of the group with this name; the whole match is number 0.
    pub fn group_number(&self, name: &str) -> Option<usize> {
        self.regex
            .group_info()
            .to_index(regex_automata::PatternID::ZERO, name)
    }

    /// The names of its groups, in order; `None` for a group without. The whole match is not among them.
    pub fn group_names(&self) -> Vec<Option<String>> {
        let info = self.regex.group_info();
        let names = info.pattern_names(regex_automata::PatternID::ZERO);
        names.skip(1).map(|name| name.map(str::to_owned)).collect()
    }

    /// The first match's groups as ranges of the text, in order; a group that took no part is `None`.
    pub fn groups(&self, cache: &mut PatternCache, text: &[u8]) -> Option<Vec<Option<(usize, usize)>>> {
        let PatternCache { search, broken, .. } = cache;
        let repaired = broken.repair(text);
        let mut found: Captures = self.regex.create_captures();
        self.regex
            .search_captures_with(search, &Input::new(repaired.text), &mut found);
        if !found.is_match() {
            return None;
        }
        let groups = (1..found.group_len()).map(|i| {
            let span = found.get_group(i)?;
            Some((repaired.original(span.start), repaired.original(span.end)))
        });
        Some(groups.collect())
    }
}

fn parse(source: &str) -> Result<Hir, PatternError> {
    let rust = go::translate(source).map_err(|e| PatternError(e.to_string()))?;
    let parsed = ParserBuilder::new().utf8(false).build().parse(&rust);
    parsed.map_err(|error| {
        PatternError(match error {
            regex_syntax::Error::Parse(e) => e.kind().to_string(),
            regex_syntax::Error::Translate(e) => e.kind().to_string(),
            _ => "not understood".to_owned(),
        })
    })
}

/// Bytes of the character at `at`; 1 at the end.
fn char_len(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(0xC0..0xE0) => 2,
        Some(0xE0..0xF0) => 3,
        Some(0xF0..) => 4,
        _ => 1,
    }
}

/// Room for texts that are not UTF-8: each broken byte becomes the three bytes of U+FFFD.
#[derive(Clone, Debug, Default)]
struct Broken {
    text: Vec<u8>,
    /// Offsets in `text` of what was a broken byte, ascending.
    places: Vec<usize>,
}

/// A text that is UTF-8: the one given, or its repaired copy.
#[derive(Clone, Copy)]
struct Repaired<'a> {
    text: &'a [u8],
    places: &'a [usize],
}

impl Broken {
    fn repair<'a>(&'a mut self, text: &'a [u8]) -> Repaired<'a> {
        if std::str::from_utf8(text).is_ok() {
            return Repaired { text, places: &[] };
        }
        self.text.clear();
        self.places.clear();
        for piece in text.utf8_chunks() {
            self.text.extend_from_slice(piece.valid().as_bytes());
            for _ in piece.invalid() {
                self.places.push(self.text.len());
                self.text.extend_from_slice("\u{FFFD}".as_bytes());
            }
        }
        Repaired {
            text: &self.text,
            places: &self.places,
        }
    }
}

impl Repaired<'_> {
    /// The offset in the text as it was.
    fn original(&self, at: usize) -> usize {
        at - 2 * self.places.partition_point(|place| *place < at)
    }
}

#[cfg(test)]
mod tests;
