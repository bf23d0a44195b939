//! Groups of statements and lists of conditions: compiled, and run over the items of a view.

use std::sync::atomic::{AtomicU64, Ordering};

use wire::Signal;
use wire::view::{Depth, NodeId, View};

use crate::compile::{Binder, Meaning};
use crate::editors;
use crate::error::{Error, Result};
use crate::eval::{Call, Cond, Cx, Env, Item, Node, Read, Tools};
use crate::functions::{Functions, Prepare};
use crate::infer::Names;
use crate::metrics::Shape;
use crate::paths::Context;
use crate::syntax::{self, Fault, Faults, Span, ast, fault};
use crate::table::Table;

/// What becomes of an error while statements run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMode {
    /// It is told, and the next statement runs.
    Ignore,
    /// The next statement runs.
    Silent,
    /// The run ends with it.
    Propagate,
}

impl ErrorMode {
    /// The mode with this name, in any case.
    pub fn named(name: &str) -> Option<ErrorMode> {
        [
            ("ignore", ErrorMode::Ignore),
            ("silent", ErrorMode::Silent),
            ("propagate", ErrorMode::Propagate),
        ]
        .into_iter()
        .find_map(|(n, mode)| n.eq_ignore_ascii_case(name).then_some(mode))
    }
}

/// What is compiled together.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// What payloads hold.
    pub signal: Signal,
    /// Which functions there are.
    pub functions: Functions,
    /// The context, if the user named one; then paths of it need not begin with its name. Else it is inferred.
    pub context: Option<Context>,
    /// Of which one must hold for an item, if there are any.
    pub conditions: &'a [&'a str],
    /// What is run on the item, in order. May be empty.
    pub statements: &'a [&'a str],
}

/// Memory of runs, kept between payloads. It belongs to no program: each finds its own room, or makes it.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Searches, by program, the one that ran last at the end.
    tools: Vec<(u64, Tools)>,
    cache: Table,
    room: Vec<u8>,
    pub(crate) views: wire::view::Scratch,
}

/// Programs whose searches are kept warm in one [`Scratch`].
const PROGRAMS_MAX: usize = 64;

/// A compiled group.
#[derive(Debug)]
pub struct Program {
    id: u64,
    context: Context,
    conditions: Vec<(Box<str>, Cond)>,
    /// Whether all conditions are quick.
    quick: bool,
    pub(crate) statements: Vec<Statement>,
}

#[derive(Debug)]
pub(crate) struct Statement {
    source: Box<str>,
    condition: Option<Cond>,
    pub(crate) editor: Call,
}

static IDS: AtomicU64 = AtomicU64::new(1);

impl Program {
    /// Compiles a group. Errors: all that is wrong with its statements and conditions, one fault each.
    pub fn new(group: &Group<'_>) -> std::result::Result<Program, Faults> {
        let mut faults = Vec::new();
        let mut keep = |fault: Fault| faults.push(fault);
        let conditions: Vec<_> = group
            .conditions
            .iter()
            .filter_map(|t| syntax::condition(t).map_err(&mut keep).ok().map(|b| (*t, b)))
            .collect();
        let statements: Vec<_> = group
            .statements
            .iter()
            .filter_map(|t| syntax::statement(t).map_err(&mut keep).ok().map(|s| (*t, s)))
            .collect();
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let (context, prefixed) = context(group, &conditions, &statements).map_err(|f| Faults(vec![f]))?;
        let mut prepare = Prepare::default();
        let names = Meaning {
            context,
            functions: group.functions,
            prefixed,
        };
        let mut program = Program {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            context,
            conditions: Vec::new(),
            quick: false,
            statements: Vec::new(),
        };
        for (text, condition) in &conditions {
            match Binder::new(text, names, &mut prepare).condition(condition) {
                Ok(cond) => program.conditions.push(((*text).into(), cond)),
                Err(fault) => faults.push(fault),
            }
        }
        for (text, statement) in &statements {
            match compile(&mut Binder::new(text, names, &mut prepare), statement) {
                Ok(statement) => program.statements.push(statement),
                Err(fault) => faults.push(fault),
            }
        }
        program.quick = program.conditions.iter().all(|(_, cond)| cond.is_quick());
        if faults.is_empty() {
            Ok(program)
        } else {
            Err(Faults(faults))
        }
    }

    /// What it runs on.
    pub fn context(&self) -> Context {
        self.context
    }

    /// How deep the view must go.
    pub fn depth(&self) -> Depth {
        self.context.depth()
    }

    /// Whether it may write. `route()` does not.
    pub fn writes(&self) -> bool {
        self.statements
            .iter()
            .any(|s| s.editor.def.name != editors::ROUTE)
    }

    /// Runs the statements on every item for which a condition holds, or on all if there are none. What one statement
    /// wrote the next one sees.
    ///
    /// `failed` is told of each error that is ignored, with the statement or condition. Errors: under
    /// [`ErrorMode::Propagate`], the first one; the view is then half edited.
    pub fn run(
        &self,
        view: &mut View<'_>,
        env: &Env<'_>,
        scratch: &mut Scratch,
        mode: ErrorMode,
        failed: &mut dyn FnMut(&str, &Error),
    ) -> Result<()> {
        scratch.open(self.id);
        let Scratch {
            tools, cache, room, ..
        } = scratch;
        let mut cx = Cx {
            view,
            cache,
            item: [0; 4],
            env,
            tools: last(tools),
            room: std::mem::take(room),
            shape: None,
        };
        let mut done = Ok(());
        for n in cx.view.nodes() {
            if !self.context.is_item(cx.view.kind(n)) || cx.view.is_removed(n) {
                continue;
            }
            cx.item = chain(cx.view, self.context, n);
            cx.cache.0.clear();
            done = self.item(&mut cx, mode, failed);
            if done.is_err() {
                break;
            }
        }
        *room = cx.room;
        done
    }

    fn item(&self, cx: &mut Cx<'_, '_>, mode: ErrorMode, failed: &mut dyn FnMut(&str, &Error)) -> Result<()> {
        if !self.conditions.is_empty() && !any(&self.conditions, cx.read(), mode, failed)? {
            return Ok(());
        }
        for statement in &self.statements {
            if let Err(error) = statement.run(cx) {
                judge(mode, &statement.source, error, failed)?;
            }
        }
        Ok(())
    }

    /// Whether one of the conditions holds for an item, which must be of the program's context. Of an error under
    /// [`ErrorMode::Ignore`] `failed` is told, and that condition does not hold.
    ///
    /// Errors: under [`ErrorMode::Propagate`], the first one.
    pub fn matches(
        &self,
        view: &View<'_>,
        n: NodeId,
        env: &Env<'_>,
        scratch: &mut Scratch,
        mode: ErrorMode,
        failed: &mut dyn FnMut(&str, &Error),
    ) -> Result<bool> {
        if self.quick {
            let item = chain(view, self.context, n);
            return Ok(self.conditions.iter().any(|(_, cond)| cond.quick(view, &item)));
        }
        let read = scratch.read(self.id, self.context, view, n, env);
        any(&self.conditions, read, mode, failed)
    }
}

impl Program {
    /// Runs each statement whose condition holds on one item, which must be of the program's context; whether one's did.
    /// What failed counts as not held: of it `failed` is told under [`ErrorMode::Ignore`].
    ///
    /// Errors: under [`ErrorMode::Propagate`], the first one.
    pub fn apply(
        &self,
        view: &mut View<'_>,
        n: NodeId,
        env: &Env<'_>,
        scratch: &mut Scratch,
        mode: ErrorMode,
        failed: &mut dyn FnMut(&str, &Error),
    ) -> Result<bool> {
        scratch.open(self.id);
        scratch.cache.0.clear();
        let mut cx = Cx {
            item: chain(view, self.context, n),
            view,
            cache: &mut scratch.cache,
            env,
            tools: last(&scratch.tools),
            room: std::mem::take(&mut scratch.room),
            shape: None,
        };
        let mut held = false;
        let mut done = Ok(());
        for statement in &self.statements {
            match statement.run(&mut cx) {
                Ok(ran) => held |= ran,
                Err(error) => done = judge(mode, &statement.source, error, failed),
            }
            if done.is_err() {
                break;
            }
        }
        scratch.room = cx.room;
        done.map(|()| held)
    }

    /// Runs the statements from one on, on one metric, until it must be seen anew; gives the number of the next one. Group
    /// conditions are asked before the first.
    pub(crate) fn run_from(
        &self,
        from: usize,
        (view, n): (&mut View<'_>, NodeId),
        (env, scratch): (&Env<'_>, &mut Scratch),
        shape: &mut Shape,
        mode: ErrorMode,
        failed: &mut dyn FnMut(&str, &Error),
    ) -> Result<usize> {
        scratch.open(self.id);
        let mut cx = Cx {
            item: chain(view, self.context, n),
            view,
            cache: &mut scratch.cache,
            env,
            tools: last(&scratch.tools),
            room: std::mem::take(&mut scratch.room),
            shape: Some(shape),
        };
        let end = self.statements.len();
        let holds = from > 0 || self.conditions.is_empty() || any(&self.conditions, cx.read(), mode, failed)?;
        let mut next = if holds { from } else { end };
        let mut done = Ok(());
        while let Some(statement) = self.statements.get(next) {
            // It works on the metric's message, in which edits are not yet.
            if statement.editor.def.shapes && cx.view.is_edited() {
                break;
            }
            next += 1;
            if let Err(error) = statement.run(&mut cx) {
                done = judge(mode, &statement.source, error, failed);
            }
            let replaced = cx.shape.as_ref().is_some_and(|shape| shape.replaced.is_some());
            if done.is_err() || replaced {
                break;
            }
        }
        scratch.room = cx.room;
        done.map(|()| next)
    }
}

/// The searches of the program that was opened.
fn last(tools: &[(u64, Tools)]) -> &Tools {
    let (_, tools) = tools.last().expect("a program was opened");
    tools
}

/// A compiled value.
#[derive(Debug)]
pub struct Expression {
    id: u64,
    context: Context,
    node: Node,
}

impl Expression {
    /// Compiles a value. Without a context it is inferred from the paths. Errors: all that is wrong with it.
    pub fn new(
        signal: Signal,
        functions: Functions,
        named: Option<Context>,
        text: &str,
    ) -> std::result::Result<Expression, Faults> {
        let wrong = |fault| Faults(vec![fault]);
        let value = syntax::value(text).map_err(wrong)?;
        let group = Group {
            signal,
            functions,
            context: named,
            conditions: &[],
            statements: &[text],
        };
        let mut names = Names::default();
        names.expr(&value);
        let (context, prefixed) = chosen(&group, &names).map_err(wrong)?;
        let meaning = Meaning {
            context,
            functions,
            prefixed,
        };
        let mut prepare = Prepare::default();
        let node = Binder::new(text, meaning, &mut prepare)
            .value(&value)
            .map_err(wrong)?;
        Ok(Expression {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            context,
            node,
        })
    }

    /// What its items are.
    pub fn context(&self) -> Context {
        self.context
    }

    /// Appends the value for an item, which must be of the expression's context, as an `AnyValue` message; false, and
    /// nothing appended, for nil. Errors: the value cannot be had, or is of a type that attributes do not have.
    pub fn encode(
        &self,
        view: &View<'_>,
        n: NodeId,
        env: &Env<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let read = scratch.read(self.id, self.context, view, n, env);
        let value = self.node.eval(read)?;
        if !value.is_nil() {
            value.encode(out)?;
        }
        Ok(!value.is_nil())
    }

    /// The value for an item, for tests.
    #[cfg(test)]
    pub(crate) fn with<R>(
        &self,
        view: &View<'_>,
        n: NodeId,
        env: &Env<'_>,
        show: impl FnOnce(Result<crate::value::Val<'_>>) -> R,
    ) -> R {
        let mut scratch = Scratch::default();
        show(self.node.eval(scratch.read(self.id, self.context, view, n, env)))
    }
}

impl Scratch {
    /// What an expression of some program reads of one item, with an empty cache.
    fn read<'c>(
        &'c mut self,
        program: u64,
        context: Context,
        view: &'c View<'c>,
        n: NodeId,
        env: &'c Env<'c>,
    ) -> Read<'c> {
        self.open(program);
        self.cache.0.clear();
        Read {
            view: Some(view),
            cache: &self.cache,
            item: chain(view, context, n),
            env: Some(env),
            tools: last(&self.tools),
        }
    }

    /// Brings the searches of a program to the end: rooms are numbered within one.
    fn open(&mut self, program: u64) {
        if self.tools.last().is_some_and(|(id, _)| *id == program) {
            return;
        }
        match self.tools.iter().position(|(id, _)| *id == program) {
            Some(at) => self.tools[at..].rotate_left(1),
            None => {
                if self.tools.len() == PROGRAMS_MAX {
                    self.tools.remove(0);
                }
                self.tools.push((program, Tools::default()));
            }
        }
    }

    pub(crate) fn clear_cache(&mut self) {
        self.cache.0.clear();
    }
}

impl Statement {
    /// Whether its condition held.
    fn run(&self, cx: &mut Cx<'_, '_>) -> Result<bool> {
        match &self.condition {
            None => {}
            Some(Cond::Quick(quick)) if !quick.holds(cx.view, &cx.item) => return Ok(false),
            Some(Cond::Quick(_)) => {}
            Some(condition) if !condition.eval(cx.read())? => return Ok(false),
            Some(_) => {}
        }
        (self.editor.def.edit)(&self.editor.args, cx).map(|()| true)
    }
}

fn compile(binder: &mut Binder<'_>, statement: &ast::Statement) -> std::result::Result<Statement, Fault> {
    let condition = statement
        .condition
        .as_ref()
        .map(|c| binder.condition(c))
        .transpose()?;
    let editor = binder.editor(&statement.editor)?;
    Ok(Statement {
        source: binder.text.into(),
        condition,
        editor,
    })
}

fn context(
    group: &Group<'_>,
    conditions: &[(&str, ast::Bool)],
    statements: &[(&str, ast::Statement)],
) -> std::result::Result<(Context, bool), Fault> {
    let mut names = Names::default();
    statements.iter().for_each(|(_, s)| names.statement(s));
    conditions.iter().for_each(|(_, c)| names.condition(c));
    chosen(group, &names)
}

/// The context that the user named, or the one that the names need; and whether paths must begin with a context's name:
/// who names the context need not say it again in each path.
fn chosen(group: &Group<'_>, names: &Names<'_>) -> std::result::Result<(Context, bool), Fault> {
    let text = group
        .statements
        .first()
        .or(group.conditions.first())
        .copied()
        .unwrap_or("");
    if let Some(context) = group.context {
        if context.is_of(group.signal) {
            return Ok((context, false));
        }
        let message = format!("the {} context does not belong to this signal", context.name());
        return Err(fault(text, Span::default(), message));
    }
    // A routing table that says nothing of contexts is about resources.
    if group.functions == Functions::Routing && !names.any_context() {
        return Ok((Context::Resource, false));
    }
    let context = names.context(group.signal, group.functions);
    context.map(|context| (context, true)).map_err(|why| {
        fault(text, Span::default(), why).with_help(
            "begin each path with its context (log.body, resource.attributes[\"k\"]), or split the group",
        )
    })
}

fn any(
    conditions: &[(Box<str>, Cond)],
    read: Read<'_>,
    mode: ErrorMode,
    failed: &mut dyn FnMut(&str, &Error),
) -> Result<bool> {
    for (source, condition) in conditions {
        match condition.eval(read) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => judge(mode, source, error, failed)?,
        }
    }
    Ok(false)
}

fn judge(mode: ErrorMode, source: &str, error: Error, failed: &mut dyn FnMut(&str, &Error)) -> Result<()> {
    match mode {
        ErrorMode::Propagate => return Err(error),
        ErrorMode::Ignore => failed(source, &error),
        ErrorMode::Silent => {}
    }
    Ok(())
}

/// The nodes from an item up to its resource, by level.
fn chain(view: &View<'_>, context: Context, n: NodeId) -> Item {
    let mut item = [n; 4];
    let mut next = Some(n);
    for level in (0..=context.level() as usize).rev() {
        item[level] = next.unwrap_or(n);
        next = next.and_then(|n| view.parent(n));
    }
    item
}
