//! The functions of the language: one row each with its name, its parameters and what it does.
//!
//! Converters give a value, editors change the item. What a function can prepare from literals (patterns, globs, time
//! layouts) it prepares once, when the statement is compiled; a literal that is wrong is then a fault of the statement.

mod clf;
mod collection;
mod conversion;
mod encoding;
mod grok;
mod hash;
mod json;
mod leef;
mod network;
mod parse;
mod pattern;
mod predicate;
mod strings;
mod timing;
mod user_agent;
mod xml;

use std::borrow::Cow;
use std::fmt;

use codec::pattern::Pattern;

use crate::editors;
use crate::error::{Error, Result};
use crate::eval::{Arg, Cx, Node, Read};
use crate::metrics;
use crate::paths::Context;
use crate::time::Time;
use crate::value::{Map, Val};

pub(crate) use conversion::float_like;
pub(crate) use encoding::Charset;
pub(crate) use network::Cidr;
pub(crate) use parse::Levels;
pub(crate) use pattern::{matches, search};
pub(crate) use timing::Layout;
pub(crate) use user_agent::Agents;

/// One function.
pub(crate) struct Def {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Param],
    /// Checks and prepares literal arguments.
    pub(crate) prepare: fn(&mut [Arg], &mut Prepare) -> std::result::Result<(), String>,
    pub(crate) get: for<'c> fn(Args<'c>) -> Result<Val<'c>>,
    pub(crate) edit: fn(&[Arg], &mut Cx<'_, '_>) -> Result<()>,
    /// Whether the result follows from the arguments alone.
    pub(crate) pure: bool,
    /// Where it can be called; everywhere if empty.
    pub(crate) only: &'static [Context],
    /// Whether it makes metrics or changes their kind, which a view cannot.
    pub(crate) shapes: bool,
}

impl fmt::Debug for Def {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
}

/// What may be written for a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any value.
    Value,
    /// A regular expression: prepared if it is a literal.
    Pattern,
    /// Literals.
    Str,
    Int,
    Float,
    Bool,
    /// A list literal of any values.
    List,
    /// A list literal of text literals.
    Strs,
    /// A path.
    Path,
    /// A converter's name alone.
    Function,
}

/// A literal that was prepared.
#[derive(Debug)]
pub(crate) enum Ready {
    Pattern(usize, Pattern),
    Grok(grok::Grok),
    XPath(xml::XPath),
    /// What stands before and behind `%s`.
    Format(Vec<u8>, Vec<u8>),
    Strs(Vec<Vec<u8>>),
    Floats(Vec<f64>),
    Cidrs(Vec<Cidr>),
    Layout(Layout),
    Zone(crate::time::Zone),
    Locale(Box<crate::locale::Locale>),
    Charset(Charset),
    Levels(Levels),
}

/// What preparing needs of the program.
#[derive(Debug, Default)]
pub(crate) struct Prepare {
    /// Patterns so far.
    pub(crate) patterns: usize,
}

impl Prepare {
    pub(crate) fn pattern(&mut self, source: &str) -> std::result::Result<Ready, String> {
        let pattern =
            Pattern::new(source).map_err(|e| format!("the pattern supplied is not a valid regexp: {e}"))?;
        self.patterns += 1;
        Ok(Ready::Pattern(self.patterns - 1, pattern))
    }
}

const fn param(name: &'static str, kind: Kind) -> Param {
    Param {
        name,
        kind,
        optional: false,
    }
}

/// A parameter that takes any value.
pub(crate) const fn any(name: &'static str) -> Param {
    param(name, Kind::Value)
}

/// A parameter of some kind.
pub(crate) const fn of(name: &'static str, kind: Kind) -> Param {
    param(name, kind)
}

/// A parameter that may be left out.
pub(crate) const fn opt(name: &'static str, kind: Kind) -> Param {
    Param {
        name,
        kind,
        optional: true,
    }
}

fn no_preparation(_: &mut [Arg], _: &mut Prepare) -> std::result::Result<(), String> {
    Ok(())
}

fn no_value(_: Args<'_>) -> Result<Val<'_>> {
    Err(Error::new("an editor has no value"))
}

fn no_edit(_: &[Arg], _: &mut Cx<'_, '_>) -> Result<()> {
    Err(Error::new("a converter changes nothing"))
}

impl Def {
    /// A converter.
    pub(crate) const fn get(
        name: &'static str,
        params: &'static [Param],
        get: for<'c> fn(Args<'c>) -> Result<Val<'c>>,
    ) -> Def {
        Def {
            name,
            params,
            prepare: no_preparation,
            get,
            edit: no_edit,
            pure: true,
            only: &[],
            shapes: false,
        }
    }

    /// An editor.
    pub(crate) const fn edit(
        name: &'static str,
        params: &'static [Param],
        edit: fn(&[Arg], &mut Cx<'_, '_>) -> Result<()>,
    ) -> Def {
        Def {
            name,
            params,
            prepare: no_preparation,
            get: no_value,
            edit,
            pure: false,
            only: &[],
            shapes: false,
        }
    }

    pub(crate) const fn prepared(
        mut self,
        prepare: fn(&mut [Arg], &mut Prepare) -> std::result::Result<(), String>,
    ) -> Def {
        self.prepare = prepare;
        self
    }

    pub(crate) const fn impure(mut self) -> Def {
        self.pure = false;
        self
    }

    /// Only in these contexts, since it reads the item there.
    pub(crate) const fn only(self, contexts: &'static [Context]) -> Def {
        self.in_contexts(contexts).impure()
    }

    /// Only in these contexts.
    pub(crate) const fn in_contexts(mut self, contexts: &'static [Context]) -> Def {
        self.only = contexts;
        self
    }

    /// Only in these contexts, and run by `Program::reshape`.
    pub(crate) const fn shaping(mut self, contexts: &'static [Context]) -> Def {
        self.shapes = true;
        self.in_contexts(contexts)
    }

    pub(crate) fn is_editor(&self) -> bool {
        self.name.starts_with(|c: char| c.is_ascii_lowercase())
    }
}

/// Which functions a component offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// All editors and converters.
    Transform,
    /// Converters, as `filter` has them.
    Filter,
    /// Converters, as the other components have them.
    Conditions,
    /// The same, and what a routing table may do to what it takes: `route()`, `delete_key` and `delete_matching_keys`.
    Routing,
}

const TABLES: [&[Def]; 17] = [
    editors::DEFS,
    clf::DEFS,
    collection::DEFS,
    conversion::DEFS,
    encoding::DEFS,
    grok::DEFS,
    hash::DEFS,
    json::DEFS,
    leef::DEFS,
    network::DEFS,
    parse::DEFS,
    pattern::DEFS,
    predicate::DEFS,
    strings::DEFS,
    timing::DEFS,
    user_agent::DEFS,
    xml::DEFS,
];

impl Functions {
    pub(crate) fn all(self) -> impl Iterator<Item = &'static Def> {
        let all = TABLES.iter().chain(metrics::DEFS).flat_map(|table| table.iter());
        let of_filter = |def: &Def| def.name.starts_with("HasAttr");
        let of_transform = |def: &Def| def.is_editor() || ["ParseCLF", "ParseLEEF"].contains(&def.name);
        let of_routing = |def: &Def| ["route", "delete_key", "delete_matching_keys"].contains(&def.name);
        all.filter(move |def| match self {
            Functions::Transform => !of_filter(def) && def.name != "route",
            Functions::Filter => !of_transform(def),
            Functions::Conditions => !of_transform(def) && !of_filter(def),
            Functions::Routing => of_routing(def) || (!of_transform(def) && !of_filter(def)),
        })
    }

    /// The function with this name, if the context has it.
    pub(crate) fn named(self, name: &str, context: Context) -> Option<&'static Def> {
        self.all()
            .find(|def| def.name == name && (def.only.is_empty() || def.only.contains(&context)))
    }
}

/// The arguments of a call, and what they are evaluated on.
#[derive(Clone, Copy)]
pub(crate) struct Args<'c> {
    pub(crate) args: &'c [Arg],
    pub(crate) cx: Read<'c>,
}

impl<'c> Args<'c> {
    fn arg(&self, i: usize) -> &'c Arg {
        self.args.get(i).unwrap_or(&Arg::Absent)
    }

    /// Whether it was given.
    pub(crate) fn has(&self, i: usize) -> bool {
        !matches!(self.arg(i), Arg::Absent)
    }

    pub(crate) fn any(&self, i: usize) -> Result<Val<'c>> {
        match self.arg(i) {
            Arg::Value(node) => node.eval(self.cx),
            Arg::Target(access) => access.get(self.cx),
            _ => Ok(Val::Nil),
        }
    }

    pub(crate) fn str(&self, i: usize) -> Result<Cow<'c, [u8]>> {
        match self.any(i)? {
            Val::Str(text) => Ok(text),
            other => Err(Error::expected("string", &other)),
        }
    }

    /// The text, which must be UTF-8.
    pub(crate) fn utf8(&self, i: usize) -> Result<Cow<'c, str>> {
        let broken = Error::new("the text is not UTF-8");
        match self.str(i)? {
            Cow::Borrowed(text) => std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| broken),
            Cow::Owned(text) => String::from_utf8(text).map(Cow::Owned).map_err(|_| broken),
        }
    }

    /// The text, or what was given by default.
    pub(crate) fn str_or(&self, i: usize, default: &'static [u8]) -> Result<Cow<'c, [u8]>> {
        if self.has(i) {
            self.str(i)
        } else {
            Ok(Cow::Borrowed(default))
        }
    }

    pub(crate) fn string_like(&self, i: usize) -> Result<Option<Cow<'c, [u8]>>> {
        match self.any(i)? {
            Val::Str(text) => Ok(Some(text)),
            other => Ok(other.string_like()?.map(|text| Cow::Owned(text.into_owned()))),
        }
    }

    pub(crate) fn int(&self, i: usize) -> Result<i64> {
        match self.any(i)? {
            Val::Int(i) => Ok(i),
            other => Err(Error::expected("int64", &other)),
        }
    }

    pub(crate) fn time(&self, i: usize) -> Result<Time> {
        match self.any(i)? {
            Val::Time(time) => Ok(time),
            other => Err(Error::expected("time", &other)),
        }
    }

    pub(crate) fn duration(&self, i: usize) -> Result<i64> {
        match self.any(i)? {
            Val::Duration(nanos) => Ok(nanos),
            other => Err(Error::expected("duration", &other)),
        }
    }

    pub(crate) fn map(&self, i: usize) -> Result<Map<'c>> {
        match self.any(i)? {
            Val::Map(map) => Ok(map),
            other => Err(Error::expected("map", &other)),
        }
    }

    pub(crate) fn list(&self, i: usize) -> Result<Val<'c>> {
        match self.any(i)? {
            list @ Val::List(_) => Ok(list),
            other => Err(Error::expected("list", &other)),
        }
    }

    /// The expressions of a list literal.
    pub(crate) fn nodes(&self, i: usize) -> &'c [Node] {
        match self.arg(i) {
            Arg::List(nodes) => nodes,
            _ => &[],
        }
    }

    pub(crate) fn ready(&self, i: usize) -> Option<&'c Ready> {
        match self.arg(i) {
            Arg::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    pub(crate) fn lit_str(&self, i: usize) -> Option<&'c [u8]> {
        lit_str(self.arg(i))
    }

    pub(crate) fn lit_bool(&self, i: usize) -> Option<bool> {
        lit_bool(self.arg(i))
    }
}

/// A text literal.
pub(crate) fn lit_str(arg: &Arg) -> Option<&[u8]> {
    match arg {
        Arg::Value(Node::Const(Val::Str(text))) => Some(text),
        _ => None,
    }
}

pub(crate) fn lit_int(arg: &Arg) -> Option<i64> {
    match arg {
        Arg::Value(Node::Const(Val::Int(i))) => Some(*i),
        _ => None,
    }
}

pub(crate) fn lit_float(arg: &Arg) -> Option<f64> {
    match arg {
        Arg::Value(Node::Const(Val::Float(f))) => Some(*f),
        _ => None,
    }
}

/// The texts of a list that was prepared.
pub(crate) fn strs(arg: &Arg) -> &[Vec<u8>] {
    match arg {
        Arg::Ready(Ready::Strs(texts)) => texts,
        _ => &[],
    }
}

pub(crate) fn lit_bool(arg: &Arg) -> Option<bool> {
    match arg {
        Arg::Value(Node::Const(Val::Bool(b))) => Some(*b),
        _ => None,
    }
}

/// The text literal of a parameter that must be one, as UTF-8.
pub(crate) fn lit_utf8(arg: &Arg) -> std::result::Result<Option<&str>, String> {
    lit_str(arg)
        .map(|text| std::str::from_utf8(text).map_err(|_| "the text is not UTF-8".to_owned()))
        .transpose()
}
