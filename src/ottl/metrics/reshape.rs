//! Programs that make metrics or change their kind: run metric by metric on requests of one metric each.
//!
//! A view cannot grow nodes, and what a statement made the next one must see. So each metric is put into a request with
//! its resource and scope alone, and seen anew after each statement that changed its shape; what was written to resource
//! and scope goes on to the next metric. Metrics that were made come behind those of their scope and run through the
//! program too, as in the collector; where that would not end, it ends with an error.

use wire::field::{Fields, write_header};
use wire::view::{Depth, Finished, Kind, View};
use wire::{Signal, view};

use crate::error::{Error, Result};
use crate::eval::Env;
use crate::program::{ErrorMode, Program, Scratch};

/// Metrics out of metrics that were made: how often in a row.
const GENERATIONS_MAX: u8 = 8;
/// Metrics, and their bytes, that may be made of one request.
const MADE_MAX: usize = 10_000;
const MADE_BYTES_MAX: usize = 64 << 20;

/// What statements do to the metric that they run on, beside what they write to the view.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// The new message of the metric.
    pub(crate) replaced: Option<Vec<u8>>,
    made: Vec<Vec<u8>>,
    generation: u8,
    count: usize,
    bytes: usize,
}

impl Shape {
    /// Puts metrics aside. Errors: too many; then none of them is.
    pub(super) fn make(&mut self, made: Vec<Vec<u8>>) -> Result<()> {
        let bytes: usize = made.iter().map(Vec::len).sum();
        if made.is_empty() {
            return Ok(());
        }
        if self.generation == GENERATIONS_MAX {
            return Err(Error::new(
                "metrics are made of metrics that were made, without end: a where clause is missing",
            ));
        }
        if self.count + made.len() > MADE_MAX || self.bytes + bytes > MADE_BYTES_MAX {
            return Err(Error::new("too many metrics are made of one request"));
        }
        self.count += made.len();
        self.bytes += bytes;
        self.made.extend(made);
        Ok(())
    }
}

/// What stands before and behind the messages that a group holds.
#[derive(Debug, Default, PartialEq)]
struct Header {
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Number of the field that holds the messages below, in resource and in scope groups.
const BELOW: u32 = 2;

impl Header {
    /// Takes a group's message apart; `below` is told of each message that it holds.
    fn read<'m>(raw: &'m [u8], below: &mut dyn FnMut(&'m [u8])) -> Header {
        let mut header = Header::default();
        for field in Fields::new(raw, 0).map_while(std::result::Result::ok) {
            match field.number {
                BELOW => below(&raw[field.value..field.end]),
                n if n < BELOW => header.before.extend_from_slice(&raw[field.start..field.end]),
                _ => header.after.extend_from_slice(&raw[field.start..field.end]),
            }
        }
        header
    }

    /// The group's message with these below.
    fn write<'m>(&self, below: impl Iterator<Item = &'m [u8]>) -> Vec<u8> {
        let mut out = self.before.clone();
        for message in below {
            write_header(BELOW, message.len(), &mut out);
            out.extend_from_slice(message);
        }
        out.extend_from_slice(&self.after);
        out
    }
}

/// One metric with the headers of its groups.
#[derive(Debug, Default)]
struct Alone {
    resource: Header,
    scope: Header,
}

impl Alone {
    fn request(&self, metric: &[u8]) -> Vec<u8> {
        let scope = self.scope.write(std::iter::once(metric));
        let resource = self.resource.write(std::iter::once(&*scope));
        let mut request = Vec::with_capacity(resource.len() + 6);
        write_header(1, resource.len(), &mut request);
        request.extend_from_slice(&resource);
        request
    }

    /// Takes the headers out of a request of one metric, and gives the metric.
    fn take(&mut self, request: &[u8]) -> Vec<u8> {
        let mut scope = &[][..];
        let mut metric = &[][..];
        self.resource = Header::read(first(request), &mut |raw| scope = raw);
        self.scope = Header::read(scope, &mut |raw| metric = raw);
        metric.to_vec()
    }
}

fn first(request: &[u8]) -> &[u8] {
    let field = Fields::new(request, 0).map_while(std::result::Result::ok).next();
    field.map_or(&[], |f| &request[f.value..f.end])
}

impl Program {
    /// Whether it has statements that make metrics or change their kind; then it must be run by [`Program::reshape`].
    pub fn reshapes(&self) -> bool {
        self.statements.iter().any(|s| s.editor.def.shapes)
    }

    /// Runs the program, which is one of metrics, on an encoded request; gives the new encoding, or none if nothing
    /// changed. Otherwise as [`Program::run`]. Metrics that were made follow those of their scope.
    ///
    /// Errors: under [`ErrorMode::Propagate`], the first one.
    /// Cost: each metric is copied and indexed by itself, and again after each statement that changed its shape.
    pub fn reshape(
        &self,
        bytes: &[u8],
        env: &Env<'_>,
        scratch: &mut Scratch,
        mode: ErrorMode,
        failed: &mut dyn FnMut(&str, &Error),
    ) -> Result<Option<Vec<u8>>> {
        let mut views = std::mem::take(&mut scratch.views);
        let mut run = Run {
            program: self,
            views: &mut views,
            shape: Shape::default(),
            changed: false,
        };
        let result = run.request(bytes, env, scratch, mode, failed);
        let changed = run.changed;
        scratch.views = views;
        result.map(|out| changed.then_some(out))
    }
}

struct Run<'r> {
    program: &'r Program,
    views: &'r mut view::Scratch,
    shape: Shape,
    changed: bool,
}

impl Run<'_> {
    fn request(
        &mut self,
        bytes: &[u8],
        env: &Env<'_>,
        scratch: &mut Scratch,
        mode: ErrorMode,
        failed: &mut dyn FnMut(&str, &Error),
    ) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len());
        for field in Fields::new(bytes, 0).map_while(std::result::Result::ok) {
            if field.number != 1 {
                out.extend_from_slice(&bytes[field.start..field.end]);
                continue;
            }
            let mut alone = Alone::default();
            let mut scopes = Vec::new();
            alone.resource = Header::read(&bytes[field.value..field.end], &mut |scope| scopes.push(scope));
            let mut written: Vec<Vec<u8>> = Vec::with_capacity(scopes.len());
            for scope in scopes {
                let mut waiting = std::collections::VecDeque::new();
                alone.scope = Header::read(scope, &mut |metric| waiting.push_back((metric.to_vec(), 0)));
                let mut metrics: Vec<Vec<u8>> = Vec::with_capacity(waiting.len());
                while let Some((metric, generation)) = waiting.pop_front() {
                    self.shape.generation = generation;
                    metrics.push(self.metric(&mut alone, metric, (env, scratch), mode, failed)?);
                    let made = std::mem::take(&mut self.shape.made);
                    self.changed |= !made.is_empty();
                    waiting.extend(made.into_iter().map(|metric| (metric, generation + 1)));
                }
                written.push(alone.scope.write(metrics.iter().map(|m| &**m)));
            }
            let group = alone.resource.write(written.iter().map(|s| &**s));
            write_header(1, group.len(), &mut out);
            out.extend_from_slice(&group);
        }
        Ok(out)
    }

    /// Runs the program on one metric; gives what became of it.
    fn metric(
        &mut self,
        alone: &mut Alone,
        mut metric: Vec<u8>,
        (env, scratch): (&Env<'_>, &mut Scratch),
        mode: ErrorMode,
        failed: &mut dyn FnMut(&str, &Error),
    ) -> Result<Vec<u8>> {
        let mut next = 0;
        scratch.clear_cache();
        loop {
            let request = alone.request(&metric);
            let view = View::new(self.views, Signal::Metrics, &request, Depth::Record);
            let mut view = view.map_err(|_| Error::new("the metric cannot be read"))?;
            let found = view.nodes().find(|n| view.kind(*n) == Kind::Metric);
            let n = found.ok_or(Error::new("the metric cannot be read"))?;
            next = self.program.run_from(
                next,
                (&mut view, n),
                (env, scratch),
                &mut self.shape,
                mode,
                failed,
            )?;
            if let Finished::Edited { bytes, .. } = view.finish() {
                self.changed = true;
                metric = alone.take(&bytes);
            }
            if let Some(replaced) = self.shape.replaced.take() {
                self.changed |= replaced != metric;
                metric = replaced;
            }
            if next >= self.program.statements.len() {
                return Ok(metric);
            }
        }
    }
}
