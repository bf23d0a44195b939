//! The table, compiled: which part of a chunk goes where.
//!
//! Routes that only read are asked over one view, each about what those before it left; a route that writes changes
//! what it takes, so it has a view of its own. Out: pieces of the chunk, each for a set of pipelines, and what is left.

use component::prelude::*;
use ottl::{Env, ErrorMode, Functions, Program};
use wire::view::{Depth, Finished, NodeId, Scratch, View};
use wire::{NOWHERE, Part, divide};

use super::config::{Config, Item};
use super::request::Condition;

/// The label of what no route has taken yet.
const LEFT: u16 = NOWHERE - 1;

/// Pipelines that get the same, by place among those behind the connector.
pub(super) type Destination = Vec<usize>;

/// Routes, as far as they can be asked at once.
pub(super) struct Table {
    blocks: Vec<Block>,
    /// Each named by its place.
    pub(super) destinations: Vec<Destination>,
    pub(super) default: Option<u16>,
    mode: ErrorMode,
    programs: usize,
}

enum Block {
    /// About the request: all of it, or nothing.
    Request {
        condition: Condition,
        to: u16,
        copies: bool,
    },
    /// About its parts.
    Parts {
        routes: Vec<Route>,
        /// The finest of what the routes are about.
        by: Part,
        depth: Depth,
        writes: bool,
    },
}

struct Route {
    program: Program,
    by: Part,
    to: u16,
    copies: bool,
    slot: usize,
}

/// What a run needs, kept between payloads.
#[derive(Default)]
pub(super) struct Room {
    view: Scratch,
    programs: Vec<ottl::Scratch>,
    units: Vec<NodeId>,
}

impl Table {
    /// Compiles it. Faults are told with their places: unknown pipelines (if `pipelines` are known), and statements that
    /// cannot be understood.
    pub(super) fn new(
        id: &ComponentId,
        config: &Config,
        section: &Section,
        signal: Signal,
        pipelines: &[String],
    ) -> Result<Table, Fault> {
        let mut faults = config::Diags(Vec::new());
        let mut table = Table {
            blocks: Vec::new(),
            destinations: Vec::new(),
            default: None,
            mode: ErrorMode::named(&config.error_mode).unwrap_or(ErrorMode::Propagate),
            programs: 0,
        };
        let mut find = |names: &[String], key: &str| {
            let mut found = Vec::new();
            for (at, name) in names.iter().enumerate() {
                match pipelines.iter().position(|known| known == name) {
                    Some(place) if !found.contains(&place) => found.push(place),
                    Some(_) => {}
                    None if pipelines.is_empty() => {}
                    None => {
                        let message = format!(
                            "missing consumer: \"{name}\" is no {} pipeline that \"{id}\" leads to; those are {}",
                            signal.as_str(),
                            pipelines.join(", ")
                        );
                        faults.0.push(section.diag(&format!("{key}.{at}"), message));
                    }
                }
            }
            found
        };
        let mut items: Vec<(usize, &Item, Destination)> = Vec::new();
        for (at, item) in config.table.iter().enumerate() {
            let to = find(&item.pipelines, &format!("table.{at}.pipelines"));
            let same = |(_, known, _): &&mut (usize, &Item, Destination)| {
                known.context == item.context
                    && known.statement == item.statement
                    && known.condition == item.condition
                    && (known.action == "copy") == (item.action == "copy")
            };
            match items.iter_mut().find(same) {
                Some(known) => {
                    tracing::warn!(
                        connector = %id,
                        statement = item.statement,
                        condition = item.condition,
                        "a route stands in the table twice, the pipelines of the last one count"
                    );
                    (known.0, known.1, known.2) = (at, item, to);
                }
                None => items.push((at, item, to)),
            }
        }
        let default = find(&config.default_pipelines, "default_pipelines");
        if !default.is_empty() {
            table.default = Some(table.destination(default));
        }
        for (at, item, to) in items {
            let to = table.destination(to);
            if let Err(told) = table.route(at, item, to, section, signal) {
                faults.0.extend(told);
            }
        }
        match faults.0.is_empty() {
            true => Ok(table),
            false => Err(faults.into()),
        }
    }

    fn destination(&mut self, mut to: Destination) -> u16 {
        to.sort_unstable();
        let known = self.destinations.iter().position(|known| *known == to);
        known.unwrap_or_else(|| {
            self.destinations.push(to);
            self.destinations.len() - 1
        }) as u16
    }

    fn route(
        &mut self,
        at: usize,
        item: &Item,
        to: u16,
        section: &Section,
        signal: Signal,
    ) -> Result<(), Vec<config::Diag>> {
        let copies = item.action == "copy";
        if item.context == "request" {
            // What it cannot be was told before.
            if let Some(condition) = Condition::parse(&item.condition) {
                self.blocks.push(Block::Request {
                    condition,
                    to,
                    copies,
                });
            }
            return Ok(());
        }
        // The whole request: its paths name themselves.
        let context = Some(item.context.as_str()).filter(|name| !matches!(*name, "" | "otelcol"));
        let context = context.and_then(ottl::Context::named);
        let about = context.map_or(signal, |context| of_signal(context, signal));
        let (key, statement) = match item.statement.is_empty() {
            false => ("statement", item.statement.clone()),
            true => ("condition", format!("route() where {}", item.condition)),
        };
        let group = ottl::Group {
            signal: about,
            functions: Functions::Routing,
            context,
            conditions: &[],
            statements: &[&statement],
        };
        let key = format!("table.{at}.{key}");
        let program = Program::new(&group).map_err(|faults| {
            let told = faults.0.iter().map(|fault| section.diag(&key, fault.to_string()));
            told.collect::<Vec<_>>()
        })?;
        let by = match program.context() {
            ottl::Context::Resource => Part::Resource,
            ottl::Context::Scope => Part::Scope,
            ottl::Context::Metric => Part::Metric,
            ottl::Context::Log | ottl::Context::Span | ottl::Context::DataPoint => Part::Item,
            ottl::Context::SpanEvent => {
                return Err(vec![
                    section.diag(&key, "invalid context: spanevent cannot be routed by itself"),
                ]);
            }
        };
        if about != signal {
            return Ok(()); // nothing of this signal is ever like that
        }
        let (depth, writes) = (program.depth(), program.writes());
        let route = Route {
            program,
            by,
            to,
            copies,
            slot: self.programs,
        };
        self.programs += 1;
        match self.blocks.last_mut() {
            Some(Block::Parts {
                routes,
                by: finest,
                depth: deepest,
                writes: false,
            }) if !writes => {
                routes.push(route);
                *finest = finer(*finest, by);
                *deepest = (*deepest).max(depth);
            }
            _ => self.blocks.push(Block::Parts {
                routes: vec![route],
                by,
                depth,
                writes,
            }),
        }
        Ok(())
    }

    /// Cuts one chunk: `give` gets pieces with the place of their destination. Answers what no route took.
    ///
    /// Errors: of a condition, if they are not ignored; the bytes cannot be read.
    pub(super) fn run(
        &self,
        signal: Signal,
        mut chunk: Chunk,
        env: &Env<'_>,
        room: &mut Room,
        failed: &mut dyn FnMut(&str, &ottl::Error),
        give: &mut dyn FnMut(u16, Chunk),
    ) -> Result<Option<Chunk>, String> {
        room.programs.resize_with(self.programs, Default::default);
        for block in &self.blocks {
            let (routes, by, depth) = match block {
                Block::Request {
                    condition,
                    to,
                    copies,
                } => {
                    if condition.matches(env.context) {
                        if !copies {
                            give(*to, chunk);
                            return Ok(None);
                        }
                        give(*to, chunk.clone());
                    }
                    continue;
                }
                Block::Parts {
                    routes, by, depth, ..
                } => (routes, *by, *depth),
            };
            chunk.make_canonical(signal).map_err(|e| e.to_string())?;
            let bytes = chunk.make_whole();
            let Room {
                view,
                programs,
                units,
            } = &mut *room;
            let depth = depth.max(depth_of(by));
            let mut view = View::new(view, signal, &bytes, depth).map_err(|e| e.to_string())?;
            units.clear();
            units.extend(view.nodes().filter(|n| by.is(view.kind(*n))));
            let mut taken = Taken {
                labels: vec![LEFT; units.len()],
                left: units.len(),
                copies: Vec::new(),
            };
            for route in routes {
                if taken.left == 0 {
                    break;
                }
                let scratch = &mut programs[route.slot];
                let mut holds = |view: &mut View<'_>, n| {
                    let held = route.program.apply(view, n, env, scratch, self.mode, failed);
                    held.map_err(|e| e.to_string())
                };
                route.take(&mut view, units, &mut taken, &mut holds)?;
            }
            if view.is_overflowed() {
                return Err("the edits of one request pass 4 GiB".into());
            }
            if let Finished::Edited { bytes, items } = view.finish() {
                chunk.set_bytes(bytes.into());
                chunk.shape.items = items;
            }
            for (to, labels) in taken.copies {
                for (_, piece) in divide(signal, &chunk, by, &labels) {
                    give(to, piece);
                }
            }
            if taken.left == taken.labels.len() {
                continue;
            }
            let mut rest = None;
            for (label, piece) in divide(signal, &chunk, by, &taken.labels) {
                match label {
                    LEFT => rest = Some(piece),
                    to => give(to, piece),
                }
            }
            match rest {
                Some(rest) => chunk = rest,
                None => return Ok(None),
            }
        }
        Ok(Some(chunk))
    }
}

/// Which parts of a chunk were taken by routes.
struct Taken {
    /// One for each part.
    labels: Vec<u16>,
    left: usize,
    /// What goes elsewhere too, with its destination.
    copies: Vec<(u16, Vec<u16>)>,
}

impl Route {
    /// Asks about each of its nodes of which something is left, and takes what is left of those that it holds for.
    fn take(
        &self,
        view: &mut View<'_>,
        units: &[NodeId],
        taken: &mut Taken,
        holds: &mut dyn FnMut(&mut View<'_>, NodeId) -> Result<bool, String>,
    ) -> Result<(), String> {
        let mut copied = self.copies.then(|| vec![NOWHERE; units.len()]);
        let mut first = 0;
        for n in view.nodes() {
            if !self.by.is(view.kind(n)) {
                continue;
            }
            let end = view.subtree_end(n);
            first += units[first..].iter().take_while(|unit| **unit < n).count();
            let last = first + units[first..].iter().take_while(|unit| **unit < end).count();
            if !taken.labels[first..last].contains(&LEFT) || !holds(view, n)? {
                continue;
            }
            for at in first..last {
                if taken.labels[at] != LEFT {
                    continue;
                }
                match &mut copied {
                    Some(copied) => copied[at] = 0,
                    None => {
                        taken.labels[at] = self.to;
                        taken.left -= 1;
                    }
                }
            }
        }
        if let Some(copied) = copied.filter(|copied| copied.contains(&0)) {
            taken.copies.push((self.to, copied));
        }
        Ok(())
    }
}

/// The signal that a context is about.
fn of_signal(context: ottl::Context, signal: Signal) -> Signal {
    let own = [signal].into_iter().chain(Signal::ALL);
    own.into_iter().find(|s| context.is_of(*s)).unwrap_or(signal)
}

fn depth_of(by: Part) -> Depth {
    match by {
        Part::Resource => Depth::Resource,
        Part::Scope => Depth::Scope,
        Part::Metric | Part::Item => Depth::Record,
    }
}

fn finer(a: Part, b: Part) -> Part {
    let fine = |part: Part| match part {
        Part::Resource => 0,
        Part::Scope => 1,
        Part::Metric => 2,
        Part::Item => 3,
    };
    if fine(a) >= fine(b) { a } else { b }
}
