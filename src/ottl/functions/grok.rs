//! Grok: expressions put together from named ones, with the type of each field.
//!
//! The names are those of Go-Grok's complete set (`data/grok.txt`): words, numbers, addresses, paths, dates, and the
//! lines of access logs, syslog, firewalls, databases and frameworks. Whoever needs another gives it in
//! `pattern_definitions`, which go before. Nothing here looks around or goes back, as Go's expressions cannot.

use std::collections::HashMap;
use std::sync::LazyLock;

use codec::pattern::{Pattern, PatternCache};

use super::{Def, Kind, Prepare, Ready, any, lit_bool, lit_utf8, opt};
use crate::compile::texts;
use crate::error::{Error, Result};
use crate::eval::Arg;
use crate::value::{Map, MapBuilder, Val};

pub(crate) const DEFS: &[Def] = &[Def::get(
    "ExtractGrokPatterns",
    &[
        any("target"),
        any("pattern"),
        opt("named_captures_only", Kind::Bool),
        opt("pattern_definitions", Kind::Strs),
    ],
    |a| {
        let text = a.str(0)?;
        match a.ready(1) {
            Some(Ready::Grok(grok)) => {
                let search = |pattern: &Pattern, cache: &mut PatternCache| pattern.groups(cache, &text);
                let groups = a.cx.tools.search(grok.number, &grok.pattern, search);
                map(&grok.fields, groups, &text)
            }
            _ => {
                let expanded = Expanded::of(&a.utf8(1)?, &a.args[2], &a.args[3]).map_err(Error::text)?;
                let source = expanded.expression.as_bytes();
                a.cx.tools.search_dynamic(source, |pattern, cache| {
                    let fields = expanded.fields(pattern).map_err(Error::text)?;
                    map(&fields, pattern.groups(cache, &text), &text)
                })?
            }
        }
    },
)
.prepared(prepare)];

/// A compiled grok expression.
#[derive(Debug)]
pub(crate) struct Grok {
    number: usize,
    pattern: Pattern,
    /// What each group means; none for one that means nothing.
    fields: Vec<Option<Field>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: String,
    kind: Type,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    Text,
    Int,
    Float,
    Bool,
}

/// Longest expression, with all names replaced. Definitions that name each other could double it without end.
const EXPANDED_MAX: usize = 256 << 10;
/// How deep names may lie in each other.
const DEPTH_MAX: u32 = 64;
/// Begins the names of groups that are ours.
const OURS: &str = "grok__";
/// A dot in the name of a group, which must be a word.
const DOT: &str = "___";

/// A pattern that is a literal is compiled once.
fn prepare(args: &mut [Arg], prepare: &mut Prepare) -> std::result::Result<(), String> {
    let Some(source) = lit_utf8(&args[1])? else {
        // The definitions must be right all the same.
        return definitions(&args[3]).map(|_| ());
    };
    let expanded = Expanded::of(source, &args[2], &args[3])?;
    let Ready::Pattern(number, pattern) = prepare.pattern(&expanded.expression)? else {
        return Err("the pattern was not prepared".into());
    };
    let fields = expanded.fields(&pattern)?;
    args[1] = Arg::Ready(Ready::Grok(Grok {
        number,
        pattern,
        fields,
    }));
    Ok(())
}

/// Names with their patterns.
fn definitions(arg: &Arg) -> std::result::Result<Vec<(String, String)>, String> {
    let one = |definition: Vec<u8>| {
        let definition = String::from_utf8(definition).map_err(|_| "a definition is not UTF-8")?;
        let parts = definition.split_once('=');
        let parts = parts.filter(|(name, _)| !name.is_empty() && !name.contains(':'));
        let (name, pattern) =
            parts.ok_or_else(|| format!("{definition:?} is no definition, NAME=pattern"))?;
        Ok((name.to_owned(), pattern.to_owned()))
    };
    texts(arg).into_iter().map(one).collect()
}

/// A pattern with all names in it replaced.
struct Expanded {
    expression: String,
    named_only: bool,
    /// Names of our groups, by number.
    names: Vec<String>,
    types: Vec<(String, Type)>,
}

impl Expanded {
    fn of(source: &str, named_only: &Arg, own: &Arg) -> std::result::Result<Expanded, String> {
        let mut expansion = Expansion {
            own: &definitions(own)?,
            named_only: lit_bool(named_only) == Some(true),
            fields: Vec::new(),
            types: Vec::new(),
            out: String::new(),
        };
        expansion.expand(source, 0)?;
        Ok(Expanded {
            expression: expansion.out,
            named_only: expansion.named_only,
            names: expansion.fields,
            types: expansion.types,
        })
    }

    /// What the groups of the compiled expression mean.
    fn fields(&self, pattern: &Pattern) -> std::result::Result<Vec<Option<Field>>, String> {
        let field = |group: Option<String>| {
            let group = group?;
            let ours = group.strip_prefix(OURS).and_then(|n| n.parse::<usize>().ok());
            let name = match ours {
                Some(n) => self.names.get(n)?,
                None => &group,
            };
            let name = name.replace(DOT, ".");
            let kind = self.types.iter().rev().find(|(known, _)| *known == name);
            Some(Field {
                kind: kind.map_or(Type::Text, |(_, kind)| *kind),
                name,
            })
        };
        let fields: Vec<_> = pattern.group_names().into_iter().map(field).collect();
        if self.named_only && fields.iter().all(Option::is_none) {
            return Err("at least 1 named capture group must be supplied in the given pattern".into());
        }
        Ok(fields)
    }
}

struct Expansion<'d> {
    own: &'d [(String, String)],
    named_only: bool,
    /// Names of our groups, by number.
    fields: Vec<String>,
    types: Vec<(String, Type)>,
    out: String,
}

impl Expansion<'_> {
    /// Appends a pattern with all names in it replaced.
    fn expand(&mut self, pattern: &str, depth: u32) -> std::result::Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("pattern definitions name each other in a circle".into());
        }
        let mut rest = pattern;
        while let Some(at) = rest.find("%{") {
            self.out.push_str(&rest[..at]);
            let Some(reference) = Reference::read(&rest[at..]) else {
                self.out.push_str("%{");
                rest = &rest[at + 2..];
                continue;
            };
            rest = &rest[at + reference.len..];
            let own = self.own.iter().rev().find(|(name, _)| name == reference.pattern);
            let known = own
                .map(|(_, pattern)| pattern.as_str())
                .or_else(|| LIBRARY.get(reference.pattern).copied());
            let known = known
                .ok_or_else(|| format!("pattern definition \"{}\" unknown", reference.pattern))?
                .to_owned();
            if let (Some(field), Some(kind)) = (reference.field, reference.kind) {
                let kind = match kind {
                    "string" => Type::Text,
                    "int" | "long" => Type::Int,
                    "double" | "float" => Type::Float,
                    "bool" | "boolean" => Type::Bool,
                    other => {
                        return Err(format!(
                            "the type of {field} must be int, long, double, float, boolean or string, but is {other}"
                        ));
                    }
                };
                self.types.push((field.replace(DOT, "."), kind));
            }
            if self.named_only && reference.field.is_none() {
                self.out.push_str("(?:");
            } else {
                self.out.push_str(&format!("(?P<{OURS}{}>", self.fields.len()));
                self.fields
                    .push(reference.field.unwrap_or(reference.pattern).to_owned());
            }
            self.expand(&known, depth + 1)?;
            self.out.push(')');
            if self.out.len() > EXPANDED_MAX {
                return Err("the pattern is too long with all definitions in it".into());
            }
        }
        self.out.push_str(rest);
        Ok(())
    }
}

/// `%{PATTERN}`, `%{PATTERN:field}` or `%{PATTERN:field:type}`.
struct Reference<'p> {
    pattern: &'p str,
    field: Option<&'p str>,
    kind: Option<&'p str>,
    len: usize,
}

impl<'p> Reference<'p> {
    /// What a text that begins with `%{` refers to; none if it is no reference.
    fn read(text: &'p str) -> Option<Reference<'p>> {
        let inner = &text[2..text.find('}')?];
        let mut parts = inner.split(':');
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let pattern = parts.next().filter(|p| !p.is_empty() && p.chars().all(is_word))?;
        let field = parts.next();
        let kind = parts.next();
        let whole = |part: Option<&str>, dots: bool| {
            part.is_none_or(|p| !p.is_empty() && p.chars().all(|c| is_word(c) || (dots && c == '.')))
        };
        let is_one = whole(field, true) && whole(kind, false) && parts.next().is_none();
        is_one.then_some(Reference {
            pattern,
            field,
            kind,
            len: inner.len() + 3,
        })
    }
}

/// The fields of the first match; an empty map if there is none. Errors: a field is not of its type.
fn map(
    fields: &[Option<Field>],
    groups: Option<Vec<Option<(usize, usize)>>>,
    text: &[u8],
) -> Result<Val<'static>> {
    let mut values: Vec<(&str, Val<'_>)> = Vec::new();
    for (field, range) in fields.iter().zip(groups.into_iter().flatten()) {
        let (Some(field), Some((start, end))) = (field, range) else {
            continue;
        };
        if start == end {
            continue;
        }
        let value = field.value(&text[start..end])?;
        match values.iter_mut().find(|(name, _)| *name == field.name) {
            Some(old) => old.1 = value,
            None => values.push((&field.name, value)),
        }
    }
    let mut map = MapBuilder::default();
    for (name, value) in &values {
        map.put(name.as_bytes(), value)?;
    }
    Ok(Val::Map(Map::Encoded(map.finish().into())))
}

impl Field {
    fn value<'t>(&self, bytes: &'t [u8]) -> Result<Val<'t>> {
        let text = std::str::from_utf8(bytes).unwrap_or("");
        let wrong = |what: &str| Error::text(format!("field {} is no {what}", self.name));
        Ok(match self.kind {
            Type::Text => Val::str(bytes),
            Type::Int => Val::Int(text.parse().map_err(|_| wrong("whole number"))?),
            Type::Float => Val::Float(text.parse().map_err(|_| wrong("number"))?),
            Type::Bool => Val::Bool(match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(wrong("bool")),
            }),
        })
    }
}

/// The names that need no definition, from the file whose lines they are.
static LIBRARY: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let lines = include_str!("../data/grok.txt").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_library_compiles() {
        let check = |pattern: &str, named_only| {
            let mut expansion = Expansion {
                own: &[],
                named_only,
                fields: Vec::new(),
                types: Vec::new(),
                out: String::new(),
            };
            let expanded = expansion.expand(&format!("%{{{pattern}}}"), 0);
            expanded.unwrap_or_else(|e| panic!("{pattern}: {e}"));
            // In Go-Grok too this one is written wrong, and refused.
            let compiles = Pattern::new(&expansion.out).is_ok();
            assert_eq!(compiles, pattern != "CISCOFW733100", "{pattern}");
        };
        assert_eq!(LIBRARY.len(), 245);
        for name in LIBRARY.keys() {
            check(name, true);
            check(name, false);
        }
    }
}
