use component::test_kit::{context, section};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, exemplar, metric, number_data_point};
use prost::Message;

use super::scrape::{Done, Fetched, Work};
use super::*;

mod rows {
    component::component_tests!(
        super::FACTORY,
        "config: {scrape_configs: [{job_name: a, static_configs: [{targets: ['127.0.0.1:1']}]}]}"
    );
}

// --- Rendering ---

fn attributes(attributes: &[KeyValue]) -> String {
    let pairs: Vec<String> = attributes
        .iter()
        .map(|kv| match kv.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(Value::StringValue(text)) => format!("{}={text}", kv.key),
            other => format!("{}={other:?}", kv.key),
        })
        .collect();
    pairs.join(" ")
}

/// Seconds, for times; `?` for none.
fn time(nanos: u64) -> String {
    match nanos {
        0 => "?".into(),
        n => format!("{}", n as f64 / 1e9),
    }
}

fn exemplars(exemplars: &[Exemplar]) -> String {
    let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    exemplars
        .iter()
        .map(|e| {
            let Some(exemplar::Value::AsDouble(value)) = e.value else {
                panic!("{e:?}");
            };
            let (at, trace, span) = (time(e.time_unix_nano), hex(&e.trace_id), hex(&e.span_id));
            format!(
                " # {value} at {at} trace {trace} span {span} {{{}}}",
                attributes(&e.filtered_attributes)
            )
        })
        .collect()
}

/// Every point on a line of its own, behind those of its metric, scope and resource; `start..time value`.
pub(super) fn render(bytes: &[u8]) -> Vec<String> {
    let request = ExportMetricsServiceRequest::decode(bytes).expect("it is OTLP");
    let mut out = Vec::new();
    for rm in &request.resource_metrics {
        out.push(format!(
            "resource {}",
            attributes(&rm.resource.as_ref().unwrap().attributes)
        ));
        for sm in &rm.scope_metrics {
            let scope = sm.scope.as_ref().unwrap();
            let text = format!(
                "scope {} {} {} {}",
                scope.name,
                scope.version,
                sm.schema_url,
                attributes(&scope.attributes)
            );
            out.push(text.trim_end().to_owned());
            for m in &sm.metrics {
                assert_eq!(m.metadata.len(), 1);
                let kind = attributes(&m.metadata).replace("prometheus.type=", "");
                let mut points = Vec::new();
                let data = match m.data.as_ref().unwrap() {
                    metric::Data::Gauge(g) => {
                        points.extend(g.data_points.iter().map(number));
                        "gauge".to_owned()
                    }
                    metric::Data::Sum(s) => {
                        points.extend(s.data_points.iter().map(number));
                        assert_eq!(s.aggregation_temporality, 2);
                        format!("sum{}", if s.is_monotonic { "+" } else { "" })
                    }
                    metric::Data::Histogram(h) => {
                        assert_eq!(h.aggregation_temporality, 2);
                        points.extend(h.data_points.iter().map(|p| {
                            format!(
                                "{{{}}} {}..{} flags {} count {} sum {:?} {:?} {:?}{}",
                                attributes(&p.attributes),
                                time(p.start_time_unix_nano),
                                time(p.time_unix_nano),
                                p.flags,
                                p.count,
                                p.sum,
                                p.explicit_bounds,
                                p.bucket_counts,
                                exemplars(&p.exemplars),
                            )
                        }));
                        "histogram".to_owned()
                    }
                    metric::Data::Summary(s) => {
                        points.extend(s.data_points.iter().map(|p| {
                            let quantiles: Vec<String> = p
                                .quantile_values
                                .iter()
                                .map(|q| format!("{}:{}", q.quantile, q.value))
                                .collect();
                            format!(
                                "{{{}}} {}..{} flags {} count {} sum {} {}",
                                attributes(&p.attributes),
                                time(p.start_time_unix_nano),
                                time(p.time_unix_nano),
                                p.flags,
                                p.count,
                                p.sum,
                                quantiles.join(" "),
                            )
                        }));
                        "summary".to_owned()
                    }
                    other => panic!("{other:?}"),
                };
                out.push(format!(
                    "{} {data} ({kind}) {:?} {:?}",
                    m.name, m.unit, m.description
                ));
                out.extend(points.into_iter().map(|p| format!("  {}", p.trim_end())));
            }
        }
    }
    out
}

fn number(p: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint) -> String {
    let value = match p.value {
        Some(number_data_point::Value::AsDouble(value)) => format!("{value}"),
        None => "none".to_owned(),
        other => panic!("{other:?}"),
    };
    let flags = if p.flags == 0 {
        String::new()
    } else {
        format!(" flags {}", p.flags)
    };
    let span = format!("{}..{}", time(p.start_time_unix_nano), time(p.time_unix_nano));
    format!(
        "{{{}}} {span} {value}{flags}{}",
        attributes(&p.attributes),
        exemplars(&p.exemplars)
    )
}

// --- A target without a network ---

/// A target `app:9090` of the job `j`, with these keys beside.
struct Bench(Box<Work>);

impl Bench {
    fn new(keys: &str) -> Bench {
        Bench::with(&format!(
            "config: {{scrape_configs: [{{job_name: j, static_configs: [{{targets: ['app:9090']}}], {keys}}}]}}"
        ))
    }

    fn with(config: &str) -> Bench {
        let built =
            Prometheus::build(section(config), &context("prometheus")).unwrap_or_else(|f| panic!("{f}"));
        let job = &built.jobs[0];
        Bench(Work::new(job, &job.plan.targets[0], "0.0.0"))
    }

    /// One scrape at so many seconds: all lines, without those of `up` and its like.
    fn scrape(&mut self, s: i64, format: codec::exposition::Format, text: &str) -> Vec<String> {
        let done = self.done(s, format, text);
        assert_eq!(done.error, None, "{text}");
        without_own(render(&done.bytes))
    }

    fn done(&mut self, s: i64, format: codec::exposition::Format, text: &str) -> Done {
        let fetched = Fetched {
            body: text.to_owned().into(),
            format,
        };
        self.0
            .scrape(Ok(fetched), s * 1000, std::time::Duration::from_millis(250))
    }
}

pub(super) fn without_own(lines: Vec<String>) -> Vec<String> {
    let mut out = Vec::new();
    let mut own = false;
    for line in lines {
        if !line.starts_with(' ') {
            own = line.starts_with("up gauge") || line.starts_with("scrape_");
        }
        if !own {
            out.push(line);
        }
    }
    out
}

use codec::exposition::Format::{OpenMetrics, Text};

const HEAD: [&str; 2] = [
    "resource service.name=j server.address=app service.instance.id=app:9090 server.port=9090 url.scheme=http",
    "scope weir/receivers/prometheus 0.0.0",
];

#[track_caller]
fn check(format: codec::exposition::Format, text: &str, expected: &[&str]) {
    let got = Bench::new("").scrape(5, format, text);
    let expected: Vec<&str> = HEAD.iter().chain(expected).copied().collect();
    assert_eq!(got, expected, "{text}");
}

#[test]
fn every_type_becomes_what_otlp_has_for_it() {
    check(
        Text,
        "# HELP c_total How many.\n# TYPE c_total counter\nc_total{b=\"2\",a=\"1\"} 3\nc_total 4\n",
        &[
            "c_total sum+ (counter) \"\" \"How many.\"",
            "  {a=1 b=2} 5..5 3",
            "  {} 5..5 4",
        ],
    );
    check(
        Text,
        "# TYPE g gauge\ng{a=\"\"} NaN\n",
        &["g gauge (gauge) \"\" \"\"", "  {} ?..5 NaN"],
    );
    check(
        Text,
        "# TYPE u untyped\nu 1\nw 2\n",
        &[
            "u gauge (unknown) \"\" \"\"",
            "  {} ?..5 1",
            "w gauge (unknown) \"\" \"\"",
            "  {} ?..5 2",
        ],
    );
    check(
        Text,
        "# TYPE h histogram\nh_bucket{le=\"1\",x=\"y\"} 2\nh_bucket{le=\"0.5\",x=\"y\"} 1\nh_bucket{le=\"+Inf\",x=\"y\"} 5\nh_sum{x=\"y\"} 7.5\nh_count{x=\"y\"} 5\n",
        &[
            "h histogram (histogram) \"\" \"\"",
            "  {x=y} 5..5 flags 0 count 5 sum Some(7.5) [0.5, 1.0] [1, 1, 3]",
        ],
    );
    check(
        Text,
        "# TYPE h histogram\nh_count 0\n",
        &[
            "h histogram (histogram) \"\" \"\"",
            "  {} 5..5 flags 0 count 0 sum None [] [0]",
        ],
    );
    check(
        Text,
        "# TYPE s summary\ns{quantile=\"0.9\"} 3\ns{quantile=\"0.5\"} 0\ns_sum 10\ns_count 4\n",
        &[
            "s summary (summary) \"\" \"\"",
            "  {} 5..5 flags 0 count 4 sum 10 0.5:0 0.9:3",
        ],
    );
    check(
        OpenMetrics,
        "# TYPE c_seconds counter\n# UNIT c_seconds seconds\nc_seconds_total 3\nc_seconds_created 2.5\n# EOF",
        &["c_seconds_total sum+ (counter) \"s\" \"\"", "  {} 2.5..5 3"],
    );
    check(
        OpenMetrics,
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 2\nh_created 1\n# EOF",
        &[
            "h histogram (histogram) \"\" \"\"",
            "  {} 1..5 flags 0 count 1 sum Some(2.0) [] [1]",
        ],
    );
    check(
        OpenMetrics,
        "# TYPE b info\nb_info{v=\"1\"} 1\n# TYPE st stateset\nst{st=\"a\"} 1\nst{st=\"b\"} 0\n# EOF",
        &[
            "b sum (info) \"\" \"\"",
            "  {v=1} ?..5 1",
            "st sum (stateset) \"\" \"\"",
            "  {st=a} ?..5 1",
            "  {st=b} ?..5 0",
        ],
    );
    check(
        OpenMetrics,
        "# TYPE gh gaugehistogram\ngh_bucket{le=\"+Inf\"} 4\ngh_gcount 4\n# EOF",
        &[
            "gh_bucket gauge (gaugehistogram) \"\" \"\"",
            "  {le=+Inf} ?..5 4",
            "gh_gcount gauge (unknown) \"\" \"\"",
            "  {} ?..5 4",
        ],
    );
    check(
        OpenMetrics,
        "# TYPE r unknown\nr 1 4.25\n# EOF",
        &["r gauge (unknown) \"\" \"\"", "  {} ?..4.25 1"],
    );
    check(
        Text,
        "{\"http.requests\",\"a.b\"=\"1\"} 1\n",
        &["http.requests gauge (unknown) \"\" \"\"", "  {a.b=1} ?..5 1"],
    );
}

#[test]
fn exemplars_carry_their_trace() {
    let trace = "0102030405060708090a0b0c0d0e0f10";
    check(
        OpenMetrics,
        &format!(
            "# TYPE c counter\nc_total 1 # {{trace_id=\"{trace}\",span_id=\"0102030405060708\",k=\"v\"}} 0.5 4.5\n# EOF"
        ),
        &[
            "c_total sum+ (counter) \"\" \"\"",
            &format!("  {{}} 5..5 1 # 0.5 at 4.5 trace {trace} span 0102030405060708 {{k=v}}"),
        ],
    );
    check(
        OpenMetrics,
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {trace_id=\"short\",span_id=\"0000000000000000\"} 0.5\nh_bucket{le=\"+Inf\"} 1\nh_count 1\n# EOF",
        &[
            "h histogram (histogram) \"\" \"\"",
            "  {} 5..5 flags 0 count 1 sum None [1.0] [1, 0] # 0.5 at 5 trace  span  {trace_id=short span_id=0000000000000000}",
        ],
    );
}

#[test]
fn what_fits_no_point_is_dropped_alone() {
    let mut bench = Bench::new("");
    let mut check = |text: &str, unfit: usize, expected: &[&str]| {
        let done = bench.done(5, Text, text);
        let lines = without_own(render(&done.bytes));
        assert_eq!(
            (done.unfit, &lines[HEAD.len()..]),
            (
                unfit,
                expected
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .as_slice()
            ),
            "{text}"
        );
        // nothing of it is left for the next row
        bench = Bench::new("");
    };
    check(
        "# TYPE h histogram\nh_bucket 1\nh_bucket{le=\"x\"} 1\nh_count 1\n",
        2,
        &[
            "h histogram (histogram) \"\" \"\"",
            "  {} 5..5 flags 0 count 1 sum None [] [1]",
        ],
    );
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"2\"} 2\nh_count 3\nok 1\n",
        1,
        &["ok gauge (unknown) \"\" \"\"", "  {} ?..5 1"],
    );
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_count 2\nok 1\n",
        1,
        &["ok gauge (unknown) \"\" \"\"", "  {} ?..5 1"],
    );
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} NaN\nh_count 2\nok 1\n",
        1,
        &["ok gauge (unknown) \"\" \"\"", "  {} ?..5 1"],
    );
    check(
        "# TYPE h histogram\nh_sum 3\nok 1\n",
        0,
        &["ok gauge (unknown) \"\" \"\"", "  {} ?..5 1"],
    );
    check(
        "# TYPE s summary\ns{quantile=\"0.5\"} 3\nok 1\n",
        0,
        &["ok gauge (unknown) \"\" \"\"", "  {} ?..5 1"],
    );
    check(
        "# TYPE h histogram\nh_count 1 1000\nh_sum 1 2000\n",
        1,
        &[
            "h histogram (histogram) \"\" \"\"",
            "  {} 1..1 flags 0 count 1 sum None [] [1]",
        ],
    );
}

#[test]
fn a_scrape_speaks_of_itself() {
    let own = |done: Done| -> Vec<String> {
        let lines = render(&done.bytes);
        let values = |pair: &[String]| match pair[0].split(' ').next() {
            Some(name) if name == "up" || name.starts_with("scrape_") => Some(format!("{name}{}", &pair[1])),
            _ => None,
        };
        lines.windows(2).filter_map(values).collect()
    };
    let mut bench =
        Bench::new("metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]");
    assert_eq!(
        own(bench.done(5, Text, "a 1\nb 2\n")),
        [
            "up  {} ?..5 1",
            "scrape_duration_seconds  {} ?..5 0.25",
            "scrape_samples_scraped  {} ?..5 2",
            "scrape_samples_post_metric_relabeling  {} ?..5 1",
            "scrape_series_added  {} ?..5 1",
        ]
    );
    assert_eq!(
        own(bench.done(6, Text, "a 1\nc 2\nd 3\n"))[4],
        "scrape_series_added  {} ?..6 2"
    );
    let failed = bench
        .0
        .scrape(Err("no answer".into()), 7000, std::time::Duration::from_secs(1));
    assert_eq!(failed.error.as_deref(), Some("no answer"));
    assert_eq!(
        own(failed)[..3],
        [
            "up  {} ?..7 0",
            "scrape_duration_seconds  {} ?..7 1",
            "scrape_samples_scraped  {} ?..7 0"
        ]
    );
    let mut bench = Bench::with(
        "{report_extra_scrape_metrics: true, config: {global: {sample_limit: 9, external_labels: {zone: z}}, scrape_configs: \
         [{job_name: j, static_configs: [{targets: ['app:1'], labels: {env: e}}]}]}}",
    );
    assert_eq!(
        own(bench.done(5, Text, "a 1\n"))[5..],
        [
            "scrape_timeout_seconds  {env=e zone=z} ?..5 10",
            "scrape_sample_limit  {env=e zone=z} ?..5 9",
            "scrape_body_size_bytes  {env=e zone=z} ?..5 4",
        ]
    );
}

#[test]
fn what_goes_is_marked_and_what_grows_keeps_its_start() {
    let mut bench = Bench::new("");
    let types = "# TYPE c counter\n# TYPE h histogram\n# TYPE s summary\n";
    let mut scrape = |s: i64, text: &str| {
        let lines = bench.scrape(s, Text, &format!("{types}{text}"));
        lines.get(HEAD.len()..).unwrap_or_default().to_vec()
    };
    scrape(
        5,
        "c 10\ng 1\nh_bucket{le=\"1\"} 1\nh_count 2\ns{quantile=\"0.5\"} 3\ns_count 1\n",
    );
    let h = "h histogram (histogram) \"\" \"\"";
    let (c, g, s) = (
        "c sum+ (counter) \"\" \"\"",
        "g gauge (unknown) \"\" \"\"",
        "s summary (summary) \"\" \"\"",
    );
    assert_eq!(
        scrape(10, "c 12\n"),
        [
            c,
            "  {} 5..10 12",
            g,
            "  {} ?..10 none flags 1",
            h,
            "  {} 5..10 flags 1 count 0 sum None [1.0] [0, 0]",
            s,
            "  {} 5..10 flags 1 count 0 sum 0 0.5:0",
        ]
    );
    // marked once, and not again
    assert_eq!(scrape(15, "c 12\n"), [c, "  {} 5..15 12"]);
    // smaller than before: it began again
    assert_eq!(scrape(20, "c 3\n"), [c, "  {} 20..20 3"]);
    // away for a while, and where it was
    assert_eq!(scrape(25, ""), [c, "  {} 20..25 none flags 1"]);
    assert_eq!(scrape(30, "c 4\n"), [c, "  {} 20..30 4"]);
    assert_eq!(scrape(35, ""), [c, "  {} 20..35 none flags 1"]);
    for s in 0..10 {
        assert_eq!(scrape(40 + s, ""), Vec::<String>::new());
    }
    // forgotten by now
    assert_eq!(scrape(60, "c 5\n"), [c, "  {} 60..60 5"]);
}

#[test]
fn a_failed_scrape_marks_everything_and_keeps_the_starts() {
    let mut bench = Bench::new("sample_limit: 2");
    let c = "c sum+ (counter) \"\" \"\"";
    let lines = |done: &Done| {
        without_own(render(&done.bytes))
            .get(HEAD.len()..)
            .unwrap_or_default()
            .to_vec()
    };
    bench.scrape(5, Text, "# TYPE c counter\nc 1\n");
    // broken off half way, after the series was seen
    for text in [
        "# TYPE c counter\nc 7\nd 2\n!\n",
        "# TYPE c counter\nc 7\nd 2\ne 3\n",
    ] {
        let done = bench.done(10, Text, text);
        assert!(done.error.is_some(), "{text}");
        assert_eq!(lines(&done), [c, "  {} 5..10 none flags 1"]);
        let done = bench.done(15, Text, "# TYPE c counter\nc 2\n");
        assert_eq!(lines(&done), [c, "  {} 5..15 2"]);
    }
}

#[test]
fn times_of_the_target_are_taken_or_not() {
    let both = "a 1 3000\nb 2\n";
    let first = |keys: &str| {
        let mut bench = Bench::new(keys);
        let first = bench.scrape(5, Text, both)[HEAD.len()..].to_vec();
        let gone = bench
            .scrape(9, Text, "")
            .get(HEAD.len()..)
            .unwrap_or_default()
            .to_vec();
        (first, gone)
    };
    let (a, b) = ("a gauge (unknown) \"\" \"\"", "b gauge (unknown) \"\" \"\"");
    let (stale, none) = ("  {} ?..9 none flags 1", Vec::<String>::new());
    assert_eq!(
        first(""),
        (
            vec![a.into(), "  {} ?..3 1".into(), b.into(), "  {} ?..5 2".into()],
            vec![b.into(), stale.into()]
        )
    );
    assert_eq!(first("honor_timestamps: false").0[1], "  {} ?..5 1");
    assert_eq!(first("track_timestamps_staleness: true").1, [a, stale, b, stale]);
    assert_eq!(
        none,
        first("metric_relabel_configs: [{regex: '.*', source_labels: [__name__], action: drop}]").1
    );
}

#[test]
fn labels_of_the_target_win_unless_honoured() {
    let check = |keys: &str, text: &str, expected: &[&str]| {
        let mut bench = Bench::with(&format!(
            "config: {{scrape_configs: [{{job_name: j, static_configs: [{{targets: ['app:9090'], labels: {{env: prod}}}}], {keys}}}]}}"
        ));
        let got: Vec<String> = bench
            .scrape(5, Text, text)
            .into_iter()
            .filter(|line| line.starts_with(' ') || line.starts_with("resource"))
            .map(|line| {
                line.replace(
                    " server.address=app service.instance.id=app:9090 server.port=9090 url.scheme=http",
                    "",
                )
            })
            .collect();
        assert_eq!(got, expected, "{keys} {text}");
    };
    check(
        "",
        "a{env=\"dev\",job=\"theirs\",x=\"1\"} 1",
        &[
            "resource service.name=j",
            "  {env=prod exported_env=dev exported_job=theirs x=1} ?..5 1",
        ],
    );
    check(
        "",
        "a{env=\"dev\",exported_env=\"x\"} 1",
        &[
            "resource service.name=j",
            "  {env=prod exported_env=x exported_exported_env=dev} ?..5 1",
        ],
    );
    check(
        "honor_labels: true",
        "a{env=\"dev\",x=\"1\"} 1",
        &["resource service.name=j", "  {env=dev x=1} ?..5 1"],
    );
    check(
        "honor_labels: true",
        "a{env=\"\"} 1",
        &["resource service.name=j", "  {env=prod} ?..5 1"],
    );
}

#[test]
fn job_and_instance_of_a_federated_sample_make_its_resource() {
    let mut bench = Bench::new("honor_labels: true");
    let got = bench.scrape(
        5,
        Text,
        "a{job=\"k\",instance=\"[::2]:80\"} 1\na{job=\"k\",instance=\"localhost\"} 2\na 3\n",
    );
    assert_eq!(
        got,
        [
            "resource service.name=k server.address=::2 service.instance.id=[::2]:80 server.port=80 url.scheme=http",
            HEAD[1],
            "a gauge (unknown) \"\" \"\"",
            "  {} ?..5 1",
            "resource service.name=k service.instance.id=localhost server.port= url.scheme=http",
            HEAD[1],
            "a gauge (unknown) \"\" \"\"",
            "  {} ?..5 2",
            HEAD[0],
            HEAD[1],
            "a gauge (unknown) \"\" \"\"",
            "  {} ?..5 3",
        ]
    );
}

#[test]
fn target_info_and_scopes_come_back_as_what_they_were() {
    let mut bench = Bench::new("");
    let text = "# TYPE target_info gauge\ntarget_info{service_version=\"1.2\",\"url.scheme\"=\"https\"} 1\n\
                a{otel_scope_name=\"lib\",otel_scope_version=\"3\",otel_scope_schema_url=\"http://s\",otel_scope_k=\"v\",x=\"1\"} 1\n\
                b{otel_scope_name=\"other\"} 2\n# TYPE otel_scope_info gauge\notel_scope_info{otel_scope_name=\"other\",short=\"yes\"} 1\n";
    assert_eq!(
        bench.scrape(5, Text, text),
        [
            "resource service.name=j server.address=app service.instance.id=app:9090 server.port=9090 url.scheme=https service_version=1.2",
            "scope lib 3 http://s k=v",
            "a gauge (unknown) \"\" \"\"",
            "  {x=1} ?..5 1",
            "scope other   short=yes",
            "b gauge (unknown) \"\" \"\"",
            "  {} ?..5 2",
            // of the scrape itself
            HEAD[1],
        ]
    );
}

#[test]
fn limits_fail_the_scrape() {
    let check = |keys: &str, text: &str, expected: Option<&str>| {
        let done = Bench::new(keys).done(5, Text, text);
        assert_eq!(done.error.as_deref(), expected, "{keys}");
        assert!(render(&done.bytes).contains(&format!("  {{}} ?..5 {}", i32::from(expected.is_none()))));
    };
    check("sample_limit: 2", "a 1\nb 1\n", None);
    check(
        "sample_limit: 2",
        "a 1\nb 1\nc 1\n",
        Some("sample limit exceeded: more than 2 samples"),
    );
    check("label_limit: 4", "a{x=\"1\"} 1\n", None);
    check(
        "label_limit: 4",
        "a{x=\"1\",y=\"2\"} 1\n",
        Some("label_limit exceeded (5 labels, limit 4)"),
    );
    check("label_name_length_limit: 8", "a{x=\"1\"} 1\n", None);
    check(
        "label_name_length_limit: 8",
        "a{long_name=\"1\"} 1\n",
        Some("label_name_length_limit exceeded (label \"long_name\", 9 bytes, limit 8)"),
    );
    check(
        "label_value_length_limit: 8",
        "a{x=\"123456789\"} 1\n",
        Some("label_value_length_limit exceeded (label \"x\", 9 bytes, limit 8)"),
    );
    check(
        "",
        "a{x=\"1\",x=\"2\"} 1\n",
        Some("invalid sample: non-unique label names: \"x\""),
    );
    check("", "a 1\n}\n", Some("line 2: a name of a metric was expected"));
    check(
        "metric_relabel_configs: [{target_label: __name__, replacement: ''}]",
        "a 1\n",
        Some("a sample lost its name by relabelling"),
    );
}

#[test]
fn relabelling_renames_and_drops() {
    let mut bench = Bench::new(
        "metric_relabel_configs: [{source_labels: [__name__], regex: 'go_.*', action: drop}, {regex: pod, action: labeldrop}, \
         {source_labels: [__name__], regex: 'old_(.*)', target_label: __name__, replacement: 'new_$1'}]",
    );
    let got = bench.scrape(5, Text, "go_gc 1\nold_a{pod=\"p\",x=\"1\"} 2\n");
    assert_eq!(
        got[HEAD.len()..],
        ["new_a gauge (unknown) \"\" \"\"", "  {x=1} ?..5 2"]
    );
}

#[test]
fn state_does_not_grow_with_churn() {
    let mut bench = Bench::new("honor_labels: true");
    for i in 0..200 {
        bench.scrape(
            5 + i,
            Text,
            &format!("a_{i}{{job=\"j{i}\",otel_scope_name=\"s{i}\",x=\"{i}\"}} 1\n"),
        );
    }
    // the last ones, those that may come back, and the scrape's own
    assert!(bench.0.series() <= 5 + 12, "{} series", bench.0.series());
}
