//! From the samples of a target to OTLP, scrape by scrape.
//!
//! A [`Translator`] belongs to one target. Samples are gathered into families and points; [`Translator::finish`] writes
//! them as one export request and remembers of each series what the next scrape needs: when it began (counters,
//! histograms and summaries carry it), and that it was there, so that its going is marked as stale. Names, types and
//! attributes follow contrib's prometheusreceiver. No I/O, no clock.

use std::collections::HashMap;

use codec::exposition::{Exemplar, Kind, Label};
use wire::field::{framed_len, write_header};

use super::encode::{
    nanos, seconds, unit_of, write_attribute, write_bytes, write_double, write_exemplar, write_fixed,
    write_number, write_text,
};
use super::table::Table;

/// Series that one target may have, those of the last scrapes included.
pub(super) const SERIES_MAX: usize = 1_000_000;

/// A series that was away for so many scrapes is forgotten; until then it keeps its start time.
const ABSENT_MAX: u8 = 10;

/// What our points say made them, where the target does not say it.
const SCOPE: &str = "weir/receivers/prometheus";

/// `# TYPE`, `# HELP` and `# UNIT` of a family.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) kind: Kind,
    pub(super) help: String,
    pub(super) unit: String,
}

impl Default for Meta {
    fn default() -> Meta {
        Meta {
            kind: Kind::Unknown,
            help: String::new(),
            unit: String::new(),
        }
    }
}

/// What the lines of a scrape said of its families so far, by name.
pub(super) type Metas = HashMap<String, Meta>;

/// When a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct At {
    /// Milliseconds since 1970.
    pub(super) ms: i64,
    /// Whether its series is marked when it goes: not if the target itself gives the times.
    pub(super) tracked: bool,
}

/// One sample: its labels sorted, without the name.
pub(super) struct Point<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a [Label<'a>],
    pub(super) at: At,
    pub(super) value: f64,
    pub(super) exemplar: Option<(Exemplar, &'a [Label<'a>])>,
}

/// The target has more series than [`SERIES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// What a scrape came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Written {
    /// An `ExportMetricsServiceRequest`; empty if there is no point.
    pub(super) bytes: Vec<u8>,
    /// Samples that fit no point: a bucket without its bound, a histogram that shrinks.
    pub(super) unfit: usize,
}

/// The state of one target.
pub(super) struct Translator {
    job: String,
    instance: String,
    scheme: &'static str,
    version: &'static str,
    resources: Table<Resource>,
    scrape: u64,
    order: u32,
    series: usize,
    unfit: usize,
    key: String,
    attributes: Vec<u8>,
}

struct Resource {
    job: String,
    instance: String,
    /// Of `target_info`.
    info: Vec<(String, String)>,
    scopes: Table<Scope>,
}

#[derive(Default)]
struct Scope {
    name: String,
    version: String,
    schema_url: String,
    attributes: Vec<(String, String)>,
    families: Table<Family>,
}

struct Family {
    name: String,
    meta: Meta,
    data: Data,
    /// By the encoded attributes.
    series: HashMap<Box<[u8]>, Series>,
}

/// What the points of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    Gauge,
    Sum { monotonic: bool },
    Histogram,
    Summary,
}

impl Data {
    fn of(kind: Kind) -> Data {
        match kind {
            Kind::Counter => Data::Sum { monotonic: true },
            Kind::Info | Kind::StateSet => Data::Sum { monotonic: false },
            Kind::Histogram => Data::Histogram,
            Kind::Summary => Data::Summary,
            Kind::Gauge | Kind::GaugeHistogram | Kind::Unknown => Data::Gauge,
        }
    }

    fn tag(self) -> char {
        match self {
            Data::Gauge => 'g',
            Data::Sum { monotonic: true } => 'c',
            Data::Sum { monotonic: false } => 's',
            Data::Histogram => 'h',
            Data::Summary => 'q',
        }
    }

    /// Fields of the point: its attributes, its exemplars; and the label that is no attribute.
    fn fields(self) -> (u32, u32, &'static str) {
        match self {
            Data::Gauge | Data::Sum { .. } => (7, 5, ""),
            Data::Histogram => (9, 8, "le"),
            Data::Summary => (7, 0, "quantile"),
        }
    }
}

/// What a sample is to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Value,
    Count,
    Sum,
    Created,
    /// A bucket or a quantile.
    Part,
}

#[derive(Default)]
struct Series {
    // what is remembered
    start_ns: u64,
    last: f64,
    /// Written in the last scrape.
    there: bool,
    absent: u8,
    // what this scrape says
    seen: u64,
    order: u32,
    ms: i64,
    tracked: bool,
    value: Option<f64>,
    count: Option<f64>,
    sum: Option<f64>,
    created_s: f64,
    /// Upper bound or quantile, and value. Kept for the mark of a stale point.
    parts: Vec<(f64, f64)>,
    exemplars: Vec<u8>,
}

impl Translator {
    /// For a target with these labels, reached by this scheme; `version` is ours.
    pub(super) fn new(job: &str, instance: &str, scheme: &'static str, version: &'static str) -> Translator {
        Translator {
            job: job.to_owned(),
            instance: instance.to_owned(),
            scheme,
            version,
            resources: Table::default(),
            scrape: 1,
            order: 0,
            series: 0,
            unfit: 0,
            key: String::new(),
            attributes: Vec::new(),
        }
    }

    /// Takes one sample of the present scrape.
    pub(super) fn add(&mut self, metas: &Metas, point: &Point<'_>) -> Result<(), TooMany> {
        let label = |name: &str| {
            point
                .labels
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| &**value)
        };
        let job = label("job").filter(|l| !l.is_empty()).unwrap_or(&self.job);
        let instance = label("instance")
            .filter(|l| !l.is_empty())
            .unwrap_or(&self.instance);
        self.key.clear();
        self.key.extend([job, "\0", instance]);
        let resource = self.resources.row(&self.key, || Resource::new(job, instance));
        if point.name == "target_info" {
            resource.info = rest_of(point.labels, &[]);
            return Ok(());
        }
        if point.name == "otel_scope_info" {
            let scope = resource.scope(point.labels, false, &mut self.key);
            scope.attributes = rest_of(
                point.labels,
                &["otel_scope_name", "otel_scope_version", "otel_scope_schema_url"],
            );
            return Ok(());
        }
        let scope = resource.scope(point.labels, true, &mut self.key);
        let (meta, role) = family_of(point.name, metas, &mut self.key);
        let family = scope.family(&mut self.key, meta);

        let (attributes, exemplars, part) = family.data.fields();
        let mut boundary = 0.0;
        if role == Role::Part {
            match label(part).and_then(|text| text.parse().ok()) {
                Some(value) => boundary = value,
                None => {
                    self.unfit += 1;
                    return Ok(());
                }
            }
        }
        self.attributes.clear();
        for (name, value) in point.labels {
            let is_own =
                matches!(&**name, "job" | "instance" | "__scheme__" | "__metrics_path__") || *name == part;
            if !is_own && !name.starts_with("otel_scope_") && !value.is_empty() {
                write_attribute(attributes, name, value, &mut self.attributes);
            }
        }
        if !family.series.contains_key(self.attributes.as_slice()) {
            if self.series == SERIES_MAX {
                return Err(TooMany);
            }
            self.series += 1;
            family
                .series
                .insert(self.attributes.as_slice().into(), Series::default());
        }
        let series = family
            .series
            .get_mut(self.attributes.as_slice())
            .expect("it was put there just now");
        if series.seen != self.scrape {
            series.begin(self.scrape, self.order, point.at);
            self.order = self.order.wrapping_add(1);
        } else if series.ms != point.at.ms {
            self.unfit += 1;
            return Ok(());
        }
        match role {
            Role::Value => series.value = Some(point.value),
            Role::Count => series.count = Some(point.value),
            Role::Sum => series.sum = Some(point.value),
            Role::Created => series.created_s = point.value,
            Role::Part => series.parts.push((boundary, point.value)),
        }
        if let Some((exemplar, labels)) = point.exemplar
            && exemplars != 0
        {
            write_exemplar(exemplars, exemplar, labels, point.at.ms, &mut series.exemplars);
        }
        Ok(())
    }

    /// Series that are remembered.
    #[cfg(test)]
    pub(super) fn series(&self) -> usize {
        self.series
    }

    /// Series that were seen for the first time in this scrape, or again after they had gone.
    pub(super) fn added(&self) -> usize {
        let scopes = self.resources.iter().flat_map(|r| r.scopes.iter());
        let series = scopes
            .flat_map(|s| s.families.iter())
            .flat_map(|f| f.series.values());
        series.filter(|s| s.seen == self.scrape && !s.there).count()
    }

    /// Forgets the samples of the present scrape: it failed half way. What was there before counts as gone.
    pub(super) fn give_up(&mut self) {
        self.scrape += 1;
        self.order = 0;
        self.unfit = 0;
    }

    /// Writes the scrape, and marks what has gone, at `now_ms`. The next scrape begins.
    pub(super) fn finish(&mut self, now_ms: i64) -> Written {
        let mut bytes = Vec::new();
        let mut body = Vec::new();
        for resource in self.resources.iter_mut() {
            body.clear();
            for scope in resource.scopes.iter_mut() {
                let mut metrics = Vec::new();
                for family in scope.families.iter_mut() {
                    self.unfit += family.write(self.scrape, now_ms, &mut metrics);
                    let before = family.series.len();
                    family.series.retain(|_, series| series.absent <= ABSENT_MAX);
                    self.series -= before - family.series.len();
                }
                scope.write(&metrics, self.version, &mut body);
                scope.families.retain(|family| !family.series.is_empty());
            }
            if !body.is_empty() {
                let attributes = resource.attributes(self.scheme);
                write_header(1, framed_len(1, attributes.len()) + body.len(), &mut bytes);
                write_bytes(1, &attributes, &mut bytes);
                bytes.extend_from_slice(&body);
            }
            resource.scopes.retain(|scope| !scope.families.is_empty());
        }
        self.resources.retain(|resource| !resource.scopes.is_empty());
        let written = Written {
            bytes,
            unfit: self.unfit,
        };
        self.give_up();
        written
    }
}

/// Labels that are neither the target's nor among these.
fn rest_of(labels: &[Label<'_>], but: &[&str]) -> Vec<(String, String)> {
    labels
        .iter()
        .filter(|(name, _)| !matches!(&**name, "job" | "instance") && !but.contains(&&**name))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// The metrics that a scrape has about itself, beside those of its target.
const OWN: [(&str, &str, &str); 8] = [
    ("up", "The scraping was successful", ""),
    ("scrape_duration_seconds", "Duration of the scrape", "seconds"),
    (
        "scrape_samples_scraped",
        "The number of samples the target exposed",
        "",
    ),
    (
        "scrape_samples_post_metric_relabeling",
        "The number of samples remaining after metric relabeling was applied",
        "",
    ),
    (
        "scrape_series_added",
        "The approximate number of new series in this scrape",
        "",
    ),
    ("scrape_timeout_seconds", "", "seconds"),
    ("scrape_sample_limit", "", ""),
    ("scrape_body_size_bytes", "", "bytes"),
];

/// Writes the family's name to `family`; says what is known of it, and what a sample of this name is to it.
fn family_of(name: &str, metas: &Metas, family: &mut String) -> (Meta, Role) {
    family.clear();
    family.push_str(name);
    if let Some((_, help, unit)) = OWN.iter().find(|(own, ..)| *own == name) {
        let meta = Meta {
            kind: Kind::Gauge,
            help: (*help).to_owned(),
            unit: (*unit).to_owned(),
        };
        return (meta, Role::Value);
    }
    if let Some(meta) = metas.get(name) {
        let role = match meta.kind {
            Kind::Histogram | Kind::Summary => Role::Part,
            _ => Role::Value,
        };
        return (meta.clone(), role);
    }
    const SUFFIXES: [(&str, &[Kind], Role); 6] = [
        ("_bucket", &[Kind::Histogram, Kind::GaugeHistogram], Role::Part),
        ("_count", &[Kind::Histogram, Kind::Summary], Role::Count),
        ("_sum", &[Kind::Histogram, Kind::Summary], Role::Sum),
        (
            "_created",
            &[Kind::Histogram, Kind::Summary, Kind::Counter],
            Role::Created,
        ),
        ("_total", &[Kind::Counter], Role::Value),
        ("_info", &[Kind::Info], Role::Value),
    ];
    for (suffix, kinds, role) in SUFFIXES {
        let Some(meta) = name.strip_suffix(suffix).and_then(|stem| metas.get(stem)) else {
            continue;
        };
        if !kinds.contains(&meta.kind) {
            continue;
        }
        match meta.kind {
            // a counter keeps its suffix, and its creation time goes to it
            Kind::Counter if role == Role::Created => {
                family.truncate(name.len() - suffix.len());
                family.push_str("_total");
            }
            // each series of a gauge histogram is a gauge of its own
            Kind::Counter | Kind::GaugeHistogram => return (meta.clone(), Role::Value),
            _ => family.truncate(name.len() - suffix.len()),
        }
        return (meta.clone(), role);
    }
    (Meta::default(), Role::Value)
}

impl Resource {
    fn new(job: &str, instance: &str) -> Resource {
        Resource {
            job: job.to_owned(),
            instance: instance.to_owned(),
            info: Vec::new(),
            scopes: Table::default(),
        }
    }

    /// The scope that the labels name. `attributes`: whether further `otel_scope_*` labels tell scopes apart.
    fn scope(&mut self, labels: &[Label<'_>], attributes: bool, key: &mut String) -> &mut Scope {
        let of_scope = |name: &str| {
            let attribute = name.strip_prefix("otel_scope_")?;
            let is_own = matches!(attribute, "name" | "version" | "schema_url");
            (is_own || attributes).then_some((attribute.to_owned(), is_own))
        };
        key.clear();
        for (name, value) in labels {
            if of_scope(name).is_some() {
                key.extend([name, "\0", value, "\0"]);
            }
        }
        self.scopes.row(key, || {
            let mut scope = Scope::default();
            for (name, value) in labels {
                match of_scope(name) {
                    None => {}
                    Some((name, true)) if name == "name" => scope.name = value.to_string(),
                    Some((name, true)) if name == "version" => scope.version = value.to_string(),
                    Some((_, true)) => scope.schema_url = value.to_string(),
                    Some((name, false)) => scope.attributes.push((name, value.to_string())),
                }
            }
            scope
        })
    }

    /// The encoded `Resource`.
    fn attributes(&self, scheme: &str) -> Vec<u8> {
        let (host, port) = split_host_port(&self.instance);
        let mut all = vec![("service.name", self.job.as_str())];
        if is_telling(host) {
            all.push(("server.address", host));
        }
        all.extend([
            ("service.instance.id", self.instance.as_str()),
            ("server.port", port),
            ("url.scheme", scheme),
        ]);
        for (name, value) in &self.info {
            match all.iter_mut().find(|(n, _)| n == name) {
                Some(there) => there.1 = value,
                None => all.push((name, value)),
            }
        }
        let mut out = Vec::new();
        for (name, value) in all {
            write_attribute(1, name, value, &mut out);
        }
        out
    }
}

/// `host:port`, `[v6]:port`; without a port all of it is the host.
fn split_host_port(instance: &str) -> (&str, &str) {
    let Some((host, port)) = instance.rsplit_once(':') else {
        return (instance, "");
    };
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => (host, port),
        None if host.contains([':', '[', ']']) => (instance, ""),
        None => (host, port),
    }
}

/// A host that names one machine among many.
fn is_telling(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => !ip.is_loopback() && !ip.is_unspecified(),
        Err(_) => host != "localhost",
    }
}

impl Scope {
    /// The family of this name and kind of point: a target may change its mind.
    fn family(&mut self, name: &mut String, meta: Meta) -> &mut Family {
        let data = Data::of(meta.kind);
        let len = name.len();
        name.push(data.tag());
        let family = self.families.row(name, || Family {
            name: name[..len].to_owned(),
            data,
            meta: Meta::default(),
            series: HashMap::new(),
        });
        family.meta = meta;
        family
    }

    /// Appends a framed `ScopeMetrics`, if there are metrics.
    fn write(&self, metrics: &[u8], version: &str, out: &mut Vec<u8>) {
        if metrics.is_empty() {
            return;
        }
        let mut scope = Vec::new();
        let is_ours = self.name.is_empty()
            && self.version.is_empty()
            && self.schema_url.is_empty()
            && self.attributes.is_empty();
        let (name, version) = match is_ours {
            true => (SCOPE, version),
            false => (self.name.as_str(), self.version.as_str()),
        };
        write_text(1, name, &mut scope);
        write_text(2, version, &mut scope);
        for (name, value) in &self.attributes {
            write_attribute(3, name, value, &mut scope);
        }
        let schema = match self.schema_url.len() {
            0 => 0,
            len => framed_len(3, len),
        };
        write_header(2, framed_len(1, scope.len()) + metrics.len() + schema, out);
        write_bytes(1, &scope, out);
        out.extend_from_slice(metrics);
        write_text(3, &self.schema_url, out);
    }
}

impl Family {
    /// Appends a framed `Metric`, if there is a point to write. Gives the number of points that were unfit.
    fn write(&mut self, scrape: u64, now_ms: i64, out: &mut Vec<u8>) -> usize {
        let mut present: Vec<(&[u8], &mut Series)> = Vec::new();
        let mut gone: Vec<(&[u8], &mut Series)> = Vec::new();
        for (attributes, series) in &mut self.series {
            if series.seen == scrape {
                present.push((attributes, series));
            } else {
                series.absent += 1;
                if std::mem::take(&mut series.there) && series.tracked {
                    gone.push((attributes, series));
                }
            }
        }
        present.sort_by_key(|(_, series)| series.order);
        gone.sort_by_key(|(attributes, _)| *attributes);
        let (mut points, mut point, mut unfit) = (Vec::new(), Vec::new(), 0);
        for (attributes, series) in present {
            point.clear();
            match series.write(self.data, attributes, &mut point) {
                Ok(()) => {
                    write_bytes(1, &point, &mut points);
                    series.absent = 0;
                    series.there = true;
                }
                // only its creation time, or parts without the rest
                Err(Unfit::Empty) => {}
                Err(Unfit::Broken) => unfit += 1,
            }
        }
        for (attributes, series) in gone {
            point.clear();
            series.write_stale(self.data, attributes, nanos(now_ms), &mut point);
            write_bytes(1, &point, &mut points);
        }
        if points.is_empty() {
            return unfit;
        }
        let number = match self.data {
            Data::Gauge => 5,
            Data::Sum { monotonic } => {
                write_number(2, CUMULATIVE, &mut points);
                write_number(3, u64::from(monotonic), &mut points);
                7
            }
            Data::Histogram => {
                write_number(2, CUMULATIVE, &mut points);
                9
            }
            Data::Summary => 11,
        };
        let mut metric = Vec::new();
        write_text(1, &self.name, &mut metric);
        write_text(2, &self.meta.help, &mut metric);
        write_text(3, unit_of(&self.meta.unit), &mut metric);
        write_bytes(number, &points, &mut metric);
        write_attribute(12, "prometheus.type", self.meta.kind.as_str(), &mut metric);
        write_bytes(2, &metric, out);
        unfit
    }
}

/// `AggregationTemporality` of everything here.
const CUMULATIVE: u64 = 2;

/// `flags`: there is no value any more.
const NO_RECORDED_VALUE: u64 = 1;

enum Unfit {
    Empty,
    Broken,
}

impl Series {
    fn begin(&mut self, scrape: u64, order: u32, at: At) {
        (self.seen, self.order, self.ms, self.tracked) = (scrape, order, at.ms, at.tracked);
        (self.value, self.count, self.sum, self.created_s) = (None, None, None, 0.0);
        self.parts.clear();
        self.exemplars.clear();
    }

    /// When what grows began: as the target says, else when it was first seen, or seen to begin again.
    fn start(&mut self, grown: f64, at_ns: u64) -> u64 {
        if self.created_s != 0.0 {
            self.start_ns = seconds(self.created_s);
        } else if self.start_ns == 0 || grown < self.last {
            self.start_ns = at_ns;
        }
        self.last = grown;
        self.start_ns
    }

    fn write(&mut self, data: Data, attributes: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        let at_ns = nanos(self.ms);
        match data {
            Data::Gauge | Data::Sum { .. } => {
                let value = self.value.ok_or(Unfit::Empty)?;
                let start = match data {
                    Data::Sum { monotonic: true } => self.start(value, at_ns),
                    Data::Sum { .. } if self.created_s != 0.0 => seconds(self.created_s),
                    _ => 0,
                };
                write_fixed(2, start, out);
                write_fixed(3, at_ns, out);
                write_double(4, value, out);
                out.extend_from_slice(&self.exemplars);
                out.extend_from_slice(attributes);
            }
            Data::Histogram => {
                let count = self.count.ok_or(Unfit::Empty)?;
                self.sort_parts();
                if self
                    .parts
                    .last()
                    .is_some_and(|(bound, _)| *bound == f64::INFINITY)
                {
                    self.parts.pop();
                }
                let mut before = 0.0;
                for n in self.cumulative(count) {
                    if n.is_nan() || n < before {
                        return Err(Unfit::Broken);
                    }
                    before = n;
                }
                let start = self.start(count, at_ns);
                write_fixed(2, start, out);
                write_fixed(3, at_ns, out);
                write_fixed(4, count as u64, out);
                if let Some(sum) = self.sum {
                    write_double(5, sum, out);
                }
                write_header(6, 8 * (self.parts.len() + 1), out);
                before = 0.0;
                for n in self.cumulative(count) {
                    out.extend_from_slice(&((n - before) as u64).to_le_bytes());
                    before = n;
                }
                self.write_bounds(out);
                out.extend_from_slice(&self.exemplars);
                out.extend_from_slice(attributes);
            }
            Data::Summary => {
                let count = self.count.ok_or(Unfit::Empty)?;
                self.sort_parts();
                let start = self.start(count, at_ns);
                write_fixed(2, start, out);
                write_fixed(3, at_ns, out);
                write_fixed(4, count as u64, out);
                if let Some(sum) = self.sum.filter(|sum| *sum != 0.0) {
                    write_double(5, sum, out);
                }
                self.write_quantiles(true, out);
                out.extend_from_slice(attributes);
            }
        }
        Ok(())
    }

    fn write_stale(&self, data: Data, attributes: &[u8], now_ns: u64, out: &mut Vec<u8>) {
        write_fixed(2, self.start_ns, out);
        write_fixed(3, now_ns, out);
        let flags = match data {
            Data::Gauge | Data::Sum { .. } => 8,
            Data::Histogram => {
                write_header(6, 8 * (self.parts.len() + 1), out);
                out.resize(out.len() + 8 * (self.parts.len() + 1), 0);
                self.write_bounds(out);
                10
            }
            Data::Summary => {
                self.write_quantiles(false, out);
                8
            }
        };
        out.extend_from_slice(attributes);
        write_number(flags, NO_RECORDED_VALUE, out);
    }

    /// The buckets' counts, each with those before it, and the whole.
    fn cumulative(&self, count: f64) -> impl Iterator<Item = f64> {
        self.parts.iter().map(|(_, n)| *n).chain([count])
    }

    /// By bound or quantile, each once.
    fn sort_parts(&mut self) {
        self.parts.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.parts.dedup_by(|later, first| later.0 == first.0);
    }

    fn write_bounds(&self, out: &mut Vec<u8>) {
        if !self.parts.is_empty() {
            write_header(7, 8 * self.parts.len(), out);
            for (bound, _) in &self.parts {
                out.extend_from_slice(&bound.to_le_bytes());
            }
        }
    }

    fn write_quantiles(&self, values: bool, out: &mut Vec<u8>) {
        for (quantile, value) in &self.parts {
            let mut one = Vec::with_capacity(18);
            if *quantile != 0.0 {
                write_double(1, *quantile, &mut one);
            }
            if values && *value != 0.0 {
                write_double(2, *value, &mut one);
            }
            write_bytes(6, &one, out);
        }
    }
}
