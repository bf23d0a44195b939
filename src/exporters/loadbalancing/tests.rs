//! Batches over several scripted backends.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use component::test_kit::{Lonely, context, faults, section};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use wire::{Limits, validate};

use super::ring::Ring;
use super::*;

component::component_tests!(FACTORY, "resolver: {static: {hostnames: [a, b]}}");

// --- backends that do as they are told ---

/// By endpoint: what it answers (one after another, then yes), and the names of the spans that it took.
type Scripts = BTreeMap<String, (Vec<Act>, Vec<Vec<String>>)>;

static SCRIPTS: LazyLock<Mutex<Scripts>> = LazyLock::new(Mutex::default);

#[derive(Clone, Copy, Debug)]
enum Act {
    Retry,
    Reject,
    TooLarge,
    Hang,
    /// Takes it without this many.
    Partial(u64),
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Scripted {
    endpoint: String,
}

impl Push for Scripted {
    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        let act = {
            let mut scripts = SCRIPTS.lock();
            let (acts, taken) = scripts.entry(self.endpoint.clone()).or_default();
            match acts.is_empty() {
                true => {
                    taken.push(names(batch));
                    None
                }
                false => Some(acts.remove(0)),
            }
        };
        Box::pin(async move {
            match act {
                None => Ok(Outcome::all()),
                Some(Act::Retry) => Err(ExportError::retry("unwell")),
                Some(Act::Reject) => Err(ExportError::Rejected {
                    code: Code::INVALID_ARGUMENT,
                    source: "bad data".into(),
                }),
                Some(Act::TooLarge) => Err(ExportError::TooLarge {
                    source: "too large".into(),
                }),
                Some(Act::Hang) => std::future::pending().await,
                Some(Act::Partial(items)) => Ok(Outcome {
                    rejected: vec![Rejection {
                        rule: "rejected_by_peer".into(),
                        items,
                        message: "too old".into(),
                    }],
                }),
            }
        })
    }
}

static SCRIPTED: ExporterFactory = ExporterFactory {
    kind: "scripted",
    aliases: &[],
    keys: &[],
    signals: &[],
    harness: Harness::QUEUE_RETRY_TIMEOUT,
    build: |section, _| Ok(Exporter::Push(Arc::new(section.parse::<Scripted>()?))),
};

fn names(batch: &Payload) -> Vec<String> {
    let request = ExportTraceServiceRequest::decode(batch.to_bytes()).expect("well formed");
    let scopes = request.resource_spans.into_iter().flat_map(|r| r.scope_spans);
    scopes.flat_map(|s| s.spans).map(|span| span.name).collect()
}

/// What a backend was told to answer, in this order.
fn tell(endpoint: &str, acts: &[Act]) {
    SCRIPTS.lock().entry(endpoint.to_owned()).or_default().0 = acts.to_vec();
}

fn taken(endpoint: &str) -> Vec<Vec<String>> {
    SCRIPTS
        .lock()
        .get(endpoint)
        .map(|(_, taken)| taken.clone())
        .unwrap_or_default()
}

async fn balancer(hostnames: &[String]) -> LoadBalancing {
    let yaml = format!("resolver: {{static: {{hostnames: {hostnames:?}}}}}");
    let balancer = LoadBalancing::build(section(&yaml), &context("loadbalancing"), &SCRIPTED);
    let balancer = balancer.unwrap_or_else(|fault| panic!("{fault}"));
    balancer.start(Arc::new(Lonely::default())).await.expect("starts");
    balancer
}

// --- payloads ---

fn attributes(service: &str) -> Option<Resource> {
    let value = Some(AnyValue {
        value: Some(Value::StringValue(service.into())),
    });
    Some(Resource {
        attributes: vec![KeyValue {
            key: "service.name".into(),
            value,
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn payload(signal: Signal, bytes: Vec<u8>) -> Payload {
    let shape = validate(signal, &bytes, &Limits::default()).expect("well formed");
    Payload::new(signal, Chunk::new(bytes.into(), shape), Arc::default())
}

/// A span of each trace, named `service/id/place`.
fn spans(service: &str, ids: &[u128]) -> Payload {
    let span = |(at, id): (usize, &u128)| Span {
        trace_id: id.to_be_bytes().to_vec(),
        name: format!("{service}/{id}/{at}"),
        kind: 2,
        ..Default::default()
    };
    let group = ResourceSpans {
        resource: attributes(service),
        scope_spans: vec![ScopeSpans {
            spans: ids.iter().enumerate().map(span).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![group],
    };
    payload(Signal::Traces, request.encode_to_vec())
}

fn hosts(prefix: &str) -> Vec<String> {
    (1..=3).map(|i| format!("{prefix}-{i}:4317")).collect()
}

/// Traces by the backend that gets them: three of each.
fn of_each(hosts: &[String]) -> [Vec<u128>; 3] {
    let ring = Ring::new(hosts);
    let mut found: [Vec<u128>; 3] = Default::default();
    for id in 1.. {
        let list = &mut found[usize::from(ring.find(&u128::to_be_bytes(id)))];
        if list.len() < 3 {
            list.push(id);
        }
        if found.iter().all(|list| list.len() == 3) {
            return found;
        }
    }
    found
}

// --- sending ---

#[tokio::test(start_paused = true)]
async fn traces_go_whole_where_the_collector_sends_them() {
    let hosts: Vec<String> = hosts("backend");
    let balancer = balancer(&hosts).await;
    let known = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736u128;
    let batch = spans("s", &[known, 1, known, 1]);
    assert_eq!(balancer.export(&batch).await.expect("taken"), Outcome::all());
    let first = vec![format!("s/{known}/0"), format!("s/{known}/2")];
    assert_eq!(taken("backend-1:4317"), [first]);
    assert_eq!(taken("backend-3:4317"), [["s/1/1", "s/1/3"]]);
    assert!(taken("backend-2:4317").is_empty());
    balancer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_does_not_take_is_owed_alone_and_the_others_do_not_wait() {
    let hosts = hosts("unwell");
    let [a, b, c] = of_each(&hosts);
    let balancer = balancer(&hosts).await;
    tell(&hosts[1], &[Act::Hang]);
    let ids: Vec<u128> = (0..3).flat_map(|i| [a[i], b[i], c[i]]).collect();
    let batch = spans("s", &ids);
    let deadline = Instant::now() + std::time::Duration::from_secs(5);
    let error = balancer
        .export_until(&batch, Some(deadline))
        .await
        .expect_err("one hangs");
    assert!(
        Instant::now() < deadline,
        "the answer is there before the batch is given up"
    );
    let ExportError::Retry {
        remaining: Some(Remaining { owed, .. }),
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    let names_of = |places: [usize; 3]| -> Vec<String> {
        places.iter().map(|at| format!("s/{}/{at}", ids[*at])).collect()
    };
    assert_eq!(names(&owed), names_of([1, 4, 7]));
    assert_eq!(
        owed.chunks.iter().map(|c| c.origin.first).collect::<Vec<_>>(),
        [1, 4, 7]
    );
    assert_eq!(taken(&hosts[0]), [names_of([0, 3, 6])]);
    assert_eq!(taken(&hosts[2]), [names_of([2, 5, 8])]);

    // It is left alone for a moment, and then asked again.
    let error = balancer.export(&owed).await.expect_err("too soon");
    assert!(error.source().to_string().contains("left alone"), "{error:?}");
    assert!(taken(&hosts[1]).is_empty());
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    balancer.export(&owed).await.expect("well again");
    assert_eq!(taken(&hosts[1]), [names_of([1, 4, 7])]);
    balancer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_given_up_half_way_is_asked_again() {
    let hosts = hosts("given-up");
    let [a, b, _] = of_each(&hosts);
    let balancer = balancer(&hosts).await;
    tell(&hosts[0], &[Act::Retry, Act::Hang]);
    let batch = spans("s", &[a[0], b[0]]);
    balancer.export(&batch).await.expect_err("unwell");
    for _ in 0..2 {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let limit = std::time::Duration::from_millis(10);
        let _ = tokio::time::timeout(limit, balancer.export(&batch)).await;
    }
    assert_eq!(taken(&hosts[0]), [[format!("s/{}/0", a[0])]]);
    balancer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_goes_to_the_backends_that_there_are_then() {
    let hosts = hosts("moving");
    let [a, b, _] = of_each(&hosts);
    let balancer = balancer(&hosts).await;
    tell(&hosts[0], &[Act::Retry]);
    let batch = spans("s", &[a[0], b[0]]);
    let Err(ExportError::Retry {
        remaining: Some(Remaining { owed, .. }),
        ..
    }) = balancer.export(&batch).await
    else {
        panic!("one is unwell");
    };
    let host: Arc<dyn Host> = Arc::new(Lonely::default());
    balancer
        .backends
        .update(hosts[1..].to_vec(), &host)
        .await
        .expect("fewer");
    balancer.backends.sweep().await;
    balancer.export(&owed).await.expect("taken by another");
    let others: Vec<Vec<String>> = taken(&hosts[1]).into_iter().chain(taken(&hosts[2])).collect();
    assert!(others.contains(&vec![format!("s/{}/0", a[0])]), "{others:?}");
    assert!(taken(&hosts[0]).is_empty());
    balancer.backends.update(Vec::new(), &host).await.expect("none");
    let error = balancer.export(&owed).await.expect_err("no backend");
    assert!(matches!(error, ExportError::Retry { remaining: None, .. }));
    balancer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_one_backend_will_never_take_is_said_and_the_rest_is_taken() {
    let hosts = hosts("picky");
    let [a, b, c] = of_each(&hosts);
    let balancer = balancer(&hosts).await;
    tell(&hosts[0], &[Act::Reject]);
    let outcome = balancer
        .export(&spans("s", &[a[0], b[0], a[1]]))
        .await
        .expect("taken");
    assert_eq!(
        (outcome.rejected_items(), outcome.message().as_str()),
        (2, "bad data")
    );
    tell(&hosts[0], &[Act::Reject]);
    let error = balancer
        .export(&spans("s", &[a[0]]))
        .await
        .expect_err("all of it");
    assert!(matches!(error, ExportError::Rejected { .. }));
    // While another one is unwell, it is owed with that one's part.
    tell(&hosts[0], &[Act::Reject]);
    tell(&hosts[1], &[Act::Retry]);
    let error = balancer
        .export(&spans("s", &[a[0], b[0], c[0]]))
        .await
        .expect_err("unwell");
    let ExportError::Retry {
        remaining: Some(Remaining { owed, .. }),
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(owed.items, 2);
    balancer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_took_in_part_is_said_while_another_one_is_owed_its_own() {
    let hosts = hosts("halting");
    let [a, b, _] = of_each(&hosts);
    let balancer = balancer(&hosts).await;
    tell(&hosts[0], &[Act::Partial(2)]);
    tell(&hosts[1], &[Act::Retry]);
    let error = balancer
        .export(&spans("s", &[a[0], b[0], a[1], a[2]]))
        .await
        .expect_err("unwell");
    let ExportError::Retry {
        remaining: Some(Remaining { owed, rejected, .. }),
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(names(&owed), [format!("s/{}/1", b[0])]);
    let rejected: Vec<_> = rejected.iter().map(|r| (r.items, r.message.as_str())).collect();
    assert_eq!(rejected, [(2, "too old")]);
    balancer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pieces_that_are_too_large_are_halved() {
    let hosts = hosts("small");
    let [a, b, _] = of_each(&hosts);
    let balancer = balancer(&hosts).await;
    tell(&hosts[0], &[Act::TooLarge, Act::TooLarge]);
    balancer
        .export(&spans("s", &[a[0], a[1], a[2], b[0]]))
        .await
        .expect("taken");
    let name = |at: usize| format!("s/{}/{at}", a[at]);
    assert_eq!(taken(&hosts[0]), [vec![name(0)], vec![name(1)], vec![name(2)]]);
    balancer.stop().await;
}

// --- keys ---

fn choose(key: &Key, sent: &Payload) -> Vec<u16> {
    let ring = Ring::new(&hosts("backend"));
    key.choose(sent.signal, &sent.to_bytes(), &ring)
        .expect("well formed")
}

#[test]
fn spans_may_go_by_service_and_attributes() {
    let sent = spans("checkout", &[1, 2, 1]);
    let ring = Ring::new(&hosts("backend"));
    assert_eq!(choose(&Key::Service, &sent), [1, 1, 1]);
    let by = |names: &[&str]| Key::Attributes(names.iter().map(|n| (*n).to_owned()).collect());
    assert_eq!(choose(&by(&["service.name"]), &sent), [1, 1, 1]);
    let check = |names: &[&str], keys: [&str; 3]| {
        let expected = keys.map(|key| ring.find(key.as_bytes()));
        assert_eq!(choose(&by(names), &sent), expected, "{names:?}");
    };
    check(&["span.kind"], ["Server"; 3]);
    // A trace stays together: it goes where its first span goes.
    check(
        &["none", "service.name", "span.name"],
        [
            "checkoutcheckout/1/0",
            "checkoutcheckout/2/1",
            "checkoutcheckout/1/0",
        ],
    );
    check(&["none"], [""; 3]);
}

#[test]
fn logs_go_by_trace_and_those_without_go_together() {
    let record = |id: &[u8]| LogRecord {
        trace_id: id.to_vec(),
        ..Default::default()
    };
    let trace = 1u128.to_be_bytes();
    let group = ResourceLogs {
        scope_logs: vec![ScopeLogs {
            log_records: vec![record(&trace), record(&[]), record(&trace), record(&[])],
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![group],
    };
    let chosen = choose(&Key::Trace, &payload(Signal::Logs, request.encode_to_vec()));
    assert_eq!((chosen[0], chosen[2]), (2, 2));
    assert_eq!(chosen[1], chosen[3]);
}

#[test]
fn metrics_go_by_service_name_or_stream() {
    let metric = |name: &str| Metric {
        name: name.into(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint::default(), NumberDataPoint::default()],
        })),
        ..Default::default()
    };
    let group = ResourceMetrics {
        resource: attributes("checkout"),
        scope_metrics: vec![ScopeMetrics {
            metrics: vec![metric("m1"), metric("m2")],
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![group],
    };
    let sent = payload(Signal::Metrics, request.encode_to_vec());
    let ring = Ring::new(&hosts("backend"));
    let (m1, m2) = (ring.find(b"m1"), ring.find(b"m2"));
    assert_eq!(choose(&Key::Service, &sent), [1; 4]);
    assert_eq!(choose(&Key::Metric, &sent), [m1, m1, m2, m2]);
    let of_stream = choose(&Key::Stream, &sent);
    assert_eq!(
        (of_stream[0], of_stream[2]),
        (of_stream[1], of_stream[3]),
        "equal streams go together"
    );
    let of_resource = choose(&Key::Resource, &sent);
    assert!(of_resource.iter().all(|label| *label == of_resource[0]));
}

#[test]
fn routing_keys_mean_something_for_every_signal() {
    let check = |text: &str, signal, expected| {
        assert_eq!(Key::of(text, &[], signal), expected, "{text} {signal:?}");
    };
    check("", Signal::Traces, Key::Trace);
    check("", Signal::Metrics, Key::Service);
    check("", Signal::Logs, Key::Trace);
    check("service", Signal::Logs, Key::Trace);
    check("service", Signal::Traces, Key::Service);
    check("streamID", Signal::Metrics, Key::Stream);
    check("streamID", Signal::Traces, Key::Trace);
    check("traceID", Signal::Metrics, Key::Service);
    check("attributes", Signal::Metrics, Key::Attributes(Vec::new()));
}

// --- configuration ---

#[test]
fn what_is_wrong_is_told() {
    let check = |yaml: &str, expected: &str| {
        let told = faults((FACTORY.build)(section(yaml), &context("loadbalancing")));
        assert!(told.contains(expected), "{yaml}: {told}");
    };
    check("{}", "no resolvers specified");
    check(
        "resolver: {static: {hostnames: [a]}, dns: {hostname: b}}",
        "only one resolver",
    );
    check("resolver: {static: {}}", "no hostnames specified");
    check("resolver: {dns: {}}", "no hostname specified");
    check("resolver: {dns: {hostname: a, port: x}}", "not a port");
    check("resolver: {k8s: {service: a.b, ports: [1]}}", "headless service");
    check(
        "resolver: {aws_cloud_map: {namespace: a}}",
        "aws_cloud_map is not offered",
    );
    check(
        "{routing_key: spanID, resolver: {static: {hostnames: [a]}}}",
        "unsupported routing_key",
    );
    check(
        "{routing_key: attributes, resolver: {static: {hostnames: [a]}}}",
        "no attributes are named",
    );
    check(
        "{protocol: {otlp: {compression: lzma}}, resolver: {static: {hostnames: [a]}}}",
        "lzma",
    );
    check(
        "{protocol: {http: {}}, resolver: {static: {hostnames: [a]}}}",
        "http",
    );
}

#[test]
fn the_default_port_is_for_dialing_alone() {
    let check = |endpoint: &str, expected: &str| assert_eq!(backends::with_port(endpoint), expected);
    check("a", "a:4317");
    check("a:55680", "a:55680");
    check("10.0.0.1", "10.0.0.1:4317");
    check("[::1]", "[::1]:4317");
    check("[::1]:80", "[::1]:80");
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let yaml = "resolver: {dns: {hostname: localhost, port: '4400', interval: 1h}}";
    let balancer = LoadBalancing::build(section(yaml), &context("loadbalancing"), &SCRIPTED);
    let balancer = balancer.unwrap_or_else(|fault| panic!("{fault}"));
    balancer.start(Arc::new(Lonely::default())).await.expect("starts");
    let found = balancer.backends.members.load_full();
    assert!(!found.backends.is_empty());
    balancer.export(&spans("s", &[1])).await.expect("taken");
    let all: Vec<Vec<String>> = ["127.0.0.1:4400", "[::1]:4400"]
        .iter()
        .flat_map(|endpoint| taken(endpoint))
        .collect();
    assert_eq!(all, [["s/1/0"]]);
    balancer.stop().await;
    balancer.stop().await;
}
