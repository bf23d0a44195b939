//! Connector `count`: how many spans, span events, metrics, data points or log records passed, as metrics.
//!
//! Keys, defaults and results are those of the collector's connector (contrib 0.155): for each resource of a request one
//! delta sum per metric, with a point for each set of attribute values. Where it differs: an item for which a condition
//! fails is not counted by that metric, rather than the whole request refused; counts of different tenants never meet;
//! nothing goes on where nothing was counted; profiles are not counted.

mod config;
mod table;

use component::prelude::*;
use component::statements::{Ignored, with_env};
use parking_lot::Mutex;
use wire::view::{Depth, Kind, Scratch, View};
use wire::write;

use table::{Counts, Item, Look, Table};

pub use config::{Attribute, Config, Metric, Scalar};

/// `count`.
pub static FACTORY: ConnectorFactory = ConnectorFactory {
    kind: "count",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[
        (Signal::Traces, Signal::Metrics, Stability::Alpha),
        (Signal::Metrics, Signal::Metrics, Stability::Alpha),
        (Signal::Logs, Signal::Metrics, Stability::Alpha),
    ],
    hold: Hold::PassThrough,
    build: |section, cx, joint| {
        let config: Config = section.clone().parse()?;
        Ok(Connector::Plain(Arc::new(Count::new(
            &config, &section, cx, joint,
        )?)))
    },
};

/// Scope of the metrics that come out.
const SCOPE: &[u8] = b"github.com/open-telemetry/opentelemetry-collector-contrib/connector/countconnector";

struct Count {
    id: ComponentId,
    signal: Signal,
    /// Of spans, metrics or log records.
    outer: Table,
    /// Of span events or data points; none beside log records.
    inner: Option<Table>,
    next: Arc<dyn Consumer>,
    books: Books,
    made: Books,
    clock: fn() -> u64,
    pool: Mutex<Vec<(Scratch, ottl::Scratch)>>,
}

/// Metrics of one owner.
struct Made {
    owner: Option<Arc<str>>,
    bytes: Vec<u8>,
    points: u64,
    /// Items that were looked at.
    items: u64,
    /// Whether there may be unknown fields in the attributes that were taken over.
    unknown_fields: bool,
}

impl Count {
    fn new(config: &Config, section: &Section, cx: &BuildContext, joint: Joint) -> Result<Count, Fault> {
        use ottl::Context;
        let mut wrong = Vec::new();
        let mut table = |key: &str, signal: Signal, context: Context, metrics| {
            Table::new(key, (signal, context), metrics, section, &mut wrong)
        };
        // All of it is checked, whatever signal this one is for.
        let spans = table("spans", Signal::Traces, Context::Span, &config.spans);
        let events = table(
            "spanevents",
            Signal::Traces,
            Context::SpanEvent,
            &config.spanevents,
        );
        let metrics = table("metrics", Signal::Metrics, Context::Metric, &config.metrics);
        let points = table(
            "datapoints",
            Signal::Metrics,
            Context::DataPoint,
            &config.datapoints,
        );
        let logs = table("logs", Signal::Logs, Context::Log, &config.logs);
        if !wrong.is_empty() {
            return Err(::config::Diags(wrong).into());
        }
        let (outer, inner) = match joint.from {
            Signal::Traces => (spans, Some(events)),
            Signal::Metrics => (metrics, Some(points)),
            Signal::Logs | Signal::Profiles => (logs, None),
        };
        Ok(Count {
            id: cx.id.clone(),
            signal: joint.from,
            outer,
            inner,
            next: joint.next,
            books: joint.books,
            made: joint.made,
            clock: now,
            pool: Mutex::default(),
        })
    }

    /// The metrics of each owner; those without points too.
    fn count(&self, payload: &Payload) -> Result<Vec<Made>, Refusal> {
        let mut room = self.pool.lock().pop().unwrap_or_default();
        let mut ignored = Ignored::default();
        let mut all: Vec<Made> = Vec::new();
        let counted = with_env(&payload.context, |env| {
            payload.chunks.iter().try_for_each(|chunk| {
                let owner = &chunk.origin.tenant;
                let at = all
                    .iter()
                    .position(|made| made.owner == *owner)
                    .unwrap_or_else(|| {
                        all.push(Made {
                            owner: owner.clone(),
                            bytes: Vec::new(),
                            points: 0,
                            items: 0,
                            unknown_fields: false,
                        });
                        all.len() - 1
                    });
                let mut look = Look {
                    env,
                    searches: &mut room.1,
                    ignored: &mut ignored,
                    content: Vec::new(),
                };
                self.chunk(chunk, &mut room.0, &mut look, &mut all[at])
            })
        });
        self.pool.lock().push(room);
        ignored.tell(
            &self.id,
            "a condition failed; the item is not counted unless another one holds",
        );
        counted.map(|()| all)
    }

    fn chunk(
        &self,
        chunk: &Chunk,
        scratch: &mut Scratch,
        look: &mut Look<'_, '_>,
        made: &mut Made,
    ) -> Result<(), Refusal> {
        made.items += u64::from(chunk.shape.items);
        made.unknown_fields |= chunk.shape.unknown_fields;
        let mut bytes = chunk.bytes();
        if chunk.shape.non_canonical {
            bytes = wire::normalize(self.signal, &bytes, false)
                .map_err(malformed)?
                .into();
        }
        let view = View::new(scratch, self.signal, &bytes, Depth::All).map_err(malformed)?;
        let mut resources = view.nodes();
        while let Some(resource) = resources.next() {
            let end = view.subtree_end(resource);
            let (outer, inner) = self.resource(&view, resource, look);
            if !outer.is_empty() || !inner.is_empty() {
                self.write(&view, resource, (&outer, &inner), made);
            }
            resources = end..view.nodes().end;
        }
        Ok(())
    }

    fn resource(&self, view: &View<'_>, resource: u32, look: &mut Look<'_, '_>) -> (Counts, Counts) {
        let (mut outer, mut inner) = (Counts::default(), Counts::default());
        let mut item = Item {
            node: resource,
            scope: resource,
            resource,
        };
        for n in resource + 1..view.subtree_end(resource) {
            item.node = n;
            // Times by their field numbers in each kind of message.
            match view.kind(n) {
                Kind::Scope => item.scope = n,
                Kind::Span => {
                    outer.at(view.number(n, 7));
                    outer.at(view.number(n, 8));
                    self.outer.count(&mut outer, view, item, look);
                }
                Kind::LogRecord => {
                    outer.at(view.number(n, 1));
                    self.outer.count(&mut outer, view, item, look);
                }
                Kind::Metric => self.outer.count(&mut outer, view, item, look),
                kind => {
                    let time = match kind {
                        Kind::Event => 1,
                        kind if kind.is_item() => 3,
                        _ => continue,
                    };
                    if let Some(table) = &self.inner {
                        inner.at(view.number(n, time));
                        table.count(&mut inner, view, item, look);
                    }
                }
            }
        }
        (outer, inner)
    }

    fn write(&self, view: &View<'_>, resource: u32, (outer, inner): (&Counts, &Counts), made: &mut Made) {
        let now = (self.clock)();
        let mut points = 0;
        write::message(1, &mut made.bytes, |out| {
            write::message(1, out, |out| {
                for i in 0..view.attrs(resource) {
                    write::message(1, out, |out| {
                        write::bytes(1, view.key(resource, i), out);
                        write::bytes(2, view.value(resource, i).raw(), out);
                    });
                }
            });
            write::message(2, out, |out| {
                write::message(1, out, |out| write::bytes(1, SCOPE, out));
                points += self.outer.write(outer, now, out);
                if let Some(table) = &self.inner {
                    points += table.write(inner, now, out);
                }
            });
        });
        made.points += points;
    }
}

impl Consumer for Count {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let made = beside_others(payload.len(), || self.count(&payload))?;
            let chunks: Vec<Chunk> = made
                .iter()
                .filter(|made| made.points > 0)
                .map(|made| {
                    let shape = wire::Shape {
                        items: u32::try_from(made.points).unwrap_or(u32::MAX),
                        unknown_fields: made.unknown_fields,
                        ..wire::Shape::default()
                    };
                    let mut chunk = Chunk::new(made.bytes.clone().into(), shape);
                    chunk.origin.tenant.clone_from(&made.owner);
                    chunk
                })
                .collect();
            if !chunks.is_empty() {
                let metrics = Payload {
                    signal: Signal::Metrics,
                    items: chunks.iter().map(|c| c.shape.items as usize).sum(),
                    chunks,
                    context: payload.context.clone(),
                };
                // What of it may be rejected are metrics, which mean nothing to the caller.
                self.next.consume(metrics).await?;
            }
            for made in made {
                self.books.merged(made.owner.as_ref(), made.items);
                self.made.created(made.owner.as_ref(), made.points);
            }
            Ok(Outcome::all())
        })
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn malformed(error: wire::Malformed) -> Refusal {
    Refusal::Invalid(error.to_string())
}

#[cfg(test)]
mod tests;
