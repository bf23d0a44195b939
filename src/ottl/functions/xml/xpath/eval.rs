//! What an expression gives on a document.

use std::cmp::Ordering;
use std::rc::Rc;

use codec::pattern::Pattern;

use super::super::dom::{Kind, Tree};
use super::{Axis, Expr, Op, Path, Pick, Start, Step, Test, text_of};
use crate::error::{Error, Result};

/// Nodes that one evaluation may look at; 64 bytes of text count as one too.
const LOOKS_MAX: u64 = 10_000_000;

pub(super) enum Value {
    /// In the order of the document, each once.
    Set(Vec<Pick>),
    Text(String),
    Number(f64),
    Bool(bool),
}

/// What an expression is asked about.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) pick: Pick,
    /// From 1.
    pub(super) position: usize,
    pub(super) last: usize,
}

impl At {
    pub(super) fn only(pick: Pick) -> At {
        At {
            pick,
            position: 1,
            last: 1,
        }
    }
}

pub(super) struct Eval<'t> {
    pub(super) tree: &'t Tree,
    looks: u64,
    /// Those of `matches` and `replace`, by their texts.
    pub(super) patterns: Vec<(String, Rc<Pattern>)>,
}

impl<'t> Eval<'t> {
    pub(super) fn new(tree: &'t Tree) -> Eval<'t> {
        Eval {
            tree,
            looks: 0,
            patterns: Vec::new(),
        }
    }

    pub(super) fn look(&mut self, at: usize) -> Result<()> {
        self.looks += at as u64;
        match self.looks > LOOKS_MAX {
            true => Err(Error::new("the XPath looks at too many parts of the document")),
            false => Ok(()),
        }
    }

    pub(super) fn value(&mut self, expr: &Expr, at: At) -> Result<Value> {
        self.look(1)?;
        Ok(match expr {
            Expr::Text(text) => Value::Text(text.clone()),
            Expr::Number(number) => Value::Number(*number),
            Expr::Path(path) => Value::Set(self.path(path, at)?),
            Expr::Negate(inner) => Value::Number(-self.number(inner, at)?),
            Expr::Binary(op, left, right) => self.binary(*op, left, right, at)?,
            Expr::Call(function, args) => self.call(*function, args, at)?,
        })
    }

    fn binary(&mut self, op: Op, left: &Expr, right: &Expr, at: At) -> Result<Value> {
        Ok(match op {
            Op::Or => Value::Bool(self.truth(left, at)? || self.truth(right, at)?),
            Op::And => Value::Bool(self.truth(left, at)? && self.truth(right, at)?),
            Op::Union => {
                let mut all = self.set(left, at)?;
                all.append(&mut self.set(right, at)?);
                Value::Set(in_order(all))
            }
            Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Remainder => {
                let (a, b) = (self.number(left, at)?, self.number(right, at)?);
                Value::Number(match op {
                    Op::Add => a + b,
                    Op::Subtract => a - b,
                    Op::Multiply => a * b,
                    Op::Divide => a / b,
                    _ => a % b,
                })
            }
            _ => {
                let (a, b) = (self.value(left, at)?, self.value(right, at)?);
                Value::Bool(self.compare(op, a, b)?)
            }
        })
    }

    /// Of several nodes one must fit. Truths are compared as such, numbers before texts; what is less or more is a number.
    fn compare(&mut self, op: Op, a: Value, b: Value) -> Result<bool> {
        let equality = matches!(op, Op::Equal | Op::Unequal);
        let bools = |a: bool, b: bool| holds(op, f64::from(u8::from(a)).partial_cmp(&f64::from(u8::from(b))));
        match (&a, &b) {
            (Value::Bool(x), other) => return Ok(bools(*x, other.truth())),
            (other, Value::Bool(y)) => return Ok(bools(other.truth(), *y)),
            _ => {}
        }
        let as_numbers = !equality || matches!(a, Value::Number(_)) || matches!(b, Value::Number(_));
        if as_numbers {
            let (a, b) = (self.numbers(a)?, self.numbers(b)?);
            self.look(a.len().saturating_mul(b.len()))?;
            return Ok(a.iter().any(|a| b.iter().any(|b| holds(op, a.partial_cmp(b)))));
        }
        let (a, b) = (self.texts(a)?, self.texts(b)?);
        self.look(a.len().saturating_mul(b.len()))?;
        Ok(a.iter().any(|a| b.iter().any(|b| holds(op, Some(a.cmp(b))))))
    }

    fn texts(&mut self, value: Value) -> Result<Vec<String>> {
        match value {
            Value::Set(picks) => {
                let mut len = 0;
                let text = |pick| {
                    let text = self.text_of(pick)?;
                    len += text.len();
                    self.fits(len)?;
                    Ok(text)
                };
                picks.into_iter().map(text).collect()
            }
            other => Ok(vec![self.as_text(other)?]),
        }
    }

    fn numbers(&mut self, value: Value) -> Result<Vec<f64>> {
        match value {
            Value::Number(number) => Ok(vec![number]),
            other => Ok(self.texts(other)?.iter().map(|text| number(text)).collect()),
        }
    }

    pub(super) fn text_of(&mut self, pick: Pick) -> Result<String> {
        if pick.attribute == 0 {
            // Counts what is walked for the text.
            self.below(pick.node, &mut Vec::new())?;
        }
        let text = text_of(self.tree, pick);
        self.look(1 + text.len() / 64)?;
        Ok(text)
    }

    pub(super) fn as_text(&mut self, value: Value) -> Result<String> {
        Ok(match value {
            Value::Set(picks) => match picks.first() {
                Some(first) => self.text_of(*first)?,
                None => String::new(),
            },
            Value::Text(text) => text,
            Value::Number(number) => written(number),
            Value::Bool(b) => b.to_string(),
        })
    }

    pub(super) fn text(&mut self, expr: &Expr, at: At) -> Result<String> {
        let value = self.value(expr, at)?;
        self.as_text(value)
    }

    pub(super) fn number(&mut self, expr: &Expr, at: At) -> Result<f64> {
        Ok(match self.value(expr, at)? {
            Value::Number(number) => number,
            Value::Bool(b) => f64::from(u8::from(b)),
            other => number(&self.as_text(other)?),
        })
    }

    pub(super) fn truth(&mut self, expr: &Expr, at: At) -> Result<bool> {
        Ok(self.value(expr, at)?.truth())
    }

    /// The nodes of an expression that gives nodes.
    pub(super) fn set(&mut self, expr: &Expr, at: At) -> Result<Vec<Pick>> {
        match self.value(expr, at)? {
            Value::Set(picks) => Ok(picks),
            _ => Ok(Vec::new()),
        }
    }

    fn path(&mut self, path: &Path, at: At) -> Result<Vec<Pick>> {
        let mut found = match &path.start {
            Start::Here => vec![at.pick],
            Start::Root => vec![Pick::node(0)],
            Start::Of(expr, conditions) => {
                let set = self.set(expr, at)?;
                self.kept(set, conditions)?
            }
        };
        for step in &path.steps {
            let mut next = Vec::new();
            for pick in found {
                let candidates = self.step(step, pick)?;
                next.extend(self.kept(candidates, &step.conditions)?);
            }
            found = in_order(next);
        }
        Ok(found)
    }

    /// What conditions leave: a number means a position.
    fn kept(&mut self, mut picks: Vec<Pick>, conditions: &[Expr]) -> Result<Vec<Pick>> {
        for condition in conditions {
            let last = picks.len();
            let mut kept = Vec::new();
            for (i, pick) in picks.into_iter().enumerate() {
                let position = i + 1;
                let at = At { pick, position, last };
                let stays = match self.value(condition, at)? {
                    Value::Number(number) => number == position as f64,
                    other => other.truth(),
                };
                if stays {
                    kept.push(pick);
                }
            }
            picks = kept;
        }
        Ok(picks)
    }

    /// What lies on a step's axis and passes its test, in the order of the axis.
    fn step(&mut self, step: &Step, from: Pick) -> Result<Vec<Pick>> {
        let mut found = Vec::new();
        self.axis(step.axis, from, &mut found)?;
        self.look(1 + found.len())?;
        found.retain(|pick| self.passes(&step.test, step.axis, *pick));
        Ok(found)
    }

    fn axis(&mut self, axis: Axis, from: Pick, out: &mut Vec<Pick>) -> Result<()> {
        let tree = self.tree;
        let on_attribute = from.attribute > 0;
        match axis {
            Axis::Same => out.push(from),
            Axis::Parent => out.extend(self.parent(from)),
            Axis::Ancestor | Axis::AncestorOrSelf => {
                let begin = match axis {
                    Axis::AncestorOrSelf => Some(from),
                    _ => self.parent(from),
                };
                out.extend(std::iter::successors(begin, |pick| self.parent(*pick)));
            }
            Axis::Attribute if !on_attribute => {
                let all = 1..=tree.attributes(from.node).len();
                out.extend(all.map(|attribute| Pick {
                    node: from.node,
                    attribute,
                }));
            }
            Axis::Child if !on_attribute => {
                out.extend(tree.nodes[from.node].children.iter().copied().map(Pick::node));
            }
            Axis::Descendant | Axis::DescendantOrSelf if on_attribute => {
                out.extend((axis == Axis::DescendantOrSelf).then_some(from));
            }
            Axis::Descendant => self.below(from.node, out)?,
            Axis::DescendantOrSelf => {
                out.push(from);
                self.below(from.node, out)?;
            }
            Axis::FollowingSibling | Axis::PrecedingSibling if !on_attribute => {
                let (before, after) = self.siblings(from.node);
                match axis {
                    Axis::FollowingSibling => out.extend(after.iter().copied().map(Pick::node)),
                    _ => out.extend(before.iter().rev().copied().map(Pick::node)),
                }
            }
            Axis::Following => {
                if on_attribute {
                    self.below(from.node, out)?;
                }
                let mut node = Some(Pick::node(from.node));
                while let Some(at) = node {
                    for sibling in self.siblings(at.node).1 {
                        out.push(Pick::node(*sibling));
                        self.below(*sibling, out)?;
                    }
                    node = self.parent(at);
                }
            }
            Axis::Preceding => {
                let mut node = Some(Pick::node(from.node));
                while let Some(at) = node {
                    for sibling in self.siblings(at.node).0.iter().rev() {
                        let begin = out.len();
                        out.push(Pick::node(*sibling));
                        self.below(*sibling, out)?;
                        out[begin..].reverse();
                    }
                    node = self.parent(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn parent(&self, pick: Pick) -> Option<Pick> {
        match (pick.attribute, pick.node) {
            (0, 0) => None,
            (0, node) => Some(Pick::node(self.tree.nodes[node].parent)),
            (_, node) => Some(Pick::node(node)),
        }
    }

    /// Siblings before and behind a node.
    fn siblings(&self, node: usize) -> (&'t [usize], &'t [usize]) {
        if node == 0 {
            return (&[], &[]);
        }
        let all = &self.tree.nodes[self.tree.nodes[node].parent].children;
        // Children are in the order of their numbers.
        let at = all.partition_point(|child| *child < node);
        (&all[..at], all.get(at + 1..).unwrap_or(&[]))
    }

    /// Appends all nodes below one, in the order of the document.
    fn below(&mut self, node: usize, out: &mut Vec<Pick>) -> Result<()> {
        let begin = out.len();
        let tree = self.tree;
        let mut waiting: Vec<usize> = tree.nodes[node].children.iter().rev().copied().collect();
        while let Some(node) = waiting.pop() {
            out.push(Pick::node(node));
            waiting.extend(tree.nodes[node].children.iter().rev());
        }
        self.look(out.len() - begin)
    }

    fn passes(&self, test: &Test, axis: Axis, pick: Pick) -> bool {
        let kind = &self.tree.nodes[pick.node].kind;
        let name = self.name(pick);
        let is_principal = match axis {
            Axis::Attribute => pick.attribute > 0,
            _ => pick.attribute == 0 && matches!(kind, Kind::Element { .. }),
        };
        match test {
            Test::Any => is_principal,
            Test::Prefix(prefix) => is_principal && name.starts_with(prefix.as_str()),
            Test::Name(wanted) => is_principal && name == wanted,
            Test::Node => pick.attribute > 0 || is_node(kind),
            Test::Text => pick.attribute == 0 && matches!(kind, Kind::Text(_) | Kind::CData(_)),
            Test::Comment => pick.attribute == 0 && matches!(kind, Kind::Comment(_)),
            Test::Instruction(target) => match instruction(kind) {
                Some(found) => pick.attribute == 0 && target.as_ref().is_none_or(|target| target == found),
                None => false,
            },
        }
    }

    /// The name of an element, an attribute or an instruction, with its prefix; empty for all else.
    pub(super) fn name(&self, pick: Pick) -> &'t str {
        match pick.attribute.checked_sub(1) {
            Some(i) => self
                .tree
                .attributes(pick.node)
                .get(i)
                .map_or("", |(name, _)| name),
            None => match &self.tree.nodes[pick.node].kind {
                Kind::Element { name, .. } => name,
                other => instruction(other).unwrap_or(""),
            },
        }
    }
}

impl Value {
    pub(super) fn truth(&self) -> bool {
        match self {
            Value::Set(picks) => !picks.is_empty(),
            Value::Text(text) => !text.is_empty(),
            Value::Number(number) => *number != 0.0 && !number.is_nan(),
            Value::Bool(b) => *b,
        }
    }
}

/// Declarations are no nodes.
fn is_node(kind: &Kind) -> bool {
    match kind {
        Kind::Other(_) => instruction(kind).is_some(),
        _ => true,
    }
}

/// The target of an instruction.
fn instruction(kind: &Kind) -> Option<&str> {
    let Kind::Other(text) = kind else {
        return None;
    };
    let inner = text.strip_prefix('?')?;
    let end = inner.find(|c: char| c.is_whitespace() || c == '?');
    let target = &inner[..end.unwrap_or(inner.len())];
    (target != "xml").then_some(target)
}

fn in_order(mut picks: Vec<Pick>) -> Vec<Pick> {
    picks.sort_unstable();
    picks.dedup();
    picks
}

fn holds(op: Op, order: Option<Ordering>) -> bool {
    match op {
        Op::Equal => order == Some(Ordering::Equal),
        Op::Unequal => order != Some(Ordering::Equal),
        Op::Less => order == Some(Ordering::Less),
        Op::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Op::Greater => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// A text as a number: digits with a point among them, and a minus before; all else is none.
pub(super) fn number(text: &str) -> f64 {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number =
        digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') && digits.bytes().any(|b| b.is_ascii_digit());
    match is_number {
        true => text.parse().unwrap_or(f64::NAN),
        false => f64::NAN,
    }
}

/// A number as text: never with an exponent.
pub(super) fn written(number: f64) -> String {
    if number == 0.0 {
        return "0".into();
    }
    match number.is_infinite() {
        true => if number > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        false => number.to_string(),
    }
}
