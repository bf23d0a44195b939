//! Which context a group runs in, if it does not say so: the lowest that its paths, functions and symbols need.

use wire::Signal;

use crate::functions::Functions;
use crate::paths::{Context, PRIORITY};
use crate::syntax::ast::{Bool, Call, Expr, ExprKind, Statement};

/// What a group's statements and conditions name.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    prefixes: Vec<&'a str>,
    functions: Vec<&'a str>,
    symbols: Vec<&'a str>,
}

impl<'a> Names<'a> {
    pub(crate) fn statement(&mut self, statement: &'a Statement) {
        self.call(&statement.editor);
        if let Some(condition) = &statement.condition {
            self.condition(condition);
        }
    }

    pub(crate) fn condition(&mut self, b: &'a Bool) {
        match b {
            Bool::Const(_) => {}
            Bool::Not(b) => self.condition(b),
            Bool::Or(all) | Bool::And(all) => all.iter().for_each(|b| self.condition(b)),
            Bool::Compare(_, a, b) => {
                self.expr(a);
                self.expr(b);
            }
            Bool::Call(e) => self.expr(e),
        }
    }

    fn call(&mut self, call: &'a Call) {
        self.functions.push(&call.name);
        for arg in &call.args {
            match &arg.value.kind {
                // A converter's name, handed on.
                ExprKind::Symbol(name) if !name.contains('_') => self.functions.push(name),
                _ => self.expr(&arg.value),
            }
        }
        call.keys.iter().for_each(|e| self.expr(e));
    }

    pub(crate) fn expr(&mut self, e: &'a Expr) {
        match &e.kind {
            ExprKind::Path(path) => {
                if path.fields.len() > 1 && path.fields[0].keys.is_empty() {
                    self.prefixes.push(&path.fields[0].name);
                }
                path.fields
                    .iter()
                    .flat_map(|f| &f.keys)
                    .for_each(|e| self.expr(e));
            }
            ExprKind::Symbol(name) => self.symbols.push(name),
            ExprKind::Call(call) => self.call(call),
            ExprKind::Neg(e) => self.expr(e),
            ExprKind::Math(first, rest) => {
                self.expr(first);
                rest.iter().for_each(|(_, e)| self.expr(e));
            }
            ExprKind::List(items) => items.iter().for_each(|e| self.expr(e)),
            ExprKind::Map(entries) => entries.iter().for_each(|(_, e)| self.expr(e)),
            _ => {}
        }
    }

    /// Whether a path begins with the name of a context.
    pub(crate) fn any_context(&self) -> bool {
        self.prefixes.iter().any(|name| PRIORITY.contains(name))
    }

    /// The context, or why there is none.
    pub(crate) fn context(&self, signal: Signal, functions: Functions) -> Result<Context, String> {
        let rank = |name: &&str| PRIORITY.iter().position(|p| p == name).unwrap_or(PRIORITY.len());
        let Some(first) = self.prefixes.iter().copied().min_by_key(rank) else {
            return Err(
                "unable to infer context from statements: no path begins with a context's name".into(),
            );
        };
        let registered = |c: &Context| c.is_of(signal);
        let found = Context::named(first).filter(registered);
        let missing = |c: Context| self.missing(c, functions);
        let why = match found {
            Some(context) => match missing(context) {
                None => return Ok(context),
                Some(what) => format!("inferred context \"{first}\" does not support {what}"),
            },
            None => format!("context \"{first}\" cannot be used with {}", signal_name(signal)),
        };
        let lower = Context::ALL
            .into_iter()
            .filter(registered)
            .filter(|c| Some(*c) != found && c.is_prefix(first));
        // `otelcol` belongs to all contexts, so it decides for none.
        let mut lower = lower.filter(|_| first != "otelcol");
        lower.find(|c| missing(*c).is_none()).ok_or(why)
    }

    fn missing(&self, context: Context, functions: Functions) -> Option<String> {
        let function = self.functions.iter().find(|name| {
            // What no context has is a fault with a place of its own.
            let known = functions.all().any(|d| d.name == **name);
            known && functions.named(name, context).is_none()
        });
        if let Some(name) = function {
            return Some(format!("the function \"{name}\""));
        }
        let known = |name: &str| Context::ALL.iter().any(|c| c.symbol(name).is_some());
        let symbol = self
            .symbols
            .iter()
            .find(|name| known(name) && context.symbol(name).is_none())?;
        Some(format!("the enum symbol \"{symbol}\""))
    }
}

fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "logs",
        Signal::Traces => "traces",
        Signal::Metrics => "metrics",
        Signal::Profiles => "profiles",
    }
}
