//! Connector `routing`: sends data to pipelines by conditions on resources, records or the request.
//!
//! Keys, defaults and results are those of the collector's routing connector 0.155. Routes are asked in order, each
//! about what those before it left; what is taken moves as whole slices of the bytes that came. Where it differs: an
//! item for which a condition fails is not matched by that route and goes on to the next one, and is not sent to the
//! default pipelines beside its own.

mod config;
mod request;
mod table;
#[cfg(test)]
mod tests;

use component::prelude::*;
use component::statements::{Ignored, with_env};
use parking_lot::Mutex;

use table::{Room, Table};

pub use config::{Config, Item};

/// `routing`.
pub static FACTORY: ConnectorFactory = ConnectorFactory {
    kind: "routing",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Signal::Traces, Stability::Alpha),
        (Signal::Metrics, Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Signal::Logs, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, joint| {
        let mut config: Config = section.clone().parse_valid()?;
        if !section.contains("error_mode") && cx.gates.is_on(Gates::ROUTING_IGNORES) {
            config.error_mode = "ignore".into();
        }
        let pipelines: Vec<String> = joint.ways.pipelines().iter().map(ToString::to_string).collect();
        Ok(Connector::Plain(Arc::new(Routing {
            id: cx.id.clone(),
            table: Table::new(&cx.id, &config, &section, joint.from, &pipelines)?,
            pipelines: pipelines.len(),
            ways: joint.ways,
            books: joint.books,
            pool: Mutex::default(),
        })))
    },
};

/// Under which the books name what no route took, where there is no default.
const RULE: &str = "routing";

struct Routing {
    id: ComponentId,
    table: Table,
    pipelines: usize,
    ways: Arc<dyn Ways>,
    books: Books,
    /// One for each call that runs at the same time.
    pool: Mutex<Vec<Room>>,
}

/// A payload on its way apart.
struct Apart {
    signal: Signal,
    context: Arc<Context>,
    /// By pipeline.
    parts: Vec<Option<Payload>>,
    /// For each tenant: items that came, that go on (a copy counts as one more), and that nothing took.
    counts: Vec<(Option<Arc<str>>, u64, u64, u64)>,
}

impl Apart {
    fn count(&mut self, chunk: &Chunk) -> &mut (Option<Arc<str>>, u64, u64, u64) {
        let tenant = &chunk.origin.tenant;
        let at = self.counts.iter().position(|(known, ..)| known == tenant);
        let at = at.unwrap_or_else(|| {
            self.counts.push((tenant.clone(), 0, 0, 0));
            self.counts.len() - 1
        });
        &mut self.counts[at]
    }

    fn give(&mut self, pipelines: &[usize], chunk: Chunk) {
        self.count(&chunk).2 += u64::from(chunk.shape.items) * pipelines.len() as u64;
        for pipeline in pipelines {
            match &mut self.parts[*pipeline] {
                Some(payload) => payload.push(chunk.clone()),
                none => *none = Some(Payload::new(self.signal, chunk.clone(), self.context.clone())),
            }
        }
    }

    /// Books what is not `out` by itself.
    fn book(&self, books: &Books) {
        for (tenant, came, goes, dropped) in &self.counts {
            books.dropped(RULE, tenant.as_ref(), *dropped);
            books.created(tenant.as_ref(), (goes + dropped).saturating_sub(*came));
        }
    }
}

impl Routing {
    fn sort(&self, payload: Payload) -> Result<Apart, Refusal> {
        let mut room = self.pool.lock().pop().unwrap_or_default();
        let mut ignored = Ignored::default();
        let mut apart = Apart {
            signal: payload.signal,
            context: payload.context.clone(),
            parts: vec![None; self.pipelines],
            counts: Vec::new(),
        };
        let sorted = with_env(&payload.context, |env| {
            for chunk in payload.chunks {
                apart.count(&chunk).1 += u64::from(chunk.shape.items);
                let table = &self.table;
                let rest = table.run(
                    payload.signal,
                    chunk,
                    env,
                    &mut room,
                    &mut |text, error| ignored.note(text, error),
                    &mut |to, piece| apart.give(&table.destinations[usize::from(to)], piece),
                )?;
                match (rest, table.default) {
                    (Some(rest), Some(to)) => apart.give(&table.destinations[usize::from(to)], rest),
                    (Some(rest), None) => apart.count(&rest).3 += u64::from(rest.shape.items),
                    (None, _) => {}
                }
            }
            Ok::<(), String>(())
        });
        self.pool.lock().push(room);
        ignored.tell(&self.id, "failed to evaluate a route's condition");
        // The same request would fail again.
        sorted.map_err(|error| Refusal::Invalid(format!("{}: {error}", self.id)))?;
        Ok(apart)
    }
}

impl Consumer for Routing {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let mut apart = beside_others(payload.len(), || self.sort(payload))?;
            let parts = std::mem::take(&mut apart.parts).into_iter().enumerate();
            let parts = parts.filter_map(|(pipeline, payload)| Some((pipeline, payload?)));
            let outcome = self.ways.send(parts.collect()).await?;
            apart.book(&self.books);
            Ok(outcome)
        })
    }
}
