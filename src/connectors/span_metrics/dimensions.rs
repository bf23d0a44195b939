//! What tells points apart: the dimensions of a span, as attributes and as a key.

use codec::pattern::{Pattern, PatternCache};
use wire::view::{NewValue, NodeId, Value, View, any_encode, identity};
use wire::write;

use super::config::Dimension;

/// Dimensions of one list.
#[derive(Default)]
pub(super) struct Dimensions {
    named: Vec<(Box<[u8]>, Option<Vec<u8>>)>,
    globs: Vec<Pattern>,
}

/// Where values are looked for: attributes of the span, of its event if it is one, and of the resource.
#[derive(Clone, Copy)]
pub(super) struct Source<'v> {
    pub(super) view: &'v View<'v>,
    pub(super) span: NodeId,
    pub(super) event: Option<NodeId>,
    pub(super) resource: NodeId,
}

/// Attributes of a point while they are put together: a key that comes again is overwritten in its place.
#[derive(Default)]
pub(super) struct Attributes(Vec<(Vec<u8>, Vec<u8>)>);

impl Dimensions {
    /// Compiles a list. Errors: the number of the entry, and what is wrong with it.
    pub(super) fn new(list: &[Dimension], reserved: &[&str]) -> Result<Dimensions, Vec<(usize, String)>> {
        let (mut all, mut wrong) = (Dimensions::default(), Vec::new());
        for (i, dimension) in list.iter().enumerate() {
            match (dimension.name.as_str(), dimension.glob.as_str()) {
                ("", "") => wrong.push((i, "dimension entry must set one of `name` or `glob`".into())),
                (name, "") => {
                    let is_known = reserved.contains(&name) || list[..i].iter().any(|d| d.name == name);
                    if is_known {
                        wrong.push((i, format!("duplicate dimension name {name:?}")));
                    }
                    let default = dimension.default.as_ref().map(|text| {
                        let mut out = Vec::new();
                        any_encode(NewValue::Str(text.as_bytes()), &mut out);
                        out
                    });
                    all.named.push((name.as_bytes().into(), default));
                }
                ("", glob) => {
                    if dimension.default.is_some() {
                        wrong.push((i, format!("`default` is not supported on `glob` dimension {glob:?}")));
                    }
                    match Pattern::new(&expression(glob)) {
                        Ok(pattern) => all.globs.push(pattern),
                        Err(error) => wrong.push((i, format!("invalid dimension glob {glob:?}: {error}"))),
                    }
                }
                (name, glob) => wrong.push((
                    i,
                    format!("dimension entry must set only one of `name` or `glob`, got both: {name:?} and {glob:?}"),
                )),
            }
        }
        for glob in &all.globs {
            let mut cache = glob.cache();
            let names = reserved.iter().map(|n| n.as_bytes());
            let mut names = names.chain(all.named.iter().map(|(name, _)| &**name));
            if let Some(name) = names.find(|name| glob.is_match(&mut cache, name)) {
                let text = format!(
                    "duplicate dimension name {:?} conflicting with a glob",
                    String::from_utf8_lossy(name)
                );
                wrong.push((0, text));
            }
        }
        match wrong.is_empty() {
            true => Ok(all),
            false => Err(wrong),
        }
    }

    /// Room for searches.
    pub(super) fn caches(&self) -> Vec<PatternCache> {
        self.globs.iter().map(Pattern::cache).collect()
    }

    /// Gives each dimension that the source has, named ones first, then those that fit a glob by name.
    pub(super) fn each<'v>(
        &'v self,
        source: Source<'v>,
        caches: &mut [PatternCache],
        mut give: impl FnMut(&'v [u8], Value<'v>),
    ) {
        for (name, default) in &self.named {
            let found = source.find(name).or(default.as_deref().map(Value::new));
            if let Some(value) = found {
                give(name, value);
            }
        }
        if self.globs.is_empty() {
            return;
        }
        let mut fits = |name: &[u8]| {
            let mut all = self.globs.iter().zip(&mut *caches);
            all.any(|(glob, cache)| glob.is_match(cache, name))
        };
        let view = source.view;
        let keys = |n: NodeId| (0..view.attrs(n)).map(move |i| (view.key(n, i), view.value(n, i)));
        let mut own: Vec<_> = keys(source.span).filter(|(key, _)| fits(key)).collect();
        own.sort_by_key(|(key, _)| *key);
        own.dedup_by_key(|(key, _)| *key);
        own.into_iter().for_each(|(key, value)| give(key, value));
        // Of an event too, which stands before the resource.
        let outer = source.event.into_iter().chain([source.resource]).flat_map(keys);
        let mut outer: Vec<_> = outer
            .filter(|(key, _)| view.find(source.span, key).is_none() && fits(key))
            .collect();
        outer.sort_by_key(|(key, _)| *key);
        outer.dedup_by_key(|(key, _)| *key);
        outer.into_iter().for_each(|(key, value)| give(key, value));
    }
}

impl<'v> Source<'v> {
    fn find(&self, name: &[u8]) -> Option<Value<'v>> {
        let nodes = [Some(self.span), self.event, Some(self.resource)];
        nodes.into_iter().flatten().find_map(|n| self.view.get(n, name))
    }
}

impl Attributes {
    /// Overwrites, or appends.
    pub(super) fn put(&mut self, key: &[u8], value: Value<'_>) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value.raw().to_vec(),
            None => self.0.push((key.to_vec(), value.raw().to_vec())),
        }
    }

    /// As [`put`](Attributes::put), of text.
    pub(super) fn put_text(&mut self, key: &[u8], text: &[u8]) {
        let mut raw = Vec::new();
        any_encode(NewValue::Str(text), &mut raw);
        self.put(key, Value::new(&raw));
    }

    /// `KeyValue` messages, each as field 1.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in &self.0 {
            write::message(1, &mut out, |out| {
                write::bytes(1, key, out);
                write::bytes(2, value, out);
            });
        }
        out
    }
}

/// Appends a dimension to a key: its name, and its value as text, since that is what readers of metrics see.
pub(super) fn key(name: &[u8], value: Value<'_>, out: &mut Vec<u8>) {
    identity::text(name, out);
    let start = out.len();
    value.as_string(out);
    let len = out.len() - start;
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

/// A glob as a regular expression: `*` and `?` stop at dots, `**` does not; sets and alternatives as usual.
fn expression(glob: &str) -> String {
    let mut out = String::from("^(?s:");
    let mut left = glob.chars().peekable();
    let mut depth = 0;
    while let Some(c) = left.next() {
        match c {
            '*' if left.peek() == Some(&'*') => {
                left.next();
                out.push_str(".*");
            }
            '*' => out.push_str("[^.]*"),
            '?' => out.push_str("[^.]"),
            '[' => {
                out.push('[');
                if left.peek() == Some(&'!') {
                    left.next();
                    out.push('^');
                }
            }
            ']' => out.push(']'),
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '-' => out.push('-'),
            '\\' => {
                let literal = left.next().unwrap_or('\\');
                literally(literal, &mut out);
            }
            c => literally(c, &mut out),
        }
    }
    out + ")$"
}

fn literally(c: char, out: &mut String) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_those_of_the_collector() {
        let check = |glob: &str, fits: &[&str], others: &[&str]| {
            let pattern = Pattern::new(&expression(glob)).unwrap();
            let mut cache = pattern.cache();
            for name in fits {
                assert!(pattern.is_match(&mut cache, name.as_bytes()), "{glob} {name}");
            }
            for name in others {
                assert!(!pattern.is_match(&mut cache, name.as_bytes()), "{glob} {name}");
            }
        };
        check(
            "http.*",
            &["http.method", "http."],
            &["http", "http.a.b", "xhttp.a"],
        );
        check("http.**", &["http.method", "http.a.b"], &["http", "https.a"]);
        check("a?c", &["abc"], &["a.c", "ac"]);
        check("[ab]x", &["ax", "bx"], &["cx"]);
        check("[!a-c]x", &["dx"], &["ax", "bx"]);
        check(
            "{http,rpc}.method",
            &["http.method", "rpc.method"],
            &["db.method"],
        );
        check(r"a\*b", &["a*b"], &["axb"]);
        check("a(b", &["a(b"], &["ab"]);
    }

    #[test]
    fn says_what_is_wrong_with_a_list() {
        let check = |list: &[(&str, &str)], expected: &[(usize, &str)]| {
            let list: Vec<_> = list
                .iter()
                .map(|(name, glob)| Dimension {
                    name: (*name).into(),
                    glob: (*glob).into(),
                    ..Dimension::default()
                })
                .collect();
            let wrong = Dimensions::new(&list, &["span.name"]).err().unwrap_or_default();
            let wrong: Vec<_> = wrong.iter().map(|(i, text)| (*i, text.as_str())).collect();
            assert_eq!(wrong, expected);
        };
        check(&[("a", ""), ("b", ""), ("", "x.*")], &[]);
        check(
            &[("a", ""), ("a", ""), ("span.name", ""), ("", "")],
            &[
                (1, "duplicate dimension name \"a\""),
                (2, "duplicate dimension name \"span.name\""),
                (3, "dimension entry must set one of `name` or `glob`"),
            ],
        );
        check(
            &[("a.b", ""), ("", "a.*")],
            &[(0, "duplicate dimension name \"a.b\" conflicting with a glob")],
        );
    }
}
