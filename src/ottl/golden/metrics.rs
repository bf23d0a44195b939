//! Functions that make metrics, change their kind or merge their points.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as N;
use proptest::prelude::*;
use prost::Message as _;
use wire::test_kit::{Request, Rng};
use wire::{Limits, Signal};

use super::kit::{kv, metrics, with_env};
use crate::{Context, ErrorMode, Functions, Group, Program, Scratch};

/// The metrics after statements ran on them, one line each, and errors behind them.
fn reshaped(bytes: &[u8], statements: &[&str]) -> Vec<String> {
    let group = Group {
        signal: Signal::Metrics,
        functions: Functions::Transform,
        context: Some(Context::Metric),
        conditions: &[],
        statements,
    };
    let program = match Program::new(&group) {
        Ok(program) => program,
        Err(faults) => return faults.0.iter().map(|f| format!("fault: {}", f.message)).collect(),
    };
    let mut errors = Vec::new();
    let scratch = &mut Scratch::default();
    let out = with_env(|env| {
        let mut failed = |_: &str, e: &crate::Error| errors.push(format!("error: {e}"));
        program.reshape(bytes, env, scratch, ErrorMode::Ignore, &mut failed)
    });
    let out = out.expect("errors are ignored").unwrap_or(bytes.to_vec());
    let shape =
        wire::validate(Signal::Metrics, &out, &Limits::default()).expect("what was written is well formed");
    assert!(!shape.non_canonical);
    let request = ExportMetricsServiceRequest::decode(&*out).expect("it can be read");
    let groups = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
    let mut lines: Vec<String> = groups.flat_map(|s| &s.metrics).map(line).collect();
    lines.extend(errors);
    lines
}

fn line(metric: &m::Metric) -> String {
    let numbers = |points: &[m::NumberDataPoint]| {
        let points: Vec<String> = points
            .iter()
            .map(|p| {
                let value = match p.value {
                    Some(N::AsInt(i)) => i.to_string(),
                    Some(N::AsDouble(f)) => format!("{f:?}"),
                    None => "none".into(),
                };
                format!(
                    "{value}@{}-{}{}",
                    p.start_time_unix_nano,
                    p.time_unix_nano,
                    attributes(&p.attributes)
                )
            })
            .collect();
        points.join(" ")
    };
    let data = match &metric.data {
        None => "none".into(),
        Some(Data::Gauge(g)) => format!("gauge {}", numbers(&g.data_points)),
        Some(Data::Sum(s)) => format!(
            "sum({},{}) {}",
            s.aggregation_temporality,
            s.is_monotonic,
            numbers(&s.data_points)
        ),
        Some(Data::Histogram(h)) => {
            let points = h.data_points.iter().map(|p| {
                format!(
                    "{} {:?} {:?} {:?}{}",
                    p.count,
                    p.sum,
                    p.bucket_counts,
                    p.explicit_bounds,
                    attributes(&p.attributes)
                )
            });
            format!(
                "histogram({}) {}",
                h.aggregation_temporality,
                points.collect::<Vec<_>>().join(" ")
            )
        }
        Some(Data::ExponentialHistogram(h)) => {
            let points = h
                .data_points
                .iter()
                .map(|p| format!("{} {:?} {:?}", p.count, p.sum, p.positive));
            format!(
                "exponential({}) {}",
                h.aggregation_temporality,
                points.collect::<Vec<_>>().join(" ")
            )
        }
        Some(Data::Summary(s)) => {
            let points = s.data_points.iter().map(|p| format!("{} {:?}", p.count, p.sum));
            format!("summary {}", points.collect::<Vec<_>>().join(" "))
        }
    };
    format!(
        "{} [{}] {} = {data}",
        metric.name, metric.unit, metric.description
    )
}

fn attributes(all: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> String {
    let all = all.iter().map(|kv| {
        let value = kv.value.as_ref().and_then(|v| v.value.as_ref());
        let value = match value {
            Some(V::StringValue(text)) => text.clone(),
            Some(V::DoubleValue(number)) => format!("{number:?}"),
            Some(V::IntValue(i)) => i.to_string(),
            _ => "?".into(),
        };
        format!(" {}={value}", kv.key)
    });
    all.collect()
}

fn request(all: Vec<m::Metric>) -> Vec<u8> {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![m::ResourceMetrics {
            scope_metrics: vec![m::ScopeMetrics {
                metrics: all,
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    request.encode_to_vec()
}

fn metric(name: &str, data: Data) -> m::Metric {
    m::Metric {
        name: name.into(),
        unit: "s".into(),
        description: "d".into(),
        data: Some(data),
        ..Default::default()
    }
}

/// A number point of time 9 with attributes `a` and `b`.
fn point(a: &str, b: &str, value: N) -> m::NumberDataPoint {
    m::NumberDataPoint {
        attributes: vec![
            kv("a", V::StringValue(a.into())),
            kv("b", V::StringValue(b.into())),
        ],
        start_time_unix_nano: if b == "x" { 5 } else { 4 },
        time_unix_nano: 9,
        value: Some(value),
        ..Default::default()
    }
}

fn gauge(points: Vec<m::NumberDataPoint>) -> m::Metric {
    metric("g", Data::Gauge(m::Gauge { data_points: points }))
}

fn sum(temporality: i32, points: Vec<m::NumberDataPoint>) -> m::Metric {
    let data = m::Sum {
        data_points: points,
        aggregation_temporality: temporality,
        is_monotonic: true,
    };
    metric("s", Data::Sum(data))
}

fn histogram(attribute: &str, counts: &[u64]) -> m::HistogramDataPoint {
    m::HistogramDataPoint {
        attributes: vec![kv("a", V::StringValue(attribute.into()))],
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: counts.iter().sum(),
        sum: Some(10.0),
        bucket_counts: counts.to_vec(),
        explicit_bounds: vec![1.0, 2.0, 4.0],
        max: Some(8.0),
        exemplars: vec![m::Exemplar {
            value: Some(m::exemplar::Value::AsDouble(1.5)),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn histograms(points: Vec<m::HistogramDataPoint>) -> m::Metric {
    let data = m::Histogram {
        data_points: points,
        aggregation_temporality: 2,
    };
    metric("h", Data::Histogram(data))
}

/// Scale 0: buckets (1,2], (2,4], (4,8]; one zero; two in [-2,-1).
fn exponential() -> m::Metric {
    let point = m::ExponentialHistogramDataPoint {
        attributes: vec![kv("a", V::StringValue("p".into()))],
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 10,
        sum: Some(20.0),
        zero_count: 1,
        positive: Some(m::exponential_histogram_data_point::Buckets {
            offset: 0,
            bucket_counts: vec![4, 2, 1],
        }),
        negative: Some(m::exponential_histogram_data_point::Buckets {
            offset: 0,
            bucket_counts: vec![2],
        }),
        ..Default::default()
    };
    let data = m::ExponentialHistogram {
        data_points: vec![point],
        aggregation_temporality: 1,
    };
    metric("e", Data::ExponentialHistogram(data))
}

fn summary() -> m::Metric {
    let quantile = |quantile, value| m::summary_data_point::ValueAtQuantile { quantile, value };
    let point = m::SummaryDataPoint {
        attributes: vec![kv("a", V::StringValue("p".into()))],
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: 6.5,
        quantile_values: vec![
            quantile(0.0, 1.0),
            quantile(0.5, 2.0),
            quantile(0.99, 3.0),
            quantile(1.0, 4.0),
        ],
        ..Default::default()
    };
    metric(
        "q",
        Data::Summary(m::Summary {
            data_points: vec![point],
        }),
    )
}

fn check(metric: m::Metric, statements: &[&str], expected: &[&str]) {
    assert_eq!(
        reshaped(&request(vec![metric]), statements),
        expected,
        "{statements:?}"
    );
}

#[test]
fn kinds_change() {
    let one = || vec![point("p", "x", N::AsInt(3))];
    check(
        sum(2, one()),
        &["convert_sum_to_gauge()"],
        &["s [s] d = gauge 3@5-9 a=p b=x"],
    );
    check(
        gauge(one()),
        &["convert_sum_to_gauge()"],
        &["g [s] d = gauge 3@5-9 a=p b=x"],
    );
    check(
        gauge(one()),
        &["convert_gauge_to_sum(\"delta\", true)"],
        &["g [s] d = sum(1,true) 3@5-9 a=p b=x"],
    );
    check(
        gauge(one()),
        &["convert_gauge_to_sum(\"cumulative\", false)"],
        &["g [s] d = sum(2,false) 3@5-9 a=p b=x"],
    );
    check(
        gauge(one()),
        &["convert_gauge_to_sum(\"sometimes\", true)"],
        &["fault: convert_gauge_to_sum: the temporality must be \"delta\" or \"cumulative\""],
    );
    check(
        gauge(one()),
        &["convert_sum_to_gauge(1)"],
        &["fault: convert_sum_to_gauge takes at most 0 arguments but got 1"],
    );
    // What one statement made of it the next one sees, and the other way round.
    check(
        sum(2, one()),
        &[
            "set(metric.name, \"n\") where metric.type == METRIC_DATA_TYPE_SUM",
            "convert_sum_to_gauge() where metric.name == \"n\"",
            "set(metric.unit, \"u\") where metric.type == METRIC_DATA_TYPE_GAUGE",
            "set(metric.cache[\"k\"], metric.name)",
            "convert_gauge_to_sum(\"delta\", false)",
            "set(metric.description, metric.cache[\"k\"])",
        ],
        &["n [u] n = sum(1,false) 3@5-9 a=p b=x"],
    );
}

#[test]
fn metrics_are_copied() {
    let one = || gauge(vec![point("p", "x", N::AsInt(3))]);
    check(
        one(),
        &["copy_metric(name=\"c\", unit=\"u\") where metric.name == \"g\""],
        &["g [s] d = gauge 3@5-9 a=p b=x", "c [u] d = gauge 3@5-9 a=p b=x"],
    );
    // The copy runs through all statements.
    check(
        one(),
        &["copy_metric(Concat([metric.name, \"2\"], \"\"), desc) where metric.name == \"g\""],
        &[
            "fault: segment \"desc\" from path \"desc\" is not a valid path nor a valid OTTL keyword for the metric context",
        ],
    );
    check(
        one(),
        &[
            "copy_metric(Concat([metric.name, \"2\"], \"\"), \"copy\") where metric.name == \"g\"",
            "convert_gauge_to_sum(\"delta\", true) where metric.name == \"g2\"",
        ],
        &[
            "g [s] d = gauge 3@5-9 a=p b=x",
            "g2 [s] copy = sum(1,true) 3@5-9 a=p b=x",
        ],
    );
    check(
        one(),
        &["copy_metric(name=metric.is_monotonic) where metric.name == \"g\""],
        &[
            "g [s] d = gauge 3@5-9 a=p b=x",
            "error: expected string but got nil",
        ],
    );
    // Without a condition the collector would never end.
    let endless = reshaped(&request(vec![one()]), &["copy_metric()"]);
    assert_eq!(endless.len(), 10, "{endless:?}");
    assert_eq!(
        endless[9],
        "error: metrics are made of metrics that were made, without end: a where clause is missing"
    );
}

#[test]
fn counts_sums_and_percentiles_are_extracted() {
    let h = || histograms(vec![histogram("p", &[4, 2, 2, 2])]);
    let same = "h [s] d = histogram(2) 10 Some(10.0) [4, 2, 2, 2] [1.0, 2.0, 4.0] a=p";
    let only = |name: &str| format!("{name} where metric.name == \"h\"");
    check(
        h(),
        &[&only("extract_count_metric(true)")],
        &[same, "h_count [1] d = sum(2,true) 10@1-2 a=p"],
    );
    check(
        h(),
        &[&only("extract_count_metric(false, \".n\")")],
        &[same, "h.n [1] d = sum(2,false) 10@1-2 a=p"],
    );
    check(
        h(),
        &[&only("extract_sum_metric(true, suffix=\".t\")")],
        &[same, "h.t [s] d = sum(2,true) 10.0@1-2 a=p"],
    );
    check(
        h(),
        &[&only("extract_percentile_metric(50.0)")],
        &[same, "h_p50 [s] d (p50) = gauge 1.5@1-2 a=p"],
    );
    check(
        h(),
        &[&only("extract_percentile_metric(99.9, \"_tail\")")],
        &[same, "h_tail [s] d (p99.9) = gauge 8.0@1-2 a=p"],
    );
    check(
        h(),
        &["extract_percentile_metric(101.0)"],
        &["fault: extract_percentile_metric: the percentile must be between 0 and 100"],
    );
    check(
        h(),
        &["extract_percentile_metric(50)"],
        &["fault: argument \"percentile\" must be a number with a decimal point"],
    );
    let mut short = histogram("p", &[1, 0, 0, 0]);
    short.count = 9;
    check(
        histograms(vec![short]),
        &[&only("extract_percentile_metric(90.0)")],
        &[
            "h [s] d = histogram(2) 9 Some(10.0) [1, 0, 0, 0] [1.0, 2.0, 4.0] a=p",
            "error: the buckets hold fewer values than the point counts",
        ],
    );
    check(
        gauge(vec![point("p", "x", N::AsInt(3))]),
        &["extract_count_metric(true)", "extract_sum_metric(true)"],
        &[
            "g [s] d = gauge 3@5-9 a=p b=x",
            "error: extract_count_metric requires an input metric of type Histogram, ExponentialHistogram or Summary, got Gauge",
            "error: extract_sum_metric requires an input metric of type Histogram, ExponentialHistogram or Summary, got Gauge",
        ],
    );
    let found = reshaped(
        &request(vec![exponential()]),
        &[
            "extract_percentile_metric(10.0) where metric.name == \"e\"",
            "extract_percentile_metric(25.0) where metric.name == \"e\"",
            "extract_percentile_metric(50.0) where metric.name == \"e\"",
            "extract_percentile_metric(90.0) where metric.name == \"e\"",
            "extract_sum_metric(false) where metric.name == \"e\"",
        ],
    );
    assert_eq!(
        found[1..],
        [
            // Of -2 to -1 half, in the logarithm.
            "e_p10 [s] d (p10) = gauge -1.4142135623730951@1-2 a=p".to_owned(),
            "e_p25 [s] d (p25) = gauge 0.0@1-2 a=p".to_owned(),
            "e_p50 [s] d (p50) = gauge 1.4142135623730951@1-2 a=p".to_owned(),
            "e_p90 [s] d (p90) = gauge 4.0@1-2 a=p".to_owned(),
            "e_sum [s] d = sum(1,false) 20.0@1-2 a=p".to_owned(),
        ]
    );
}

#[test]
fn summaries_become_plain_numbers() {
    let same = "q [s] d = summary 3 6.5";
    check(
        summary(),
        &["convert_summary_count_val_to_sum(\"delta\", true)"],
        &[same, "q_count [s] d = sum(1,true) 3@1-2 a=p"],
    );
    check(
        summary(),
        &["convert_summary_sum_val_to_sum(\"cumulative\", false, \".total\")"],
        &[same, "q.total [s] d = sum(2,false) 6.5@1-2 a=p"],
    );
    check(
        summary(),
        &["convert_summary_sum_val_to_sum(\"x\", false)"],
        &["fault: convert_summary_sum_val_to_sum: the temporality must be \"delta\" or \"cumulative\""],
    );
    check(
        summary(),
        &["convert_summary_count_val_to_sum(\"x\", false)"],
        &["fault: convert_summary_count_val_to_sum: the temporality must be \"delta\" or \"cumulative\""],
    );
    check(
        summary(),
        &["convert_summary_quantile_val_to_gauge()"],
        &[
            same,
            "q.quantiles [s] d = gauge 1.0@1-2 a=p quantile=0.0 2.0@1-2 a=p quantile=0.5 3.0@1-2 a=p quantile=0.99 4.0@1-2 a=p quantile=1.0",
        ],
    );
    check(
        summary(),
        &["convert_summary_quantile_val_to_gauge(\"a\", \"_\")"],
        &[
            same,
            "q_ [s] d = gauge 1.0@1-2 a=0.0 2.0@1-2 a=0.5 3.0@1-2 a=0.99 4.0@1-2 a=1.0",
        ],
    );
    check(
        summary(),
        &["convert_summary_quantile_val_to_gauge(1)"],
        &["fault: argument \"attribute_key\" must be text in double quotes"],
    );
    check(
        summary(),
        &[
            "extract_count_metric(true) where metric.name == \"q\"",
            "extract_sum_metric(true) where metric.name == \"q\"",
        ],
        &[
            same,
            "q_count [1] d = sum(2,true) 3@1-2 a=p",
            "q_sum [s] d = sum(2,true) 6.5@1-2 a=p",
        ],
    );
}

#[test]
fn exponential_histograms_become_explicit() {
    // Two from -2 to -1, one 0, four to 2, two to 4, one to 8.
    let check_how = |how: &str, bounds: &str, expected: &str| {
        let statement = format!("convert_exponential_histogram_to_histogram(\"{how}\", {bounds})");
        let expected = format!("e [s] d = histogram(1) 10 Some(20.0) {expected} a=p");
        check(exponential(), &[&statement], &[&expected]);
    };
    check_how("upper", "[0.0, 2.0, 5.0]", "[3, 4, 2, 1] [0.0, 2.0, 5.0]");
    check_how("upper", "[1.5]", "[3, 7] [1.5]");
    check_how("midpoint", "[0.0, 1.5, 5.0]", "[3, 4, 2, 1] [0.0, 1.5, 5.0]");
    check_how("uniform", "[0.0, 1.5, 3.0]", "[3, 2, 3, 2] [0.0, 1.5, 3.0]");
    check_how(
        "random",
        "[0.0, 2.0, 4.0, 8.0]",
        "[3, 4, 2, 1, 0] [0.0, 2.0, 4.0, 8.0]",
    );
    check_how("random", "[0.0, 1.5, 2.0]", "[3, 2, 2, 3] [0.0, 1.5, 2.0]");
    check(
        exponential(),
        &["convert_exponential_histogram_to_histogram(\"lower\", [1.0])"],
        &[
            "fault: convert_exponential_histogram_to_histogram: the distribution must be \"upper\", \"midpoint\", \"uniform\" or \"random\"",
        ],
    );
    for bounds in ["[]", "[2.0, 1.0]", "[1.0, 1.0]"] {
        check(
            exponential(),
            &[&format!(
                "convert_exponential_histogram_to_histogram(\"upper\", {bounds})"
            )],
            &[
                "fault: convert_exponential_histogram_to_histogram: the bounds must not be empty, and each must be above the one before",
            ],
        );
    }
    check(
        summary(),
        &["convert_exponential_histogram_to_histogram(\"upper\", [1.0])"],
        &["q [s] d = summary 3 6.5"],
    );
}

#[test]
fn metrics_are_scaled() {
    check(
        gauge(vec![
            point("p", "x", N::AsInt(3)),
            point("p", "y", N::AsDouble(0.5)),
        ]),
        &["scale_metric(1.5, \"ms\")"],
        &["g [ms] d = gauge 4@5-9 a=p b=x 0.75@4-9 a=p b=y"],
    );
    check(
        histograms(vec![histogram("p", &[4, 2, 2, 2])]),
        &["scale_metric(10.0)"],
        &["h [s] d = histogram(2) 10 Some(100.0) [4, 2, 2, 2] [10.0, 20.0, 40.0] a=p"],
    );
    check(summary(), &["scale_metric(2.0)"], &["q [s] d = summary 3 13.0"]);
    check(
        gauge(Vec::new()),
        &["scale_metric(10)"],
        &["fault: argument \"multiplier\" must be a number with a decimal point"],
    );
    let found = reshaped(&request(vec![exponential()]), &["scale_metric(-1.0)"]);
    assert_eq!(found[1], "error: exponential histograms cannot be scaled");
}

#[test]
fn points_are_aggregated() {
    let ints = || {
        vec![
            point("p", "x", N::AsInt(1)),
            point("p", "y", N::AsInt(5)),
            point("q", "x", N::AsInt(7)),
            point("p", "z", N::AsInt(4)),
        ]
    };
    let check_int = |function: &str, expected: i64| {
        let statement = format!("aggregate_on_attributes(\"{function}\", [\"a\"])");
        // A point that stays alone stays as it is.
        let expected = format!("s [s] d = sum(2,true) {expected}@4-9 a=p 7@5-9 a=q");
        check(sum(2, ints()), &[&statement], &[&expected]);
    };
    check_int("sum", 10);
    check_int("max", 5);
    check_int("min", 1);
    check_int("mean", 3);
    check_int("median", 4);
    check_int("count", 3);
    let doubles = vec![
        point("p", "x", N::AsDouble(1.0)),
        point("p", "y", N::AsDouble(2.5)),
    ];
    for (function, expected) in [
        ("sum", 3.5),
        ("max", 2.5),
        ("min", 1.0),
        ("mean", 1.75),
        ("median", 1.75),
        ("count", 2.0),
    ] {
        let statement = format!("aggregate_on_attributes(\"{function}\", [])");
        check(
            gauge(doubles.clone()),
            &[&statement],
            &[&format!("g [s] d = gauge {expected:?}@4-9")],
        );
    }
    // None listed: only points that are alike become one. A delta's start tells points apart.
    check(
        gauge(vec![
            point("p", "x", N::AsInt(1)),
            point("p", "x", N::AsInt(2)),
            point("p", "y", N::AsInt(4)),
        ]),
        &["aggregate_on_attributes(\"sum\")"],
        &["g [s] d = gauge 3@5-9 a=p b=x 4@4-9 a=p b=y"],
    );
    check(
        sum(1, ints()),
        &["aggregate_on_attributes(\"sum\", [\"a\"])"],
        &["s [s] d = sum(1,true) 1@5-9 a=p 9@4-9 a=p 7@5-9 a=q"],
    );
    check(
        histograms(vec![histogram("p", &[1, 0, 0, 2]), histogram("q", &[0, 3, 0, 0])]),
        &["aggregate_on_attributes(\"sum\", [])"],
        &["h [s] d = histogram(2) 6 Some(20.0) [1, 3, 0, 2] [1.0, 2.0, 4.0]"],
    );
    check(
        sum(2, ints()),
        &["aggregate_on_attribute_value(\"sum\", \"b\", [\"x\", \"y\"], \"xy\")"],
        &["s [s] d = sum(2,true) 6@4-9 a=p b=xy 7@5-9 a=q b=xy 4@4-9 a=p b=z"],
    );
    let fault = "the function must be \"sum\", \"max\", \"min\", \"mean\", \"median\" or \"count\"";
    check(
        sum(2, ints()),
        &[
            "aggregate_on_attributes(\"average\")",
            "aggregate_on_attribute_value(\"\", \"b\", [], \"\")",
        ],
        &[
            &format!("fault: aggregate_on_attributes: {fault}"),
            &format!("fault: aggregate_on_attribute_value: {fault}"),
        ],
    );
    check(
        summary(),
        &["aggregate_on_attributes(\"sum\")"],
        &[
            "q [s] d = summary 3 6.5",
            "error: a metric of type Summary cannot be aggregated",
        ],
    );
}

#[test]
fn groups_keep_their_messages_and_what_is_written_to_them() {
    let bytes = metrics();
    let statements = [
        "set(resource.attributes[\"n\"], 1) where resource.attributes[\"n\"] == nil",
        "set(resource.attributes[\"n\"], resource.attributes[\"n\"] + 1)",
        "set(scope.name, \"other\")",
        "convert_sum_to_gauge()",
    ];
    let program = super::kit::program(Context::Metric, &statements);
    assert!(program.reshapes() && program.writes());
    let run = |bytes: &[u8], program: &Program| {
        with_env(|env| {
            program.reshape(
                bytes,
                env,
                &mut Scratch::default(),
                ErrorMode::Propagate,
                &mut |_, _| {},
            )
        })
        .expect("nothing fails")
    };
    let out = run(&bytes, &program).expect("it changes something");
    let before = ExportMetricsServiceRequest::decode(&*bytes).expect("it can be read");
    let after = ExportMetricsServiceRequest::decode(&*out).expect("it can be read");
    let mut expected = before;
    let group = &mut expected.resource_metrics[0];
    // Five metrics, each counted on from the last.
    group
        .resource
        .as_mut()
        .expect("it has one")
        .attributes
        .push(kv("n", V::IntValue(6)));
    group.scope_metrics[0].scope.as_mut().expect("it has one").name = "other".into();
    let first = &mut group.scope_metrics[0].metrics[0];
    let Some(Data::Sum(sum)) = first.data.take() else {
        panic!("the first is a sum");
    };
    first.data = Some(Data::Gauge(m::Gauge {
        data_points: sum.data_points,
    }));
    assert_eq!(after, expected);
    // Nothing to do: nothing is written.
    let idle = super::kit::program(
        Context::Metric,
        &["convert_sum_to_gauge() where metric.name == \"x\""],
    );
    assert_eq!(run(&bytes, &idle), None);
}

#[test]
fn a_plain_run_makes_no_metrics() {
    let bytes = request(vec![gauge(vec![point("p", "x", N::AsInt(3))])]);
    let program = super::kit::program(Context::Metric, &["copy_metric()"]);
    let mut views = wire::view::Scratch::default();
    let mut view = wire::view::View::new(&mut views, Signal::Metrics, &bytes, program.depth())
        .expect("it is well formed");
    let ran = with_env(|env| {
        program.run(
            &mut view,
            env,
            &mut Scratch::default(),
            ErrorMode::Propagate,
            &mut |_, _| {},
        )
    });
    assert_eq!(
        ran.map_err(|e| e.to_string()),
        Err("metrics cannot be made here".to_owned())
    );
}

/// Every function that shapes metrics, on any metrics.
const ALL: [&str; 12] = [
    "copy_metric(name=\"copy\") where metric.name != \"copy\"",
    "extract_count_metric(true)",
    "extract_sum_metric(false, \"_s\")",
    "extract_percentile_metric(99.0)",
    "convert_summary_count_val_to_sum(\"delta\", true)",
    "convert_summary_sum_val_to_sum(\"cumulative\", true)",
    "convert_summary_quantile_val_to_gauge()",
    "scale_metric(1.5)",
    "aggregate_on_attributes(\"mean\", [\"a\"])",
    "convert_exponential_histogram_to_histogram(\"random\", [0.5, 10.0])",
    "convert_sum_to_gauge()",
    "convert_gauge_to_sum(\"delta\", false)",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What is well formed stays so, and no bytes whatever are a reason to fall over.
    #[test]
    fn any_metrics_are_reshaped(seed: u64) {
        let rng = &mut Rng(seed);
        let mut bytes = Request::random(Signal::Metrics, rng).encode();
        if rng.chance(50) {
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() + 1);
                match bytes.get_mut(at) {
                    Some(byte) => *byte ^= 1 << rng.below(8),
                    None => bytes.truncate(at / 2),
                }
            }
        }
        let statements: Vec<&str> = (0..=rng.below(4)).map(|_| *rng.pick(&ALL)).collect();
        let program = super::kit::program(Context::Metric, &statements);
        let limits = Limits::default();
        let good = wire::validate(Signal::Metrics, &bytes, &limits).is_ok_and(|shape| !shape.non_canonical);
        let out = with_env(|env| {
            program.reshape(&bytes, env, &mut Scratch::default(), ErrorMode::Ignore, &mut |_, _| {})
        });
        if let (true, Ok(Some(out))) = (good, out) {
            let shape = wire::validate(Signal::Metrics, &out, &limits);
            prop_assert!(shape.is_ok_and(|shape| !shape.non_canonical), "{statements:?}");
        }
    }
}
