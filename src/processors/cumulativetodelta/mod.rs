//! Processor `cumulativetodelta`: sums and histograms that only grow become what was added from point to point.
//!
//! Keys, defaults and results are those of the collector's processor (contrib 0.155). Where it differs: a request that
//! is refused behind changes nothing, so that what it would have added is not lost when it comes again; an exponential
//! histogram goes on after a reset as sums do; points of different tenants are different series; memory is bounded by
//! the gateway's budget, over which new series are dropped, and booked so.

mod points;
mod track;
mod value;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration as StdDuration;

use codec::pattern::{Pattern, PatternCache};
use component::prelude::*;
use parking_lot::Mutex;
use wire::view::identity::{self, Order};
use wire::view::{Depth, Finished, Kind, NodeId, Scratch, View};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use track::{Initial, NO_VALUE, Tracker, Undo, Verdict};
use value::Value;

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "cumulativetodelta",
    aliases: &["cumulative_to_delta"],
    keys: &[Shape::of::<Config>()],
    signals: &[(Signal::Metrics, Stability::Beta)],
    hold: Hold::PassThrough,
    build: |section, cx, _signal| {
        let config: Config = section.clone().parse()?;
        let settings = Settings::new(&config, &section)?;
        let memory = cx.memory.clone();
        Ok(Processor::Node(Box::new(move |next, books| {
            let tracker = Tracker::new(settings.initial, now(), memory);
            Arc::new(ToDelta(Arc::new(Inner::new(settings, tracker, next, books))))
        })))
    },
};

/// `cumulativetodelta`: which metrics are converted, and how their series begin and end.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Series without a point for this long are forgotten. Default 1 h; 0 is never.
    pub max_staleness: Duration,
    /// What becomes of the first point of a series: `auto`, the default (it goes on if the series began while the gateway
    /// ran), `keep` or `drop`.
    pub initial_value: String,
    /// Only these are converted. Default all.
    pub include: Match,
    /// These are not.
    pub exclude: Match,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_staleness: StdDuration::from_secs(3600).into(),
            initial_value: "auto".into(),
            include: Match::default(),
            exclude: Match::default(),
        }
    }
}

/// Metrics by name, and by type.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// `strict` or `regexp`. Required beside `metrics`.
    pub match_type: String,
    /// For `regexp`; the cache that it speaks of is not needed, so it has no effect.
    pub regexp: Option<crate::matching::Regexp>,
    /// Names, or expressions that match somewhere in them.
    pub metrics: Vec<String>,
    /// `sum`, `histogram` or `exponentialhistogram`, in any case.
    pub metric_types: Vec<String>,
}

struct Settings {
    initial: Initial,
    max_staleness: StdDuration,
    include: Filter,
    exclude: Filter,
    /// Of the hashes of series: nobody outside can know it, so nobody can make two look equal.
    seed: u64,
}

#[derive(Default)]
struct Filter {
    names: Option<Names>,
    /// Fields of `Metric` that hold the types.
    types: Vec<u32>,
}

enum Names {
    Strict(Vec<String>),
    Regexp(Vec<Pattern>),
}

const SUM: u32 = 7;
const HISTOGRAM: u32 = 9;
const EXPONENTIAL: u32 = 10;

impl Settings {
    fn new(config: &Config, section: &Section) -> Result<Settings, Fault> {
        let mut wrong = Vec::new();
        let mut filter = |key: &str, written: &Match| {
            Filter::new(written).unwrap_or_else(|faults| {
                let place = |(below, text): (String, String)| section.diag(&format!("{key}.{below}"), text);
                wrong.extend(faults.into_iter().map(place));
                Filter::default()
            })
        };
        let (include, exclude) = (
            filter("include", &config.include),
            filter("exclude", &config.exclude),
        );
        let initial = match config.initial_value.as_str() {
            "auto" => Initial::Auto,
            "keep" => Initial::Keep,
            "drop" => Initial::Drop,
            other => {
                wrong.push(section.diag("initial_value", format!("unknown initial_value: {other}")));
                Initial::Auto
            }
        };
        if !wrong.is_empty() {
            return Err(config::Diags(wrong).into());
        }
        Ok(Settings {
            initial,
            max_staleness: config.max_staleness.0,
            include,
            exclude,
            seed: RandomState::new().build_hasher().finish(),
        })
    }

    fn converts(&self, name: &[u8], data: u32, caches: &mut Caches) -> bool {
        let (include, exclude) = (&self.include, &self.exclude);
        let mut has = |names: &Names, at: usize| names.has(name, &mut caches[at]);
        include.names.as_ref().is_none_or(|names| has(names, 0))
            && (include.types.is_empty() || include.types.contains(&data))
            && !exclude.names.as_ref().is_some_and(|names| has(names, 1))
            && !exclude.types.contains(&data)
    }
}

impl Filter {
    /// Errors: keys below the filter, and what is wrong there.
    fn new(written: &Match) -> Result<Filter, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let names = match (written.match_type.as_str(), written.metrics.is_empty()) {
            ("", true) => None,
            ("", false) => {
                wrong.push((
                    "metrics".into(),
                    "match_type must be set if metrics are supplied".into(),
                ));
                None
            }
            (_, true) => {
                wrong.push((
                    "match_type".into(),
                    "metrics must be supplied if match_type is set".into(),
                ));
                None
            }
            ("strict", _) => Some(Names::Strict(written.metrics.clone())),
            ("regexp", _) => {
                let mut all = Vec::new();
                for (i, text) in written.metrics.iter().enumerate() {
                    match Pattern::new(text) {
                        Ok(pattern) => all.push(pattern),
                        Err(error) => wrong.push((format!("metrics.{i}"), format!("{error}: `{text}`"))),
                    }
                }
                Some(Names::Regexp(all))
            }
            (other, _) => {
                wrong.push((
                    "match_type".into(),
                    format!("unknown match_type {other}: strict or regexp"),
                ));
                None
            }
        };
        let mut types = Vec::new();
        for (i, text) in written.metric_types.iter().enumerate() {
            match text.to_ascii_lowercase().as_str() {
                "sum" => types.push(SUM),
                "histogram" => types.push(HISTOGRAM),
                "exponentialhistogram" => types.push(EXPONENTIAL),
                _ => wrong.push((
                    format!("metric_types.{i}"),
                    format!("invalid metric type {text}: sum, histogram or exponentialhistogram"),
                )),
            }
        }
        match wrong.is_empty() {
            true => Ok(Filter { names, types }),
            false => Err(wrong),
        }
    }
}

impl Names {
    fn has(&self, name: &[u8], caches: &mut Vec<PatternCache>) -> bool {
        match self {
            Names::Strict(names) => names.iter().any(|known| known.as_bytes() == name),
            Names::Regexp(all) => {
                if caches.is_empty() {
                    caches.extend(all.iter().map(Pattern::cache));
                }
                let mut each = all.iter().zip(caches);
                each.any(|(pattern, cache)| pattern.is_match(cache, name))
            }
        }
    }
}

// --- the node ---

struct ToDelta(Arc<Inner>);

struct Inner {
    settings: Settings,
    tracker: Mutex<Tracker>,
    next: Arc<dyn Consumer>,
    books: Books,
    beat: Beat,
    pool: Mutex<Vec<Room>>,
}

/// Memory kept between payloads.
#[derive(Default)]
struct Room {
    scratch: Scratch,
    order: Order,
    text: Vec<u8>,
    caches: Caches,
}

/// Room for the searches of `include` and of `exclude`.
type Caches = [Vec<PatternCache>; 2];

/// What a payload changed.
#[derive(Default)]
struct Changes {
    undo: Vec<Undo>,
    /// Points that ended, by rule and owner.
    dropped: Vec<(&'static str, Option<Arc<str>>, u64)>,
}

impl Changes {
    fn drop(&mut self, rule: &'static str, owner: Option<&Arc<str>>) {
        let is_it = |(known, of, _): &&mut (&'static str, Option<Arc<str>>, u64)| {
            *known == rule && of.as_ref() == owner
        };
        match self.dropped.iter_mut().find(is_it) {
            Some((.., n)) => *n += 1,
            None => self.dropped.push((rule, owner.cloned(), 1)),
        }
    }
}

impl Inner {
    fn new(settings: Settings, tracker: Tracker, next: Arc<dyn Consumer>, books: Books) -> Inner {
        Inner {
            settings,
            tracker: Mutex::new(tracker),
            next,
            books,
            beat: Beat::default(),
            pool: Mutex::default(),
        }
    }

    /// Converts a payload; nothing of it is left where all points ended.
    fn convert(&self, mut payload: Payload, changes: &mut Changes) -> Result<Payload, Refusal> {
        let mut room = self.pool.lock().pop().unwrap_or_default();
        let chunks = &mut payload.chunks;
        let done = chunks
            .iter_mut()
            .try_for_each(|chunk| self.chunk(chunk, &mut room, changes));
        self.pool.lock().push(room);
        done?;
        payload.chunks.retain(|chunk| chunk.shape.items > 0);
        payload.items = payload.chunks.iter().map(|c| c.shape.items as usize).sum();
        Ok(payload)
    }

    fn chunk(&self, chunk: &mut Chunk, room: &mut Room, changes: &mut Changes) -> Result<(), Refusal> {
        if chunk.shape.non_canonical {
            let bytes = wire::normalize(Signal::Metrics, &chunk.bytes(), false).map_err(malformed)?;
            chunk.set_bytes(bytes.into());
            chunk.shape.non_canonical = false;
        }
        let bytes = chunk.make_whole();
        let Room {
            scratch,
            order,
            text,
            caches,
        } = room;
        let mut view = View::new(scratch, Signal::Metrics, &bytes, Depth::Record).map_err(malformed)?;
        let owner = chunk.origin.tenant.clone();
        let mut base = Base::default();
        let mut tracker = self.tracker.lock();
        for n in view.nodes() {
            match view.kind(n) {
                Kind::Metric => {
                    base.converts = self.begin(
                        &view,
                        n,
                        owner.as_ref(),
                        (&mut *order, &mut *caches, &mut base.text),
                    );
                    if base.converts {
                        // Delta.
                        view.set_number(n, 2, 1);
                    }
                }
                kind if kind.is_item() && base.converts => {
                    if points::is_empty(&view, n) {
                        changes.drop(NO_VALUE, owner.as_ref());
                        view.remove_node(n);
                        continue;
                    }
                    let Some(value) = points::read(&view, n) else {
                        continue;
                    };
                    if matches!(value, Value::Double(value) if value.is_nan()) {
                        continue;
                    }
                    text.clear();
                    text.extend_from_slice(&base.text);
                    text.push(match value {
                        Value::Int(_) => 0,
                        Value::Double(_) => 1,
                        Value::Histogram(_) => 2,
                        Value::Exponential(_) => 3,
                    });
                    order.attributes(&view, n, text);
                    let times = points::times(&view, n);
                    text.extend_from_slice(&times.0.to_le_bytes());
                    let key = xxh3_128_with_seed(text, self.settings.seed);
                    let (verdict, undo) = tracker.convert(key, times, value);
                    changes.undo.extend(undo);
                    match verdict {
                        Verdict::Delta(start, delta) => points::write(&mut view, n, start, &delta),
                        Verdict::Dropped(rule) => {
                            changes.drop(rule, owner.as_ref());
                            view.remove_node(n);
                        }
                    }
                }
                _ => {}
            }
        }
        drop(tracker);
        if view.is_overflowed() {
            return Err(Refusal::Invalid("the edits of one request pass 4 GiB".into()));
        }
        if let Finished::Edited { bytes, items } = view.finish() {
            chunk.set_bytes(bytes.into());
            chunk.shape.items = items;
        }
        Ok(())
    }

    /// Whether a metric is converted; then `text` is what its series have in common.
    fn begin(
        &self,
        view: &View<'_>,
        n: NodeId,
        owner: Option<&Arc<str>>,
        (order, caches, text): (&mut Order, &mut Caches, &mut Vec<u8>),
    ) -> bool {
        let data = view.metric_data(n).unwrap_or(0);
        let is_cumulative = view.number(n, 2) == Some(2);
        let converts = match data {
            SUM => is_cumulative && view.number(n, 3) == Some(1),
            HISTOGRAM | EXPONENTIAL => is_cumulative,
            _ => false,
        };
        let name = view.text(n, 1);
        if !converts || !self.settings.converts(name, data, caches) {
            return false;
        }
        let scope = view.parent(n).expect("a metric is in a scope");
        let resource = view.parent(scope).expect("a scope is in a resource group");
        text.clear();
        text.push(u8::from(owner.is_some()));
        identity::text(owner.map_or(&[], |o| o.as_bytes()), text);
        order.attributes(view, resource, text);
        identity::text(view.text(scope, 1), text);
        identity::text(view.text(scope, 2), text);
        identity::text(name, text);
        identity::text(view.text(n, 3), text);
        true
    }

    fn forget(&self) {
        let stale = u64::try_from(self.settings.max_staleness.as_nanos()).unwrap_or(u64::MAX);
        self.tracker.lock().forget(now().saturating_sub(stale));
    }
}

/// The metric whose points are converted.
#[derive(Default)]
struct Base {
    converts: bool,
    text: Vec<u8>,
}

impl Consumer for ToDelta {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let inner = &self.0;
            let mut changes = Changes::default();
            let answer = match inner.convert(payload, &mut changes) {
                Ok(converted) if converted.chunks.is_empty() => Ok(Outcome::all()),
                Ok(converted) => inner.next.consume(converted).await,
                Err(refusal) => Err(refusal),
            };
            match &answer {
                Ok(_) => {
                    for (rule, owner, items) in changes.dropped {
                        inner.books.dropped(rule, owner.as_ref(), items);
                    }
                }
                Err(_) => inner.tracker.lock().undo(changes.undo),
            }
            answer
        })
    }
}

impl Node for ToDelta {
    fn start(&self, _host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        let every = self.0.settings.max_staleness;
        if !every.is_zero() {
            let inner = self.0.clone();
            self.0.beat.start(every, move |_| {
                inner.forget();
                std::future::ready(())
            });
        }
        ready(Ok(()))
    }

    fn held_max(&self) -> StdDuration {
        StdDuration::ZERO
    }

    fn drain(&self, _stop: Stop) -> BoxFuture<'_, ()> {
        Box::pin(self.0.beat.end())
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
