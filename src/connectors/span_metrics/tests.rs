use std::cell::Cell;
use std::collections::BTreeMap;

use component::test_kit::{Branches, Lonely, context, faults, section, totals};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, ResourceMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message as _;
use telemetry::Column;
use tokio::time::sleep;
use wire::test_kit::Rng;
use wire::{Limits as DoorLimits, validate};

use super::*;

thread_local! {
    static CLOCK: Cell<u64> = const { Cell::new(0) };
}

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

struct Rig {
    node: SpanMetrics,
    branches: Arc<Branches>,
    cx: BuildContext,
}

fn rig(yaml: &str) -> Rig {
    let cx = context("span_metrics");
    rig_in(yaml, cx)
}

fn rig_in(yaml: &str, cx: BuildContext) -> Rig {
    let branches = Branches::new(&["metrics"]);
    let section = section(yaml);
    let config: Config = section.clone().parse().unwrap_or_else(|fault| panic!("{fault}"));
    let joint = branches.joint(&cx.telemetry, Signal::Traces, Signal::Metrics);
    let mut inner = Inner::new(&config, &section, &cx, joint).unwrap_or_else(|fault| panic!("{fault}"));
    inner.clock = || CLOCK.get();
    inner.program.instance = "me".into();
    Rig {
        node: SpanMetrics(Arc::new(inner)),
        branches,
        cx,
    }
}

impl Rig {
    async fn give(&self, at_s: u64, payload: Payload) {
        CLOCK.set(at_s * SECOND);
        assert_eq!(self.node.consume(payload).await, Ok(Outcome::all()));
    }

    /// What goes on at this time, one line a point.
    async fn flush(&self, at_s: u64) -> Vec<String> {
        let before = self.branches.sink("metrics").taken().len();
        CLOCK.set(at_s * SECOND);
        let (_switch, stop) = Stop::new();
        self.node.0.flush(stop, false).await;
        let taken = self.branches.sink("metrics").taken();
        taken[before..].iter().flat_map(told).collect()
    }

    /// Merged and dropped spans, created points.
    fn books(&self) -> (u64, u64, u64) {
        let came = totals(&self.cx.telemetry, "connector", Signal::Traces);
        let made = totals(&self.cx.telemetry, "connector", Signal::Metrics);
        let dropped = came.dropped.get(NAMELESS).copied().unwrap_or(0);
        (came.get(Column::Merged), dropped, made.get(Column::Created))
    }
}

fn attributes(text: &str) -> Vec<KeyValue> {
    let entries = text.split(',').filter(|e| !e.is_empty());
    let value = |text: &str| match text.parse::<i64>() {
        Ok(number) => Any::IntValue(number),
        Err(_) => Any::StringValue(text.into()),
    };
    entries
        .map(|entry| entry.split_once('=').unwrap())
        .map(|(key, text)| KeyValue {
            key: key.into(),
            value: Some(AnyValue {
                value: Some(value(text)),
            }),
            ..Default::default()
        })
        .collect()
}

fn show(attributes: &[KeyValue]) -> String {
    let each = attributes.iter().map(|a| {
        let value = match a.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(Any::StringValue(text)) => text.clone(),
            Some(Any::IntValue(i)) => i.to_string(),
            Some(Any::BoolValue(b)) => b.to_string(),
            other => format!("{other:?}"),
        };
        format!("{}={value}", a.key)
    });
    each.collect::<Vec<_>>().join(",")
}

fn examples(exemplars: &[Exemplar]) -> String {
    let each = exemplars.iter().map(|e| {
        let Some(ExemplarValue::AsDouble(value)) = e.value else {
            panic!("a double")
        };
        format!(
            " e{}:{}@{}={value}",
            e.trace_id[0],
            e.span_id[0],
            e.time_unix_nano / SECOND
        )
    });
    each.collect()
}

fn requests(payload: &Payload) -> Vec<(String, ResourceMetrics)> {
    assert_eq!(payload.signal, Signal::Metrics);
    let mut all = Vec::new();
    for chunk in &payload.chunks {
        let found = validate(Signal::Metrics, &chunk.bytes(), &DoorLimits::default()).unwrap();
        assert_eq!((found.items, found.non_canonical), (chunk.shape.items, false));
        let request = ExportMetricsServiceRequest::decode(chunk.bytes()).unwrap();
        let owner = chunk.origin.tenant.as_deref().unwrap_or("").to_owned();
        all.extend(request.resource_metrics.into_iter().map(|r| (owner.clone(), r)));
    }
    all
}

fn told(payload: &Payload) -> Vec<String> {
    let mut lines = Vec::new();
    for (owner, group) in requests(payload) {
        let head = format!("{owner}[{}]", show(&group.resource.unwrap().attributes));
        for scope in group.scope_metrics {
            assert_eq!(scope.scope.unwrap().name.as_bytes(), state::SCOPE);
            for metric in scope.metrics {
                let name = metric.name.replace("traces.span.metrics.", "");
                let temporality = |t: i32| ["", "delta", "cumulative"][t as usize];
                match metric.data.unwrap() {
                    Data::Sum(sum) => {
                        assert!(sum.is_monotonic && metric.unit.is_empty());
                        for p in sum.data_points {
                            let Some(Value::AsInt(value)) = p.value else {
                                panic!("an integer")
                            };
                            lines.push(format!(
                                "{head} {name} {} {}..{} [{}] {value}{}",
                                temporality(sum.aggregation_temporality),
                                p.start_time_unix_nano / SECOND,
                                p.time_unix_nano / SECOND,
                                show(&p.attributes),
                                examples(&p.exemplars),
                            ));
                        }
                    }
                    Data::Histogram(h) => {
                        for p in h.data_points {
                            assert_eq!((p.min, p.max), (None, None));
                            lines.push(format!(
                                "{head} {name} {} {}..{} [{}] {}{} of {:?} sum {} {:?}{}",
                                temporality(h.aggregation_temporality),
                                p.start_time_unix_nano / SECOND,
                                p.time_unix_nano / SECOND,
                                show(&p.attributes),
                                p.count,
                                metric.unit,
                                p.bucket_counts,
                                p.sum.unwrap(),
                                p.explicit_bounds,
                                examples(&p.exemplars),
                            ));
                        }
                    }
                    Data::ExponentialHistogram(h) => {
                        for p in h.data_points {
                            let positive = p.positive.unwrap_or_default();
                            lines.push(format!(
                                "{head} {name} {} [{}] {}{} sum {} scale {} zeros {} from {} {:?} {:?}..{:?}",
                                temporality(h.aggregation_temporality),
                                show(&p.attributes),
                                p.count,
                                metric.unit,
                                p.sum.unwrap(),
                                p.scale,
                                p.zero_count,
                                positive.offset,
                                positive.bucket_counts,
                                p.min.unwrap(),
                                p.max.unwrap(),
                            ));
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    lines
}

fn span(name: &str, ms: u64, text: &str) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        name: name.into(),
        kind: 2,
        start_time_unix_nano: 1000 * MS,
        end_time_unix_nano: (1000 + ms) * MS,
        attributes: attributes(text),
        ..Default::default()
    }
}

fn request(groups: Vec<(&str, &str, Vec<Span>)>) -> ExportTraceServiceRequest {
    let groups = groups.into_iter().map(|(resource, scope, spans)| ResourceSpans {
        resource: Some(Resource {
            attributes: attributes(resource),
            ..Default::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: scope.into(),
                version: "v1".into(),
                ..Default::default()
            }),
            spans,
            ..Default::default()
        }],
        ..Default::default()
    });
    ExportTraceServiceRequest {
        resource_spans: groups.collect(),
    }
}

fn payload(request: &ExportTraceServiceRequest) -> Payload {
    let bytes = request.encode_to_vec();
    let shape = validate(Signal::Traces, &bytes, &DoorLimits::default()).unwrap();
    Payload::new(Signal::Traces, Chunk::new(bytes.into(), shape), Arc::default())
}

fn of(spans: Vec<Span>) -> Payload {
    payload(&request(vec![("service.name=shop", "lib", spans)]))
}

/// Points without durations, told apart by the span's name alone.
const PLAIN: &str = "histogram: {disable: true}, exclude_dimensions: [service.name, span.kind, status.code, collector.instance.id]";

#[tokio::test]
async fn calls_and_durations_by_default() {
    let rig = rig("{histogram: {explicit: {buckets: [10ms, 1s]}}}");
    let mut failed = span("pay", 2000, "");
    failed.status = Some(Status {
        code: 2,
        ..Default::default()
    });
    failed.kind = 9;
    let backwards = Span {
        end_time_unix_nano: 1,
        ..span("get", 0, "")
    };
    rig.give(
        10,
        of(vec![span("get", 10, ""), failed, span("get", 11, ""), backwards]),
    )
    .await;
    let dims = |name: &str, kind: &str, status: &str| {
        format!(
            "service.name=shop,span.name={name},span.kind={kind},status.code={status},collector.instance.id=me"
        )
    };
    let get = dims("get", "SPAN_KIND_SERVER", "STATUS_CODE_UNSET");
    let pay = dims("pay", "", "STATUS_CODE_ERROR");
    let head = "[service.name=shop]";
    let durations = |at: u64| {
        [
            format!("{head} duration cumulative 10..{at} [{get}] 3ms of [2, 1, 0] sum 21 [10.0, 1000.0]"),
            format!("{head} duration cumulative 10..{at} [{pay}] 1ms of [0, 0, 1] sum 2000 [10.0, 1000.0]"),
        ]
    };
    let calls = |at: u64, of_get: u64, of_pay: u64| {
        [
            format!("{head} calls cumulative 10..{at} [{get}] {of_get}"),
            format!("{head} calls cumulative 10..{at} [{pay}] {of_pay}"),
        ]
    };
    // Sums begin at zero, as the collector has it.
    assert_eq!(rig.flush(70).await, [calls(70, 0, 0), durations(70)].concat());
    assert_eq!(rig.flush(130).await, [calls(130, 3, 1), durations(130)].concat());
    assert_eq!(rig.books(), (4, 0, 8));
}

#[tokio::test]
async fn the_default_buckets_are_those_of_the_unit() {
    let check = async |yaml: &str, expected: &str| {
        let rig = rig(yaml);
        rig.give(1, of(vec![span("a", 1500, "")])).await;
        let told = rig.flush(2).await;
        assert!(told[1].ends_with(expected), "{yaml} {told:?}");
    };
    check(
        "{}",
        "1ms of [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0] sum 1500 [2.0, 4.0, 6.0, 8.0, 10.0, 50.0, 100.0, \
         200.0, 400.0, 800.0, 1000.0, 1400.0, 2000.0, 5000.0, 10000.0, 15000.0]",
    )
    .await;
    check(
        "{histogram: {unit: s}}",
        "1s of [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0] sum 1.5 [0.002, 0.004, 0.006, 0.008, 0.01, 0.05, 0.1, \
         0.2, 0.4, 0.8, 1.0, 1.4, 2.0, 5.0, 10.0, 15.0]",
    )
    .await;
    check(
        "{histogram: {unit: s, explicit: {buckets: [1s, 2500ms]}}}",
        "1s of [0, 1, 0] sum 1.5 [1.0, 2.5]",
    )
    .await;
}

#[tokio::test]
async fn exponential_buckets() {
    let rig = rig(
        "{histogram: {exponential: {max_size: 4}}, exclude_dimensions: [service.name, span.kind, status.code, \
                   collector.instance.id]}",
    );
    let spans = [1, 2, 4, 8, 16, 0].map(|ms| span("a", ms, ""));
    rig.give(1, of(spans.to_vec())).await;
    assert_eq!(
        rig.flush(2).await[1],
        "[service.name=shop] duration cumulative [span.name=a] 6ms sum 31 scale -1 zeros 1 from -1 [1, 2, 2] 0.0..16.0"
    );
}

#[tokio::test]
async fn deltas_begin_where_the_last_ended_and_are_forgotten() {
    let rig = rig(&format!(
        "{{aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA, {PLAIN}}}"
    ));
    let head = "[service.name=shop] calls delta";
    rig.give(10, of(vec![span("a", 1, ""), span("b", 1, "")])).await;
    let first = [
        format!("{head} 10..60 [span.name=a] 1"),
        format!("{head} 10..60 [span.name=b] 1"),
    ];
    assert_eq!(rig.flush(60).await, first);
    assert_eq!(rig.flush(120).await, [""; 0]);
    rig.give(
        130,
        of(vec![span("a", 1, ""), span("a", 1, ""), span("c", 1, "")]),
    )
    .await;
    let third = [
        format!("{head} 60..180 [span.name=a] 2"),
        format!("{head} 130..180 [span.name=c] 1"),
    ];
    assert_eq!(rig.flush(180).await, third);
    // Two keys are remembered at most: those told last.
    let few = rig_in(
        &format!(
            "{{aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA, metric_timestamp_cache_size: 2, {PLAIN}}}"
        ),
        context("span_metrics"),
    );
    few.give(10, of(vec![span("a", 1, "")])).await;
    few.flush(20).await;
    few.give(30, of(vec![span("b", 1, ""), span("c", 1, "")])).await;
    few.flush(40).await;
    few.give(50, of(vec![span("a", 1, ""), span("b", 1, "")])).await;
    let again = [
        format!("{head} 50..60 [span.name=a] 1"),
        format!("{head} 40..60 [span.name=b] 1"),
    ];
    assert_eq!(few.flush(60).await, again);
}

#[tokio::test]
async fn dimensions_come_from_spans_then_resources_then_defaults() {
    let rig = rig(
        "{dimensions: [{name: region}, {name: k, default: none}, {name: gone}, {glob: 'http.*'}], calls_dimensions: [{name: \
         only}], histogram: {dimensions: [{name: shape}], explicit: {buckets: []}}, exclude_dimensions: [service.name, \
         span.kind, status.code, collector.instance.id]}",
    );
    let spans = vec![
        span("a", 1, "only=1,shape=2,http.method=GET,http.a.b=x"),
        span("a", 1, "k=7,region=us,http.x=1"),
    ];
    let group = vec![(
        "service.name=shop,region=eu,http.host=h,http.method=no",
        "lib",
        spans,
    )];
    rig.give(1, payload(&request(group))).await;
    rig.flush(2).await;
    let head = "[service.name=shop,region=eu,http.host=h,http.method=no]";
    let (one, two) = (
        "span.name=a,region=eu,k=none,http.method=GET,http.host=h",
        "span.name=a,region=us,k=7,http.x=1,http.host=h,http.method=no",
    );
    assert_eq!(
        rig.flush(3).await,
        [
            format!("{head} calls cumulative 1..3 [{one},only=1] 1"),
            format!("{head} calls cumulative 1..3 [{two}] 1"),
            format!("{head} duration cumulative 1..3 [{one},shape=2] 1ms of [1] sum 1 []"),
            format!("{head} duration cumulative 1..3 [{two}] 1ms of [1] sum 1 []"),
        ]
    );
}

#[tokio::test]
async fn events_scopes_and_sampling() {
    let rig = rig(&format!(
        "{{events: {{enabled: true, dimensions: [{{name: kind}}, {{name: region}}]}}, include_instrumentation_scope: [lib], \
         enable_metrics_sampling_method: true, {PLAIN}}}"
    ));
    let event = |text: &str| span::Event {
        attributes: attributes(text),
        ..Default::default()
    };
    let mut sampled = span("a", 1, "");
    sampled.trace_state = "ot=th:c".into();
    sampled.events = vec![
        event("kind=x,region=here"),
        event(""),
        event("kind=x,region=here"),
    ];
    let groups = vec![
        ("service.name=shop,region=eu", "lib", vec![sampled]),
        ("service.name=shop,region=eu", "other", vec![span("a", 1, "")]),
    ];
    rig.give(1, payload(&request(groups))).await;
    rig.flush(2).await;
    let head = "[service.name=shop,region=eu]";
    let lib = "span.name=a,span.instrumentation.scope.name=lib,span.instrumentation.scope.version=v1,sampling.method=extrapolated";
    assert_eq!(
        rig.flush(3).await,
        [
            format!("{head} calls cumulative 1..3 [{lib}] 4"),
            format!("{head} calls cumulative 1..3 [span.name=a,sampling.method=counted] 1"),
            format!("{head} events cumulative 1..3 [{lib},kind=x,region=here] 8"),
            format!("{head} events cumulative 1..3 [{lib},region=eu] 4"),
        ]
    );
}

#[tokio::test]
async fn exemplars_are_few_and_of_one_flush() {
    let rig = rig(&format!(
        "{{exemplars: {{enabled: true, max_per_data_point: 2}}, {PLAIN}}}"
    ));
    let mut nameless = span("a", 9, "");
    nameless.trace_id = Vec::new();
    rig.give(
        1,
        of(vec![
            nameless,
            span("a", 1, ""),
            span("a", 2, ""),
            span("a", 3, ""),
        ]),
    )
    .await;
    let line = |at: u32, value: u32, rest: &str| {
        [format!(
            "[service.name=shop] calls cumulative 1..{at} [span.name=a] {value}{rest}"
        )]
    };
    assert_eq!(rig.flush(2).await, line(2, 0, " e7:8@2=1 e7:8@2=2"));
    assert_eq!(rig.flush(3).await, line(3, 4, ""));
    rig.give(4, of(vec![span("a", 5, "")])).await;
    assert_eq!(rig.flush(5).await, line(5, 5, " e7:8@5=5"));
}

#[tokio::test]
async fn resources_and_tenants_are_apart() {
    let groups = vec![
        ("service.name=shop,pod=1", "s", vec![span("a", 1, "")]),
        ("service.name=shop,pod=2", "s", vec![span("a", 1, "")]),
        ("pod=1,service.name=shop", "s", vec![span("a", 1, "")]),
        ("pod=1", "s", vec![span("a", 1, ""), span("b", 1, "")]),
    ];
    let came = payload(&request(groups));
    let mut other = came.clone();
    other.chunks[0].origin.tenant = Some("acme".into());
    let check = async |yaml: &str, expected: &[&str]| {
        let rig = rig(yaml);
        rig.give(1, came.clone()).await;
        rig.give(1, other.clone()).await;
        rig.flush(2).await;
        let told = rig.flush(3).await;
        let told: Vec<_> = told
            .iter()
            .map(|line| line.replace(" calls cumulative 1..3 [span.name=a]", ""))
            .collect();
        assert_eq!(told, expected, "{yaml}");
        assert_eq!((rig.books().0, rig.books().1), (6, 4));
    };
    check(
        &format!("{{{PLAIN}}}"),
        &[
            "[service.name=shop,pod=1] 2",
            "[service.name=shop,pod=2] 1",
            "acme[service.name=shop,pod=1] 2",
            "acme[service.name=shop,pod=2] 1",
        ],
    )
    .await;
    check(
        &format!("{{resource_metrics_key_attributes: [service.name, none], {PLAIN}}}"),
        &["[service.name=shop,pod=1] 3", "acme[service.name=shop,pod=1] 3"],
    )
    .await;
}

#[tokio::test]
async fn what_passes_the_limit_is_counted_together() {
    let rig = rig(&format!("{{aggregation_cardinality_limit: 2, {PLAIN}}}"));
    let spans = ["a", "b", "c", "a", "d"].map(|name| span(name, 1, ""));
    rig.give(1, of(spans.to_vec())).await;
    rig.flush(2).await;
    let line = |dims: &str, n: u32| format!("[service.name=shop] calls cumulative 1..3 [{dims}] {n}");
    assert_eq!(
        rig.flush(3).await,
        [
            line("span.name=a", 2),
            line("span.name=b", 1),
            line("otel.metric.overflow=true", 2)
        ]
    );
}

#[tokio::test]
async fn over_the_budget_counts_stay_complete() {
    let mut cx = context("span_metrics");
    cx.memory = Arc::new(Memory::new(20_000));
    let rig = rig_in(&format!("{{{PLAIN}}}"), cx);
    let mut expected = 0;
    for i in 0..200 {
        let service = format!("service.name=s{i}");
        let spans = (0..5).map(|j| span(&format!("op{j}"), 1, "")).collect();
        rig.give(1, payload(&request(vec![(&service, "s", spans)]))).await;
        expected += 5;
    }
    assert!(rig.cx.memory.used(Class::Nodes) <= 20_000);
    rig.flush(2).await;
    let told = rig.flush(3).await;
    let total: u64 = told
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(total, expected);
    assert!(told.len() < 120, "{}", told.len());
    let overflow = told.iter().find(|line| line.starts_with("[] "));
    assert!(
        overflow.is_some_and(|line| line.contains("otel.metric.overflow=true")),
        "{overflow:?}"
    );
}

#[tokio::test]
async fn what_has_not_been_seen_for_long_is_forgotten() {
    let check = async |yaml: &str, third: &[&str]| {
        let rig = rig(&format!("{{{yaml}, {PLAIN}}}"));
        let of = |service: &str, name: &str| payload(&request(vec![(service, "s", vec![span(name, 1, "")])]));
        rig.give(10, of("service.name=x", "a")).await;
        rig.give(10, of("service.name=x", "b")).await;
        rig.give(10, of("service.name=y", "a")).await;
        rig.flush(20).await;
        rig.give(30, of("service.name=x", "a")).await;
        rig.flush(40).await;
        let told = rig.flush(50).await;
        let told: Vec<_> = told
            .iter()
            .map(|line| line.replace(" calls cumulative 10..50", ""))
            .collect();
        assert_eq!(told, third, "{yaml}");
        if third.is_empty() {
            assert_eq!(rig.cx.memory.used(Class::Nodes), 0);
        }
    };
    let (a, b, y) = (
        "[service.name=x] [span.name=a] 2",
        "[service.name=x] [span.name=b] 1",
        "[service.name=y] [span.name=a] 1",
    );
    check("metrics_expiration: 0s", &[a, b, y]).await;
    check("metrics_expiration: 30s", &[a, b]).await;
    check("series_expiration: 30s", &[a]).await;
    check("metrics_expiration: 10s", &[]).await;
    // Of two that were seen at once the later one stays, so the other begins anew.
    let anew = "[service.name=x] calls cumulative 30..50 [span.name=a] 1";
    check("resource_metrics_cache_size: 1", &[anew]).await;
}

#[tokio::test(start_paused = true)]
async fn goes_on_at_the_interval_and_before_the_end() {
    let rig = rig(&format!("{{metrics_flush_interval: 15s, {PLAIN}}}"));
    assert!(rig.node.start(Arc::new(Lonely::default())).await.is_ok());
    rig.give(1, of(vec![span("a", 1, "")])).await;
    CLOCK.set(16 * SECOND);
    sleep(StdDuration::from_millis(15_001)).await;
    let taken = || rig.branches.sink("metrics").taken();
    assert_eq!(taken().iter().flat_map(told).count(), 1);
    rig.give(17, of(vec![span("b", 1, "")])).await;
    CLOCK.set(18 * SECOND);
    let (_switch, stop) = Stop::new();
    rig.node.drain(stop).await;
    let head = "[service.name=shop] calls cumulative";
    // The last time nothing is left to be told later.
    assert_eq!(
        told(&taken()[1]),
        [
            format!("{head} 1..18 [span.name=a] 1"),
            format!("{head} 17..18 [span.name=b] 1")
        ]
    );
    assert_eq!(rig.books(), (2, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_offered_again_and_booked_once() {
    let rig = rig(&format!(
        "{{metrics_flush_interval: 15s, aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA, {PLAIN}}}"
    ));
    assert!(rig.node.start(Arc::new(Lonely::default())).await.is_ok());
    let sink = rig.branches.sink("metrics");
    sink.refuse(Some(Refusal::unavailable("no")));
    rig.give(1, of(vec![span("a", 1, "")])).await;
    sleep(StdDuration::from_secs(20)).await;
    assert!(sink.taken().len() > 1);
    assert_eq!(rig.books(), (1, 0, 0));
    sink.refuse(None);
    sleep(StdDuration::from_secs(40)).await;
    assert_eq!(rig.books(), (1, 0, 1));
    sink.refuse(Some(Refusal::Invalid("never".into())));
    rig.give(90, of(vec![span("a", 1, "")])).await;
    let (_switch, stop) = Stop::new();
    rig.node.drain(stop).await;
    let made = totals(&rig.cx.telemetry, "connector", Signal::Metrics);
    assert_eq!((rig.books(), made.failed.get("rejected")), ((2, 0, 2), Some(&1)));
}

#[test]
fn says_all_that_is_wrong() {
    let check = |yaml: &str, expected: &[&str]| {
        let cx = context("span_metrics");
        let joint = Branches::new(&["metrics"]).joint(&cx.telemetry, Signal::Traces, Signal::Metrics);
        let told = faults((FACTORY.build)(section(yaml), &cx, joint));
        for text in expected {
            assert!(told.contains(text), "{yaml}: {told}");
        }
    };
    check(
        "{dimensions: [{name: span.name}, {}], calls_dimensions: [{name: a}, {name: a}], events: {enabled: true}, histogram: \
         {explicit: {}, exponential: {}, dimensions: [{name: a, glob: b}]}, metrics_flush_interval: 0s}",
        &[
            "duplicate dimension name \"span.name\"",
            "must set one of `name` or `glob`",
            "duplicate dimension name \"a\"",
            "no dimensions configured for events",
            "use either `explicit` or `exponential`",
            "must set only one of `name` or `glob`",
            "metrics_flush_interval must be greater than 0",
        ],
    );
    check(
        "{histogram: {explicit: {buckets: [2ms, 1ms]}}}",
        &["buckets must ascend"],
    );
    check("{histogram: {unit: m}}", &["unit"]);
}

/// Counts per service and name, added up by hand.
#[tokio::test]
async fn counts_what_a_naive_twin_counts() {
    let mut rng = Rng(9);
    for round in 0..60 {
        let rig = rig("{histogram: {explicit: {buckets: [5ms, 50ms]}}}");
        let mut expected: BTreeMap<(String, String, u64), (u64, [u64; 3], u64)> = BTreeMap::new();
        for _ in 0..3 {
            let mut groups = Vec::new();
            for _ in 0..rng.below(4) {
                let service = format!("s{}", rng.below(3));
                let spans: Vec<Span> = (0..rng.below(6))
                    .map(|_| {
                        let mut one = span(&format!("op{}", rng.below(3)), rng.below(100) as u64, "");
                        one.kind = rng.below(6) as i32;
                        one
                    })
                    .collect();
                for one in &spans {
                    let ms = (one.end_time_unix_nano - one.start_time_unix_nano) / MS;
                    let key = (service.clone(), one.name.clone(), one.kind as u64);
                    let (count, buckets, sum) = expected.entry(key).or_default();
                    *count += 1;
                    *sum += ms;
                    buckets[usize::from(ms > 5) + usize::from(ms > 50)] += 1;
                }
                groups.push((format!("service.name={service}"), spans));
            }
            let groups = groups
                .iter()
                .map(|(r, s)| (r.as_str(), "lib", s.clone()))
                .collect();
            rig.give(1, payload(&request(groups))).await;
        }
        rig.flush(2).await;
        let before = rig.branches.sink("metrics").taken().len();
        rig.flush(3).await;
        let taken = rig.branches.sink("metrics").taken();
        let mut got: BTreeMap<(String, String, u64), (u64, [u64; 3], u64)> = BTreeMap::new();
        let text = |attributes: &[KeyValue], key: &str| {
            let shown = show(attributes);
            let found = shown
                .split(',')
                .find_map(|e| e.strip_prefix(&format!("{key}=")).map(str::to_owned));
            found.unwrap()
        };
        let kinds = [
            "UNSPECIFIED",
            "INTERNAL",
            "SERVER",
            "CLIENT",
            "PRODUCER",
            "CONSUMER",
        ];
        let key = |attributes: &[KeyValue]| {
            let kind = text(attributes, "span.kind");
            let kind = kinds
                .iter()
                .position(|k| kind == format!("SPAN_KIND_{k}"))
                .unwrap();
            (
                text(attributes, "service.name"),
                text(attributes, "span.name"),
                kind as u64,
            )
        };
        for (_, group) in taken[before..].iter().flat_map(requests) {
            for metric in group.scope_metrics.into_iter().flat_map(|s| s.metrics) {
                match metric.data.unwrap() {
                    Data::Sum(sum) => {
                        for p in sum.data_points {
                            let Some(Value::AsInt(value)) = p.value else {
                                panic!("an integer")
                            };
                            got.entry(key(&p.attributes)).or_default().0 += value as u64;
                        }
                    }
                    Data::Histogram(h) => {
                        for p in h.data_points {
                            let entry = got.entry(key(&p.attributes)).or_default();
                            assert_eq!(p.count, entry.0);
                            entry.1 = p.bucket_counts.try_into().unwrap();
                            entry.2 = p.sum.unwrap() as u64;
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(got, expected, "round {round}");
    }
}

component::component_tests!(FACTORY);
