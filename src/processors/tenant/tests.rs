use std::time::Duration as Span;

use component::test_kit::{context, faults, section};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use wire::{CertificateNames, Encoding, Limits, Twin};

use super::*;
use crate::test_kit::map;

component::component_tests!(FACTORY, "from: [{resource_attribute: t}]");

pub(super) fn build(yaml: &str) -> Tenants {
    let config: Config = section(yaml)
        .parse_valid()
        .unwrap_or_else(|faults| panic!("{yaml}: {faults}"));
    Tenants::new(&config, &context("tenant"), Signal::Logs).unwrap()
}

/// A resource of these attributes, with so many records; their bodies tell them apart.
fn resource(attributes: &str, records: usize) -> ResourceLogs {
    let record = |n: usize| LogRecord {
        time_unix_nano: n as u64 + 1,
        attributes: map(attributes),
        ..Default::default()
    };
    ResourceLogs {
        resource: Some(Resource {
            attributes: map(attributes),
            ..Default::default()
        }),
        scope_logs: vec![ScopeLogs {
            log_records: (0..records).map(record).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(super) fn payload(context: Context, resources: &[(&str, usize)]) -> Payload {
    let request = ExportLogsServiceRequest {
        resource_logs: resources
            .iter()
            .map(|(attributes, records)| resource(attributes, *records))
            .collect(),
    };
    whole(Signal::Logs, request.encode_to_vec(), context)
}

pub(super) fn whole(signal: Signal, bytes: Vec<u8>, context: Context) -> Payload {
    let shape = wire::validate(signal, &bytes, &Limits::default()).unwrap();
    Payload::new(signal, Chunk::new(bytes.into(), shape), Arc::new(context))
}

/// What became of a payload: its chunks by tenant and records, and what was rejected by rule; or the refusal.
type Became = Result<(Vec<(String, u32)>, Vec<(String, u64)>), (String, Option<Span>)>;

fn told(refusal: &Refusal) -> (String, Option<Span>) {
    (refusal.code().to_string(), refusal.retry_after())
}

pub(super) fn run(tenants: &Tenants, payload: Payload) -> Became {
    tenants.admit(&payload).map_err(|refusal| told(&refusal))?;
    let mut cx = ReshapeCx::new(true);
    let out = tenants
        .reshape(payload, &mut cx)
        .map_err(|refusal| told(&refusal))?;
    assert_eq!(
        out.items,
        out.chunks.iter().map(|c| c.shape.items as usize).sum::<usize>()
    );
    let chunks = out.chunks.iter().map(|chunk| {
        let shape = wire::validate(out.signal, &chunk.bytes(), &Limits::default()).unwrap();
        assert_eq!(shape, chunk.shape);
        (
            chunk.origin.tenant.as_deref().unwrap_or("nobody").to_owned(),
            shape.items,
        )
    });
    let rejected = cx.taken().into_iter().map(|r| (r.rule, r.items));
    Ok((chunks.collect(), rejected.collect()))
}

/// Whose the request of a client is.
#[track_caller]
fn check_context(yaml: &str, context: Context, expected: Option<&str>) {
    let became = run(&build(yaml), payload(context, &[("{}", 1)]));
    let expected = match expected {
        Some(name) => Ok((vec![(name.to_owned(), 1)], vec![])),
        None => Err(("PERMISSION_DENIED".to_owned(), None)),
    };
    assert_eq!(became, expected, "{yaml}");
}

fn certificate(uris: &[&str], dns: &[&str], common_name: Option<&str>) -> Context {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Context {
        certificate: Some(Arc::new(CertificateNames {
            uris: owned(uris),
            dns: owned(dns),
            common_name: common_name.map(str::to_owned),
        })),
        ..Context::default()
    }
}

fn metadata(values: &[&str]) -> Context {
    Context {
        metadata: vec![(
            "x-scope-orgid".into(),
            values.iter().map(ToString::to_string).collect(),
        )],
        ..Context::default()
    }
}

#[test]
fn certificates_name_tenants() {
    let spiffe = "from: [{client_certificate: spiffe, pattern: '^spiffe://[^/]+/ns/([^/]+)/'}]";
    let of = |uris: &[&str]| certificate(uris, &["a.example"], Some("cn"));
    check_context(spiffe, of(&["spiffe://td/ns/acme/sa/x"]), Some("acme"));
    check_context(spiffe, of(&["urn:x", "spiffe://td/ns/acme/sa/x"]), Some("acme"));
    check_context(
        spiffe,
        of(&["spiffe://td/ns/a/sa/x", "spiffe://td/ns/b/sa/x"]),
        None,
    );
    check_context(spiffe, of(&["spiffe://td/other"]), None);
    check_context(spiffe, of(&["https://td/ns/acme/sa/x"]), None);
    check_context(spiffe, Context::default(), None);
    check_context(
        "from: [{client_certificate: spiffe}]",
        of(&["spiffe://td/ns/acme"]),
        None,
    );
    let mapped = "from: [{client_certificate: spiffe, map: {'spiffe://td/a': acme}}]";
    check_context(mapped, of(&["spiffe://td/a"]), Some("acme"));
    let san = "from: [{client_certificate: san, pattern: '^([a-z]+)\\.clients\\.example$'}]";
    check_context(
        san,
        certificate(&[], &["x.example", "acme.clients.example"], None),
        Some("acme"),
    );
    check_context(
        san,
        certificate(&["acme.clients.example"], &["x.example"], None),
        Some("acme"),
    );
    check_context(
        "from: [{client_certificate: subject}]",
        certificate(&[], &[], Some("Acme-1")),
        Some("Acme-1"),
    );
    check_context(
        "from: [{client_certificate: subject}]",
        certificate(&[], &[], Some("Acme Inc")),
        None,
    );
}

#[test]
fn authenticators_name_tenants() {
    let of = |auth: &[(&str, &str)]| Context {
        auth: auth.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        authenticated: true,
        ..Context::default()
    };
    check_context(
        "from: [{authenticated: identity}]",
        of(&[("subject", "acme")]),
        Some("acme"),
    );
    check_context(
        "from: [{authenticated: identity}]",
        of(&[("username", "acme"), ("raw", "Basic x")]),
        Some("acme"),
    );
    check_context(
        "from: [{authenticated: org}]",
        of(&[("subject", "me"), ("org", "acme")]),
        Some("acme"),
    );
    check_context("from: [{authenticated: org}]", of(&[("subject", "me")]), None);
    check_context(
        "from: [{authenticated: identity, map: {'svc@x': acme}}]",
        of(&[("subject", "svc@x")]),
        Some("acme"),
    );
}

#[test]
fn listeners_name_tenants() {
    let at = |id: &str| Context {
        receiver: Some(id.into()),
        ..Context::default()
    };
    let yaml = "from: [{listener: {otlp/a: acme, otlp: umbrella}}]";
    check_context(yaml, at("otlp/a"), Some("acme"));
    check_context(yaml, at("otlp"), Some("umbrella"));
    check_context(yaml, at("otlp/b"), None);
}

#[test]
fn headers_count_where_they_are_trusted() {
    let of = |values: &[&str], authenticated: bool, receiver: &str| Context {
        authenticated,
        receiver: Some(receiver.into()),
        ..metadata(values)
    };
    let header = |trusted: &str| format!("from: [{{header: X-Scope-OrgID, trusted: {{{trusted}}}}}]");
    let one = &["acme"][..];
    for (trusted, authenticated, receiver, expected) in [
        ("anyone: true", false, "otlp", true),
        ("authenticated: true", false, "otlp", false),
        ("authenticated: true", true, "otlp", true),
        ("listeners: [otlp/mesh]", true, "otlp", false),
        ("listeners: [otlp/mesh]", false, "otlp/mesh", true),
        ("certificate: true", true, "otlp/mesh", false),
        ("certificate: true, listeners: [otlp]", false, "otlp", true),
    ] {
        let expected = expected.then_some("acme");
        check_context(&header(trusted), of(one, authenticated, receiver), expected);
    }
    let with_certificate = Context {
        certificate: Some(Arc::default()),
        ..metadata(one)
    };
    check_context(&header("certificate: true"), with_certificate, Some("acme"));
    for values in [&["a", "b"][..], &["a,b"], &[""], &[]] {
        check_context(&header("anyone: true"), metadata(values), None);
    }
}

#[test]
fn the_first_source_that_gives_a_name_wins() {
    let yaml = "from: [{client_certificate: subject}, {header: x-scope-orgid, trusted: {anyone: true}}, \
                {kubernetes_namespace: true}, {resource_attribute: t}]\nunknown: {default: rest}";
    let tenants = build(yaml);
    let of = |context: Context| {
        let all = [
            ("{k8s.namespace.name: ns, t: x}", 1),
            ("{t: x}", 2),
            ("{k8s.namespace.name: 'a b', t: y}", 1),
            ("{}", 1),
        ];
        run(&tenants, payload(context, &all)).unwrap().0
    };
    let show = |became: Vec<(String, u32)>| {
        became
            .iter()
            .map(|(t, n)| format!("{t}:{n}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(show(of(certificate(&[], &[], Some("c")))), "c:5");
    assert_eq!(show(of(metadata(&["h"]))), "h:5");
    assert_eq!(show(of(Context::default())), "ns:1 x:2 y:1 rest:1");
    let behind = build("from: [{resource_attribute: t}, {header: x-scope-orgid, trusted: {anyone: true}}]");
    let became = run(&behind, payload(metadata(&["h"]), &[("{t: x}", 1), ("{}", 2)])).unwrap();
    assert_eq!(show(became.0), "x:1 h:2");
    let trusted =
        build("from: [{resource_attribute: t, trusted: {authenticated: true}}]\nunknown: {default: rest}");
    let became = run(&trusted, payload(Context::default(), &[("{t: x}", 1)])).unwrap();
    assert_eq!(show(became.0), "rest:1");
}

#[test]
fn mixed_payloads_are_divided_by_whole_resources() {
    let tenants = build("from: [{resource_attribute: t, map: {'7': seven}}]");
    let all = payload(
        Context::default(),
        &[
            ("{t: a, n: 1}", 2),
            ("{t: b}", 1),
            ("{t: a, n: 2}", 3),
            ("{t: 7}", 1),
        ],
    );
    let mut cx = ReshapeCx::new(true);
    let out = tenants.reshape(all, &mut cx).unwrap();
    let decoded = |at: usize| {
        ExportLogsServiceRequest::decode(&out.chunks[at].bytes()[..])
            .unwrap()
            .resource_logs
    };
    assert_eq!((out.items, out.chunks.len(), cx.told()), (7, 3, &[][..]));
    assert_eq!(
        decoded(0),
        [resource("{t: a, n: 1}", 2), resource("{t: a, n: 2}", 3)]
    );
    assert_eq!(decoded(1), [resource("{t: b}", 1)]);
    assert_eq!(decoded(2), [resource("{t: 7}", 1)]);
    let names: Vec<_> = out
        .chunks
        .iter()
        .map(|c| c.origin.tenant.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["a", "b", "seven"]);
}

#[test]
fn metrics_are_divided_as_well() {
    let point = NumberDataPoint::default();
    let metric = |points: usize| Metric {
        name: "m".into(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![point.clone(); points],
        })),
        ..Default::default()
    };
    let group = |attributes: &str, points: usize| ResourceMetrics {
        resource: Some(Resource {
            attributes: map(attributes),
            ..Default::default()
        }),
        scope_metrics: vec![ScopeMetrics {
            metrics: vec![metric(points)],
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![group("{t: a}", 2), group("{t: b}", 3), group("{t: a}", 1)],
    };
    let tenants = build("from: [{resource_attribute: t}]");
    let became = run(
        &tenants,
        whole(Signal::Metrics, request.encode_to_vec(), Context::default()),
    );
    assert_eq!(became.unwrap().0, [("a".to_owned(), 3), ("b".to_owned(), 3)]);
}

#[test]
fn what_is_of_one_tenant_keeps_its_bytes_and_their_twin() {
    for yaml in ["from: [{resource_attribute: t}]", "from: [{listener: {otlp: a}}]"] {
        let context = Context {
            receiver: Some("otlp".into()),
            ..Context::default()
        };
        let mut payload = payload(context, &[("{t: a}", 1), ("{t: a, x: y}", 1)]);
        let twin = Twin {
            encoding: Encoding::Gzip,
            bytes: "compressed".into(),
        };
        payload.chunks[0].twin = Some(Arc::new(twin));
        let before = payload.chunks[0].bytes();
        let out = build(yaml).reshape(payload, &mut ReshapeCx::new(true)).unwrap();
        assert_eq!(out.chunks[0].bytes().as_ptr(), before.as_ptr());
        assert_eq!(out.twin(Encoding::Gzip).unwrap(), "compressed");
        assert_eq!(out.chunks[0].origin.tenant.as_deref(), Some("a"));
    }
}

#[test]
fn what_has_no_name_is_refused_rejected_or_given_one() {
    let check = |unknown: &str, resources: &[(&str, usize)], expected: Result<&str, &str>| {
        let tenants = build(&format!("from: [{{resource_attribute: t}}]\n{unknown}"));
        let became = run(&tenants, payload(Context::default(), resources));
        let shown = match &became {
            Ok((chunks, rejected)) => Ok(format!("{chunks:?} {rejected:?}")),
            Err((code, after)) => Err(format!("{code} {after:?}")),
        };
        assert_eq!(shown.as_deref().map_err(String::as_str), expected, "{unknown}");
    };
    let both = &[("{t: a}", 1), ("{}", 2)][..];
    let nobody = &[("{}", 2), ("{t: 'no name'}", 1)][..];
    check("", both, Ok(r#"[("a", 1)] [("tenant_unknown", 2)]"#));
    check("", nobody, Err("PERMISSION_DENIED None"));
    check("unknown: refuse", nobody, Err("PERMISSION_DENIED None"));
    check("unknown: {default: d}", both, Ok(r#"[("a", 1), ("d", 2)] []"#));
    check("unknown: {default: a}", both, Ok(r#"[("a", 3)] []"#));
    check("unknown: {quarantine: q}", both, Ok(r#"[("a", 1), ("q", 2)] []"#));
    // A name that stands for the unknown cannot be claimed, nor one that is not allowed.
    check("unknown: {quarantine: a}", both, Ok(r#"[("a", 3)] []"#));
    check("allow: [b]", both, Err("PERMISSION_DENIED None"));
    check("allow: [b]\nunknown: {default: d}", both, Ok(r#"[("d", 3)] []"#));
    check("", &[], Ok("[] []"));
}

#[test]
fn behind_processors_that_write_it_refuses_all_the_same() {
    let tenants = build("from: [{resource_attribute: t}]\nlimits: {default: {records_per_second: 1}}");
    let late = |resources: &[(&str, usize)]| {
        let mut cx = ReshapeCx::new(false);
        let out = tenants.reshape(payload(Context::default(), resources), &mut cx);
        out.map(|payload| {
            (
                payload.items,
                cx.taken()
                    .into_iter()
                    .map(|r| (r.rule, r.items))
                    .collect::<Vec<_>>(),
            )
        })
        .map_err(|refusal| refusal.code().to_string())
    };
    assert_eq!(late(&[("{}", 1)]), Err("PERMISSION_DENIED".to_owned()));
    assert_eq!(late(&[("{t: a}", 1)]), Ok((1, vec![])));
    assert_eq!(
        late(&[("{t: a}", 1), ("{t: b}", 1)]),
        Ok((1, vec![(OVER_RATE.to_owned(), 1)]))
    );
    assert_eq!(
        late(&[("{t: a}", 1)]),
        Ok((0, vec![(OVER_RATE.to_owned(), 1)])),
        "it cannot be sent again"
    );
}

#[tokio::test(start_paused = true)]
async fn rates_are_kept_by_tenant() {
    let tenants = build(
        "from: [{resource_attribute: t}]\nlimits: {default: {records_per_second: 10}, tenants: \
         {big: {records_per_second: 1000, burst: 2s}, thin: {bytes_per_second: 100, burst: 10s}}}",
    );
    let send = |resources: &[(&str, usize)]| run(&tenants, payload(Context::default(), resources));
    let ok = |all: &[(&str, u32)], rejected: u64| -> Became {
        let all = all
            .iter()
            .map(|(name, items)| (name.to_string(), *items))
            .collect();
        let rejected = (rejected > 0).then(|| (OVER_RATE.to_owned(), rejected));
        Ok((all, rejected.into_iter().collect()))
    };
    let later = |ms: u64| -> Became { Err(("RESOURCE_EXHAUSTED".to_owned(), Some(Span::from_millis(ms)))) };
    assert_eq!(send(&[("{t: a}", 10)]), ok(&[("a", 10)], 0));
    assert_eq!(send(&[("{t: a}", 5)]), later(500));
    assert_eq!(
        send(&[("{t: b}", 10)]),
        ok(&[("b", 10)], 0),
        "b has a bucket of its own"
    );
    assert_eq!(
        send(&[("{t: a}", 5), ("{t: b}", 1)]),
        later(500),
        "the longer one"
    );
    assert_eq!(
        send(&[("{t: a}", 5), ("{t: c}", 1)]),
        ok(&[("c", 1)], 5),
        "only c has something left"
    );
    assert_eq!(send(&[("{t: big}", 2000)]), ok(&[("big", 2000)], 0));
    tokio::time::advance(Span::from_millis(500)).await;
    assert_eq!(send(&[("{t: a}", 5)]), ok(&[("a", 5)], 0));
    // More than a burst passes when nothing else has, and is paid for afterwards.
    assert_eq!(send(&[("{t: d}", 25)]), ok(&[("d", 25)], 0));
    assert_eq!(send(&[("{t: d}", 1)]), later(1600));
    let (text, one) = (
        "{t: thin}",
        payload(Context::default(), &[("{t: thin}", 1)]).len(),
    );
    let burst = 1000 / one;
    for _ in 0..burst {
        assert_eq!(send(&[(text, 1)]), ok(&[("thin", 1)], 0));
    }
    assert!(send(&[(text, 1)]).is_err(), "{burst} requests of {one} bytes");
}

#[tokio::test(start_paused = true)]
async fn what_a_refusal_behind_gives_back_can_be_sent_again() {
    let tenants = build("from: [{resource_attribute: t}]\nlimits: {default: {records_per_second: 10}}");
    let ten = || payload(Context::default(), &[("{t: a}", 10)]);
    for _ in 0..3 {
        tenants.admit(&ten()).unwrap();
        let mut cx = ReshapeCx::new(true);
        tenants.reshape(ten(), &mut cx).unwrap();
        drop(cx);
    }
    assert!(run(&tenants, ten()).is_ok());
    assert!(run(&tenants, ten()).is_err(), "this time it was taken");
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_asked_about_together_pass_together() {
    let tenants = build("from: [{resource_attribute: t}]\nlimits: {default: {records_per_second: 10}}");
    let ten = || payload(Context::default(), &[("{t: a}", 10)]);
    tenants.admit(&ten()).unwrap();
    tenants.admit(&ten()).unwrap();
    for _ in 0..2 {
        let mut cx = ReshapeCx::new(true);
        assert_eq!(tenants.reshape(ten(), &mut cx).unwrap().items, 10);
        assert_eq!(cx.taken(), []);
    }
    let refusal = tenants
        .admit(&payload(Context::default(), &[("{t: a}", 1)]))
        .unwrap_err();
    assert_eq!(
        refusal.retry_after(),
        Some(Span::from_millis(1100)),
        "the debt is paid first"
    );
}

#[test]
fn the_rule_of_what_is_over_the_rate_is_booked_for_its_tenant() {
    let tenants = build("from: [{resource_attribute: t}]\nlimits: {default: {records_per_second: 1}}");
    let mut cx = ReshapeCx::new(false);
    let all = payload(Context::default(), &[("{t: a}", 1), ("{t: a}", 2), ("{}", 4)]);
    tenants.reshape(all.clone(), &mut cx).unwrap();
    cx.taken();
    let mut cx = ReshapeCx::new(false);
    tenants.reshape(all, &mut cx).unwrap();
    let told: Vec<_> = cx
        .told()
        .iter()
        .map(|(change, tenant, items)| (change.clone(), tenant.as_deref(), *items))
        .collect();
    assert_eq!(
        told,
        [
            (Change::Dropped(OVER_RATE.into()), Some("a"), 3),
            (Change::Dropped(UNKNOWN.into()), None, 4)
        ]
    );
}

#[test]
fn faults_say_what_to_write_instead() {
    #[track_caller]
    fn check(yaml: &str, expected: &str) {
        let built = (FACTORY.build)(section(yaml), &context("tenant"), Signal::Logs).map(|_| ());
        let told = faults(built);
        assert!(told.contains(expected), "{yaml}: {told}");
    }
    check("{}", "missing required field \"from\"");
    check("from: [{}]", "a source says where to look");
    check(
        "from: [{header: a, authenticated: b}]",
        "one place, not authenticated and header",
    );
    check("from: [{header: a}]", "whose headers are believed?");
    check("from: [{header: a, trusted: {}}]", "whose headers are believed?");
    check(
        "from: [{authenticated: a, trusted: {anyone: true}}]",
        "needs no trust",
    );
    check("from: [{authenticated: raw}]", "credential itself");
    check(
        "from: [{resource_attribute: a, pattern: 'x('}]",
        "error parsing regexp",
    );
    check("from: [{resource_attribute: a, pattern: 'x'}]", "needs a group");
    check(
        "from: [{resource_attribute: a, map: {x: a/b}}]",
        "cannot be a tenant's name",
    );
    check("from: [{listener: {otlp: ..}}]", "cannot be a tenant's name");
    check("from: [{client_certificate: cn}]", "cn");
    let one = |more: &str| format!("{{from: [{{resource_attribute: a}}], {more}}}");
    check(&one("unknown: {default: 'a b'}"), "cannot be a tenant's name");
    check(&one("unknown: drop"), "drop");
    check(&one("allow: ['../x']"), "cannot be a tenant's name");
    check(&one("max_tenants: 0"), "between 1 and");
    check(
        &one("limits: {default: {records_per_second: 0}}"),
        "must be above 0",
    );
    check(
        &one("limits: {tenants: {a: {bytes_per_second: 0}}}"),
        "must be above 0",
    );
    check(
        &one("limits: {tenants: {a/b: {records_per_second: 1}}}"),
        "cannot be a tenant's name",
    );
    check(
        &one("limits: {default: {records_per_second: 1, burst: 0s}}"),
        "must be above 0",
    );
}
