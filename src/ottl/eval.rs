//! Compiled expressions, and how they are evaluated on one item.

use std::borrow::Cow;
use std::cell::RefCell;

use codec::pattern::{Pattern, PatternCache};
use wire::view::{NodeId, Value, View};

use crate::access::Access;
use crate::compare::compare;
use crate::error::{Error, Result};
use crate::functions::{Agents, Args, Def, Ready};
use crate::math;
use crate::quick::Quick;
use crate::syntax::ast::{CompareOp, MathOp};
use crate::table::Table;
use crate::time::Time;
use crate::value::{ListBuilder, Map, MapBuilder, Val};

/// What a program needs of the world, beside the view.
pub struct Env<'a> {
    /// Of the client that sent the payload; what `otelcol.client` reads.
    pub context: &'a wire::Context,
    /// The time of day, asked at each `Now()`.
    pub now: &'a dyn Fn() -> Time,
    /// Fills with random bytes, for `UUID()`.
    pub random: &'a dyn Fn(&mut [u8]),
}

/// The nodes from the item up to its resource, by level.
pub(crate) type Item = [NodeId; 4];

/// What an expression reads from. Without a view and an environment it can evaluate what depends on neither.
#[derive(Clone, Copy)]
pub(crate) struct Read<'c> {
    pub(crate) view: Option<&'c View<'c>>,
    pub(crate) cache: &'c Table,
    pub(crate) item: Item,
    pub(crate) env: Option<&'c Env<'c>>,
    pub(crate) tools: &'c Tools,
}

/// What a statement reads and writes.
pub(crate) struct Cx<'a, 'v> {
    pub(crate) view: &'a mut View<'v>,
    pub(crate) cache: &'a mut Table,
    pub(crate) item: Item,
    pub(crate) env: &'a Env<'a>,
    pub(crate) tools: &'a Tools,
    /// Where values wait between being read and being written.
    pub(crate) room: Vec<u8>,
    /// What becomes of the metric, in programs that make metrics.
    pub(crate) shape: Option<&'a mut crate::metrics::Shape>,
}

impl Cx<'_, '_> {
    pub(crate) fn read(&self) -> Read<'_> {
        Read {
            view: Some(&*self.view),
            cache: self.cache,
            item: self.item,
            env: Some(self.env),
            tools: self.tools,
        }
    }
}

/// Room for searches, kept between payloads.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    /// By the number of the pattern in its program.
    caches: RefCell<Vec<Option<Box<PatternCache>>>>,
    /// Patterns that a path or a function gave, the newest last.
    dynamic: RefCell<Vec<(Pattern, Box<PatternCache>)>>,
    /// What `UserAgent` knows.
    pub(crate) agents: RefCell<Agents>,
}

/// Dynamic patterns that are kept compiled.
const DYNAMIC_MAX: usize = 32;

impl Tools {
    /// Runs a search with the room that belongs to the pattern of this number.
    pub(crate) fn search<T>(
        &self,
        number: usize,
        pattern: &Pattern,
        run: impl FnOnce(&Pattern, &mut PatternCache) -> T,
    ) -> T {
        let held = self.caches.borrow_mut().get_mut(number).and_then(Option::take);
        let mut cache = held.unwrap_or_else(|| Box::new(pattern.cache()));
        let result = run(pattern, &mut cache);
        let mut caches = self.caches.borrow_mut();
        if caches.len() <= number {
            caches.resize(number + 1, None);
        }
        caches[number] = Some(cache);
        result
    }

    /// Runs a search with a pattern that is known only now.
    pub(crate) fn search_dynamic<T>(
        &self,
        source: &[u8],
        run: impl FnOnce(&Pattern, &mut PatternCache) -> T,
    ) -> Result<T> {
        let held = {
            let mut dynamic = self.dynamic.borrow_mut();
            let at = dynamic.iter().position(|(p, _)| p.source().as_bytes() == source);
            at.map(|at| dynamic.remove(at))
        };
        let (pattern, mut cache) = match held {
            Some(held) => held,
            None => {
                let source =
                    std::str::from_utf8(source).map_err(|_| Error::new("the pattern is not UTF-8"))?;
                let pattern = Pattern::new(source)
                    .map_err(|e| Error::text(format!("the pattern supplied is not a valid regexp: {e}")))?;
                let cache = Box::new(pattern.cache());
                (pattern, cache)
            }
        };
        let result = run(&pattern, &mut cache);
        let mut dynamic = self.dynamic.borrow_mut();
        if dynamic.len() >= DYNAMIC_MAX {
            dynamic.remove(0);
        }
        dynamic.push((pattern, cache));
        Ok(result)
    }
}

/// A value to be evaluated.
#[derive(Debug)]
pub(crate) enum Node {
    Const(Val<'static>),
    Path(Box<Access>),
    /// A converter's result, indexed.
    Index(Box<Node>, Vec<Key>),
    Math(Box<Node>, Vec<(MathOp, Node)>),
    Neg(Box<Node>),
    List(Vec<Node>),
    Map(Vec<(Vec<u8>, Node)>),
    Call(Box<Call>),
}

/// A function with its arguments.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) def: &'static Def,
    pub(crate) args: Vec<Arg>,
}

/// One argument, as its function wants it.
#[derive(Debug)]
pub(crate) enum Arg {
    Absent,
    Value(Node),
    List(Vec<Node>),
    Target(Access),
    Function(&'static Def),
    /// A literal that was prepared for the function.
    Ready(Ready),
}

/// A key behind a path or a converter.
#[derive(Debug)]
pub(crate) enum Key {
    Str(Box<[u8]>),
    Int(i64),
    Dynamic(Node),
}

/// A key's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyVal<'c> {
    Str(Cow<'c, [u8]>),
    Int(i64),
}

impl Key {
    pub(crate) fn eval<'c>(&'c self, cx: Read<'c>) -> Result<KeyVal<'c>> {
        match self {
            Key::Str(text) => Ok(KeyVal::Str(Cow::Borrowed(text))),
            Key::Int(i) => Ok(KeyVal::Int(*i)),
            Key::Dynamic(node) => match node.eval(cx)? {
                Val::Str(text) => Ok(KeyVal::Str(text)),
                Val::Int(i) => Ok(KeyVal::Int(i)),
                other => Err(Error::expected("a key that is string or int64", &other)),
            },
        }
    }
}

/// One step into a map or a list; none if a map has no such key.
pub(crate) fn descend<'c>(value: Val<'c>, key: &KeyVal<'_>) -> Result<Option<Val<'c>>> {
    match (value, key) {
        (Val::Map(map), KeyVal::Str(key)) => Ok(match map {
            Map::Encoded(Cow::Borrowed(raw)) => entry(raw, key).map(Val::from_any),
            Map::Encoded(Cow::Owned(raw)) => entry(&raw, key).map(|v| Val::from_any(v).into_static()),
            Map::Node(view, n) => view.get(n, key).map(Val::from_any),
            Map::Table(table) => table.get(key).map(|raw| Val::from_any(Value::new(raw))),
        }),
        (Val::List(raw), KeyVal::Int(i)) => {
            let at = usize::try_from(*i).map_err(|_| Error::new("a list's index cannot be negative"))?;
            let found = match raw {
                Cow::Borrowed(raw) => item(raw, at).map(Val::from_any),
                Cow::Owned(raw) => item(&raw, at).map(|v| Val::from_any(v).into_static()),
            };
            found
                .map(Some)
                .ok_or(Error::new("index out of range of the list"))
        }
        (Val::Map(_), KeyVal::Int(_)) => Err(Error::new("a map does not support int indexing")),
        (value, KeyVal::Str(_)) => Err(Error::text(format!(
            "{} does not support string indexing",
            value.type_name()
        ))),
        (value, KeyVal::Int(_)) => Err(Error::text(format!(
            "{} does not support int indexing",
            value.type_name()
        ))),
    }
}

fn entry<'c>(raw: &'c [u8], key: &[u8]) -> Option<Value<'c>> {
    match Value::new(raw).any() {
        wire::view::Any::Map(mut entries) => entries.find(|(k, _)| *k == key).map(|(_, v)| v),
        _ => None,
    }
}

fn item(raw: &[u8], at: usize) -> Option<Value<'_>> {
    match Value::new(raw).any() {
        wire::view::Any::List(mut values) => values.nth(at),
        _ => None,
    }
}

impl Node {
    pub(crate) fn eval<'c>(&'c self, cx: Read<'c>) -> Result<Val<'c>> {
        match self {
            Node::Const(value) => Ok(value.reborrow()),
            Node::Path(access) => access.get(cx),
            Node::Call(call) => call.get(cx),
            Node::Index(node, keys) => {
                let mut value = node.eval(cx)?;
                for key in keys {
                    let found = descend(value, &key.eval(cx)?)?;
                    value = found.ok_or(Error::new("key not found in map"))?;
                }
                Ok(value)
            }
            Node::Math(first, rest) => {
                let mut value = first.eval(cx)?;
                for (op, operand) in rest {
                    value = math::calculate(*op, &value, &operand.eval(cx)?)?;
                }
                Ok(value)
            }
            Node::Neg(node) => math::negate(&node.eval(cx)?),
            Node::List(items) => {
                let mut list = ListBuilder::default();
                for item in items {
                    list.push(&item.eval(cx)?)?;
                }
                Ok(list.value())
            }
            Node::Map(entries) => {
                let mut map = MapBuilder::default();
                for (key, value) in entries {
                    map.put(key, &value.eval(cx)?)?;
                }
                Ok(map.value())
            }
        }
    }

    /// The literal that it is.
    pub(crate) fn constant(&self) -> Option<&Val<'static>> {
        match self {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }
}

impl Call {
    fn get<'c>(&'c self, cx: Read<'c>) -> Result<Val<'c>> {
        (self.def.get)(Args { args: &self.args, cx }).map_err(|e| e.of(self.def.name))
    }
}

/// A condition to be evaluated.
#[derive(Debug)]
pub(crate) enum Cond {
    Const(bool),
    Or(Vec<Cond>),
    And(Vec<Cond>),
    Not(Box<Cond>),
    /// An attribute or a field with a literal.
    Quick(Box<Quick>),
    Compare(CompareOp, Node, Node),
    Value(Node),
}

impl Cond {
    pub(crate) fn eval(&self, cx: Read<'_>) -> Result<bool> {
        match self {
            Cond::Const(b) => Ok(*b),
            Cond::Or(all) => {
                for cond in all {
                    if cond.eval(cx)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Cond::And(all) => {
                for cond in all {
                    if !cond.eval(cx)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Cond::Not(cond) => cond.eval(cx).map(|b| !b),
            Cond::Quick(quick) => match cx.view {
                Some(view) => Ok(quick.holds(view, &cx.item)),
                None => Err(Error::new("a path has no value here")),
            },
            Cond::Compare(op, a, b) => Ok(compare(*op, &a.eval(cx)?, &b.eval(cx)?)),
            Cond::Value(node) => match node.eval(cx)? {
                Val::Bool(b) => Ok(b),
                other => Err(Error::expected("a condition that is bool", &other)),
            },
        }
    }
}
