//! Processor `logdedup`: of equal log records in an interval, one goes on, with how many there were.
//!
//! Keys, defaults and results are those of the collector's processor (contrib 0.155). What it holds is booked: the first
//! of each as held, the others as merged. Where it differs: what is refused behind is offered again rather than lost,
//! records that pass at once are answered for by what is behind, records of different tenants are never equal, and
//! memory is bounded by the gateway's budget: over it the door says busy until the interval ends.

mod fields;
mod gather;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration as StdDuration;

use component::prelude::*;
use component::statements::{Ignored, with_env};
use jiff::tz::TimeZone;
use ottl::{ErrorMode, Program};
use parking_lot::Mutex;
use telemetry::Histogram;
use wire::view::{Depth, Finished, Kind, Scratch, View};

use crate::groups::{Keys, Written};
use fields::Field;
use gather::{Gathered, Harvest, Rules};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "logdedup",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[(Signal::Logs, Stability::Alpha)],
    hold: Hold::HeldVolatile,
    build: |section, cx, _signal| {
        let config: Config = section.clone().parse()?;
        let settings = Settings::new(&config, &section, cx)?;
        Ok(Processor::Node(Box::new(move |next, books| {
            Arc::new(LogDedup(Arc::new(Inner::new(settings, next, books))))
        })))
    },
};

/// `logdedup`: which records are equal, and how the one that goes on tells of the others.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long records are gathered before one of each goes on. Default 10 s; more than 0.
    pub interval: Duration,
    /// Key of the attribute with the number of records. Default `log_count`; not empty.
    pub log_count_attribute: String,
    /// In which `first_observed_timestamp` and `last_observed_timestamp` are told, as in `Europe/Berlin`. Default `UTC`.
    pub timezone: String,
    /// Fields that are removed from records before they are compared: `attributes.a.b`, `body.c`, `attributes`.
    pub exclude_fields: Vec<String>,
    /// Fields that alone are compared; a record that has none of them is compared whole. Not beside `exclude_fields`.
    pub include_fields: Vec<String>,
    /// OTTL conditions on log records: those for which none holds pass at once. Default none: all are gathered.
    pub conditions: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interval: StdDuration::from_secs(10).into(),
            log_count_attribute: "log_count".into(),
            timezone: "UTC".into(),
            exclude_fields: Vec::new(),
            include_fields: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

struct Settings {
    id: ComponentId,
    interval: StdDuration,
    rules: Rules,
    conditions: Option<Program>,
    memory: Arc<Memory>,
    counts: Histogram,
    clock: fn() -> u64,
}

impl Settings {
    fn new(config: &Config, section: &Section, cx: &BuildContext) -> Result<Settings, Fault> {
        let mut wrong = Vec::new();
        if config.interval.0.is_zero() {
            wrong.push(section.diag("interval", "interval must be greater than 0"));
        }
        if config.log_count_attribute.is_empty() {
            wrong.push(section.diag("log_count_attribute", "log_count_attribute must be set"));
        }
        let zone = zone(&config.timezone).unwrap_or_else(|| {
            let text = format!("unknown time zone {}", config.timezone);
            wrong.push(section.diag("timezone", text));
            TimeZone::UTC
        });
        if !config.exclude_fields.is_empty() && !config.include_fields.is_empty() {
            let text = "cannot define both exclude_fields and include_fields";
            wrong.push(section.diag("include_fields", text));
        }
        let mut fields = |key: &str, texts: &[String]| {
            let mut fields = Vec::new();
            for (i, text) in texts.iter().enumerate() {
                match field(key, &texts[..i], text) {
                    Ok(field) => fields.push(field),
                    Err(why) => wrong.push(section.diag(&format!("{key}.{i}"), why)),
                }
            }
            fields
        };
        let excluded = fields("exclude_fields", &config.exclude_fields);
        let included = fields("include_fields", &config.include_fields);
        let written = Written {
            signal: Signal::Logs,
            functions: ottl::Functions::Conditions,
            context: "log",
            conditions: &config.conditions,
            statements: &[],
        };
        let keys = Keys {
            group: "conditions",
            conditions: "conditions",
            statements: "conditions",
            first: 0,
        };
        let conditions = written.compile(section, &keys, &mut wrong);
        if !wrong.is_empty() {
            return Err(config::Diags(wrong).into());
        }
        let labels = vec![("processor", cx.id.to_string())];
        let metrics = &cx.telemetry.metrics;
        Ok(Settings {
            id: cx.id.clone(),
            interval: config.interval.0,
            rules: Rules {
                excluded,
                included,
                count_attribute: config.log_count_attribute.as_bytes().into(),
                zone,
                // Nobody outside can know it, so nobody can make two records look equal.
                seed: RandomState::new().build_hasher().finish(),
            },
            conditions: conditions.filter(|_| !config.conditions.is_empty()),
            memory: cx.memory.clone(),
            counts: metrics.histogram("otelcol_dedup_processor_aggregated_logs", labels),
            clock: now,
        })
    }
}

/// A field of one of the two lists. Errors: what is wrong with it.
fn field(key: &str, before: &[String], text: &String) -> Result<Field, String> {
    let field = Field::parse(text)?;
    let what = if key == "exclude_fields" {
        "exclude"
    } else {
        "include"
    };
    if field.is_body() {
        return Err(format!("cannot {what} the entire body"));
    }
    if field.is_attributes() && what == "include" {
        return Err("name the attribute to include: attributes.<name>".into());
    }
    match before.contains(text) {
        true => Err(format!("duplicate field {text}")),
        false => Ok(field),
    }
}

/// The time zone of a name, as Go's `LoadLocation` knows it.
fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" => Some(TimeZone::UTC),
        "Local" => Some(TimeZone::system()),
        name => TimeZone::get(name).ok(),
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

// --- the node ---

struct LogDedup(Arc<Inner>);

struct Inner {
    settings: Settings,
    next: Arc<dyn Consumer>,
    books: Books,
    state: Mutex<State>,
    beat: Beat,
    pool: Mutex<Vec<(Scratch, ottl::Scratch)>>,
}

#[derive(Default)]
struct State {
    gathered: Gathered,
    /// For what is gathered.
    room: Option<Reservation>,
    /// What was to go on and has not been taken yet.
    waiting: Option<Due>,
}

impl Inner {
    fn new(settings: Settings, next: Arc<dyn Consumer>, books: Books) -> Inner {
        Inner {
            settings,
            next,
            books,
            state: Mutex::default(),
            beat: Beat::default(),
            pool: Mutex::default(),
        }
    }

    /// Splits a payload: what is gathered, and what passes at once (no chunks if there is nothing).
    fn sort(&self, mut payload: Payload) -> Result<(Harvest, Payload), Refusal> {
        let mut harvest = Harvest::default();
        let mut room = self.pool.lock().pop().unwrap_or_default();
        let mut passing = Vec::new();
        let context = payload.context.clone();
        let sorted: Result<(), Refusal> = with_env(&context, |env| {
            for chunk in std::mem::take(&mut payload.chunks) {
                if let Some(chunk) = self.sort_chunk(chunk, env, &mut room, &mut harvest)? {
                    passing.push(chunk);
                }
            }
            Ok(())
        });
        self.pool.lock().push(room);
        sorted?;
        payload.items = passing.iter().map(|c| c.shape.items as usize).sum();
        payload.chunks = passing;
        Ok((harvest, payload))
    }

    fn sort_chunk(
        &self,
        mut chunk: Chunk,
        env: &ottl::Env<'_>,
        (scratch, searches): &mut (Scratch, ottl::Scratch),
        harvest: &mut Harvest,
    ) -> Result<Option<Chunk>, Refusal> {
        if chunk.shape.non_canonical {
            let bytes = wire::normalize(Signal::Logs, &chunk.bytes(), false).map_err(malformed)?;
            chunk.set_bytes(bytes.into());
            chunk.shape.non_canonical = false;
        }
        let bytes = chunk.make_whole();
        let mut view = View::new(scratch, Signal::Logs, &bytes, Depth::Record).map_err(malformed)?;
        let mut ignored = Ignored::default();
        for n in view.nodes() {
            if view.kind(n) != Kind::LogRecord {
                continue;
            }
            let taken = match &self.settings.conditions {
                None => true,
                Some(conditions) => {
                    let mut note = |text: &str, error: &ottl::Error| ignored.note(text, error);
                    let holds = conditions.matches(&view, n, env, searches, ErrorMode::Ignore, &mut note);
                    holds.unwrap_or(false)
                }
            };
            if taken {
                harvest.unknown_fields |= chunk.shape.unknown_fields;
                harvest.take(&self.settings.rules, chunk.origin.tenant.as_ref(), &mut view, n);
                view.remove_node(n);
            }
        }
        ignored.tell(
            &self.settings.id,
            "a condition failed; the record passes unless another one holds",
        );
        if view.is_overflowed() {
            return Err(Refusal::Invalid("the edits of one request pass 4 GiB".into()));
        }
        if let Finished::Edited { bytes, items } = view.finish() {
            chunk.set_bytes(bytes.into());
            chunk.shape.items = items;
        }
        Ok((chunk.shape.items > 0).then_some(chunk))
    }

    /// Room for a harvest, as much as it can need at most.
    fn reserve(&self, harvest: &Harvest) -> Result<Reservation, Refusal> {
        let room = self.settings.memory.reserve(Class::Nodes, harvest.bytes);
        room.ok_or(Refusal::Busy {
            retry_after: Some(self.settings.interval.min(StdDuration::from_secs(30))),
        })
    }

    fn gather(&self, harvest: Harvest, mut room: Reservation) {
        let reserved = harvest.bytes;
        let mut state = self.state.lock();
        let (came, bytes) = state.gathered.add(harvest, (self.settings.clock)());
        room.shrink(reserved.saturating_sub(bytes));
        match &mut state.room {
            Some(all) => all.absorb(room),
            none => *none = Some(room),
        }
        for (owner, made, merged) in came {
            self.books.held(owner.as_ref(), made);
            self.books.merged(owner.as_ref(), merged);
        }
    }

    /// Hands on what waited, and then what was gathered. What is refused waits for the next time, unless it is the last.
    async fn flush(&self, mut stop: Stop, is_last: bool) {
        let waiting = self.state.lock().waiting.take();
        if let Some(waiting) = waiting
            && !self.send(waiting, &mut stop, is_last).await
        {
            return;
        }
        if let Some(gathered) = self.gathered() {
            self.send(gathered, &mut stop, is_last).await;
        }
    }

    /// Whether it is settled; else it waits.
    async fn send(&self, (payload, room): Due, stop: &mut Stop, is_last: bool) -> bool {
        match deliver(&*self.next, &payload, stop).await {
            Ok(()) => self.books.released_all(&payload),
            Err(refusal) if refusal.is_retryable() && !is_last => {
                self.state.lock().waiting = Some((payload, room));
                return false;
            }
            Err(refusal) => {
                let (processor, items, error) = (&self.settings.id, payload.items, refusal.message());
                tracing::error!(%processor, items, error, "gathered records were not taken and are lost");
                let reason = if refusal.is_retryable() {
                    "shutdown"
                } else {
                    "rejected"
                };
                self.books.failed_all(reason, &payload);
                self.books.released_all(&payload);
            }
        }
        true
    }

    /// What was gathered, as one payload; none if there is nothing.
    fn gathered(&self) -> Option<Due> {
        let (gathered, room) = {
            let mut state = self.state.lock();
            if state.gathered.is_empty() {
                return None;
            }
            (std::mem::take(&mut state.gathered), state.room.take())
        };
        gathered
            .counts()
            .for_each(|count| self.settings.counts.observe(count as f64));
        let chunks = gathered.encode(&self.settings.rules, (self.settings.clock)());
        let payload = Payload {
            signal: Signal::Logs,
            items: chunks.iter().map(|c| c.shape.items as usize).sum(),
            chunks,
            context: Arc::default(),
        };
        Some((payload, room))
    }
}

/// What is to go on, and the memory that it takes.
type Due = (Payload, Option<Reservation>);

impl Consumer for LogDedup {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let (harvest, passing) = self.0.sort(payload)?;
            // Room first: once the rest has passed, nothing may be refused any more.
            let room = self.0.reserve(&harvest)?;
            let outcome = match passing.chunks.is_empty() {
                true => Outcome::all(),
                false => self.0.next.consume(passing).await?,
            };
            if harvest.items() > 0 {
                self.0.gather(harvest, room);
            }
            Ok(outcome)
        })
    }
}

impl Node for LogDedup {
    fn start(&self, _host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        let inner = self.0.clone();
        self.0.beat.start(self.0.settings.interval, move |stop| {
            let inner = inner.clone();
            async move { inner.flush(stop, false).await }
        });
        ready(Ok(()))
    }

    fn held_max(&self) -> StdDuration {
        self.0.settings.interval
    }

    fn drain(&self, stop: Stop) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.beat.end().await;
            self.0.flush(stop, true).await;
        })
    }
}

fn malformed(error: wire::Malformed) -> Refusal {
    Refusal::Invalid(error.to_string())
}

#[cfg(test)]
mod tests;
