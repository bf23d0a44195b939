//! The functions of XPath.

use std::rc::Rc;

use codec::pattern::Pattern;

use super::eval::{At, Eval, Value, number};
use super::{Expr, Pick};
use crate::editors::{expand, group};
use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Boolean,
    Ceiling,
    Concat,
    Contains,
    Count,
    EndsWith,
    False,
    Floor,
    Id,
    Lang,
    Last,
    LocalName,
    LowerCase,
    Matches,
    Name,
    NamespaceUri,
    NormalizeSpace,
    Not,
    Number,
    Position,
    Replace,
    Reverse,
    Round,
    StartsWith,
    String,
    StringJoin,
    StringLength,
    Substring,
    SubstringAfter,
    SubstringBefore,
    Sum,
    Translate,
    True,
}

/// Each with its name, and the fewest and most arguments.
pub(super) const NAMES: &[(&str, Function, usize, usize)] = &[
    ("boolean", Function::Boolean, 1, 1),
    ("ceiling", Function::Ceiling, 1, 1),
    ("concat", Function::Concat, 2, usize::MAX),
    ("contains", Function::Contains, 2, 2),
    ("count", Function::Count, 1, 1),
    ("ends-with", Function::EndsWith, 2, 2),
    ("false", Function::False, 0, 0),
    ("floor", Function::Floor, 1, 1),
    ("id", Function::Id, 1, 1),
    ("lang", Function::Lang, 1, 1),
    ("last", Function::Last, 0, 0),
    ("local-name", Function::LocalName, 0, 1),
    ("lower-case", Function::LowerCase, 1, 1),
    ("matches", Function::Matches, 2, 2),
    ("name", Function::Name, 0, 1),
    ("namespace-uri", Function::NamespaceUri, 0, 1),
    ("normalize-space", Function::NormalizeSpace, 0, 1),
    ("not", Function::Not, 1, 1),
    ("number", Function::Number, 0, 1),
    ("position", Function::Position, 0, 0),
    ("replace", Function::Replace, 3, 3),
    ("reverse", Function::Reverse, 1, 1),
    ("round", Function::Round, 1, 1),
    ("starts-with", Function::StartsWith, 2, 2),
    ("string", Function::String, 0, 1),
    ("string-join", Function::StringJoin, 2, 2),
    ("string-length", Function::StringLength, 0, 1),
    ("substring", Function::Substring, 2, 3),
    ("substring-after", Function::SubstringAfter, 2, 2),
    ("substring-before", Function::SubstringBefore, 2, 2),
    ("sum", Function::Sum, 1, 1),
    ("translate", Function::Translate, 3, 3),
    ("true", Function::True, 0, 0),
];

/// Looks that compiling an expression within an XPath counts as.
const PATTERN_LOOKS: usize = 1000;
/// As many patterns are kept.
const PATTERNS_KEPT: usize = 16;
/// Longest text that a function makes.
const TEXT_MAX: usize = 16 << 20;

impl Function {
    /// Whether its first argument must be nodes.
    pub(super) fn wants_set(self) -> bool {
        matches!(
            self,
            Function::Count
                | Function::LocalName
                | Function::Name
                | Function::NamespaceUri
                | Function::Reverse
                | Function::StringJoin
                | Function::Sum
        )
    }
}

impl Eval<'_> {
    pub(super) fn call(&mut self, function: Function, args: &[Expr], at: At) -> Result<Value> {
        Ok(match function {
            Function::Last => Value::Number(at.last as f64),
            Function::Position => Value::Number(at.position as f64),
            Function::True => Value::Bool(true),
            Function::False => Value::Bool(false),
            Function::Boolean => Value::Bool(self.truth(&args[0], at)?),
            Function::Not => Value::Bool(!self.truth(&args[0], at)?),
            Function::Count => Value::Number(self.set(&args[0], at)?.len() as f64),
            Function::Reverse => Value::Set(self.set(&args[0], at)?),
            // No document type says which attributes are ids.
            Function::Id => Value::Set(Vec::new()),
            Function::Sum => {
                let mut sum = 0.0;
                for pick in self.set(&args[0], at)? {
                    sum += number(&self.text_of(pick)?);
                }
                Value::Number(sum)
            }
            Function::Number => match args.first() {
                Some(arg) => Value::Number(self.number(arg, at)?),
                None => Value::Number(number(&self.text_of(at.pick)?)),
            },
            Function::Ceiling => Value::Number(self.number(&args[0], at)?.ceil()),
            Function::Floor => Value::Number(self.number(&args[0], at)?.floor()),
            Function::Round => Value::Number(rounded(self.number(&args[0], at)?)),
            Function::Name | Function::LocalName | Function::NamespaceUri => {
                let pick = match args.first() {
                    Some(arg) => self.set(arg, at)?.first().copied(),
                    None => Some(at.pick),
                };
                let Some(pick) = pick else {
                    return Ok(Value::Text(String::new()));
                };
                let name = self.name(pick);
                Value::Text(match function {
                    Function::Name => name.to_owned(),
                    Function::LocalName => name.rsplit(':').next().unwrap_or(name).to_owned(),
                    _ => self.space_of(pick, name),
                })
            }
            Function::Lang => {
                let wanted = self.text(&args[0], at)?;
                Value::Bool(self.speaks(at.pick, &wanted))
            }
            _ => self.text_call(function, args, at)?,
        })
    }

    /// Functions of texts.
    fn text_call(&mut self, function: Function, args: &[Expr], at: At) -> Result<Value> {
        let first = match (function, args.first()) {
            (Function::StringJoin, _) => String::new(),
            (_, Some(arg)) => self.text(arg, at)?,
            (_, None) => self.text_of(at.pick)?,
        };
        let mut arg = |i: usize| self.text(&args[i], at);
        Ok(match function {
            Function::StartsWith => Value::Bool(first.starts_with(&arg(1)?)),
            Function::EndsWith => Value::Bool(first.ends_with(&arg(1)?)),
            Function::Contains => Value::Bool(first.contains(&arg(1)?)),
            Function::StringLength => Value::Number(first.chars().count() as f64),
            Function::Matches => {
                let pattern = arg(1)?;
                let pattern = self.pattern(&pattern)?;
                Value::Bool(pattern.is_match(&mut pattern.cache(), first.as_bytes()))
            }
            Function::Concat => {
                let mut out = first;
                for more in &args[1..] {
                    out += &self.text(more, at)?;
                    self.fits(out.len())?;
                }
                Value::Text(out)
            }
            Function::StringJoin => {
                let mut texts = Vec::new();
                let separator = arg(1)?;
                let mut len = 0usize;
                for pick in self.set(&args[0], at)? {
                    let text = self.text_of(pick)?;
                    len = len.saturating_add(text.len() + separator.len());
                    self.fits(len)?;
                    texts.push(text);
                }
                Value::Text(texts.join(&separator))
            }
            Function::SubstringBefore => {
                let before = arg(1)?;
                let found = first.find(&before);
                Value::Text(found.map_or("", |at| &first[..at]).to_owned())
            }
            Function::SubstringAfter => {
                let after = arg(1)?;
                let found = first.find(&after);
                Value::Text(found.map_or("", |at| &first[at + after.len()..]).to_owned())
            }
            Function::Substring => {
                let start = rounded(self.number(&args[1], at)?);
                let end = match args.get(2) {
                    Some(length) => start + rounded(self.number(length, at)?),
                    None => f64::INFINITY,
                };
                let within = |i: usize| (i + 1) as f64 >= start && ((i + 1) as f64) < end;
                let chars = first.chars().enumerate().filter(|(i, _)| within(*i));
                Value::Text(chars.map(|(_, c)| c).collect())
            }
            Function::NormalizeSpace => {
                let words: Vec<_> = first
                    .split([' ', '\t', '\r', '\n'])
                    .filter(|word| !word.is_empty())
                    .collect();
                Value::Text(words.join(" "))
            }
            Function::Translate => {
                let (from, to) = (arg(1)?, arg(2)?);
                let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
                self.look(first.len().saturating_mul(from.len()) / 64)?;
                let changed = first
                    .chars()
                    .filter_map(|c| match from.iter().position(|f| *f == c) {
                        Some(i) => to.get(i).copied(),
                        None => Some(c),
                    });
                Value::Text(changed.collect())
            }
            Function::LowerCase => Value::Text(first.to_lowercase()),
            Function::Replace => {
                let (pattern, replacement) = (arg(1)?, arg(2)?);
                Value::Text(self.replaced(&first, &pattern, &replacement)?)
            }
            _ => Value::Text(first),
        })
    }

    pub(super) fn fits(&self, len: usize) -> Result<()> {
        match len > TEXT_MAX {
            true => Err(Error::new("the XPath makes too long a text")),
            false => Ok(()),
        }
    }

    /// A pattern, made once.
    fn pattern(&mut self, source: &str) -> Result<Rc<Pattern>> {
        if let Some((_, known)) = self.patterns.iter().find(|(text, _)| text == source) {
            return Ok(known.clone());
        }
        self.look(PATTERN_LOOKS)?;
        let made = Pattern::seldom(source).map_err(|e| Error::text(format!("in the XPath: {e}")))?;
        let made = Rc::new(made);
        // Patterns out of the document are as many as its nodes.
        self.patterns.truncate(PATTERNS_KEPT - 1);
        self.patterns.push((source.to_owned(), made.clone()));
        Ok(made)
    }

    fn replaced(&mut self, text: &str, pattern: &str, replacement: &str) -> Result<String> {
        let pattern = self.pattern(pattern)?;
        let mut out = Vec::new();
        let mut too_long = false;
        let any =
            pattern.replace_all_groups(&mut pattern.cache(), text.as_bytes(), &mut out, |groups, out| {
                too_long |= out.len() > TEXT_MAX;
                if !too_long {
                    expand(
                        replacement.as_bytes(),
                        |name| group(&pattern, name),
                        groups,
                        text.as_bytes(),
                        out,
                    );
                }
            });
        self.fits(if too_long { usize::MAX } else { out.len() })?;
        Ok(match any {
            true => String::from_utf8_lossy(&out).into_owned(),
            false => text.to_owned(),
        })
    }

    /// The name space of a name, as declared above it.
    fn space_of(&self, pick: Pick, name: &str) -> String {
        let declaration = match name.split_once(':') {
            Some(("xml", _)) => return "http://www.w3.org/XML/1998/namespace".into(),
            Some((prefix, _)) => format!("xmlns:{prefix}"),
            None if pick.attribute > 0 => return String::new(),
            None => "xmlns".into(),
        };
        self.inherited(pick.node, &declaration).unwrap_or("").to_owned()
    }

    fn speaks(&self, pick: Pick, wanted: &str) -> bool {
        let (found, wanted) = (self.inherited(pick.node, "xml:lang"), wanted.to_ascii_lowercase());
        found.is_some_and(|found| {
            let found = found.to_ascii_lowercase();
            let rest = found.strip_prefix(&wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }

    /// The value of an attribute of a node, or of the nearest above that has it.
    fn inherited(&self, node: usize, name: &str) -> Option<&str> {
        let mut node = node;
        loop {
            let found = self.tree.attributes(node).iter().find(|(key, _)| key == name);
            match found {
                Some((_, value)) => return Some(value),
                None if node == 0 => return None,
                None => node = self.tree.nodes[node].parent,
            }
        }
    }
}

/// To the nearest whole number; of two the higher.
fn rounded(number: f64) -> f64 {
    (number + 0.5).floor()
}
