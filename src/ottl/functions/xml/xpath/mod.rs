//! XPath 1.0 whole, but for variables and the axis `namespace`; with the further functions that the collector's library
//! has: `lower-case`, `ends-with`, `matches`, `replace`, `string-join`, `reverse`.
//!
//! An expression is compiled once. What it picks comes in the order of the document, each part once. Texts beside each
//! other, such as a text and a CDATA section, stay apart, and declarations of name spaces are attributes, as there.
//! Source: XML Path Language 1.0 (W3C, 1999).

mod eval;
mod functions;
mod parse;

use super::dom::Tree;
use crate::error::Result;
use eval::{Eval, Value};
use functions::Function;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct XPath(Expr);

/// A part of a document. They are ordered as in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pick {
    pub(super) node: usize,
    /// The attribute of the node, counted from 1; 0 for the node itself.
    pub(super) attribute: usize,
}

impl Pick {
    fn node(node: usize) -> Pick {
        Pick { node, attribute: 0 }
    }
}

#[derive(Clone, Debug)]
enum Expr {
    Text(String),
    Number(f64),
    Path(Box<Path>),
    Negate(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Union,
}

#[derive(Clone, Debug)]
struct Path {
    start: Start,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Start {
    Here,
    Root,
    /// What an expression gives, and the conditions on it.
    Of(Expr, Vec<Expr>),
}

#[derive(Clone, Debug)]
struct Step {
    axis: Axis,
    test: Test,
    conditions: Vec<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Ancestor,
    AncestorOrSelf,
    Attribute,
    Child,
    Descendant,
    DescendantOrSelf,
    Following,
    FollowingSibling,
    Parent,
    Preceding,
    PrecedingSibling,
    Same,
}

#[derive(Clone, Debug)]
enum Test {
    /// `*`: what the axis is made of.
    Any,
    /// `prefix:*`, with the colon.
    Prefix(String),
    Name(String),
    Node,
    Text,
    Comment,
    /// An instruction; with this target if there is one.
    Instruction(Option<String>),
}

impl XPath {
    /// Compiles an expression. Errors: it is no XPath, or of the little that is not known here.
    pub(super) fn new(text: &str) -> std::result::Result<XPath, String> {
        parse::expression(text).map(XPath)
    }

    /// The parts that it picks; none if it gives a text, a number or a truth. Errors: it looks at too much.
    pub(super) fn pick(&self, tree: &Tree) -> Result<Vec<Pick>> {
        match Eval::new(tree).value(&self.0, eval::At::only(Pick::node(0)))? {
            Value::Set(picks) => Ok(picks),
            _ => Ok(Vec::new()),
        }
    }
}

impl Expr {
    fn is_set(&self) -> bool {
        match self {
            Expr::Path(_) | Expr::Binary(Op::Union, ..) => true,
            Expr::Call(function, _) => matches!(function, Function::Id | Function::Reverse),
            _ => false,
        }
    }
}

/// The text of an attribute, or all text in a node.
pub(super) fn text_of(tree: &Tree, pick: Pick) -> String {
    match pick.attribute.checked_sub(1) {
        Some(i) => tree
            .attributes(pick.node)
            .get(i)
            .map_or_else(String::new, |(_, value)| value.clone()),
        None => tree.text(pick.node),
    }
}

#[cfg(test)]
mod tests;
