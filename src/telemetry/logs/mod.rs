//! Weir's own log lines, in the collector's two shapes: `console` (tab-separated) and `json`.
//!
//! A line is made where the event happens, handed to a bounded queue and written by a thread of its own; when the
//! sink is slow, lines are dropped and counted, the data path never waits. Equal lines are limited: of one level and
//! message the first `initial` in a `tick` are written, then every `thereafter`-th (as zap's sampler, with a fixed
//! number of counters). Times are UTC. Fields of the spans around an event come before its own. What is written can also
//! be handed to outboxes, from which the roof ships it by OTLP; they are bounded and never waited for either.

use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use codec::time::Civil;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::metrics::{Counter, Metrics};
use crate::names;
use crate::resource::Value;

/// Events of this target go to no outbox: what is said about shipping must not be shipped.
pub const UNSHIPPED: &str = "telemetry::unshipped";

/// Events of this target are written each: who was asked to change something must never be one of equal lines.
pub const AUDIT: &str = "weir::audit";

/// One event, for an outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it happened.
    pub time: SystemTime,
    /// `debug`, `info`, `warn`, `error`.
    pub level: &'static str,
    /// The level as OTLP counts it.
    pub severity: u8,
    /// What happened.
    pub message: String,
    /// As on the line, without the resource.
    pub fields: Vec<(String, Value)>,
}

/// `service.telemetry.logs`, parsed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Least important level that is written.
    pub level: Level,
    /// Shape of a line.
    pub encoding: Encoding,
    /// The limiter; `None` = every line is written.
    pub sampling: Option<Sampling>,
    /// Whether lines name the place in the source.
    pub caller: bool,
    /// The object `resource` on every line; empty = none.
    pub resource: Vec<(String, String)>,
    /// Added to every line.
    pub initial_fields: Vec<(String, Value)>,
    /// Where else events go; a full one loses the event, which is counted.
    pub outboxes: Vec<mpsc::Sender<Record>>,
}

/// Shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Time, level, caller, message and fields as JSON, with tabs between.
    Console,
    /// One JSON object a line.
    Json,
}

/// How equal lines are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Counting starts again after this long.
    pub tick: Duration,
    /// So many are written first.
    pub initial: u64,
    /// Then every so-manieth; 0 = none.
    pub thereafter: u64,
}

/// Writes what is still queued when dropped, for at most a second.
#[derive(Debug)]
pub struct Guard {
    lines: Option<SyncSender<Line>>,
    done: Receiver<()>,
}

/// A dispatcher to be installed as default, and the guard of its writer. Call once a process, but for tests.
///
/// Errors: the writer's thread could not be started.
pub fn start(
    settings: Settings,
    sink: Box<dyn Write + Send>,
    metrics: &Metrics,
) -> std::io::Result<(Dispatch, Guard)> {
    let (tx, rx) = sync_channel(BACKLOG_LINES);
    let (done_tx, done) = sync_channel(1);
    thread::Builder::new().name("weir-log".into()).spawn(move || {
        write_lines(rx, sink);
        let _ = done_tx.send(());
    })?;
    let dropped = |reason: &str| metrics.counter(names::LOG_LINES_DROPPED, vec![("reason", reason.into())]);
    let level = settings.level;
    let layer = Lines {
        sampler: settings.sampling.map(Sampler::new),
        sampled: dropped("sampled"),
        backlog: dropped("backlog"),
        resource: object(&settings.resource),
        initial: settings
            .initial_fields
            .iter()
            .fold(String::new(), |mut out, (key, value)| {
                value_field(key, value, &mut out);
                out
            }),
        unshipped: dropped("outbox"),
        lines: tx.clone(),
        settings,
    };
    let subscriber = Registry::default().with(layer.with_filter(own_targets(level)));
    Ok((
        Dispatch::new(subscriber),
        Guard {
            lines: Some(tx),
            done,
        },
    ))
}

/// Lines queued for the writer at most; a line is some hundred bytes.
const BACKLOG_LINES: usize = 1024;

/// Our own crates speak at the level asked for; libraries only from `warn` up, or `debug` would drown us in frames.
fn own_targets(level: Level) -> Targets {
    const OURS: [&str; 16] = [
        "weir",
        "wire",
        "config",
        "ottl",
        "codec",
        "evidence",
        "net",
        "storage",
        "telemetry",
        "objects",
        "component",
        "engine",
        "receivers",
        "processors",
        "connectors",
        "exporters",
    ];
    let libraries = LevelFilter::from_level(level).min(LevelFilter::WARN);
    Targets::new().with_default(libraries).with_targets(
        OURS.into_iter()
            .chain(["extensions"])
            .map(|target| (target, level)),
    )
}

enum Line {
    Text(String),
    Flush,
}

fn write_lines(lines: Receiver<Line>, mut sink: Box<dyn Write + Send>) {
    // A sink that fails has nowhere to say so; lines to come may find it well again.
    for line in lines {
        match line {
            Line::Text(text) => {
                let _ = sink.write_all(text.as_bytes());
            }
            Line::Flush => break,
        }
    }
    let _ = sink.flush();
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The dispatcher may live on as the process's default, so the channel does not close by itself.
        if let Some(lines) = self.lines.take()
            && lines.try_send(Line::Flush).is_ok()
        {
            let _ = self.done.recv_timeout(Duration::from_secs(1));
        }
    }
}

struct Lines {
    settings: Settings,
    sampler: Option<Sampler>,
    sampled: Counter,
    backlog: Counter,
    /// `,"resource":{...}` or nothing.
    resource: String,
    initial: String,
    /// Counts what found no room in an outbox.
    unshipped: Counter,
    lines: SyncSender<Line>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attrs: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let mut fields = self.fields();
        attrs.record(&mut fields);
        if let Some(span) = cx.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut own = self.fields();
        event.record(&mut own);
        let now = SystemTime::now();
        if let Some(sampler) = &self.sampler
            && event.metadata().target() != AUDIT
            && !sampler.admits(event.metadata().level(), &own.message, now)
        {
            return self.sampled.add(1);
        }
        let mut fields = self.resource.clone();
        fields.push_str(&self.initial);
        for span in cx
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.push_str(&of_span.json);
            }
        }
        fields.push_str(&own.json);
        self.ship(event, now, &own, &cx);
        let line = self.format(event.metadata(), now, &own.message, &fields);
        if self.lines.try_send(Line::Text(line)).is_err() {
            self.backlog.add(1);
        }
    }
}

impl Lines {
    /// Values are kept beside their JSON only for an outbox.
    fn fields(&self) -> Fields {
        Fields {
            values: (!self.settings.outboxes.is_empty()).then(Vec::new),
            ..Fields::default()
        }
    }

    fn ship<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        event: &Event<'_>,
        time: SystemTime,
        own: &Fields,
        cx: &Context<'_, S>,
    ) {
        if self.settings.outboxes.is_empty() || event.metadata().target() == UNSHIPPED {
            return;
        }
        let mut fields = self.settings.initial_fields.clone();
        for span in cx
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.extend(of_span.values.iter().flatten().cloned());
            }
        }
        fields.extend(own.values.iter().flatten().cloned());
        let record = Record {
            time,
            level: level_name(event.metadata().level()),
            severity: severity(event.metadata().level()),
            message: own.message.clone(),
            fields,
        };
        for outbox in &self.settings.outboxes {
            if outbox.try_send(record.clone()).is_err() {
                self.unshipped.add(1);
            }
        }
    }

    /// `fields`: each with a comma before it.
    fn format(&self, metadata: &Metadata<'_>, now: SystemTime, message: &str, fields: &str) -> String {
        let time = Civil::from_system(now).millis();
        let level = level_name(metadata.level());
        let caller = self.settings.caller.then(|| caller(metadata)).flatten();
        let mut out = String::with_capacity(message.len() + fields.len() + 96);
        match self.settings.encoding {
            Encoding::Console => {
                let _ = write!(out, "{time}\t{level}");
                if let Some(caller) = caller {
                    let _ = write!(out, "\t{caller}");
                }
                out.push('\t');
                plain(message, &mut out);
                if let Some(fields) = fields.strip_prefix(',') {
                    let _ = write!(out, "\t{{{fields}}}");
                }
            }
            Encoding::Json => {
                let _ = write!(out, "{{\"level\":\"{level}\",\"ts\":\"{time}\"");
                if let Some(caller) = caller {
                    string_field("caller", &caller, &mut out);
                }
                string_field("msg", message, &mut out);
                let _ = write!(out, "{fields}}}");
            }
        }
        out.push('\n');
        out
    }
}

fn level_name(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// As OTLP counts it.
fn severity(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 17,
        Level::WARN => 13,
        Level::INFO => 9,
        Level::DEBUG | Level::TRACE => 5,
    }
}

/// File and line with one directory, as the collector shows it.
fn caller(metadata: &Metadata<'_>) -> Option<String> {
    let file = metadata.file()?;
    let start = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    Some(format!(
        "{}:{}",
        &file[start..],
        metadata.line().unwrap_or_default()
    ))
}

/// Fields as JSON, each with a comma before it; the message apart.
#[derive(Default)]
struct Fields {
    message: String,
    json: String,
    values: Option<Vec<(String, Value)>>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => self.text(key(name), value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field, format_args!("{value}"));
        self.value(
            field,
            i64::try_from(value).map_or_else(|_| Value::Double(value as f64), Value::Int),
        );
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field, format_args!("{value}"));
        self.value(field, Value::Int(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, format_args!("{value}"));
        self.value(field, Value::Bool(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.raw(field, format_args!("{value:?}"));
            self.value(field, Value::Double(value));
        } else {
            self.record_str(field, &value.to_string());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => {
                let _ = write!(self.message, "{value:?}");
            }
            name => self.text(key(name), &format!("{value:?}")),
        }
    }
}

impl Fields {
    fn text(&mut self, key: &str, value: &str) {
        string_field(key, value, &mut self.json);
        if let Some(values) = &mut self.values {
            values.push((key.to_owned(), value.into()));
        }
    }

    fn value(&mut self, field: &Field, value: Value) {
        if let Some(values) = &mut self.values {
            values.push((key(field.name()).to_owned(), value));
        }
    }

    fn raw(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.json.push_str(",\"");
        escape(key(field.name()), &mut self.json);
        let _ = write!(self.json, "\":{value}");
    }
}

/// Short names in the source, the collector's names in the line.
fn key(name: &str) -> &str {
    match name {
        "component" => "otelcol.component.id",
        "component_kind" => "otelcol.component.kind",
        "signal" => "otelcol.signal",
        "signal_output" => "otelcol.signal.output",
        "pipeline" => "otelcol.pipeline.id",
        other => other,
    }
}

fn object(resource: &[(String, String)]) -> String {
    if resource.is_empty() {
        return String::new();
    }
    let mut inner = String::new();
    for (key, value) in resource {
        string_field(key, value, &mut inner);
    }
    format!(",\"resource\":{{{}}}", &inner[1..])
}

fn value_field(key: &str, value: &Value, out: &mut String) {
    match value {
        Value::Text(text) => string_field(key, text, out),
        // Numbers, booleans and lists are shown as JSON has them.
        value => {
            out.push_str(",\"");
            escape(key, out);
            let _ = write!(out, "\":{value}");
        }
    }
}

fn string_field(key: &str, value: &str, out: &mut String) {
    out.push_str(",\"");
    escape(key, out);
    out.push_str("\":\"");
    escape(value, out);
    out.push('"');
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// A message on a terminal: line breaks stay (the debug exporter has many), what could steer the terminal does not.
fn plain(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// Limits equal lines. Counters are found by a hash of level and message: two messages that share one are limited
/// together, which is rare, and memory is bounded.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    slots: Vec<Slot>,
    hasher: BuildHasherDefault<DefaultHasher>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Milliseconds since 1970 at which counting starts again.
    reset_at: AtomicU64,
    count: AtomicU64,
}

const SLOTS: usize = 4096;

impl Sampler {
    /// With all counters at zero.
    pub fn new(sampling: Sampling) -> Sampler {
        Sampler {
            sampling,
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            hasher: BuildHasherDefault::default(),
        }
    }

    /// Counts a line, and says whether it is to be written.
    pub fn admits(&self, level: &Level, message: &str, now: SystemTime) -> bool {
        let Sampling {
            tick,
            initial,
            thereafter,
        } = self.sampling;
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        let slot = &self.slots[self.hasher.hash_one((level_name(level), message)) as usize % SLOTS];
        let reset_at = slot.reset_at.load(Relaxed);
        let fresh = now.saturating_add(tick.as_millis() as u64);
        // A clock that was set back must not silence a message until it catches up.
        let over = now >= reset_at || reset_at > fresh;
        if over
            && slot
                .reset_at
                .compare_exchange(reset_at, fresh, Relaxed, Relaxed)
                .is_ok()
        {
            slot.count.store(0, Relaxed);
        }
        let nth = slot.count.fetch_add(1, Relaxed) + 1;
        nth <= initial || (thereafter > 0 && (nth - initial).is_multiple_of(thereafter))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            level: Level::INFO,
            encoding: Encoding::Console,
            sampling: Some(Sampling::default()),
            caller: true,
            resource: Vec::new(),
            initial_fields: Vec::new(),
            outboxes: Vec::new(),
        }
    }
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            tick: Duration::from_secs(10),
            initial: 10,
            thereafter: 100,
        }
    }
}

#[cfg(test)]
mod tests;
