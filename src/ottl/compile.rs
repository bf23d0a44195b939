//! Tree to program: names become places, functions and numbers; literals are checked, prepared and folded.

use std::borrow::Cow;

use crate::access::Access;
use crate::error::Result as Evaluated;
use crate::eval::{Arg, Call, Cond, Key, Node, Read, Tools};
use crate::functions::{Def, Functions, Kind, Param, Prepare};
use crate::paths::{Context, Unresolved, near, resolve};
use crate::quick::Quick;
use crate::syntax::ast::{self, Bool, Expr, ExprKind, Path};
use crate::syntax::{Fault, Span, fault};
use crate::table::Table;
use crate::value::Val;

/// What the names in a statement mean.
#[derive(Clone, Copy)]
pub(crate) struct Meaning {
    pub(crate) context: Context,
    pub(crate) functions: Functions,
    /// Whether every path must begin with a context's name.
    pub(crate) prefixed: bool,
}

/// Compiles one statement.
pub(crate) struct Binder<'t> {
    pub(crate) text: &'t str,
    context: Context,
    functions: Functions,
    prefixed: bool,
    prepare: &'t mut Prepare,
}

type Bound<T> = Result<T, Fault>;

impl<'t> Binder<'t> {
    pub(crate) fn new(text: &'t str, meaning: Meaning, prepare: &'t mut Prepare) -> Binder<'t> {
        let Meaning {
            context,
            functions,
            prefixed,
        } = meaning;
        Binder {
            text,
            context,
            functions,
            prefixed,
            prepare,
        }
    }

    #[cold]
    fn fault(&self, span: Span, message: impl Into<String>) -> Fault {
        fault(self.text, span, message)
    }

    /// The editor of a statement.
    pub(crate) fn editor(&mut self, call: &ast::Call) -> Bound<Call> {
        self.call(call, call.name_span)
    }

    pub(crate) fn condition(&mut self, b: &Bool) -> Bound<Cond> {
        Ok(match b {
            Bool::Const(b) => Cond::Const(*b),
            Bool::Not(b) => match self.condition(b)? {
                Cond::Const(b) => Cond::Const(!b),
                cond => Cond::Not(Box::new(cond)),
            },
            Bool::Or(all) => Cond::Or(self.conditions(all)?),
            Bool::And(all) => Cond::And(self.conditions(all)?),
            Bool::Compare(op, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                match (left.constant(), right.constant()) {
                    (Some(a), Some(b)) => Cond::Const(crate::compare::compare(*op, a, b)),
                    _ => Quick::of(*op, left, right),
                }
            }
            Bool::Call(e) => match self.value(e)? {
                Node::Const(Val::Bool(b)) => Cond::Const(b),
                Node::Const(other) => {
                    let message = format!("a condition must be bool but this is {}", other.type_name());
                    return Err(self.fault(e.span, message));
                }
                node => Cond::Value(node),
            },
        })
    }

    fn conditions(&mut self, all: &[Bool]) -> Bound<Vec<Cond>> {
        all.iter().map(|b| self.condition(b)).collect()
    }

    /// A value, folded if it is constant.
    pub(crate) fn value(&mut self, e: &Expr) -> Bound<Node> {
        let node = match &e.kind {
            ExprKind::Nil => Node::Const(Val::Nil),
            ExprKind::Bool(b) => Node::Const(Val::Bool(*b)),
            ExprKind::Int(i) => Node::Const(Val::Int(*i)),
            ExprKind::Float(f) => Node::Const(Val::Float(*f)),
            ExprKind::Str(s) => Node::Const(Val::Str(Cow::Owned(s.clone()))),
            ExprKind::Bytes(b) => Node::Const(Val::Bytes(Cow::Owned(b.clone()))),
            ExprKind::Symbol(name) => Node::Const(Val::Int(self.symbol(name, e.span)?)),
            ExprKind::Path(path) => Node::Path(Box::new(self.path(path, e.span)?)),
            ExprKind::Call(call) => return self.converter(call, e.span),
            ExprKind::Neg(inner) => Node::Neg(Box::new(self.value(inner)?)),
            ExprKind::Math(first, rest) => {
                let first = self.value(first)?;
                let rest = rest.iter().map(|(op, e)| Ok((*op, self.value(e)?)));
                Node::Math(Box::new(first), rest.collect::<Bound<_>>()?)
            }
            ExprKind::List(items) => Node::List(self.values(items)?),
            ExprKind::Map(entries) => {
                let entries = entries.iter().map(|(key, e)| Ok((key.clone(), self.value(e)?)));
                Node::Map(entries.collect::<Bound<_>>()?)
            }
        };
        let constant = match &node {
            Node::Neg(node) => node.constant().is_some(),
            Node::Math(first, rest) => {
                first.constant().is_some() && rest.iter().all(|(_, n)| n.constant().is_some())
            }
            Node::List(items) => items.iter().all(|n| n.constant().is_some()),
            Node::Map(entries) => entries.iter().all(|(_, n)| n.constant().is_some()),
            _ => false,
        };
        if constant {
            self.fold(node, e.span)
        } else {
            Ok(node)
        }
    }

    fn values(&mut self, all: &[Expr]) -> Bound<Vec<Node>> {
        all.iter().map(|e| self.value(e)).collect()
    }

    /// The value of what depends on nothing. A literal of a wrong type is a fault; what fails otherwise fails at every
    /// item, for the collector starts with such a statement too and its error mode decides.
    fn fold(&self, node: Node, span: Span) -> Bound<Node> {
        match evaluate(&node) {
            Ok(value) => Ok(Node::Const(value)),
            Err(error) if error.is_mistyped() => Err(self.fault(span, error.to_string())),
            Err(_) => Ok(node),
        }
    }

    fn symbol(&self, name: &str, span: Span) -> Bound<i64> {
        self.context.symbol(name).ok_or_else(|| {
            let context = self.context.name();
            let fault = self.fault(
                span,
                format!("enum symbol \"{name}\" not found in the {context} context"),
            );
            match self.functions.named(name, self.context) {
                Some(_) => fault.with_help(format!("to call the converter write {name}(...)")),
                None => fault,
            }
        })
    }

    fn converter(&mut self, call: &ast::Call, span: Span) -> Bound<Node> {
        let bound = self.call(call, span)?;
        let constant = bound.def.pure && bound.args.iter().all(is_constant);
        let mut node = Node::Call(Box::new(bound));
        if !call.keys.is_empty() {
            let keys = self.keys(&call.keys)?;
            let constant = constant && keys.iter().all(|k| !matches!(k, Key::Dynamic(_)));
            node = Node::Index(Box::new(node), keys);
            return if constant { self.fold(node, span) } else { Ok(node) };
        }
        if constant { self.fold(node, span) } else { Ok(node) }
    }

    // --- Paths ---

    fn path(&mut self, path: &Path, span: Span) -> Bound<Access> {
        let names: Vec<&str> = path.fields.iter().map(|f| f.name.as_str()).collect();
        let first = &path.fields[0];
        let begins = names.len() > 1 && first.keys.is_empty() && self.context.is_prefix(names[0]);
        if self.prefixed && !begins {
            return Err(self.no_prefix(path, span));
        }
        let at = match resolve(self.context, &names, begins) {
            Ok(at) => at,
            Err(why) => return Err(self.unresolved(path, &names, why)),
        };
        let (last, before) = path.fields.split_last().unwrap_or((first, &[]));
        let keyed = before.iter().find(|f| !f.keys.is_empty());
        let keyed = keyed.or((!at.place.takes_keys() && !last.keys.is_empty()).then_some(last));
        if let Some(field) = keyed {
            let message = format!("\"{}\" is no map or list that could be indexed", field.name);
            return Err(self.fault(field.keys[0].span, message));
        }
        let keys = self.keys(&last.keys)?;
        if at.place == crate::paths::Place::TraceState && !matches!(&*keys, [] | [Key::Str(_)]) {
            return Err(self.fault(last.span, "the trace state is indexed by one key, a text literal"));
        }
        Ok(Access { at, keys })
    }

    #[cold]
    fn no_prefix(&self, path: &Path, span: Span) -> Fault {
        let written = &self.text[span.start as usize..span.end as usize];
        let mut names = self.context.prefixes();
        names.retain(|n| *n != "otelcol" && *n != "instrumentation_scope");
        // Only what would then be a path is offered.
        let fields: Vec<&str> = path.fields.iter().map(|f| f.name.as_str()).collect();
        names.retain(|n| resolve(self.context, &[&[*n], fields.as_slice()].concat(), true).is_ok());
        let options: Vec<_> = names.iter().map(|n| format!("{n}.{written}")).collect();
        if options.is_empty() {
            let known = self.context.prefixes().join("\", \"");
            let message = format!(
                "\"{}\" is no context that a path can begin with here",
                path.fields[0].name
            );
            return self
                .fault(path.fields[0].span, message)
                .with_help(format!("write one of \"{known}\""));
        }
        self.fault(span, "missing context name for the path")
            .with_help(format!("write {}", options.join(" or ")))
    }

    #[cold]
    fn unresolved(&self, path: &Path, names: &[&str], why: Unresolved) -> Fault {
        match why {
            Unresolved::Cache => {
                let fault = self.fault(
                    path.fields[0].span,
                    "the cache of another context cannot be reached",
                );
                fault.with_help(format!("write {}.cache", self.context.name()))
            }
            Unresolved::Segment(at, near) => {
                let segment = names[at];
                let message = format!(
                    "segment \"{segment}\" from path \"{}\" is not a valid path nor a valid OTTL keyword for the {} context",
                    names.join("."),
                    self.context.name()
                );
                let fault = self.fault(path.fields[at].span, message);
                match near {
                    Some(near) => fault.with_help(format!("did you mean \"{near}\"?")),
                    None => fault,
                }
            }
        }
    }

    fn keys(&mut self, keys: &[Expr]) -> Bound<Vec<Key>> {
        let keys = keys.iter().map(|e| {
            Ok(match self.value(e)? {
                Node::Const(Val::Str(key)) => Key::Str(key.into_owned().into()),
                Node::Const(Val::Int(i)) => Key::Int(i),
                Node::Const(other) => {
                    let message = format!(
                        "a key must be text or a whole number but this is {}",
                        other.type_name()
                    );
                    return Err(self.fault(e.span, message));
                }
                node => Key::Dynamic(node),
            })
        });
        keys.collect()
    }

    // --- Calls ---

    fn call(&mut self, call: &ast::Call, span: Span) -> Bound<Call> {
        let Some(def) = self.functions.named(&call.name, self.context) else {
            return Err(self.unknown_function(call));
        };
        let mut args: Vec<Arg> = def.params.iter().map(|_| Arg::Absent).collect();
        let mut named = false;
        for (i, given) in call.args.iter().enumerate() {
            let at = match &given.name {
                Some((name, place)) => {
                    named = true;
                    let at = def.params.iter().position(|p| p.name == name);
                    at.ok_or_else(|| self.unknown_parameter(def, name, *place))?
                }
                None if named => {
                    let message = "an argument without a name cannot follow one with a name";
                    return Err(self.fault(given.value.span, message));
                }
                None if i < def.params.len() => i,
                None => return Err(self.too_many(def, call, given.value.span)),
            };
            if !matches!(args[at], Arg::Absent) {
                let message = format!("argument \"{}\" is given twice", def.params[at].name);
                return Err(self.fault(given.value.span, message));
            }
            args[at] = self.arg(&def.params[at], &given.value)?;
        }
        let missing = def
            .params
            .iter()
            .zip(&args)
            .find(|(p, arg)| !p.optional && matches!(arg, Arg::Absent));
        if let Some((param, _)) = missing {
            let message = format!("{} needs the argument \"{}\"", def.name, param.name);
            return Err(self.fault(call.name_span, message).with_help(signature(def)));
        }
        (def.prepare)(&mut args, self.prepare).map_err(|e| self.fault(span, format!("{}: {e}", def.name)))?;
        Ok(Call { def, args })
    }

    #[cold]
    fn unknown_function(&self, call: &ast::Call) -> Fault {
        let name = &call.name;
        if let Some(def) = Functions::Transform
            .all()
            .chain(Functions::Filter.all())
            .chain(Functions::Routing.all())
            .find(|d| d.name == name)
        {
            let place = if def.only.is_empty() || def.only.contains(&self.context) {
                "this component".to_owned()
            } else {
                format!("the {} context", self.context.name())
            };
            return self.fault(
                call.name_span,
                format!("{place} does not have the function \"{name}\""),
            );
        }
        let fault = self.fault(call.name_span, format!("undefined function \"{name}\""));
        match near(self.functions.all().map(|d| d.name), name) {
            Some(near) => fault.with_help(format!("did you mean \"{near}\"?")),
            None => fault,
        }
    }

    #[cold]
    fn unknown_parameter(&self, def: &Def, name: &str, place: Span) -> Fault {
        let fault = self.fault(place, format!("{} has no parameter \"{name}\"", def.name));
        fault.with_help(signature(def))
    }

    #[cold]
    fn too_many(&self, def: &Def, call: &ast::Call, place: Span) -> Fault {
        let message = format!(
            "{} takes at most {} arguments but got {}",
            def.name,
            def.params.len(),
            call.args.len()
        );
        self.fault(place, message).with_help(signature(def))
    }

    fn arg(&mut self, param: &Param, e: &Expr) -> Bound<Arg> {
        let wanted = |binder: &Self, what: &str| {
            binder.fault(e.span, format!("argument \"{}\" must be {what}", param.name))
        };
        Ok(match (param.kind, &e.kind) {
            (Kind::Value, _) => Arg::Value(self.value(e)?),
            (Kind::Pattern, _) => {
                let node = self.value(e)?;
                match node.constant() {
                    Some(Val::Str(source)) => {
                        let source = std::str::from_utf8(source).map_err(|_| wanted(self, "UTF-8"))?;
                        let ready = self.prepare.pattern(source);
                        Arg::Ready(ready.map_err(|e2| self.fault(e.span, e2))?)
                    }
                    Some(_) => return Err(wanted(self, "a regular expression in double quotes")),
                    None => Arg::Value(node),
                }
            }
            (Kind::Str, ExprKind::Str(_))
            | (Kind::Int, ExprKind::Int(_))
            | (Kind::Bool, ExprKind::Bool(_)) => Arg::Value(self.value(e)?),
            (Kind::Float, ExprKind::Float(_) | ExprKind::Neg(_)) => match self.value(e)? {
                node @ Node::Const(Val::Float(_)) => Arg::Value(node),
                _ => return Err(wanted(self, "a number with a decimal point")),
            },
            (Kind::Float, _) => return Err(wanted(self, "a number with a decimal point")),
            (Kind::Str, _) => return Err(wanted(self, "text in double quotes")),
            (Kind::Int, _) => return Err(wanted(self, "a whole number")),
            (Kind::Bool, _) => return Err(wanted(self, "true or false")),
            (Kind::List, ExprKind::List(items)) => Arg::List(self.values(items)?),
            (Kind::Strs, ExprKind::List(items)) => {
                let items = self.values(items)?;
                if !items.iter().all(|n| matches!(n, Node::Const(Val::Str(_)))) {
                    return Err(wanted(self, "a list of texts in double quotes"));
                }
                Arg::List(items)
            }
            (Kind::List | Kind::Strs, _) => return Err(wanted(self, "a list, [...]")),
            (Kind::Path, ExprKind::Path(path)) => Arg::Target(self.path(path, e.span)?),
            (Kind::Path, _) => return Err(wanted(self, "a path")),
            (Kind::Function, ExprKind::Symbol(name)) => {
                let found = self
                    .functions
                    .named(name, self.context)
                    .filter(|d| !d.is_editor());
                let def =
                    found.ok_or_else(|| self.fault(e.span, format!("undefined function \"{name}\"")))?;
                Arg::Function(def)
            }
            (Kind::Function, _) => return Err(wanted(self, "a converter's name, without parentheses")),
        })
    }
}

/// How a function is called, for messages.
fn signature(def: &Def) -> String {
    let params = def
        .params
        .iter()
        .map(|p| format!("{}{}", p.name, if p.optional { "?" } else { "" }));
    format!("write {}({})", def.name, params.collect::<Vec<_>>().join(", "))
}

fn is_constant(arg: &Arg) -> bool {
    match arg {
        Arg::Absent | Arg::Ready(_) => true,
        Arg::Value(node) => node.constant().is_some(),
        Arg::List(nodes) => nodes.iter().all(|n| n.constant().is_some()),
        Arg::Target(_) | Arg::Function(_) => false,
    }
}

/// The value of what depends on neither view nor environment.
pub(crate) fn evaluate(node: &Node) -> Evaluated<Val<'static>> {
    let (cache, tools) = (Table::default(), Tools::default());
    let read = Read {
        view: None,
        cache: &cache,
        item: [0; 4],
        env: None,
        tools: &tools,
    };
    node.eval(read).map(Val::into_static)
}

/// The text literals of a list.
pub(crate) fn texts(arg: &Arg) -> Vec<Vec<u8>> {
    let Arg::List(nodes) = arg else {
        return Vec::new();
    };
    let texts = nodes.iter().map(|n| match n {
        Node::Const(Val::Str(text)) => text.to_vec(),
        _ => Vec::new(),
    });
    texts.collect()
}
