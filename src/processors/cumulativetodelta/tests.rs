use std::collections::HashMap;

use component::test_kit::{Lonely, Sink, books, context, faults, section, totals};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{self as m, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use wire::test_kit::Rng;
use wire::{Limits, validate};

use super::*;
use crate::test_kit::{map, show};

/// When the tests' gateways began.
const BEGAN: u64 = 1000;

struct Rig {
    node: ToDelta,
    sink: Arc<Sink>,
    cx: BuildContext,
}

fn rig(yaml: &str) -> Rig {
    let (section, cx) = (section(yaml), context("cumulativetodelta"));
    let config: Config = section.clone().parse().unwrap();
    let settings = Settings::new(&config, &section).unwrap_or_else(|fault| panic!("{fault}"));
    let tracker = Tracker::new(settings.initial, BEGAN, cx.memory.clone());
    let sink = Arc::new(Sink::default());
    let books = books(&cx.telemetry, "cumulativetodelta", Signal::Metrics);
    let node = ToDelta(Arc::new(Inner::new(settings, tracker, sink.clone(), books)));
    Rig { node, sink, cx }
}

fn payload(metrics: Vec<m::Metric>) -> Payload {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: map("{r: 1}"),
                ..Default::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                metrics,
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let bytes = request.encode_to_vec();
    let shape = validate(Signal::Metrics, &bytes, &Limits::default()).unwrap();
    Payload::new(Signal::Metrics, Chunk::new(bytes.into(), shape), Arc::default())
}

fn metrics(payload: &Payload) -> Vec<m::Metric> {
    let mut all = Vec::new();
    let mut items = 0;
    for chunk in &payload.chunks {
        let shape = validate(Signal::Metrics, &chunk.bytes(), &Limits::default()).unwrap();
        assert_eq!((shape.items, shape.non_canonical), (chunk.shape.items, false));
        items += shape.items as usize;
        let request = ExportMetricsServiceRequest::decode(chunk.bytes()).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|g| g.scope_metrics);
        all.extend(scopes.flat_map(|s| s.metrics));
    }
    assert_eq!(items, payload.items);
    all
}

impl Rig {
    /// What goes on of these.
    async fn give(&self, metrics_in: Vec<m::Metric>) -> Vec<m::Metric> {
        let before = self.sink.taken().len();
        assert_eq!(self.node.consume(payload(metrics_in)).await, Ok(Outcome::all()));
        self.sink.taken()[before..].iter().flat_map(metrics).collect()
    }

    fn dropped(&self, rule: &str) -> u64 {
        let totals = totals(&self.cx.telemetry, "cumulativetodelta", Signal::Metrics);
        totals.dropped.get(rule).copied().unwrap_or(0)
    }
}

fn metric(name: &str, data: Data) -> m::Metric {
    m::Metric {
        name: name.into(),
        data: Some(data),
        ..Default::default()
    }
}

fn point(attributes: &str, start: u64, time: u64, value: Number) -> m::NumberDataPoint {
    m::NumberDataPoint {
        attributes: map(attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(value),
        ..Default::default()
    }
}

fn sum(points: Vec<m::NumberDataPoint>, temporality: i32, is_monotonic: bool) -> Data {
    Data::Sum(m::Sum {
        data_points: points,
        aggregation_temporality: temporality,
        is_monotonic,
    })
}

fn counter(name: &str, start: u64, time: u64, value: i64) -> m::Metric {
    metric(
        name,
        sum(vec![point("{}", start, time, Number::AsInt(value))], 2, true),
    )
}

/// Temporality, then attributes, times and value of each point of sums.
fn told(all: &[m::Metric]) -> Vec<String> {
    let mut lines = Vec::new();
    for metric in all {
        let Some(Data::Sum(sum)) = &metric.data else {
            panic!("a sum")
        };
        for p in &sum.data_points {
            lines.push(format!(
                "{} {} {} {}..{} {:?}",
                metric.name,
                sum.aggregation_temporality,
                show(&p.attributes),
                p.start_time_unix_nano,
                p.time_unix_nano,
                p.value.unwrap(),
            ));
        }
    }
    lines
}

#[tokio::test]
async fn sums_become_what_was_added() {
    let rig = rig("{}");
    let of = |time, a: i64, b: f64| {
        let points = vec![
            point("{k: 1, l: 2}", 2000, time, Number::AsInt(a)),
            point("{k: 2}", 2000, time, Number::AsDouble(b)),
        ];
        vec![metric("s", sum(points, 2, true))]
    };
    assert_eq!(
        told(&rig.give(of(2010, 5, 1.5)).await),
        [
            "s 1 {k:1, l:2} 2000..2010 AsInt(5)",
            "s 1 {k:2} 2000..2010 AsDouble(1.5)"
        ]
    );
    assert_eq!(
        told(&rig.give(of(2020, 7, 4.0)).await),
        [
            "s 1 {k:1, l:2} 2010..2020 AsInt(2)",
            "s 1 {k:2} 2010..2020 AsDouble(2.5)"
        ]
    );
    // What went back ends; what follows counts from there.
    assert_eq!(
        told(&rig.give(of(2030, 3, 4.0)).await),
        ["s 1 {k:2} 2020..2030 AsDouble(0.0)"]
    );
    assert_eq!(
        told(&rig.give(of(2040, 4, 5.0)).await),
        [
            "s 1 {k:1, l:2} 2030..2040 AsInt(1)",
            "s 1 {k:2} 2030..2040 AsDouble(1.0)"
        ]
    );
    assert_eq!(rig.dropped(track::RESET), 1);
    // The same attributes in another order are the same series, another start is another one.
    let swapped = |start, time, value| {
        let points = vec![point("{l: 2, k: 1}", start, time, Number::AsInt(value))];
        vec![metric("s", sum(points, 2, true))]
    };
    assert_eq!(
        told(&rig.give(swapped(2000, 2050, 9)).await),
        ["s 1 {l:2, k:1} 2040..2050 AsInt(5)"]
    );
    assert_eq!(
        told(&rig.give(swapped(2055, 2060, 9)).await),
        ["s 1 {l:2, k:1} 2055..2060 AsInt(9)"]
    );
}

#[tokio::test]
async fn the_first_point_is_kept_or_not() {
    let check = async |yaml: &str, start: u64, expected: &[&str]| {
        let rig = rig(yaml);
        assert_eq!(
            told(&rig.give(vec![counter("c", start, 2010, 5)]).await),
            expected,
            "{yaml} {start}"
        );
        assert_eq!(rig.dropped(track::INITIAL), u64::from(expected.is_empty()));
        let next = format!("c 1 {{}} 2010..2020 AsInt({})", 2);
        assert_eq!(told(&rig.give(vec![counter("c", start, 2020, 7)]).await), [next]);
    };
    check("{}", 999, &[]).await;
    check("{}", 0, &[]).await;
    check("{}", 2010, &[]).await;
    check("{}", 1000, &["c 1 {} 1000..2010 AsInt(5)"]).await;
    check("{initial_value: keep}", 999, &["c 1 {} 0..2010 AsInt(5)"]).await;
    check("{initial_value: drop}", 1000, &[]).await;
}

#[tokio::test]
async fn everything_else_goes_on_as_it_came() {
    let rig = rig("{}");
    let p = || vec![point("{}", 2000, 2010, Number::AsInt(5))];
    let others = vec![
        metric("delta", sum(p(), 1, true)),
        metric("unspecified", sum(p(), 0, true)),
        metric("updown", sum(p(), 2, false)),
        metric("gauge", Data::Gauge(m::Gauge { data_points: p() })),
        metric(
            "summary",
            Data::Summary(m::Summary {
                data_points: vec![m::SummaryDataPoint::default()],
            }),
        ),
    ];
    let came = payload(others);
    rig.node.consume(came.clone()).await.unwrap();
    assert_eq!(
        rig.sink.taken()[0].chunks[0].bytes().as_ptr(),
        came.chunks[0].bytes().as_ptr()
    );
    // A point that is not a number is let alone, one without a value ends.
    let nan = || {
        vec![metric(
            "n",
            sum(vec![point("{}", 2000, 2010, Number::AsDouble(f64::NAN))], 2, true),
        )]
    };
    assert_eq!(told(&rig.give(nan()).await), ["n 1 {} 2000..2010 AsDouble(NaN)"]);
    let mut empty = point("{}", 2000, 2010, Number::AsInt(5));
    empty.flags = 1;
    assert_eq!(rig.give(vec![metric("e", sum(vec![empty], 2, true))]).await, []);
    assert_eq!((rig.dropped(NO_VALUE), rig.sink.taken().len()), (1, 2));
}

#[tokio::test]
async fn includes_and_excludes() {
    let check = async |yaml: &str, expected: &[&str]| {
        let rig = rig(yaml);
        let histogram = Data::Histogram(m::Histogram {
            data_points: vec![m::HistogramDataPoint {
                start_time_unix_nano: 2000,
                time_unix_nano: 2010,
                ..Default::default()
            }],
            aggregation_temporality: 2,
        });
        let all = vec![
            counter("a.total", 2000, 2010, 1),
            counter("b.total", 2000, 2010, 1),
            metric("h", histogram),
        ];
        let converted: Vec<String> = rig
            .give(all)
            .await
            .into_iter()
            .filter(|metric| match &metric.data {
                Some(Data::Sum(d)) => d.aggregation_temporality == 1,
                Some(Data::Histogram(d)) => d.aggregation_temporality == 1,
                _ => false,
            })
            .map(|metric| metric.name)
            .collect();
        assert_eq!(converted, expected, "{yaml}");
    };
    check("{}", &["a.total", "b.total", "h"]).await;
    check(
        "{include: {metrics: [a.total, h], match_type: strict}}",
        &["a.total", "h"],
    )
    .await;
    check(
        "{include: {metrics: ['^a', 'x'], match_type: regexp, regexp: {cacheenabled: true}}}",
        &["a.total"],
    )
    .await;
    check("{exclude: {metrics: [total], match_type: regexp}}", &["h"]).await;
    check(
        "{exclude: {metrics: [total], match_type: strict}}",
        &["a.total", "b.total", "h"],
    )
    .await;
    check("{include: {metric_types: [Histogram]}}", &["h"]).await;
    check(
        "{exclude: {metric_types: [histogram, exponentialhistogram]}}",
        &["a.total", "b.total"],
    )
    .await;
    check(
        "{include: {metrics: ['.'], match_type: regexp, metric_types: [sum]}, exclude: {metrics: [b], match_type: regexp}}",
        &["a.total"],
    )
    .await;
}

fn histogram(time: u64, sum: Option<f64>, counts: &[u64], bounds: &[f64]) -> m::Metric {
    let point = m::HistogramDataPoint {
        start_time_unix_nano: 2000,
        time_unix_nano: time,
        count: counts.iter().sum(),
        sum,
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        min: Some(0.5),
        max: Some(9.0),
        exemplars: vec![m::Exemplar::default()],
        ..Default::default()
    };
    metric(
        "h",
        Data::Histogram(m::Histogram {
            data_points: vec![point],
            aggregation_temporality: 2,
        }),
    )
}

#[tokio::test]
async fn histograms_become_what_was_added() {
    let rig = rig("{}");
    let give = async |metric: m::Metric| {
        let out = rig.give(vec![metric]).await;
        let Some(Data::Histogram(data)) = out.first().and_then(|metric| metric.data.clone()) else {
            return None;
        };
        assert_eq!(data.aggregation_temporality, 1);
        let p = &data.data_points[0];
        assert_eq!((p.min, p.max, p.exemplars.len()), (None, None, 1));
        Some((
            p.start_time_unix_nano,
            p.count,
            p.sum,
            p.bucket_counts.clone(),
            p.explicit_bounds.clone(),
        ))
    };
    let bounds = [1.0, 2.0];
    let all = |start, count, sum, counts: &[u64]| Some((start, count, sum, counts.to_vec(), bounds.to_vec()));
    assert_eq!(
        give(histogram(2010, Some(4.0), &[1, 0, 2], &bounds)).await,
        all(2000, 3, Some(4.0), &[1, 0, 2])
    );
    assert_eq!(
        give(histogram(2020, Some(9.5), &[1, 3, 4], &bounds)).await,
        all(2010, 5, Some(5.5), &[0, 3, 2])
    );
    assert_eq!(
        give(histogram(2030, None, &[1, 4, 4], &bounds)).await,
        all(2020, 1, None, &[0, 1, 0])
    );
    // It began anew: all of it was added since.
    assert_eq!(
        give(histogram(2040, Some(2.0), &[1, 1, 0], &bounds)).await,
        all(2030, 2, Some(2.0), &[1, 1, 0])
    );
    assert_eq!(
        give(histogram(2050, Some(3.0), &[1, 2, 0], &[1.0, 3.0])).await,
        None
    );
    assert_eq!(give(histogram(2060, Some(3.0), &[1, 2], &[1.0])).await, None);
    assert_eq!(rig.dropped(track::MISMATCH), 2);
}

#[tokio::test]
async fn exponential_histograms_become_what_was_added() {
    let rig = rig("{}");
    let of = |time, scale, zero_count, offset, counts: &[u64]| {
        let point = m::ExponentialHistogramDataPoint {
            start_time_unix_nano: 2000,
            time_unix_nano: time,
            count: counts.iter().sum::<u64>() + zero_count,
            sum: Some(time as f64),
            scale,
            zero_count,
            positive: Some(Buckets {
                offset,
                bucket_counts: counts.to_vec(),
            }),
            negative: Some(Buckets {
                offset: -1,
                bucket_counts: vec![zero_count],
            }),
            min: Some(0.0),
            max: Some(1.0),
            ..Default::default()
        };
        let data = m::ExponentialHistogram {
            data_points: vec![point],
            aggregation_temporality: 2,
        };
        vec![metric("e", Data::ExponentialHistogram(data))]
    };
    let give = async |metrics: Vec<m::Metric>| {
        let out = rig.give(metrics).await;
        let Some(Data::ExponentialHistogram(data)) = out.first().and_then(|metric| metric.data.clone())
        else {
            return None;
        };
        assert_eq!(data.aggregation_temporality, 1);
        let p = data.data_points[0].clone();
        assert_eq!((p.min, p.max), (None, None));
        let buckets = |b: Option<Buckets>| b.map(|b| (b.offset, b.bucket_counts)).unwrap_or_default();
        Some((
            p.start_time_unix_nano,
            p.count,
            p.sum,
            p.scale,
            p.zero_count,
            buckets(p.positive),
            buckets(p.negative),
        ))
    };
    let first = (2000, 7, Some(2010.0), 1, 1, (-2, vec![1, 2, 3]), (-1, vec![1]));
    assert_eq!(give(of(2010, 1, 1, -2, &[1, 2, 3])).await, Some(first));
    // One step coarser: -2, -1, 0 are -1, -1, 0.
    let second = (2010, 5, Some(10.0), 0, 1, (0, vec![1, 0, 3]), (-1, vec![1]));
    assert_eq!(give(of(2020, 0, 2, -1, &[3, 4, 0, 3])).await, Some(second));
    let third = (2020, 0, Some(10.0), 0, 0, (0, vec![]), (0, vec![]));
    assert_eq!(give(of(2030, 0, 2, -1, &[3, 4, 0, 3])).await, Some(third));
    assert_eq!(give(of(2040, 1, 2, -1, &[3, 4, 0, 3])).await, None);
    assert_eq!(rig.dropped(track::RESET), 1);
}

#[tokio::test]
async fn what_is_refused_is_as_if_it_had_not_come() {
    let rig = rig("{initial_value: keep}");
    rig.give(vec![counter("c", 0, 10, 5)]).await;
    let refusal = Refusal::unavailable("no");
    rig.sink.refuse(Some(refusal.clone()));
    let come = || {
        vec![
            counter("c", 0, 20, 9),
            counter("new", 0, 20, 3),
            counter("c", 0, 30, 11),
        ]
    };
    for _ in 0..3 {
        assert_eq!(rig.node.consume(payload(come())).await, Err(refusal.clone()));
    }
    rig.sink.refuse(None);
    assert_eq!(
        told(&rig.give(come()).await),
        [
            "c 1 {} 10..20 AsInt(4)",
            "new 1 {} 0..20 AsInt(3)",
            "c 1 {} 20..30 AsInt(2)"
        ]
    );
    assert_eq!(rig.node.0.tracker.lock().len(), 2);
}

#[tokio::test]
async fn tenants_have_series_of_their_own() {
    let rig = rig("{initial_value: drop}");
    let of = |tenant: &str, value| {
        let mut payload = payload(vec![counter("c", 0, value as u64, value)]);
        payload.chunks[0].origin.tenant = Some(tenant.into());
        payload
    };
    for payload in [of("a", 5), of("b", 50), of("a", 7), of("b", 51)] {
        rig.node.consume(payload).await.unwrap();
    }
    let out: Vec<_> = rig.sink.taken().iter().flat_map(|p| told(&metrics(p))).collect();
    assert_eq!(out, ["c 1 {} 5..7 AsInt(2)", "c 1 {} 50..51 AsInt(1)"]);
}

#[tokio::test(start_paused = true)]
async fn stale_series_are_forgotten() {
    let rig = rig("{max_staleness: 60s, initial_value: drop}");
    assert!(rig.node.start(Arc::new(Lonely::default())).await.is_ok());
    rig.give(vec![counter("old", 0, 10, 5), counter("new", 0, u64::MAX, 5)])
        .await;
    assert_eq!(rig.node.0.tracker.lock().len(), 2);
    tokio::time::sleep(StdDuration::from_secs(61)).await;
    assert_eq!(rig.node.0.tracker.lock().len(), 1);
    let (_switch, stop) = Stop::new();
    rig.node.drain(stop).await;
}

#[test]
fn says_all_that_is_wrong() {
    let check = |yaml: &str, expected: &[&str]| {
        let told = faults((FACTORY.build)(
            section(yaml),
            &context("cumulativetodelta"),
            Signal::Metrics,
        ));
        for text in expected {
            assert!(told.contains(text), "{yaml}: {told}");
        }
    };
    check(
        "{initial_value: first, include: {metrics: [a]}, exclude: {match_type: strict, metric_types: [gauge]}}",
        &[
            "unknown initial_value: first",
            "match_type must be set if metrics are supplied",
            "metrics must be supplied if match_type is set",
            "invalid metric type gauge",
        ],
    );
    check("{include: {metrics: ['('], match_type: regexp}}", &["`(`"]);
    check(
        "{include: {metrics: [a], match_type: glob}}",
        &["unknown match_type glob"],
    );
}

/// Counters that grow at random and now and then begin anew: what goes on adds up to what was counted after the first
/// point of each, but for what a reset hides.
#[tokio::test]
async fn deltas_add_up() {
    let mut rng = Rng(23);
    for round in 0..60 {
        let rig = rig("{initial_value: keep}");
        let mut last: HashMap<String, i64> = HashMap::new();
        let mut expected: HashMap<String, i64> = HashMap::new();
        for time in 1..20u64 {
            let mut points = Vec::new();
            for _ in 0..rng.below(5) {
                let attributes = format!("{{k: {}, l: {}}}", rng.below(2), rng.below(2));
                let value = match rng.chance(10) {
                    true => rng.below(5) as i64,
                    false => last.get(&attributes).copied().unwrap_or(0) + rng.below(100) as i64,
                };
                let before = last.insert(attributes.clone(), value);
                if before.is_none_or(|before| value >= before) {
                    *expected.entry(show(&map(&attributes))).or_default() += value - before.unwrap_or(0);
                }
                points.push(point(&attributes, 0, time, Number::AsInt(value)));
            }
            let refuses = rng.chance(30);
            rig.sink.refuse(refuses.then(|| Refusal::unavailable("no")));
            let came = payload(vec![metric("c", sum(points, 2, true))]);
            if refuses && rig.node.consume(came.clone()).await.is_err() {
                rig.sink.refuse(None);
                rig.node.consume(came).await.unwrap();
            } else if !refuses {
                rig.node.consume(came).await.unwrap();
            }
        }
        let mut got: HashMap<String, i64> = HashMap::new();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for taken in rig.sink.taken() {
            let bytes = taken.to_bytes().to_vec();
            // What was refused was offered twice, and the same both times.
            if seen.last() == Some(&bytes) {
                continue;
            }
            seen.push(bytes);
            for metric in metrics(&taken) {
                let Some(Data::Sum(sum)) = metric.data else {
                    panic!("a sum")
                };
                for p in sum.data_points {
                    let Some(Number::AsInt(value)) = p.value else {
                        panic!("an integer")
                    };
                    assert!(value >= 0);
                    *got.entry(show(&p.attributes)).or_default() += value;
                }
            }
        }
        expected.retain(|key, value| *value != 0 || got.contains_key(key));
        assert_eq!(got, expected, "round {round}");
    }
}

/// Numbers that are not packed, as old encoders write them, are read and go.
#[tokio::test]
async fn numbers_that_are_not_packed_are_read() {
    let rig = rig("{}");
    let point = |time: u64, counts: &[u64]| {
        let mut out = Vec::new();
        wire::write::fixed(2, 2000, &mut out);
        wire::write::fixed(3, time, &mut out);
        wire::write::fixed(4, counts.iter().sum(), &mut out);
        counts
            .iter()
            .for_each(|count| wire::write::fixed(6, *count, &mut out));
        wire::write::double(7, 1.5, &mut out);
        out
    };
    let request = |time: u64, counts: &[u64]| {
        let mut out = Vec::new();
        wire::write::message(1, &mut out, |out| {
            wire::write::message(2, out, |out| {
                wire::write::message(2, out, |out| {
                    wire::write::bytes(1, b"h", out);
                    wire::write::message(9, out, |out| {
                        wire::write::bytes(1, &point(time, counts), out);
                        wire::write::int(2, 2, out);
                    });
                });
            });
        });
        let shape = validate(Signal::Metrics, &out, &Limits::default()).unwrap();
        Payload::new(Signal::Metrics, Chunk::new(out.into(), shape), Arc::default())
    };
    rig.node.consume(request(2010, &[1, 2])).await.unwrap();
    rig.node.consume(request(2020, &[4, 2])).await.unwrap();
    let out = metrics(&rig.sink.taken()[1]);
    let Some(Data::Histogram(data)) = &out[0].data else {
        panic!("a histogram")
    };
    let p = &data.data_points[0];
    assert_eq!(
        (p.count, p.bucket_counts.as_slice(), p.explicit_bounds.as_slice()),
        (3, &[3, 0][..], &[1.5][..])
    );
}

component::component_tests!(FACTORY);
