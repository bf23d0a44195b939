use std::time::Duration as Time;

use component::test_kit::{Lonely, Sink, books, context, totals};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use storage::journal::sim::SimDisk;
use storage::{Journal, Options};
use tokio::time::{Instant, sleep};
use wire::Shape as Found;

use super::*;
use crate::test_kit::{map, show};
use crate::traces::judge::{Decision, Desk, Judge, Reason};
use crate::traces::pieces::{Held, cut};
use crate::traces::policy::{self, Policy, Verdict};

const ALWAYS: &str = "policies: [{name: all, type: always_sample}]";

component::component_tests!(FACTORY, ALWAYS);

// --- Spans ---

fn span(id: u8) -> Span {
    Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        ..Default::default()
    }
}

fn with(id: u8, attributes: &str) -> Span {
    Span {
        attributes: map(attributes),
        ..span(id)
    }
}

fn coded(code: i32) -> Span {
    Span {
        status: Some(Status {
            code,
            ..Default::default()
        }),
        ..span(1)
    }
}

fn timed(start_ms: u64, end_ms: u64) -> Span {
    Span {
        start_time_unix_nano: start_ms * 1_000_000,
        end_time_unix_nano: end_ms * 1_000_000,
        ..span(1)
    }
}

fn request(resource: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: map(resource),
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn payload(request: &ExportTraceServiceRequest) -> Payload {
    let bytes = request.encode_to_vec();
    let shape = wire::validate(Signal::Traces, &bytes, &wire::Limits::default()).unwrap();
    Payload::new(Signal::Traces, Chunk::new(bytes.into(), shape), Arc::default())
}

// --- Policies ---

fn parse(yaml: &str) -> Config {
    Section::from_yaml(yaml).and_then(Section::parse).unwrap()
}

/// A processor's judge, asked about traces one after another.
struct Court {
    judge: Judge,
    meters: Meters,
    desk: Desk,
}

impl Court {
    fn new(yaml: &str) -> Court {
        let judge = parse(yaml).judge().unwrap_or_else(|e| panic!("{yaml}: {e:?}"));
        let names: Vec<String> = judge.policies.iter().map(|p| p.name.clone()).collect();
        Court {
            meters: Meters::new(&context("tail_sampling"), &names),
            judge,
            desk: Desk::default(),
        }
    }

    fn ask(&mut self, resource: &str, spans: Vec<Span>) -> (Verdict, Reason) {
        let bytes = request(resource, spans).encode_to_vec();
        let cuts = cut(bytes.into(), Held::default()).unwrap();
        assert_eq!(cuts.len(), 1, "a single trace");
        let pieces: Vec<_> = cuts.into_iter().map(|c| (c.id, c.piece)).collect();
        let (id, piece) = &pieces[0];
        let now = Instant::now();
        let decision = self.judge.decide(
            *id,
            std::slice::from_ref(piece),
            now,
            &mut self.desk,
            &self.meters,
        );
        (decision.verdict, decision.reason)
    }
}

/// Whether one policy samples a trace.
#[track_caller]
fn samples(policy: &str, resource: &str, spans: Vec<Span>, expected: bool) {
    let mut court = Court::new(&format!("policies: [{{name: p, {policy}}}]"));
    let expected = match expected {
        true => Verdict::Sampled,
        false => Verdict::NotSampled,
    };
    assert_eq!(court.ask(resource, spans).0, expected, "{policy}");
}

#[test]
fn policies_look_at_what_they_name() {
    let errors = "type: status_code, status_code: {status_codes: [ERROR]}";
    samples(errors, "{}", vec![coded(1), coded(2)], true);
    samples(errors, "{}", vec![coded(1), span(1)], false);
    let unset = "type: status_code, status_code: {status_codes: [UNSET]}";
    samples(unset, "{}", vec![span(1)], true);
    samples(unset, "{}", vec![coded(0)], true);
    samples(unset, "{}", vec![coded(2)], false);

    let most = "type: span_count, span_count: {max_spans: 20}";
    samples(most, "{}", vec![span(1); 21], false);
    samples(most, "{}", vec![span(1); 20], true);
    let least = "type: span_count, span_count: {min_spans: 2}";
    samples(least, "{}", vec![span(1)], false);
    samples(least, "{}", vec![span(1); 30], true);

    let is_true = "type: boolean_attribute, boolean_attribute: {key: a, value: true}";
    samples(is_true, "{}", vec![with(1, "{a: false}")], false);
    samples(is_true, "{}", vec![span(1), with(1, "{a: true}")], true);
    samples(is_true, "{a: true}", vec![span(1)], true);
    samples(is_true, "{a: 'true'}", vec![span(1)], false);
    let is_false = "type: boolean_attribute, boolean_attribute: {key: a, value: false}";
    samples(is_false, "{a: 'true'}", vec![span(1)], true);
    samples(is_false, "{b: false}", vec![span(1)], false);
    let nowhere = "type: boolean_attribute, boolean_attribute: {key: a, value: true, invert_match: true}";
    samples(nowhere, "{}", vec![with(1, "{a: true}"), span(1)], false);
    samples(nowhere, "{}", vec![with(1, "{a: false}")], true);
    samples(nowhere, "{}", vec![span(1)], true);

    let number = "type: numeric_attribute, numeric_attribute: {key: n, min_value: 3, max_value: 5}";
    samples(number, "{}", vec![with(1, "{n: 3}")], true);
    samples(number, "{n: 5}", vec![span(1)], true);
    samples(number, "{n: 6}", vec![with(1, "{n: 2}")], false);
    samples(number, "{n: '4'}", vec![with(1, "{n: 4.0}")], false);
    let small = "type: numeric_attribute, numeric_attribute: {key: n, max_value: 5}";
    samples(small, "{}", vec![with(1, "{n: text}")], true);
    samples(small, "{}", vec![span(1)], false);
    let others = "type: numeric_attribute, numeric_attribute: {key: n, min_value: 3, invert_match: true}";
    samples(others, "{}", vec![with(1, "{n: 3}")], false);
    samples(others, "{}", vec![with(1, "{n: 2}")], true);

    let text = "type: string_attribute, string_attribute: {key: k, values: [v, '']}";
    samples(text, "{}", vec![with(1, "{k: v}")], true);
    samples(text, "{k: v}", vec![span(1)], true);
    samples(text, "{k: ''}", vec![with(1, "{k: vv}")], false);
    let pattern = "type: string_attribute, string_attribute: {key: k, values: ['^a.c$', 'x*'], \
                   enabled_regex_matching: true}";
    samples(pattern, "{}", vec![with(1, "{k: abc}")], true);
    samples(pattern, "{}", vec![with(1, "{k: ''}")], false);
    samples(pattern, "{k: ''}", vec![span(1)], true);
    let no_text = "type: string_attribute, string_attribute: {key: k, values: [v], invert_match: true}";
    samples(no_text, "{}", vec![span(1), with(1, "{k: v}")], false);
    samples(no_text, "{}", vec![with(1, "{k: w}")], true);

    let flagged = Span {
        flags: 0x101,
        ..span(1)
    };
    samples("type: trace_flags", "{}", vec![span(1), flagged], true);
    samples("type: trace_flags", "{}", vec![span(1)], false);
    let state = |text: &str| Span {
        trace_state: text.into(),
        ..span(1)
    };
    let member = "type: trace_state, trace_state: {key: a, values: [x, y]}";
    samples(member, "{}", vec![state("b=x"), state("b=1, a=y")], true);
    samples(member, "{}", vec![state("a=z"), state("a=x,B")], false);

    let condition = "type: ottl_condition, ottl_condition: {span: ['attributes[\"a\"] == \"x\"']}";
    samples(condition, "{}", vec![with(1, "{a: y}"), with(1, "{a: x}")], true);
    samples(condition, "{a: x}", vec![with(1, "{a: y}")], false);
    let event = "type: ottl_condition, ottl_condition: {spanevent: ['spanevent.name == \"e\"']}";
    let eventful = Span {
        events: vec![Event {
            name: "e".into(),
            ..Default::default()
        }],
        ..span(1)
    };
    samples(event, "{}", vec![span(1), eventful], true);
    samples(event, "{}", vec![span(1)], false);
}

#[test]
fn latency_is_from_the_first_beginning_to_the_last_end() {
    let slow = "type: latency, latency: {threshold_ms: 100}";
    samples(slow, "{}", vec![timed(0, 100)], true);
    samples(slow, "{}", vec![timed(1000, 1099)], false);
    samples(slow, "{}", vec![timed(1000, 1050), timed(1060, 1100)], true);
    samples(slow, "{}", vec![timed(1060, 1000)], false);
    let between = "type: latency, latency: {threshold_ms: 100, upper_threshold_ms: 200}";
    samples(between, "{}", vec![timed(1000, 1100)], false);
    samples(between, "{}", vec![timed(1000, 1200)], true);
    samples(between, "{}", vec![timed(1000, 1201)], false);
    // After its first span the trace was in between.
    samples(between, "{}", vec![timed(1000, 1150), timed(1000, 2000)], true);
    samples(between, "{}", vec![timed(1000, 2000), timed(1000, 1150)], false);
}

#[test]
fn shares_of_traces_are_the_collectors() {
    let known = 0x4bf92f3577b34da6a3ce929d0e0e4736u128;
    #[track_caller]
    fn check(percent: f64, id: u128, expected: bool) {
        let policy = format!("type: probabilistic, probabilistic: {{sampling_percentage: {percent}}}");
        let spans = vec![Span {
            trace_id: id.to_be_bytes().to_vec(),
            ..Default::default()
        }];
        samples(&policy, "{}", spans, expected);
    }
    check(64.56, known, true);
    check(64.558, known, false);
    check(88.12, 1, true);
    check(88.118, 1, false);
    check(100.0, 1, true);
    check(0.0, known, false);
    check(-50.0, known, false);
    check(150.0, 1, true);
    for (percent, expected) in [
        (50.0, (1 << 63) - 1),
        (25.0, (1 << 62) - 1),
        (10.0, 1_844_674_407_370_955_263),
        (1e-30, 0),
        (100.0, u64::MAX),
        (99.99999999999999, 18_446_744_073_709_549_566),
    ] {
        // The share is a float: what it is times 2^64 - 1 is what counts, not the percentage.
        let near = policy::hash_up_to(percent);
        assert!(near.abs_diff(expected) <= 4096, "{percent}: {near}");
    }
    assert_eq!(policy::hash_up_to(50.0), (1 << 63) - 1);
    assert_eq!(policy::hash_up_to(1e-30), 0);
    assert_eq!(policy::hash_up_to(f64::MIN_POSITIVE), 0);
}

#[test]
fn policies_are_joined() {
    let slow = |ms: u64, code: i32| {
        vec![Span {
            status: coded(code).status,
            ..timed(1000, 1000 + ms)
        }]
    };
    let both = "type: and, and: {and_sub_policy: [{name: a, type: latency, latency: {threshold_ms: 100}}, \
                {name: b, type: status_code, status_code: {status_codes: [ERROR]}}]}";
    samples(both, "{}", slow(200, 1), false);
    samples(both, "{}", slow(50, 2), false);
    samples(both, "{}", slow(200, 2), true);
    let but = "type: and, and: {and_sub_policy: [{name: a, type: always_sample}, {name: b, type: not, not: \
               {not_sub_policy: {name: c, type: string_attribute, string_attribute: {key: k, values: [v]}}}}]}";
    samples(but, "{}", vec![with(1, "{k: v}")], false);
    samples(but, "{}", vec![with(1, "{k: w}")], true);

    let mut court = Court::new(
        "policies: [{name: all, type: always_sample}, {name: health, type: drop, drop: {drop_sub_policy: \
         [{name: h, type: string_attribute, string_attribute: {key: path, values: [/health]}}]}}]",
    );
    // What drops is asked first: its number is 0.
    assert_eq!(
        court.ask("{}", vec![with(1, "{path: /health}")]),
        (Verdict::Dropped, Reason::Policy(0))
    );
    assert_eq!(
        court.ask("{}", vec![span(1)]),
        (Verdict::Sampled, Reason::Policy(1))
    );
    let mut court = Court::new(
        "policies: [{name: none, type: probabilistic, probabilistic: {sampling_percentage: 0}}, \
         {name: all, type: always_sample}]",
    );
    assert_eq!(
        court.ask("{}", vec![span(1)]),
        (Verdict::Sampled, Reason::Policy(1))
    );
    // `keep` is above what drops.
    let mut court = Court::new(
        "{keep: {errors: true, slower_than: 2s}, policies: [{name: gone, type: drop, drop: {drop_sub_policy: \
         [{name: a, type: always_sample}]}}]}",
    );
    assert_eq!(court.ask("{}", vec![coded(2)]), (Verdict::Sampled, Reason::Keep));
    assert_eq!(
        court.ask("{}", vec![timed(1000, 2000), timed(2000, 3001)]),
        (Verdict::Sampled, Reason::Keep)
    );
    assert_eq!(
        court.ask("{}", vec![timed(1000, 3000)]),
        (Verdict::Dropped, Reason::Policy(0))
    );
}

#[tokio::test(start_paused = true)]
async fn rates_are_kept() {
    let mut court =
        Court::new("policies: [{name: r, type: rate_limiting, rate_limiting: {spans_per_second: 5}}]");
    let mut ask = |spans: usize| court.ask("{}", vec![span(1); spans]).0 == Verdict::Sampled;
    assert_eq!([ask(6), ask(5), ask(4)], [true, false, true]);
    assert!(!ask(1));
    tokio::time::advance(Time::from_secs(1)).await;
    assert_eq!([ask(6), ask(5), ask(1)], [false, true, false]);
    tokio::time::advance(Time::from_secs(60)).await;
    assert_eq!([ask(11), ask(10)], [false, true]);

    let bytes = request("{}", vec![span(1); 3]).encoded_len();
    let mut court = Court::new(&format!(
        "policies: [{{name: b, type: bytes_limiting, bytes_limiting: {{bytes_per_second: 1, burst_capacity: {bytes}}}}}]"
    ));
    let mut ask = |spans: usize| court.ask("{}", vec![span(1); spans]).0 == Verdict::Sampled;
    assert_eq!([ask(4), ask(3), ask(1)], [false, true, false]);
}

#[test]
fn a_composite_gives_each_its_share() {
    let judge = parse(
        "policies: [{name: c, type: composite, composite: {max_total_spans_per_second: 10, policy_order: [x], \
         composite_sub_policy: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}, \
         {name: rest, type: always_sample}, {name: never_asked, type: always_sample}], rate_allocation: \
         [{policy: errors, percent: 40}, {policy: rest, percent: 0}]}}]",
    )
    .judge()
    .unwrap();
    let Policy::Composite(composite) = &judge.policies[0].policy else {
        panic!("it is one");
    };
    let mut desk = policy::Scratch::default();
    let mut memory = wire::view::Scratch::default();
    let mut ask = |second: u64, spans: Vec<Span>| {
        let bytes = request("{}", spans).encode_to_vec();
        let view = wire::view::View::new(&mut memory, Signal::Traces, &bytes, Depth::All).unwrap();
        let trace = policy::Trace {
            view: &view,
            id: [1; 16],
            spans: policy::spans(&view).count() as u64,
            bytes: 0,
            now: Instant::now(),
        };
        composite.ask_in(second, &trace, &mut desk).unwrap() == Verdict::Sampled
    };
    assert!(ask(1, vec![coded(2); 3]));
    // Its own share is spent, and others do not take it over.
    assert!(!ask(1, vec![coded(2); 2]));
    assert!(ask(1, vec![coded(2)]));
    // A third of all.
    assert!(!ask(1, vec![span(1); 4]));
    assert!(ask(1, vec![span(1); 3]));
    assert!(!ask(1, vec![span(1)]));
    assert!(ask(2, vec![span(1); 3]));
}

#[test]
fn wrong_settings_are_refused_with_their_place() {
    #[track_caller]
    fn check(yaml: &str, expected: &str) {
        let section = Section::from_yaml(yaml).unwrap();
        let Err(fault) = (FACTORY.build)(section, &context("tail_sampling"), Signal::Traces) else {
            panic!("{yaml} was taken");
        };
        assert!(fault.to_string().contains(expected), "{fault}");
    }
    check("{}", "policies");
    check("policies: [{type: always_sample}]", "policy name cannot be empty");
    check(
        "policies: [{name: a, type: always_sample}, {name: a, type: always_sample}]",
        "duplicate policy name \"a\"",
    );
    check(
        "policies: [{name: a, type: some}]",
        "unknown sampling policy type \"some\"",
    );
    check("policies: [{name: a, type: latency, latncy: {}}]", "latncy");
    check(
        "policies: [{name: a, type: status_code, status_code: {status_codes: [Error]}}]",
        "unknown status code \"Error\"",
    );
    check(
        "policies: [{name: a, type: status_code}]",
        "at least one status code",
    );
    check(
        "policies: [{name: a, type: numeric_attribute, numeric_attribute: {key: n}}]",
        "min_value",
    );
    check("policies: [{name: a, type: and}]", "at least one sub-policy");
    check("policies: [{name: a, type: not}]", "not_sub_policy");
    check(
        "policies: [{name: a, type: ottl_condition}]",
        "at least one OTTL condition",
    );
    check(
        "policies: [{name: a, type: ottl_condition, ottl_condition: {span: ['name ==']}}]",
        "name ==",
    );
    check(
        "policies: [{name: a, type: string_attribute, string_attribute: {key: k, values: ['('], \
         enabled_regex_matching: true}}]",
        "`(`",
    );
    check(
        "{sampling_strategy: span-ingest, policies: [{name: a, type: rate_limiting}]}",
        "policy \"a\" is stateful",
    );
    check(
        "{sampling_strategy: now, policies: [{name: a, type: always_sample}]}",
        "unknown sampling strategy \"now\"",
    );
    check(
        "{tail_storage: x, policies: [{name: a, type: always_sample}]}",
        "tail_storage is not supported",
    );
    check(
        "{budgets: {by: tenant}, policies: [{name: a, type: always_sample}]}",
        "must be a number above 0",
    );
}

// --- The node ---

struct Rig {
    node: Arc<dyn Node>,
    sink: Arc<Sink>,
    cx: BuildContext,
}

impl Rig {
    async fn new(yaml: &str) -> Rig {
        Rig::with(yaml, context("tail_sampling")).await
    }

    async fn with(yaml: &str, cx: BuildContext) -> Rig {
        let section = Section::from_yaml(yaml).unwrap();
        let Ok(Processor::Node(make)) = (FACTORY.build)(section, &cx, Signal::Traces) else {
            panic!("{yaml} is no node");
        };
        let sink = Arc::new(Sink::default());
        let node = make(
            sink.clone(),
            books(&cx.telemetry, "tail_sampling", Signal::Traces),
        );
        node.start(Arc::new(Lonely::default())).await.unwrap();
        Rig { node, sink, cx }
    }

    async fn send(&self, spans: Vec<Span>) {
        let taken = self.node.consume(payload(&request("{}", spans))).await;
        assert_eq!(taken.map(|o| o.rejected), Ok(Vec::new()));
    }

    /// Trace ids of the spans in each chunk that was handed on.
    fn out(&self) -> Vec<Vec<u8>> {
        let taken = self.sink.taken();
        let chunks = taken.iter().flat_map(|p| &p.chunks);
        chunks
            .map(|chunk| {
                let request = ExportTraceServiceRequest::decode(&chunk.bytes()[..]).unwrap();
                let groups = request.resource_spans.iter().flat_map(|g| &g.scope_spans);
                let ids: Vec<u8> = groups.flat_map(|s| &s.spans).map(|s| s.trace_id[0]).collect();
                assert_eq!(
                    chunk.shape,
                    Found {
                        items: ids.len() as u32,
                        ..Found::default()
                    }
                );
                ids
            })
            .collect()
    }

    /// Attributes of each scope that was handed on.
    fn marks(&self) -> Vec<String> {
        let taken = self.sink.taken();
        let requests = taken
            .iter()
            .flat_map(|p| &p.chunks)
            .map(|chunk| ExportTraceServiceRequest::decode(&chunk.bytes()[..]).unwrap());
        let groups = requests
            .flat_map(|r| r.resource_spans)
            .flat_map(|g| g.scope_spans);
        groups
            .map(|s| show(&s.scope.map_or(Vec::new(), |scope| scope.attributes)))
            .collect()
    }

    /// The node's own column entries; `in` and `out` are the engine's.
    fn books(&self) -> String {
        totals(&self.cx.telemetry, "tail_sampling", Signal::Traces).to_string()
    }

    async fn drain(&self) {
        let (_switch, stop) = Stop::new();
        self.node.drain(stop).await;
    }

    fn count(&self, name: &'static str, labels: &[(&'static str, &str)]) -> u64 {
        let labels = labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        self.cx.telemetry.metrics.counter(name, labels).get()
    }
}

async fn seconds(n: u64) {
    sleep(Time::from_secs(n)).await;
}

const ERRORS: &str = "policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]";

#[tokio::test(start_paused = true)]
async fn a_trace_is_decided_on_when_it_had_its_time() {
    let rig = Rig::new(&format!("{{decision_wait: 3s, {ERRORS}}}")).await;
    sleep(Time::from_millis(500)).await;
    rig.send(vec![span(1), span(2)]).await;
    seconds(1).await;
    rig.send(vec![coded(2), span(3)]).await;
    assert_eq!(rig.books(), "held 4");
    seconds(2).await;
    assert_eq!(rig.out(), Vec::<Vec<u8>>::new());
    sleep(Time::from_millis(600)).await;
    // The spans of both requests, in the order in which they came, and nothing of trace 2.
    assert_eq!(rig.out(), [vec![1, 1]]);
    assert_eq!(rig.books(), "held 1, dropped{sampled_out:errors} 1");
    seconds(1).await;
    assert_eq!(rig.books(), "dropped{sampled_out:errors} 2");
    // Late ones share their trace's fate.
    rig.send(vec![span(1), span(2), span(2)]).await;
    sleep(Time::from_millis(1)).await;
    assert_eq!(rig.out(), [vec![1, 1], vec![1]]);
    assert_eq!(rig.books(), "dropped{sampled_out:errors} 4");
    assert_eq!(rig.cx.memory.used(Class::Nodes), 0);
    let name = "otelcol_processor_tail_sampling_count_traces_sampled";
    let of = |sampled, decision| {
        rig.count(
            name,
            &[("sampled", sampled), ("decision", decision), ("policy", "errors")],
        )
    };
    assert_eq!((of("true", "sampled"), of("false", "not_sampled")), (1, 2));
    assert_eq!(
        rig.count("otelcol_processor_tail_sampling_new_trace_id_received", &[]),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_root_hastens_the_decision() {
    let rig = Rig::new(&format!(
        "{{decision_wait: 30s, decision_wait_after_root_received: 2s, {ALWAYS}}}"
    ))
    .await;
    let child = Span {
        parent_span_id: vec![9; 8],
        ..span(1)
    };
    rig.send(vec![child.clone()]).await;
    seconds(10).await;
    rig.send(vec![
        span(1),
        Span {
            trace_id: vec![2; 16],
            ..child
        },
    ])
    .await;
    seconds(2).await;
    assert_eq!(rig.out(), Vec::<Vec<u8>>::new());
    seconds(2).await;
    assert_eq!(rig.out(), [vec![1, 1]]);
    seconds(40).await;
    assert_eq!(rig.out(), [vec![1, 1], vec![2]]);
}

#[tokio::test(start_paused = true)]
async fn decisions_outlive_their_traces_in_the_cache() {
    let rig = Rig::new(&format!(
        "{{decision_wait: 1s, num_traces: 10, decision_cache: {{sampled_cache_size: 5, non_sampled_cache_size: 5}}, \
         {ERRORS}}}"
    ))
    .await;
    rig.send(vec![coded(2), span(2)]).await;
    seconds(3).await;
    rig.send(vec![span(1), span(2)]).await;
    sleep(Time::from_millis(1)).await;
    assert_eq!(rig.out(), [vec![1], vec![1]]);
    assert_eq!(rig.books(), "dropped{sampled_out:errors} 2");
    assert_eq!(rig.marks(), ["{}", "{}"]);
    let name = "otelcol_processor_tail_sampling_early_releases_from_cache_decision";
    assert_eq!(
        (
            rig.count(name, &[("sampled", "true")]),
            rig.count(name, &[("sampled", "false")])
        ),
        (1, 1)
    );
}

fn gated(gates: &[&str]) -> BuildContext {
    BuildContext {
        gates: Arc::new(Gates::with(gates)),
        ..context("tail_sampling")
    }
}

#[tokio::test(start_paused = true)]
async fn what_sampled_a_trace_is_written_to_its_scopes() {
    let policies = "policies: [{name: all, type: composite, composite: {max_total_spans_per_second: 1000, \
                    composite_sub_policy: [{name: slow, type: latency, latency: {threshold_ms: 5000}}, \
                    {name: rest, type: always_sample}], rate_allocation: [{policy: rest, percent: 50}]}}, \
                    {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]";
    let due = r#"{tailsampling.policy:"all", tailsampling.composite_policy:"rest"}"#;
    for (caches, expected) in [
        ("", r#"{tailsampling.policy:"all"}"#),
        (
            "decision_cache: {sampled_cache_size: 5},",
            r#"{tailsampling.policy:"all", tailsampling.cached_decision:true}"#,
        ),
    ] {
        let yaml = format!("{{decision_wait: 1s, {caches} {policies}}}");
        let rig = Rig::with(&yaml, gated(&[Gates::RECORD_POLICY])).await;
        rig.send(vec![span(1)]).await;
        seconds(3).await;
        assert_eq!(rig.marks(), [due], "{caches}");
        rig.send(vec![span(1)]).await;
        sleep(Time::from_millis(1)).await;
        assert_eq!(rig.marks(), [due, expected], "{caches}");
    }
    let yaml = format!("{{decision_wait: 1s, {ERRORS}}}");
    let rig = Rig::with(&yaml, gated(&[Gates::RECORD_POLICY])).await;
    rig.send(vec![coded(2)]).await;
    seconds(3).await;
    assert_eq!(rig.marks(), [r#"{tailsampling.policy:"errors"}"#]);
    // Not what nobody asked for.
    let rig = Rig::new(&yaml).await;
    rig.send(vec![coded(2)]).await;
    seconds(3).await;
    assert_eq!(rig.marks(), ["{}"]);
}

#[tokio::test(start_paused = true)]
async fn spans_and_bytes_are_counted_where_gates_say_so() {
    for (gate, name, expected) in [
        (
            Gates::COUNT_SPANS_SAMPLED,
            "otelcol_processor_tail_sampling_count_spans_sampled",
            [2, 1],
        ),
        (
            Gates::COUNT_BYTES_SAMPLED,
            "otelcol_processor_tail_sampling_count_bytes_sampled",
            [0, 1].map(|n| {
                let spans = [vec![coded(2), coded(2)], vec![span(2)]];
                request("{}", spans[n].clone()).encode_to_vec().len() as u64
            }),
        ),
    ] {
        for (gates, expected) in [(&[gate][..], expected), (&[], [0, 0])] {
            let rig = Rig::with(&format!("{{decision_wait: 1s, {ERRORS}}}"), gated(gates)).await;
            rig.send(vec![coded(2), coded(2), span(2)]).await;
            seconds(3).await;
            let count = |sampled, decision| {
                let labels = [("sampled", sampled), ("decision", decision), ("policy", "errors")];
                rig.count(name, &labels)
            };
            let counted = [count("true", "sampled"), count("false", "not_sampled")];
            assert_eq!(counted, expected, "{name} {gates:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_trace_makes_room_and_is_named() {
    let rig = Rig::new(&format!("{{num_traces: 2, {ALWAYS}}}")).await;
    rig.send(vec![span(1), span(1), span(2), span(3)]).await;
    assert_eq!(rig.books(), "held 2, dropped{tail_sampling:evicted} 2");
    assert_eq!(
        rig.count(
            "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early",
            &[]
        ),
        1
    );
    seconds(40).await;
    assert_eq!(rig.out(), [vec![2], vec![3]]);
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_room_where_it_is_asked_for() {
    let rig = Rig::new(&format!(
        "{{decision_wait: 1s, num_traces: 2, block_on_overflow: true, {ALWAYS}}}"
    ))
    .await;
    rig.send(vec![span(1), span(2)]).await;
    let begun = Instant::now();
    let mut patient = payload(&request("{}", vec![span(3)]));
    patient.context = Arc::new(Context {
        deadline: Some((begun + Time::from_secs(10)).into_std()),
        ..Context::default()
    });
    assert!(rig.node.consume(patient).await.is_ok());
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert_eq!(rig.out(), [vec![1], vec![2]]);
    let mut impatient = payload(&request("{}", vec![span(4), span(5)]));
    impatient.context = Arc::new(Context {
        deadline: Some((Instant::now() + Time::from_millis(100)).into_std()),
        ..Context::default()
    });
    let refused = rig.node.consume(impatient).await;
    assert_eq!(refused.err(), Some(Refusal::Busy { retry_after: None }));
    assert_eq!(rig.books(), "held 1");
    // More than there may be at all.
    rig.send(vec![span(6), span(7), span(8)]).await;
    assert_eq!(rig.out(), [vec![1], vec![2], vec![3]]);
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_in_bytes() {
    let cx = BuildContext {
        memory: Arc::new(Memory::new(1000)),
        ..context("tail_sampling")
    };
    let rig = Rig::with(ALWAYS, cx).await;
    rig.send(vec![span(1), span(2), span(3)]).await;
    let used = rig.cx.memory.used(Class::Nodes);
    let more = payload(&request("{}", vec![span(4), span(5), span(6)]));
    let refused = rig.node.consume(more.clone()).await;
    assert_eq!(refused.err(), Some(Refusal::Busy { retry_after: None }));
    assert_eq!(
        (rig.cx.memory.used(Class::Nodes), rig.books()),
        (used, "held 3".into())
    );
    seconds(40).await;
    assert_eq!(rig.cx.memory.used(Class::Nodes), 0);
    assert!(rig.node.consume(more).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_huge_trace_goes_at_once() {
    let rig = Rig::new(&format!("{{maximum_trace_size_bytes: 100, {ALWAYS}}}")).await;
    rig.send(vec![span(1), span(1), span(2)]).await;
    assert_eq!(rig.books(), "held 3");
    rig.send(vec![span(1), span(1)]).await;
    assert_eq!(rig.books(), "held 1, dropped{sampled_out:trace_too_large} 4");
    rig.send(vec![span(1)]).await;
    assert_eq!(rig.books(), "held 1, dropped{sampled_out:trace_too_large} 5");
    assert_eq!(
        rig.count("otelcol_processor_tail_sampling_traces_dropped_too_large", &[]),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn what_comes_can_be_judged_at_once() {
    let yaml = "{sampling_strategy: span-ingest, decision_wait: 2s, policies: [{name: errors, type: status_code, \
                status_code: {status_codes: [ERROR]}}]}";
    let rig = Rig::new(yaml).await;
    rig.send(vec![span(1), span(2)]).await;
    rig.send(vec![coded(2)]).await;
    sleep(Time::from_millis(1)).await;
    assert_eq!(rig.out(), [vec![1, 1]]);
    seconds(4).await;
    assert_eq!(rig.books(), "dropped{sampled_out:errors} 1");
    // With a policy that drops, only that is final.
    let yaml = "{sampling_strategy: span-ingest, decision_wait: 2s, policies: [{name: all, type: always_sample}, \
                {name: health, type: drop, drop: {drop_sub_policy: [{name: h, type: string_attribute, \
                string_attribute: {key: path, values: [/health]}}]}}]}";
    let rig = Rig::new(yaml).await;
    rig.send(vec![span(1), span(2)]).await;
    rig.send(vec![with(2, "{path: /health}")]).await;
    assert_eq!(rig.books(), "held 1, dropped{sampled_out:health} 2");
    seconds(4).await;
    assert_eq!(rig.out(), [vec![1]]);
}

#[tokio::test(start_paused = true)]
async fn tenants_do_not_share_traces() {
    let rig = Rig::new(&format!("{{decision_wait: 1s, {ALWAYS}}}")).await;
    for tenant in ["a", "b"] {
        let mut payload = payload(&request("{}", vec![span(1)]));
        payload.chunks[0].origin.tenant = Some(tenant.into());
        assert!(rig.node.consume(payload).await.is_ok());
    }
    seconds(3).await;
    let taken = rig.sink.taken();
    let mut of: Vec<_> = taken
        .iter()
        .flat_map(|p| &p.chunks)
        .map(|c| (c.origin.tenant.as_deref().map(str::to_owned), c.shape.items))
        .collect();
    of.sort();
    assert_eq!(of, [(Some("a".to_owned()), 1), (Some("b".to_owned()), 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_handed_on_now_is_held_until_it_can() {
    let rig = Rig::new(&format!("{{decision_wait: 1s, {ALWAYS}}}")).await;
    rig.sink.refuse(Some(Refusal::Busy { retry_after: None }));
    rig.send(vec![span(1)]).await;
    seconds(10).await;
    assert_eq!(rig.books(), "held 1");
    rig.sink.refuse(None);
    seconds(31).await;
    assert_eq!(rig.books(), "");
    rig.sink.refuse(Some(Refusal::Invalid("no".into())));
    rig.send(vec![span(2)]).await;
    seconds(3).await;
    assert_eq!(rig.books(), "failed{refused} 1");
    assert_eq!(rig.cx.memory.used(Class::Nodes), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_decides_with_what_is_there() {
    let rig = Rig::new(ERRORS).await;
    rig.send(vec![coded(2), span(2)]).await;
    rig.drain().await;
    assert_eq!(rig.out(), [vec![1]]);
    assert_eq!(rig.books(), "dropped{sampled_out:errors} 1");
    let rig = Rig::new(&format!("{{drop_pending_traces_on_shutdown: true, {ERRORS}}}")).await;
    rig.send(vec![coded(2), span(2)]).await;
    rig.drain().await;
    assert_eq!(rig.books(), "dropped{tail_sampling:shutdown} 2");
    // Who cannot take it until the stop is over has lost it, and the books say so.
    let rig = Rig::new(ERRORS).await;
    rig.sink.refuse(Some(Refusal::Busy { retry_after: None }));
    rig.send(vec![coded(2)]).await;
    let (switch, stop) = Stop::new();
    tokio::join!(rig.node.drain(stop), async {
        seconds(3).await;
        switch.stop();
    });
    assert_eq!(rig.books(), "failed{shutdown} 1");
}

#[tokio::test(start_paused = true)]
async fn a_budget_keeps_a_share_that_its_threshold_tells() {
    let rig = Rig::new(&format!(
        "{{decision_wait: 1s, keep: {{errors: true}}, budgets: {{by: service.name, spans_per_second: 3}}, {ALWAYS}}}"
    ))
    .await;
    let of = |id: u8, randomness: u8| Span {
        trace_id: vec![id; 16],
        trace_state: format!("a=1,ot=rv:{randomness:02x}000000000000"),
        ..span(id)
    };
    let mut spans: Vec<Span> = (1..=6).map(|i| of(i, i * 16)).collect();
    spans[5].trace_state = "ot=th:d;rv:f0000000000000".into();
    let shop = request("{service.name: shop}", spans);
    let failed = Span {
        status: coded(2).status,
        ..of(9, 1)
    };
    let other = request("{service.name: other}", vec![of(7, 0), of(8, 1), failed]);
    for request in [&shop, &other] {
        assert!(rig.node.consume(payload(request)).await.is_ok());
    }
    seconds(3).await;
    let mut kept: Vec<(u8, String)> = rig
        .sink
        .taken()
        .iter()
        .flat_map(|p| &p.chunks)
        .map(|chunk| {
            let request = ExportTraceServiceRequest::decode(&chunk.bytes()[..]).unwrap();
            let span = &request.resource_spans[0].scope_spans[0].spans[0];
            (span.trace_id[0], span.trace_state.clone())
        })
        .collect();
    kept.sort();
    let state = |text: &str| text.to_owned();
    assert_eq!(
        kept,
        [
            // Kept are those above the first that was not, 0x30; nothing is said of what needed no budget.
            (4, state("ot=rv:40000000000000;th:30000000000001,a=1")),
            (5, state("ot=rv:50000000000000;th:30000000000001,a=1")),
            (6, state("ot=th:d;rv:f0000000000000")),
            (7, state("a=1,ot=rv:00000000000000")),
            (8, state("a=1,ot=rv:01000000000000")),
            (9, state("a=1,ot=rv:01000000000000")),
        ]
    );
    assert_eq!(rig.books(), "dropped{sampled_out:budget} 3");
    // Late spans of a trace that stayed carry its threshold, those of one that did not go with it.
    let late = request("{service.name: shop}", vec![of(4, 0x40), of(1, 0x10)]);
    assert!(rig.node.consume(payload(&late)).await.is_ok());
    sleep(Time::from_millis(1)).await;
    let last = rig.sink.taken().pop().unwrap();
    let request = ExportTraceServiceRequest::decode(&last.to_bytes()[..]).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.trace_state, "ot=rv:40000000000000;th:30000000000001,a=1");
    assert_eq!(rig.books(), "dropped{sampled_out:budget} 4");
}

#[tokio::test(start_paused = true)]
async fn an_overdrawn_budget_is_repaid() {
    let rig = Rig::new(&format!(
        "{{decision_wait: 1s, budgets: {{by: tenant, spans_per_second: 2}}, {ALWAYS}}}"
    ))
    .await;
    sleep(Time::from_millis(500)).await;
    // Eight spans at once, and then one each second: the budget of four seconds is spent at once.
    rig.send(vec![span(1); 8]).await;
    let mut kept = Vec::new();
    for id in 2..10 {
        seconds(1).await;
        rig.send(vec![span(id)]).await;
    }
    seconds(3).await;
    for ids in rig.out() {
        kept.push((ids[0], ids.len()));
    }
    assert_eq!(kept, [(1, 8), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1)]);
}

// --- On disk ---

/// A service with one storage.
struct Disk(Journal);

impl Host for Disk {
    fn exporter(&self, id: &ComponentId) -> Result<Arc<dyn Consumer>, Fault> {
        Err(Fault::World(format!("no exporter {id}")))
    }

    fn extension(&self, _id: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
        Ok(Arc::new(Disk(self.0.clone())))
    }

    fn report(&self, _component: &str, _status: component::Status) {}
}

impl Extension for Disk {
    fn start<'a>(&'a self, _host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        ready(Ok(()))
    }

    fn journal(&self) -> Option<Journal> {
        Some(self.0.clone())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}

/// One life on a disk.
async fn life(disk: &SimDisk) -> (Rig, Journal) {
    let (journal, _) = Journal::open(Arc::new(disk.clone()), Options::default()).unwrap();
    let yaml = format!("{{decision_wait: 2s, storage: file_storage, {ERRORS}}}");
    let cx = context("tail_sampling");
    let section = Section::from_yaml(&yaml).unwrap();
    let Ok(Processor::Node(make)) = (FACTORY.build)(section, &cx, Signal::Traces) else {
        panic!("{yaml} is no node");
    };
    let sink = Arc::new(Sink::default());
    let node = make(
        sink.clone(),
        books(&cx.telemetry, "tail_sampling", Signal::Traces),
    );
    assert_eq!(node.hold(), Some(Hold::HeldDurable));
    node.start(Arc::new(Disk(journal.clone()))).await.unwrap();
    (Rig { node, sink, cx }, journal)
}

/// Waits until the books say this.
async fn until(rig: &Rig, expected: &str) {
    for _ in 0..2000 {
        if rig.books() == expected {
            return;
        }
        sleep(Time::from_millis(10)).await;
    }
    panic!("{} is not {expected}", rig.books());
}

/// In real time, for the threads of a disk know no other.
#[tokio::test]
async fn what_was_not_decided_on_survives() {
    let disk = SimDisk::default();
    let (rig, journal) = life(&disk).await;
    let owed = |journal: &Journal| journal.destinations().iter().map(|d| d.items).sum::<u64>();
    rig.send(vec![coded(2), span(2), span(3)]).await;
    until(&rig, "dropped{sampled_out:errors} 2").await;
    // The next trace is not decided on when the process ends.
    rig.send(vec![coded(2), span(4), span(5)]).await;
    until(&rig, "held 2, dropped{sampled_out:errors} 2").await;
    assert_eq!(rig.out(), [vec![1], vec![1]]);
    assert_eq!(owed(&journal), 2);
    rig.drain().await;
    assert_eq!(rig.books(), "held 2, dropped{sampled_out:errors} 2");
    drop(rig);
    journal.close();

    let (rig, journal) = life(&disk).await;
    assert_eq!(rig.books(), "carried_in 2, held 2");
    rig.send(vec![Span {
        trace_id: vec![4; 16],
        ..coded(2)
    }])
    .await;
    until(&rig, "carried_in 2, dropped{sampled_out:errors} 1").await;
    assert_eq!(rig.out(), [vec![4, 4]]);
    assert_eq!(owed(&journal), 0);
    journal.close();
}

// --- Memory ---

#[test]
fn a_span_that_is_held_costs_little_beside_its_bytes() {
    use crate::traces::store::{Key, Store};
    let check = |spans: u8, most: usize| {
        let mut store: Store<Decision> = Store::new(30, 1 << 20);
        let (mut held, mut own) = (0, 0);
        for n in 0..2000u32 {
            let spans = (0..spans).map(|_| {
                let mut id = vec![7; 16];
                id[..4].copy_from_slice(&n.to_le_bytes());
                Span {
                    trace_id: id,
                    name: "GET /checkout".into(),
                    ..span(1)
                }
            });
            let request = request("{service.name: shop, host.name: node-1}", spans.collect());
            let bytes = request.encode_to_vec();
            for cut in cut(bytes.into(), Held::default()).unwrap() {
                held += cut.piece.footprint();
                own += cut.piece.bytes() as usize;
                let key = Key {
                    tenant: None,
                    id: cut.id,
                };
                let _ = store.add(key, cut.piece, Instant::now());
            }
        }
        let live = 2000 * usize::from(spans);
        let beside = (held + store.footprint() - own) / live;
        assert!(beside <= most, "{beside} bytes a span");
    };
    // The worst case, a request for each span; and ten spans of a trace at once.
    check(1, 1228);
    check(10, 160);
}
