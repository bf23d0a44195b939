//! Comparisons of one attribute or field with a literal: decided on the encoded value, without making one of our own.
//!
//! Most conditions that people write are of this form, and they are asked of every record.

use wire::view::{Any, NodeId, Value, View};

use crate::access::Access;
use crate::compare::compare;
use crate::eval::{Cond, Item, Key, Node};
use crate::paths::{Level, Place};
use crate::syntax::ast::CompareOp;
use crate::value::Val;

/// A comparison that needs nothing but the view, and cannot fail.
#[derive(Debug)]
pub(crate) struct Quick {
    at: At,
    op: CompareOp,
    literal: Val<'static>,
}

#[derive(Debug)]
enum At {
    /// An attribute, by its key.
    Attribute(Level, Box<[u8]>),
    Field(Access),
}

impl Quick {
    /// The comparison in its quick form, if it has one.
    pub(crate) fn of(op: CompareOp, left: Node, right: Node) -> Cond {
        match (left, right) {
            (Node::Path(access), Node::Const(literal)) if is_quick(&access) => Cond::Quick(Box::new(Quick {
                at: At::of(*access),
                op,
                literal,
            })),
            (Node::Const(literal), Node::Path(access)) if is_quick(&access) => Cond::Quick(Box::new(Quick {
                at: At::of(*access),
                op: mirrored(op),
                literal,
            })),
            (left, right) => Cond::Compare(op, left, right),
        }
    }

    pub(crate) fn holds(&self, view: &View<'_>, item: &Item) -> bool {
        match &self.at {
            At::Attribute(level, key) => self.value_holds(view.get(node(item, *level), key)),
            At::Field(access) => compare(
                self.op,
                &access.plain(view, node(item, access.at.level)),
                &self.literal,
            ),
        }
    }

    fn value_holds(&self, value: Option<Value<'_>>) -> bool {
        let Some(value) = value else {
            return compare(self.op, &Val::Nil, &self.literal);
        };
        match (value.any(), &self.literal, self.op) {
            (Any::Str(a), Val::Str(b), CompareOp::Eq) => a == &**b,
            (Any::Str(a), Val::Str(b), CompareOp::Ne) => a != &**b,
            (Any::Int(a), Val::Int(b), op) => op.holds(Some(a.cmp(b))),
            (Any::Bool(a), Val::Bool(b), op) => op.holds(Some(a.cmp(b))),
            _ => compare(self.op, &Val::from_any(value), &self.literal),
        }
    }
}

impl At {
    fn of(access: Access) -> At {
        match (access.at.place, &*access.keys) {
            (Place::Attrs, [Key::Str(key)]) => At::Attribute(access.at.level, key.clone()),
            _ => At::Field(access),
        }
    }
}

fn node(item: &Item, level: Level) -> NodeId {
    item[level as usize]
}

fn is_quick(access: &Access) -> bool {
    match (access.at.place, &*access.keys) {
        (Place::Attrs, [Key::Str(_)]) => true,
        // What is copied out of the view, or needs more than it.
        (
            Place::Attrs
            | Place::Cache
            | Place::Body
            | Place::ClientAddr
            | Place::ClientMetadata
            | Place::ClientAuth,
            _,
        ) => false,
        (_, keys) => keys.is_empty(),
    }
}

/// The same comparison with its sides exchanged.
fn mirrored(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
        same => same,
    }
}

impl Cond {
    /// Whether it needs nothing but the view, and cannot fail.
    pub(crate) fn is_quick(&self) -> bool {
        match self {
            Cond::Const(_) | Cond::Quick(_) => true,
            Cond::Or(all) | Cond::And(all) => all.iter().all(Cond::is_quick),
            Cond::Not(cond) => cond.is_quick(),
            Cond::Compare(..) | Cond::Value(_) => false,
        }
    }

    /// What a quick condition says; false for another.
    pub(crate) fn quick(&self, view: &View<'_>, item: &Item) -> bool {
        match self {
            Cond::Const(b) => *b,
            Cond::Quick(quick) => quick.holds(view, item),
            Cond::Or(all) => all.iter().any(|cond| cond.quick(view, item)),
            Cond::And(all) => all.iter().all(|cond| cond.quick(view, item)),
            Cond::Not(cond) => !cond.quick(view, item),
            Cond::Compare(..) | Cond::Value(_) => false,
        }
    }
}
