//! The part of XPath 1.0 that picks parts of documents: paths with `/`, `//`, names, `*`, `@`, `.`, `..`, `text()`,
//! `node()`, `comment()`, and conditions on position, existence, equality and text.
//!
//! Axes by name, arithmetic and the functions that make texts are refused when the statement is compiled.

use super::dom::{Kind, Tree};
use crate::error::{Error, Result};

/// Nodes that one evaluation may look at.
const LOOKS_MAX: u64 = 10_000_000;
/// How deep conditions may lie in each other.
const NESTING_MAX: u32 = 32;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct XPath(Vec<Path>);

#[derive(Clone, Debug)]
struct Path {
    from_root: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    /// Whether it may lie anywhere below.
    deep: bool,
    test: Test,
    conditions: Vec<Expr>,
}

#[derive(Clone, Debug)]
enum Test {
    Name(String),
    Any,
    Text,
    Node,
    Comment,
    Same,
    Parent,
    Attribute(Option<String>),
}

#[derive(Clone, Debug)]
enum Expr {
    Path(XPath),
    Text(String),
    Number(f64),
    Last,
    Position,
    Contains(Box<Expr>, Box<Expr>),
    StartsWith(Box<Expr>, Box<Expr>),
    Count(XPath),
    Not(Box<Expr>),
    Compare(&'static str, Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
}

/// A part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pick {
    pub(super) node: usize,
    /// The attribute of the node, counted from 1; 0 for the node itself.
    pub(super) attribute: usize,
}

impl XPath {
    /// Compiles an expression. Errors: it is no XPath, or of the part that is not known here.
    pub(super) fn new(text: &str) -> std::result::Result<XPath, String> {
        let mut parser = Parser { rest: text, depth: 0 };
        let path = parser.union()?;
        parser.space();
        match parser.rest {
            "" => Ok(path),
            rest => Err(format!("the XPath is not understood from {rest:?} on")),
        }
    }

    /// The parts that it picks, in the order of the document.
    pub(super) fn pick(&self, tree: &Tree) -> Result<Vec<Pick>> {
        let looks = &mut 0;
        self.from(
            tree,
            Pick {
                node: 0,
                attribute: 0,
            },
            looks,
        )
    }

    fn from(&self, tree: &Tree, at: Pick, looks: &mut u64) -> Result<Vec<Pick>> {
        let mut all = Vec::new();
        for path in &self.0 {
            let begin = if path.from_root {
                Pick {
                    node: 0,
                    attribute: 0,
                }
            } else {
                at
            };
            let mut found = vec![begin];
            for step in &path.steps {
                let mut next = Vec::new();
                for pick in found {
                    step.from(tree, pick, looks, &mut next)?;
                }
                next.sort_unstable();
                next.dedup();
                found = next;
            }
            all.extend(found);
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

impl Step {
    fn from(&self, tree: &Tree, at: Pick, looks: &mut u64, out: &mut Vec<Pick>) -> Result<()> {
        let mut waiting = vec![at];
        while let Some(at) = waiting.pop() {
            let mut found = self.one_level(tree, at);
            *looks += 1 + found.len() as u64;
            if *looks > LOOKS_MAX {
                return Err(Error::new("the XPath looks at too many parts of the document"));
            }
            for condition in &self.conditions {
                let last = found.len();
                let mut kept = Vec::with_capacity(last);
                for (i, pick) in found.into_iter().enumerate() {
                    if condition.holds(tree, pick, (i + 1, last), looks)? {
                        kept.push(pick);
                    }
                }
                found = kept;
            }
            out.extend(found);
            if self.deep && at.attribute == 0 {
                let children = tree.nodes[at.node].children.iter();
                waiting.extend(children.map(|child| Pick {
                    node: *child,
                    attribute: 0,
                }));
            }
        }
        Ok(())
    }

    fn one_level(&self, tree: &Tree, at: Pick) -> Vec<Pick> {
        let node = &tree.nodes[at.node];
        let this = |node| Pick { node, attribute: 0 };
        match &self.test {
            Test::Same => return vec![at],
            Test::Parent if at.attribute > 0 => return vec![this(at.node)],
            Test::Parent => return vec![this(node.parent)],
            _ if at.attribute > 0 => return Vec::new(),
            Test::Attribute(name) => {
                let attributes = tree.attributes(at.node).iter().enumerate();
                let named = attributes.filter(|(_, (key, _))| name.as_ref().is_none_or(|n| n == key));
                let picks = named.map(|(i, _)| Pick {
                    node: at.node,
                    attribute: i + 1,
                });
                return picks.collect();
            }
            _ => {}
        }
        let fits = |child: &&usize| match (&self.test, &tree.nodes[**child].kind) {
            (Test::Name(name), Kind::Element { name: it, .. }) => name == it,
            (Test::Any, Kind::Element { .. })
            | (Test::Text, Kind::Text(_) | Kind::CData(_))
            | (Test::Comment, Kind::Comment(_))
            | (Test::Node, _) => true,
            _ => false,
        };
        node.children
            .iter()
            .filter(fits)
            .map(|child| this(*child))
            .collect()
    }
}

enum Value {
    Picks(Vec<Pick>),
    Text(String),
    Number(f64),
    Bool(bool),
}

pub(super) fn text_of(tree: &Tree, pick: Pick) -> String {
    match pick.attribute.checked_sub(1) {
        Some(i) => tree
            .attributes(pick.node)
            .get(i)
            .map_or_else(String::new, |(_, value)| value.clone()),
        None => tree.text(pick.node),
    }
}

impl Expr {
    fn eval(&self, tree: &Tree, at: Pick, place: (usize, usize), looks: &mut u64) -> Result<Value> {
        let mut two = |a: &Expr, b: &Expr| {
            let a = a.eval(tree, at, place, looks)?.text(tree);
            Ok((a, b.eval(tree, at, place, looks)?.text(tree)))
        };
        Ok(match self {
            Expr::Path(path) => Value::Picks(path.from(tree, at, looks)?),
            Expr::Text(text) => Value::Text(text.clone()),
            Expr::Number(number) => Value::Number(*number),
            Expr::Last => Value::Number(place.1 as f64),
            Expr::Position => Value::Number(place.0 as f64),
            Expr::Contains(a, b) => two(a, b).map(|(a, b)| Value::Bool(a.contains(&b)))?,
            Expr::StartsWith(a, b) => two(a, b).map(|(a, b)| Value::Bool(a.starts_with(&b)))?,
            Expr::Count(path) => Value::Number(path.from(tree, at, looks)?.len() as f64),
            Expr::Not(e) => Value::Bool(!e.is_true(tree, at, place, looks)?),
            Expr::And(a, b) => {
                Value::Bool(a.is_true(tree, at, place, looks)? && b.is_true(tree, at, place, looks)?)
            }
            Expr::Or(a, b) => {
                Value::Bool(a.is_true(tree, at, place, looks)? || b.is_true(tree, at, place, looks)?)
            }
            Expr::Compare(op, a, b) => {
                let (a, b) = (a.eval(tree, at, place, looks)?, b.eval(tree, at, place, looks)?);
                Value::Bool(compare(op, a, b, tree))
            }
        })
    }

    /// Whether a part stays: a number means its position.
    fn holds(&self, tree: &Tree, at: Pick, place: (usize, usize), looks: &mut u64) -> Result<bool> {
        Ok(match self.eval(tree, at, place, looks)? {
            Value::Number(number) => number == place.0 as f64,
            other => other.is_true(),
        })
    }

    fn is_true(&self, tree: &Tree, at: Pick, place: (usize, usize), looks: &mut u64) -> Result<bool> {
        Ok(self.eval(tree, at, place, looks)?.is_true())
    }
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Value::Picks(picks) => !picks.is_empty(),
            Value::Text(text) => !text.is_empty(),
            Value::Number(number) => *number != 0.0 && !number.is_nan(),
            Value::Bool(b) => *b,
        }
    }

    fn text(self, tree: &Tree) -> String {
        match self {
            Value::Picks(picks) => picks
                .first()
                .map_or_else(String::new, |pick| text_of(tree, *pick)),
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(b) => b.to_string(),
        }
    }
}

/// Of several parts one must fit. Texts are compared as texts by `=` and `!=`, as numbers otherwise or with a number.
fn compare(op: &str, a: Value, b: Value, tree: &Tree) -> bool {
    let texts = |value: Value| match value {
        Value::Picks(picks) => (picks.into_iter().map(|p| text_of(tree, p)).collect(), false),
        Value::Number(number) => (vec![number.to_string()], true),
        other => (vec![other.text(tree)], false),
    };
    let ((a, a_number), (b, b_number)): ((Vec<String>, bool), (Vec<String>, bool)) = (texts(a), texts(b));
    let number = |text: &str| text.trim().parse::<f64>().unwrap_or(f64::NAN);
    let numeric = a_number || b_number || !matches!(op, "=" | "!=");
    let one = |a: &str, b: &str| {
        let (x, y) = (number(a), number(b));
        match op {
            "=" if numeric => x == y,
            "!=" if numeric => x != y,
            "=" => a == b,
            "!=" => a != b,
            "<" => x < y,
            "<=" => x <= y,
            ">" => x > y,
            _ => x >= y,
        }
    };
    a.iter().any(|a| b.iter().any(|b| one(a, b)))
}

struct Parser<'t> {
    rest: &'t str,
    depth: u32,
}

type Parsed<T> = std::result::Result<T, String>;

impl<'t> Parser<'t> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A word alone, such as `and`.
    fn word(&mut self, word: &str) -> bool {
        self.space();
        let follows = self
            .rest
            .strip_prefix(word)
            .filter(|rest| !rest.starts_with(is_name));
        if let Some(rest) = follows {
            self.rest = rest;
        }
        follows.is_some()
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.take(token) {
            return Ok(());
        }
        Err(format!("the XPath lacks {token:?} before {:?}", self.rest))
    }

    fn name(&mut self) -> &'t str {
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name
    }

    fn union(&mut self) -> Parsed<XPath> {
        let mut paths = vec![self.path()?];
        while self.take("|") {
            paths.push(self.path()?);
        }
        Ok(XPath(paths))
    }

    fn path(&mut self) -> Parsed<Path> {
        self.space();
        let mut deep = self.take("//");
        let from_root = deep || self.take("/");
        let mut steps = Vec::new();
        self.space();
        // The document alone.
        if from_root && !deep && (self.rest.is_empty() || self.rest.starts_with(['|', ')', ']'])) {
            return Ok(Path { from_root, steps });
        }
        loop {
            steps.push(self.step(deep)?);
            deep = self.take("//");
            if !deep && !self.take("/") {
                return Ok(Path { from_root, steps });
            }
        }
    }

    fn step(&mut self, deep: bool) -> Parsed<Step> {
        self.space();
        let test = if self.take("..") {
            Test::Parent
        } else if self.take(".") {
            Test::Same
        } else if self.take("@") {
            match self.take("*") {
                true => Test::Attribute(None),
                false => Test::Attribute(Some(self.needed_name()?.to_owned())),
            }
        } else if self.take("*") {
            Test::Any
        } else {
            let name = self.needed_name()?;
            if name.contains("::") {
                return Err(format!("axes such as {name} are not supported in an XPath"));
            }
            match (name, self.rest.starts_with('(')) {
                ("text" | "node" | "comment", true) => {
                    self.expect("(")?;
                    self.expect(")")?;
                    match name {
                        "text" => Test::Text,
                        "node" => Test::Node,
                        _ => Test::Comment,
                    }
                }
                (name, true) => return Err(format!("the function {name}() is not supported in an XPath")),
                (name, false) => Test::Name(name.to_owned()),
            }
        };
        let mut conditions = Vec::new();
        while self.take("[") {
            conditions.push(self.nested(Parser::or)?);
            self.expect("]")?;
        }
        Ok(Step {
            deep,
            test,
            conditions,
        })
    }

    fn needed_name(&mut self) -> Parsed<&'t str> {
        match self.name() {
            "" => Err(format!("the XPath lacks a name before {:?}", self.rest)),
            name => Ok(name),
        }
    }

    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<Expr>) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err("the XPath is nested too deep".into());
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn or(&mut self) -> Parsed<Expr> {
        let mut expr = self.and()?;
        while self.word("or") {
            expr = Expr::Or(Box::new(expr), Box::new(self.and()?));
        }
        Ok(expr)
    }

    fn and(&mut self) -> Parsed<Expr> {
        let mut expr = self.comparison()?;
        while self.word("and") {
            expr = Expr::And(Box::new(expr), Box::new(self.comparison()?));
        }
        Ok(expr)
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        let left = self.operand()?;
        for op in ["!=", "<=", ">=", "=", "<", ">"] {
            if self.take(op) {
                return Ok(Expr::Compare(op, Box::new(left), Box::new(self.operand()?)));
            }
        }
        Ok(left)
    }

    fn operand(&mut self) -> Parsed<Expr> {
        self.space();
        if self.take("(") {
            let expr = self.nested(Parser::or)?;
            self.expect(")")?;
            return Ok(expr);
        }
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let inner = &self.rest[1..];
            let end = inner.find(quote).ok_or("the XPath ends within a text")?;
            self.rest = &inner[end + 1..];
            return Ok(Expr::Text(inner[..end].to_owned()));
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            let end = self
                .rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(end);
            self.rest = rest;
            return digits
                .parse()
                .map(Expr::Number)
                .map_err(|_| format!("{digits:?} is no number"));
        }
        let before = self.rest;
        let function = self.name();
        if self.take("(") {
            match function {
                "last" => return self.expect(")").map(|()| Expr::Last),
                "position" => return self.expect(")").map(|()| Expr::Position),
                "count" => {
                    let path = self.union()?;
                    return self.expect(")").map(|()| Expr::Count(path));
                }
                "not" => {
                    let inner = Box::new(self.nested(Parser::or)?);
                    return self.expect(")").map(|()| Expr::Not(inner));
                }
                "contains" | "starts-with" => {
                    let a = Box::new(self.nested(Parser::operand)?);
                    self.expect(",")?;
                    let b = Box::new(self.nested(Parser::operand)?);
                    self.expect(")")?;
                    return Ok(match function {
                        "contains" => Expr::Contains(a, b),
                        _ => Expr::StartsWith(a, b),
                    });
                }
                _ => {}
            }
        }
        self.rest = before;
        let path = self.union()?;
        Ok(Expr::Path(path))
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.') || (c == ':')
}
