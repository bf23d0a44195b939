use std::cell::Cell;

use component::test_kit::{Lonely, Sink, books, context, faults, section, totals};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::time::{advance, sleep};
use wire::test_kit::{Request, Rng};
use wire::view::Value;
use wire::view::identity::{self, Order};
use wire::{Limits, validate};

use super::*;
use crate::test_kit::{map, show, show_any, value_of};

thread_local! {
    static CLOCK: Cell<u64> = const { Cell::new(0) };
}

const SECOND: u64 = 1_000_000_000;

struct Rig {
    node: LogDedup,
    sink: Arc<Sink>,
    cx: BuildContext,
}

fn rig(yaml: &str) -> Rig {
    let (section, cx) = (section(yaml), context("logdedup"));
    let config: Config = section.clone().parse().unwrap();
    let mut settings = Settings::new(&config, &section, &cx).unwrap_or_else(|fault| panic!("{fault}"));
    settings.clock = || CLOCK.get();
    let sink = Arc::new(Sink::default());
    let books = books(&cx.telemetry, "logdedup", Signal::Logs);
    let node = LogDedup(Arc::new(Inner::new(settings, sink.clone(), books)));
    Rig { node, sink, cx }
}

impl Rig {
    async fn start(&self) {
        let host = Arc::new(Lonely::default());
        assert!(self.node.start(host).await.is_ok());
    }

    async fn give(&self, at_s: u64, payload: Payload) -> Result<Outcome, Refusal> {
        CLOCK.set(at_s * SECOND);
        self.node.consume(payload).await
    }

    async fn drain(&self, at_s: u64) {
        CLOCK.set(at_s * SECOND);
        let (_switch, stop) = Stop::new();
        self.node.drain(stop).await;
    }

    /// Held and merged.
    fn books(&self) -> (u64, u64) {
        let totals = totals(&self.cx.telemetry, "logdedup", Signal::Logs);
        (totals.held(), totals.get(telemetry::Column::Merged))
    }

    fn memory(&self) -> usize {
        self.cx.memory.used(Class::Nodes)
    }

    /// Every record that went on, one line each: resource, scope, times in seconds, body, attributes.
    fn told(&self) -> Vec<String> {
        self.sink.taken().iter().flat_map(told).collect()
    }
}

fn told(payload: &Payload) -> Vec<String> {
    let mut lines = Vec::new();
    for chunk in &payload.chunks {
        let request = ExportLogsServiceRequest::decode(chunk.bytes()).unwrap();
        let mut items = 0;
        for group in request.resource_logs {
            for scope in group.scope_logs {
                for record in scope.log_records {
                    items += 1;
                    lines.push(format!(
                        "{}{} {} {}/{} {} {}",
                        chunk
                            .origin
                            .tenant
                            .as_deref()
                            .map(|t| format!("{t}: "))
                            .unwrap_or_default(),
                        show(&group.resource.clone().unwrap_or_default().attributes),
                        scope.scope.clone().unwrap_or_default().name,
                        record.time_unix_nano / SECOND,
                        record.observed_time_unix_nano / SECOND,
                        record.body.as_ref().map_or("none".into(), show_any),
                        show(&record.attributes),
                    ));
                }
            }
        }
        assert_eq!(chunk.shape.items, items);
    }
    assert_eq!(payload.items, lines.len());
    lines
}

fn record(body: &str, attributes: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: 77,
        body: Some(value_of(body)),
        attributes: map(attributes),
        ..Default::default()
    }
}

fn request(groups: Vec<(&str, &str, Vec<LogRecord>)>) -> ExportLogsServiceRequest {
    let groups = groups
        .into_iter()
        .map(|(resource, scope, log_records)| ResourceLogs {
            resource: Some(Resource {
                attributes: map(resource),
                ..Default::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: scope.into(),
                    ..Default::default()
                }),
                log_records,
                ..Default::default()
            }],
            ..Default::default()
        });
    ExportLogsServiceRequest {
        resource_logs: groups.collect(),
    }
}

fn payload(request: &ExportLogsServiceRequest) -> Payload {
    let bytes = request.encode_to_vec();
    let shape = validate(Signal::Logs, &bytes, &Limits::default()).unwrap();
    Payload::new(Signal::Logs, Chunk::new(bytes.into(), shape), Arc::default())
}

fn of(records: Vec<LogRecord>) -> Payload {
    payload(&request(vec![("{r: 1}", "s", records)]))
}

const TIMES: &str =
    r#"first_observed_timestamp:"1970-01-01T00:00:10Z", last_observed_timestamp:"1970-01-01T00:00:12Z""#;

#[tokio::test(start_paused = true)]
async fn one_of_each_goes_on_at_the_interval() {
    let rig = rig("{interval: 10s}");
    rig.start().await;
    let (a, b) = (record("a", "{k: 1}"), record("b", "{}"));
    rig.give(10, of(vec![a.clone(), b.clone(), a.clone()]))
        .await
        .unwrap();
    rig.give(12, of(vec![a, b])).await.unwrap();
    assert_eq!((rig.books(), rig.sink.taken().len()), ((2, 3), 0));
    assert!(rig.memory() > 0);
    CLOCK.set(20 * SECOND);
    sleep(StdDuration::from_millis(10_001)).await;
    assert_eq!(
        rig.told(),
        [
            format!(r#"{{r:1}} s 20/10 "a" {{k:1, log_count:3, {TIMES}}}"#),
            format!(r#"{{r:1}} s 20/10 "b" {{log_count:2, {TIMES}}}"#),
        ]
    );
    assert_eq!((rig.books(), rig.memory()), ((0, 3), 0));
    // Nothing is told twice, and nothing of nothing.
    advance(StdDuration::from_secs(60)).await;
    rig.drain(99).await;
    assert_eq!(rig.sink.taken().len(), 1);
}

#[tokio::test]
async fn what_makes_a_record_distinct() {
    let check = async |yaml: &str, records: Vec<LogRecord>, counts: &[u64]| {
        let rig = rig(yaml);
        rig.give(1, of(records)).await.unwrap();
        let state = rig.node.0.state.lock();
        let got: Vec<u64> = state.gathered.counts().collect();
        assert_eq!(got, counts, "{yaml}");
    };
    let (plain, all) = (record("a", "{k: 1, l: 2}"), "{}");
    let with = |change: fn(&mut LogRecord)| {
        let mut other = plain.clone();
        change(&mut other);
        vec![plain.clone(), other]
    };
    check(all, with(|r| r.time_unix_nano = 5), &[2]).await;
    check(all, with(|r| r.observed_time_unix_nano = 5), &[2]).await;
    check(all, with(|r| r.trace_id = vec![1; 16]), &[2]).await;
    check(all, with(|r| r.flags = 1), &[2]).await;
    check(all, with(|r| r.event_name = "e".into()), &[2]).await;
    check(all, with(|r| r.attributes.reverse()), &[2]).await;
    check(all, with(|r| r.severity_number = 9), &[1, 1]).await;
    check(all, with(|r| r.severity_text = "INFO".into()), &[1, 1]).await;
    check(all, with(|r| r.body = None), &[1, 1]).await;
    check(all, with(|r| r.attributes = map("{k: 1}")), &[1, 1]).await;
    check(all, with(|r| r.attributes = map("{k: 1, l: '2'}")), &[1, 1]).await;
    let included = "{include_fields: [attributes.k, body.x]}";
    check(included, with(|r| r.body = None), &[2]).await;
    check(included, with(|r| r.attributes = map("{k: '1'}")), &[2]).await;
    check(included, with(|r| r.attributes = map("{k: 2}")), &[1, 1]).await;
    check(included, with(|r| r.attributes = map("{l: 2}")), &[1, 1]).await;
    check(
        included,
        vec![record("a", "{l: 2}"), record("b", "{l: 2}")],
        &[1, 1],
    )
    .await;
    check(
        included,
        vec![record("{x: 1}", "{}"), record("{x: 1, y: 2}", "{}")],
        &[2],
    )
    .await;
    let excluded = "{exclude_fields: [attributes.l]}";
    check(excluded, with(|r| r.attributes = map("{l: 3, k: 1}")), &[2]).await;
    check(excluded, with(|r| r.attributes = map("{k: 1}")), &[2]).await;
}

#[tokio::test]
async fn resources_scopes_and_tenants_are_apart() {
    let rig = rig("{}");
    let one = || vec![record("a", "{}")];
    let groups = vec![
        ("{a: 1, b: 2}", "s", one()),
        ("{b: 2, a: 1}", "s", one()),
        ("{a: 1}", "s", one()),
        ("{a: 1, b: 2}", "t", one()),
    ];
    let came = payload(&request(groups));
    let mut other = came.clone();
    other.chunks[0].origin.tenant = Some("acme".into());
    rig.give(10, came).await.unwrap();
    rig.give(12, other).await.unwrap();
    rig.drain(20).await;
    let first =
        r#"first_observed_timestamp:"1970-01-01T00:00:10Z", last_observed_timestamp:"1970-01-01T00:00:10Z""#;
    let later = first.replace(":10Z", ":12Z");
    let line = |owner: &str, resource: &str, scope: &str, at: u32, count: u32, times: &str| {
        format!(r#"{owner}{resource} {scope} 20/{at} "a" {{log_count:{count}, {times}}}"#)
    };
    assert_eq!(
        rig.told(),
        [
            line("", "{a:1, b:2}", "s", 10, 2, first),
            line("", "{a:1, b:2}", "t", 10, 1, first),
            line("", "{a:1}", "s", 10, 1, first),
            line("acme: ", "{a:1, b:2}", "s", 12, 2, &later),
            line("acme: ", "{a:1, b:2}", "t", 12, 1, &later),
            line("acme: ", "{a:1}", "s", 12, 1, &later),
        ]
    );
    assert_eq!((rig.books(), rig.memory()), ((0, 2), 0));
}

#[tokio::test]
async fn excluded_fields_are_gone_and_told_ones_are_told_anew() {
    let rig =
        rig("{exclude_fields: [attributes.id, body.t], log_count_attribute: n, timezone: Europe/Berlin}");
    rig.give(10, of(vec![record("{m: x, t: 5}", "{id: 7, k: 1, n: 9}")]))
        .await
        .unwrap();
    rig.drain(20).await;
    let time = r#""1970-01-01T01:00:10+01:00""#;
    assert_eq!(
        rig.told(),
        [format!(
            r#"{{r:1}} s 20/10 {{m:"x"}} {{k:1, n:1, first_observed_timestamp:{time}, last_observed_timestamp:{time}}}"#
        )]
    );
}

#[tokio::test]
async fn what_may_hold_unknown_fields_says_so() {
    // Redaction behind drops them, if it is told.
    let rig = rig("{}");
    let mut came = of(vec![record("a", "{}")]);
    came.chunks[0].shape.unknown_fields = true;
    rig.give(10, came).await.unwrap();
    rig.drain(20).await;
    assert!(rig.sink.taken()[0].chunks[0].shape.unknown_fields);
    rig.give(30, of(vec![record("a", "{}")])).await.unwrap();
    rig.drain(40).await;
    assert!(!rig.sink.taken()[1].chunks[0].shape.unknown_fields);
}

#[tokio::test]
async fn records_without_a_condition_pass_at_once() {
    let rig = rig("{conditions: ['attributes[\"dup\"] == true', 'log.body == \"x\"', 'Int(body) > 5']}");
    let came = vec![
        record("a", "{dup: true}"),
        record("a", "{}"),
        record("x", "{}"),
        record("9", "{}"),
    ];
    rig.give(10, of(came)).await.unwrap();
    assert_eq!(rig.told(), [r#"{r:1} s 0/0 "a" {}"#]);
    assert_eq!(rig.books(), (3, 0));
    // A payload that is not touched goes on as it came.
    let plain = of(vec![record("b", "{}")]);
    rig.give(11, plain.clone()).await.unwrap();
    assert_eq!(
        rig.sink.taken()[1].chunks[0].bytes().as_ptr(),
        plain.chunks[0].bytes().as_ptr()
    );
}

#[tokio::test]
async fn what_is_refused_behind_is_refused_whole() {
    let rig = rig("{conditions: ['body == \"x\"']}");
    let refusal = Refusal::unavailable("no");
    rig.sink.refuse(Some(refusal.clone()));
    let came = of(vec![record("x", "{}"), record("a", "{}")]);
    assert_eq!(rig.give(10, came.clone()).await, Err(refusal));
    assert_eq!((rig.books(), rig.memory()), ((0, 0), 0));
    rig.sink.refuse(None);
    rig.give(10, came).await.unwrap();
    assert_eq!(rig.books(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn gathered_records_are_offered_until_they_are_taken() {
    let rig = rig("{interval: 10s}");
    rig.start().await;
    rig.sink.refuse(Some(Refusal::unavailable("no")));
    rig.give(10, of(vec![record("a", "{}")])).await.unwrap();
    sleep(StdDuration::from_secs(25)).await;
    assert!(rig.sink.taken().len() > 2);
    rig.give(40, of(vec![record("a", "{}")])).await.unwrap();
    assert_eq!(rig.books(), (2, 0));
    rig.sink.refuse(None);
    sleep(StdDuration::from_secs(45)).await;
    let told = rig.told();
    let last = &told[told.len() - 2..];
    assert!(last.iter().all(|line| line.contains("log_count:1")), "{last:?}");
    assert_eq!((rig.books(), rig.memory()), ((0, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn the_last_offer_takes_the_time_there_is_and_is_booked() {
    let rig = rig("{interval: 10s}");
    rig.start().await;
    rig.sink.refuse(Some(Refusal::unavailable("no")));
    rig.give(10, of(vec![record("a", "{}"), record("b", "{}")]))
        .await
        .unwrap();
    sleep(StdDuration::from_secs(11)).await;
    rig.give(12, of(vec![record("c", "{}")])).await.unwrap();
    let (switch, stop) = Stop::new();
    let began = tokio::time::Instant::now();
    tokio::join!(rig.node.drain(stop), async {
        sleep(StdDuration::from_secs(5)).await;
        switch.stop();
    });
    assert_eq!(began.elapsed().as_secs(), 5);
    let totals = totals(&rig.cx.telemetry, "logdedup", Signal::Logs);
    assert_eq!(totals.failed.get("shutdown"), Some(&3));
    assert_eq!((rig.books(), rig.memory()), ((0, 0), 0));
}

#[tokio::test]
async fn over_the_budget_the_door_is_busy() {
    let mut rig = rig("{}");
    let inner = Arc::get_mut(&mut rig.node.0).unwrap();
    let memory = Arc::new(Memory::new(64 << 10));
    inner.settings.memory = memory.clone();
    rig.cx.memory = memory;
    let mut taken = 0;
    let refusal = loop {
        let records = (0..10).map(|i| record("a", &format!("{{k: {taken}, i: {i}}}")));
        match rig.give(10, of(records.collect())).await {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(
        refusal,
        Refusal::Busy {
            retry_after: Some(StdDuration::from_secs(10))
        }
    );
    assert!((5..100).contains(&taken), "{taken}");
    assert_eq!(rig.books(), (taken * 10, 0));
    rig.drain(20).await;
    assert_eq!((rig.told().len() as u64, rig.memory()), (taken * 10, 0));
}

#[test]
fn says_all_that_is_wrong() {
    let check = |yaml: &str, expected: &[&str]| {
        let told = faults((FACTORY.build)(section(yaml), &context("logdedup"), Signal::Logs));
        for text in expected {
            assert!(told.contains(text), "{yaml}: {told}");
        }
    };
    check(
        "{interval: 0s, log_count_attribute: '', timezone: Nowhere/Town}",
        &[
            "interval must be greater than 0",
            "log_count_attribute must be set",
            "unknown time zone Nowhere/Town",
        ],
    );
    check(
        "{exclude_fields: [body, name, attributes.a, attributes.a], include_fields: [body, attributes]}",
        &[
            "cannot define both",
            "cannot exclude the entire body",
            "cannot include the entire body",
            "must start with body or attributes",
            "duplicate field attributes.a",
            "name the attribute to include",
        ],
    );
    check("{conditions: ['body ==']}", &["body =="]);
}

// --- against a naive twin ---

fn sorted(attributes: &[KeyValue]) -> Vec<u8> {
    let raw: Vec<_> = attributes
        .iter()
        .map(|a| {
            (
                a.key.as_bytes(),
                a.value.clone().unwrap_or_default().encode_to_vec(),
            )
        })
        .collect();
    let (mut out, mut order) = (Vec::new(), Order::default());
    order.entries(raw.len(), |i| (raw[i].0, Value::new(&raw[i].1)), &mut out);
    out
}

/// What makes a record distinct: resource, scope, and the rest.
fn keys(
    resource: &Option<Resource>,
    scope: &Option<InstrumentationScope>,
    record: &LogRecord,
) -> [Vec<u8>; 3] {
    let scope = scope.clone().unwrap_or_default();
    let mut body = Vec::new();
    let raw = record.body.clone().unwrap_or_default().encode_to_vec();
    identity::value(Value::new(&raw), &mut body);
    let text = format!("{} {:?}", record.severity_number, record.severity_text);
    [
        sorted(&resource.clone().unwrap_or_default().attributes),
        [
            sorted(&scope.attributes),
            format!("{:?}", (scope.name, scope.version)).into(),
        ]
        .concat(),
        [sorted(&record.attributes), body, text.into()].concat(),
    ]
}

#[tokio::test]
async fn counts_what_a_naive_twin_counts() {
    let mut rng = Rng(3);
    for round in 0..150 {
        let rig = rig("{}");
        let mut expected: Vec<([Vec<u8>; 3], u64)> = Vec::new();
        let mut pool: Vec<ResourceLogs> = Vec::new();
        for _ in 0..6 {
            if let Request::Logs(request) = Request::random(Signal::Logs, &mut rng) {
                pool.extend(request.resource_logs);
            }
        }
        for _ in 0..4 {
            let groups = (0..pool.len().min(3)).map(|_| rng.pick(&pool).clone());
            let request = ExportLogsServiceRequest {
                resource_logs: groups.collect(),
            };
            for group in &request.resource_logs {
                for scope in &group.scope_logs {
                    for record in &scope.log_records {
                        let key = keys(&group.resource, &scope.scope, record);
                        match expected.iter_mut().find(|(k, _)| *k == key) {
                            Some((_, n)) => *n += 1,
                            None => expected.push((key, 1)),
                        }
                    }
                }
            }
            rig.give(10, payload(&request)).await.unwrap();
        }
        let records: u64 = expected.iter().map(|(_, n)| n).sum();
        let entries = expected.len() as u64;
        assert_eq!(rig.books(), (entries, records - entries), "round {round}");
        rig.drain(20).await;
        let mut got = Vec::new();
        for chunk in rig.sink.taken().iter().flat_map(|p| &p.chunks) {
            let out = ExportLogsServiceRequest::decode(chunk.bytes()).unwrap();
            for group in &out.resource_logs {
                for scope in &group.scope_logs {
                    for record in &scope.log_records {
                        let mut record = record.clone();
                        let told = record.attributes.split_off(record.attributes.len() - 3);
                        assert_eq!(told[0].key, "log_count");
                        let count = show(&told[..1]).replace("{log_count:", "").replace('}', "");
                        let key = keys(&group.resource, &scope.scope, &record);
                        got.push((key, count.parse::<u64>().unwrap()));
                    }
                }
            }
        }
        // The request is by resource and scope, each where it first came.
        let place = |of: fn(&[Vec<u8>; 3]) -> &[Vec<u8>], key: &[Vec<u8>; 3]| {
            expected.iter().position(|(k, _)| of(k) == of(key))
        };
        let mut ordered = expected.clone();
        ordered.sort_by_key(|(key, _)| {
            (
                place(|k| &k[..1], key),
                place(|k| &k[..2], key),
                place(|k| &k[..], key),
            )
        });
        assert!(got == ordered, "round {round}");
    }
}

component::component_tests!(FACTORY);
