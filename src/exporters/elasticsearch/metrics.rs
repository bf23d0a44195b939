//! Data points as documents: those of one time with the same attributes are fields of one.
//!
//! Histograms become the `histogram` that Elasticsearch knows: a value for each bucket that counted, its midpoint. What
//! it has no field for (cumulative histograms, numbers that are not finite, points without a value) is refused with the
//! reason, and never sent as something else.

use std::collections::HashMap;

use wire::view::Value;

use super::fields::{Message, read_number};
use super::json::{self, Pairs, comma, plain_key, text_field};
use super::route::Hints;

/// One data point, and what is known of its metric.
#[derive(Clone, Copy)]
pub(super) struct Point<'a> {
    pub(super) name: &'a [u8],
    pub(super) unit: &'a [u8],
    pub(super) kind: Kind,
    pub(super) point: Message<'a>,
    pub(super) hints: Hints<'a>,
    /// Its place among all items.
    pub(super) item: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    /// Whether it only grows, from one start.
    Sum {
        counts: bool,
    },
    Histogram,
    Exponential,
    Summary,
}

/// Why a point has no document.
pub(super) const CUMULATIVE: &str = "cumulative histograms have no field type; use cumulativetodelta before";
const NO_VALUE: &str = "the data point has no value";
const NOT_FINITE: &str = "the value is not finite";
const BUCKETS: &str = "the histogram's buckets and bounds do not fit each other";

impl Kind {
    /// Of a metric: its kind, and the message with its points.
    ///
    /// Errors: what documents cannot hold; the points are there all the same.
    pub(super) fn of(metric: Message<'_>) -> Option<(Result<Kind, &'static str>, Message<'_>)> {
        let data = metric
            .fields()
            .filter(|(n, ..)| matches!(n, 5 | 7 | 9 | 10 | 11))
            .last();
        let (number, _, data) = data?;
        let data = Message(data);
        let is_cumulative = data.number(2) == 2;
        let kind = match number {
            5 => Ok(Kind::Gauge),
            7 => Ok(Kind::Sum {
                counts: is_cumulative && data.number(3) != 0,
            }),
            9 | 10 if is_cumulative => Err(CUMULATIVE),
            9 => Ok(Kind::Histogram),
            10 => Ok(Kind::Exponential),
            _ => Ok(Kind::Summary),
        };
        Some((kind, data))
    }

    /// Number of the field with a point's attributes.
    pub(super) fn attributes(self) -> u32 {
        match self {
            Kind::Histogram => 9,
            Kind::Exponential => 1,
            _ => 7,
        }
    }
}

/// What a point's field holds.
pub(super) enum Held {
    Long(i64),
    Double(f64),
    Buckets(Vec<(u64, f64)>),
    Total { sum: f64, count: u64 },
}

impl<'a> Point<'a> {
    pub(super) fn time(&self) -> u64 {
        self.point.number(3)
    }

    pub(super) fn start(&self) -> u64 {
        self.point.number(2)
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> + use<'a> {
        self.point.attributes(self.kind.attributes())
    }

    /// What its field holds.
    pub(super) fn held(&self) -> Result<Held, &'static str> {
        let total = || match self.point.double(5).unwrap_or(0.0) {
            sum if sum.is_finite() => Ok(Held::Total {
                sum,
                count: self.point.number(4),
            }),
            _ => Err(NOT_FINITE),
        };
        match self.kind {
            Kind::Gauge | Kind::Sum { .. } => {
                let mut value = Err(NO_VALUE);
                for (number, wire, raw) in self.point.fields() {
                    match number {
                        4 => value = Ok(Held::Double(f64::from_bits(read_number(wire, raw)))),
                        6 => value = Ok(Held::Long(read_number(wire, raw) as i64)),
                        _ => {}
                    }
                }
                match value {
                    Ok(Held::Double(number)) if !number.is_finite() => Err(NOT_FINITE),
                    value => value,
                }
            }
            Kind::Histogram | Kind::Exponential if self.hints.wishes(b"aggregate_metric_double") => total(),
            Kind::Histogram => self.buckets(),
            Kind::Exponential => Ok(Held::Buckets(self.exponential())),
            Kind::Summary => total(),
        }
    }

    /// The name of the mapping that Elasticsearch's own templates have for it.
    pub(super) fn template(&self, held: &Held) -> &'static str {
        match (self.kind, held) {
            (Kind::Sum { counts: true }, Held::Double(_)) => "counter_double",
            (Kind::Sum { counts: true }, Held::Long(_)) => "counter_long",
            (_, Held::Double(_)) => "gauge_double",
            (_, Held::Long(_)) => "gauge_long",
            (_, Held::Buckets(_)) => "histogram",
            (_, Held::Total { .. }) => "summary",
        }
    }

    /// How many observations the document stands for, if that is wished.
    pub(super) fn doc_count(&self) -> Option<u64> {
        self.hints.wishes(b"_doc_count").then(|| match self.kind {
            Kind::Gauge | Kind::Sum { .. } => 1,
            _ => self.point.number(4),
        })
    }

    fn buckets(&self) -> Result<Held, &'static str> {
        let bounds: Vec<f64> = self.point.fixed_list(7).map(f64::from_bits).collect();
        let counts: Vec<u64> = self.point.fixed_list(6).collect();
        if !counts.is_empty() && counts.len() != bounds.len() + 1 {
            return Err(BUCKETS);
        }
        if bounds.iter().any(|bound| !bound.is_finite()) {
            return Err(NOT_FINITE);
        }
        let [first, .., last] = match bounds.as_slice() {
            [] => {
                let count = self.point.number(4);
                let mean = self.point.double(5).unwrap_or(0.0) / count as f64;
                let all = (count > 0 && mean.is_finite()).then_some((count, mean));
                return Ok(Held::Buckets(all.into_iter().collect()));
            }
            [one] => [*one, *one],
            [first, .., last] => [*first, *last],
        };
        let is_raw = self.hints.wishes(b"histogram:raw");
        let mut out: Vec<(u64, f64)> = Vec::new();
        for (at, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let value = match (at, is_raw) {
                (at, true) if at < bounds.len() => bounds[at],
                // Beyond the last bound there is no other value than it.
                (at, _) if at == bounds.len() => last,
                (0, _) if first > 0.0 => first / 2.0,
                (0, _) => first,
                (at, _) => bounds[at - 1] + (bounds[at] - bounds[at - 1]) / 2.0,
            };
            match out.last_mut() {
                Some((sum, same)) if *same == value => *sum = sum.saturating_add(count),
                _ => out.push((count, value)),
            }
        }
        Ok(Held::Buckets(out))
    }

    /// Buckets of powers of a base as midpoints, from the lowest value up.
    fn exponential(&self) -> Vec<(u64, f64)> {
        let step = (-f64::from(self.point.sint(6))).exp2();
        let bound = |index: i64| (index as f64 * step).exp2();
        let side = |number: u32| {
            let buckets = self.point.sub(number);
            let offset = i64::from(buckets.sint(1));
            let counted = buckets.int_list(2).enumerate().filter(|(_, count)| *count > 0);
            counted
                .map(|(at, count)| {
                    let index = offset + at as i64;
                    let (low, high) = (bound(index), bound(index + 1));
                    (count, (low + (high - low) / 2.0).min(f64::MAX))
                })
                .collect::<Vec<(u64, f64)>>()
        };
        let mut out: Vec<(u64, f64)> = side(9)
            .into_iter()
            .rev()
            .map(|(count, value)| (count, -value))
            .collect();
        let zeros = self.point.number(7);
        out.extend((zeros > 0).then_some((zeros, 0.0)));
        out.extend(side(8));
        // Far from zero, or close to it, several bounds are one number.
        out.dedup_by(|next, kept| {
            let is_same = next.1 == kept.1;
            if is_same {
                kept.0 = kept.0.saturating_add(next.0);
            }
            is_same
        });
        out
    }
}

impl Held {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Held::Long(number) => json::signed(*number, out),
            Held::Double(number) => json::double(*number, out),
            Held::Buckets(buckets) => {
                out.extend_from_slice(b"{\"counts\":[");
                for (count, _) in buckets {
                    comma(out);
                    json::unsigned(*count, out);
                }
                out.extend_from_slice(b"],\"values\":[");
                for (_, value) in buckets {
                    comma(out);
                    json::double(*value, out);
                }
                out.extend_from_slice(b"]}");
            }
            Held::Total { sum, count } => {
                out.extend_from_slice(b"{\"sum\":");
                json::double(*sum, out);
                out.extend_from_slice(b",\"value_count\":");
                json::unsigned(*count, out);
                out.push(b'}');
            }
        }
    }
}

/// Points by what makes one document of them, in the order in which they come first.
#[derive(Default)]
pub(super) struct Groups<'a> {
    /// Of what makes a document, and how many of its kind were before: the document's number.
    places: HashMap<Vec<u8>, usize>,
    /// Of what makes a document, and a name: how many points had it.
    counts: HashMap<Vec<u8>, u32>,
    pub(super) groups: Vec<Vec<Point<'a>>>,
    key: Vec<u8>,
}

impl<'a> Groups<'a> {
    /// Adds a point of a scope that goes to `index`. A second point with the name of one that is there begins another
    /// document. `is_otel`: those of another unit or start do, too.
    pub(super) fn add(&mut self, index: &[u8], point: Point<'a>, is_otel: bool) {
        let mut attributes: Vec<(&[u8], &[u8])> = point.attributes().map(|(k, v)| (k, v.raw())).collect();
        attributes.sort_unstable();
        let (unit, start) = match is_otel {
            true => (point.unit, point.start()),
            false => (&b""[..], 0),
        };
        self.key.clear();
        self.key.extend_from_slice(&point.time().to_le_bytes());
        self.key.extend_from_slice(&start.to_le_bytes());
        let parts = [index, unit].into_iter();
        for part in parts.chain(attributes.iter().flat_map(|(k, v)| [*k, *v])) {
            self.key.extend_from_slice(&(part.len() as u32).to_le_bytes());
            self.key.extend_from_slice(part);
        }
        let len = self.key.len();
        self.key.extend_from_slice(point.name);
        let count = self.counts.entry(self.key.clone()).or_default();
        let before = std::mem::replace(count, count.saturating_add(1));
        self.key.truncate(len);
        self.key.extend_from_slice(&before.to_le_bytes());
        match self.places.get(&self.key) {
            Some(at) => self.groups[*at].push(point),
            None => {
                self.places.insert(self.key.clone(), self.groups.len());
                self.groups.push(vec![point]);
            }
        }
    }
}

/// A document of points in mapping mode `otel`; what each of them holds was looked at before.
pub(super) fn otel<'a>(
    points: &[(Point<'a>, Held)],
    data_stream: impl FnOnce(&mut Vec<u8>),
    around: &[u8],
    pairs: &mut Pairs<'a>,
    out: &mut Vec<u8>,
) {
    let first = &points[0].0;
    out.extend_from_slice(b"{\"@timestamp\":");
    // Fields of metrics have milliseconds, and the collector sends no more.
    json::unsigned(first.time() / 1_000_000, out);
    if first.start() != 0 {
        plain_key("start_timestamp", out);
        json::unsigned(first.start() / 1_000_000, out);
    }
    text_field("unit", first.unit, out);
    data_stream(out);
    pairs.all.clear();
    pairs.all.extend(first.attributes().map(Some));
    super::otel::attributes(true, pairs, out);
    out.extend_from_slice(around);
    out.extend_from_slice(b",\"metrics\":{");
    let mut doc_count = 0;
    for (point, held) in points {
        json::key(point.name, out);
        held.write(out);
        doc_count = point.doc_count().unwrap_or(doc_count);
    }
    out.push(b'}');
    json::number_field("_doc_count", doc_count, out);
    // Two documents with the same dimensions and other metrics are not the same document.
    let names = points.iter().map(|(point, _)| point.name).collect();
    let hash = format!("{:x}", names_hash(names));
    text_field("_metric_names_hash", hash.as_bytes(), out);
    out.push(b'}');
}

/// What the collector tells such documents apart by, so that a series goes on where Weir takes over.
fn names_hash(mut names: Vec<&[u8]>) -> u64 {
    names.sort_unstable();
    xxhash_rust::xxh64::xxh64(&names.concat(), 0)
}

/// `"dynamic_templates":{...}` of the action of such a document.
pub(super) fn templates(points: &[(Point<'_>, Held)], out: &mut Vec<u8>) {
    plain_key("dynamic_templates", out);
    out.push(b'{');
    for (point, held) in points {
        json::key(&[b"metrics.", point.name].concat(), out);
        out.push(b'"');
        out.extend_from_slice(point.template(held).as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashed_as_the_collector_hashes_them() {
        // What elasticsearchexporter v0.157 sent.
        assert_eq!(names_hash(vec![b"g"]), 0x03f4_1204_e12e_26ae);
        let names = "s.updown g.int s.delta g.whole s.counter.double g.double s.counter";
        let names = names.split(' ').map(str::as_bytes).collect();
        assert_eq!(names_hash(names), 0x430d_9fad_e58e_ee1b);
    }
}
