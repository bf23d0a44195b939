use component::test_kit::section;

use super::*;

/// All faults, `path: message | help`; empty if it is right.
fn faults(yaml: &str) -> Vec<String> {
    match read(section(yaml)) {
        Ok(_) => Vec::new(),
        Err(Diags(list)) => list
            .iter()
            .map(|d| {
                assert!(d.place.is_some(), "{d}");
                let help = d.help.as_ref().map_or(String::new(), |help| format!(" | {help}"));
                format!("{}: {}{help}", d.path, d.message)
            })
            .collect(),
    }
}

fn plans(yaml: &str) -> Vec<Plan> {
    read(section(yaml)).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A job with one target and these keys.
fn job_with(keys: &str) -> String {
    format!("config: {{scrape_configs: [{{job_name: j, static_configs: [{{targets: ['a:1']}}], {keys}}}]}}")
}

#[track_caller]
fn check(keys: &str, expected: &[&str]) {
    let got: Vec<String> = faults(&job_with(keys))
        .iter()
        .map(|f| f.replace("config::scrape_configs[0]::", ""))
        .collect();
    assert_eq!(got, expected, "{keys}");
}

#[test]
fn defaults_are_those_of_prometheus() {
    let plan = plans(&job_with("")).remove(0);
    assert_eq!(plan.name, "j");
    assert_eq!(
        (plan.honor_labels, plan.honor_timestamps, plan.track_timestamps),
        (false, true, false)
    );
    assert_eq!(
        (plan.is_compressed, plan.follows, plan.extra),
        (true, true, false)
    );
    assert_eq!((plan.fallback, &plan.auth), (Format::Text, &Auth::None));
    assert_eq!(
        plan.accept,
        "application/openmetrics-text;version=1.0.0;q=0.9,application/openmetrics-text;version=0.0.1;q=0.8,\
         text/plain;version=0.0.4;q=0.7,*/*;q=0.1"
    );
    let limits = Limits {
        body_bytes: 256 << 20,
        samples: 0,
        labels: 0,
        label_name_bytes: 0,
        label_value_bytes: 0,
    };
    assert_eq!(plan.limits, limits);
    let [target] = plan.targets.as_slice() else {
        panic!("{:?}", plan.targets);
    };
    assert_eq!(target.url.to_string(), "http://a:1/metrics");
    assert_eq!(
        (target.interval.as_secs(), target.timeout.as_secs(), target.scheme),
        (60, 10, "http")
    );
    assert_eq!(
        target.labels,
        [("instance".into(), "a:1".into()), ("job".into(), "j".into())]
    );
    assert!(target.offset() < target.interval);
}

#[test]
fn a_job_takes_over_what_is_global() {
    let of = |global: &str, keys: &str| {
        plans(&format!("config: {{global: {{{global}}}, scrape_configs: [{{job_name: j, static_configs: [{{targets: ['a:1']}}], {keys}}}]}}"))
            .remove(0)
    };
    let times = |global: &str, keys: &str| {
        let target = of(global, keys).targets.remove(0);
        (target.interval.as_millis(), target.timeout.as_millis())
    };
    assert_eq!(times("", "scrape_interval: 5s"), (5000, 5000));
    assert_eq!(
        times("scrape_interval: 20s, scrape_timeout: 15s", ""),
        (20_000, 15_000)
    );
    assert_eq!(
        times(
            "scrape_interval: 20s",
            "scrape_interval: 1h30m, scrape_timeout: 100ms"
        ),
        (5_400_000, 100)
    );
    let plan = of(
        "body_size_limit: 1MB, sample_limit: 5, label_limit: 4, label_name_length_limit: 3, label_value_length_limit: 2, extra_scrape_metrics: true",
        "sample_limit: 6",
    );
    let limits = Limits {
        body_bytes: 1 << 20,
        samples: 6,
        labels: 4,
        label_name_bytes: 3,
        label_value_bytes: 2,
    };
    assert_eq!((plan.limits, plan.extra), (limits, true));
    assert_eq!(of("body_size_limit: 0", "").limits.body_bytes, 256 << 20);
    assert_eq!(
        of("", "scrape_protocols: [PrometheusProto, PrometheusText0.0.4]").accept,
        "text/plain;version=0.0.4;q=0.9,*/*;q=0.1"
    );
}

#[test]
fn targets_get_their_url_and_labels_from_relabelling() {
    let of = |keys: &str| {
        let yaml = format!("config: {{scrape_configs: [{{job_name: j, {keys}}}]}}");
        let shown = |t: &Target| {
            let labels: Vec<String> = t.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            format!("{} {}", t.url, labels.join(","))
        };
        plans(&yaml)[0].targets.iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(
        of(
            "scheme: https, metrics_path: /m, params: {b: ['x y', 'ü'], a: ['1']}, static_configs: [{targets: ['a:1', '[::1]:2', 'a:1'], labels: {env: p, __tmp: x}}]"
        ),
        [
            "https://a:1/m?a=1&b=x%20y&b=%C3%BC env=p,instance=a:1,job=j",
            "https://[::1]:2/m?a=1&b=x%20y&b=%C3%BC env=p,instance=[::1]:2,job=j",
        ]
    );
    assert_eq!(
        of("static_configs: [{targets: ['a', 'b', 'c']}], relabel_configs: [\
            {source_labels: [__address__], regex: b, action: drop}, \
            {source_labels: [__address__], target_label: __param_target}, \
            {source_labels: [__param_target], target_label: instance}, \
            {target_label: __address__, replacement: 'probe:9115'}, {target_label: job, replacement: box}]"),
        [
            "http://probe:9115/metrics?target=a instance=a,job=box",
            "http://probe:9115/metrics?target=c instance=c,job=box"
        ]
    );
    assert_eq!(of("static_configs: []"), Vec::<String>::new());
}

#[test]
fn discovery_and_the_rest_of_prometheus_are_refused_by_name() {
    check(
        "kubernetes_sd_configs: [{role: pod}], dns_sd_configs: [{names: [a]}]",
        &[
            "kubernetes_sd_configs: kubernetes_sd_configs finds targets by itself, which is not supported | list the targets under static_configs, or keep an agent for it and point it at this gateway over otlp",
            "dns_sd_configs: dns_sd_configs finds targets by itself, which is not supported | list the targets under static_configs, or keep an agent for it and point it at this gateway over otlp",
        ],
    );
    check(
        "oauth2: {client_id: a}",
        &[
            "oauth2: oauth2 is not supported here | use basic_auth or authorization; for others keep a collector for this job",
        ],
    );
    assert_eq!(
        faults("{}"),
        [": no Prometheus scrape_configs or target_allocator set"]
    );
    assert_eq!(
        faults("config:"),
        [": no Prometheus scrape_configs or target_allocator set"]
    );
    assert_eq!(
        faults("config: {scrape_configs: []}"),
        ["config: no Prometheus scrape_configs or target_allocator set"]
    );
    assert_eq!(
        faults(&format!(
            "trim_metric_suffixes: true\ntarget_allocator: {{endpoint: 'http://ta'}}\n{}",
            job_with("")
        )),
        [
            "trim_metric_suffixes: not supported | leave it out: names are handed on as they are",
            "target_allocator: not supported | list the targets under static_configs, or keep a collector with the target allocator in front",
        ]
    );
    let rules =
        "config: {rule_files: [a.yml], remote_write: [{url: 'http://a'}], scrape_configs: [{job_name: j}]}";
    assert_eq!(
        faults(rules),
        [
            "config::rule_files: unsupported features:\n\trule_files | leave it to Prometheus; a receiver only scrapes",
            "config::remote_write: unsupported features:\n\tremote_write | leave it to Prometheus; a receiver only scrapes",
        ]
    );
}

#[test]
fn faults_stand_at_their_keys() {
    check(
        "scrape_interval: 5 seconds",
        &["scrape_interval: not a valid duration string: \"5 seconds\""],
    );
    check(
        "scrape_interval: 5s, scrape_timeout: 6s",
        &[
            "scrape_timeout: scrape timeout greater than scrape interval for scrape config with job name \"j\"",
        ],
    );
    check("scheme: ftp", &["scheme: unknown scheme \"ftp\": http or https"]);
    check(
        "body_size_limit: 5 apples",
        &["body_size_limit: not a size: \"5 apples\"; write 10MB or 512KiB"],
    );
    check(
        "scrape_protocols: [Smoke]",
        &["scrape_protocols: unknown scrape protocol \"Smoke\""],
    );
    check(
        "relabel_configs: [{target_label: a, action: nope}]",
        &["relabel_configs::0::action: unknown relabel action \"nope\""],
    );
    check(
        "metric_relabel_configs: [{target_label: a, regex: '['}]",
        &["metric_relabel_configs::0::regex: error parsing regexp: missing closing ]: `[)$`"],
    );
    check(
        "basic_auth: {username: a}, bearer_token: b",
        &[
            "config::scrape_configs[0]: at most one of basic_auth, authorization and bearer_token can be configured",
        ],
    );
    check(
        "authorization: {type: Basic}",
        &["authorization::type: authorization type cannot be set to \"basic\", use \"basic_auth\" instead"],
    );
    check(
        "scrape_intervall: 5s",
        &[
            "config::scrape_configs[0]: has invalid keys: scrape_intervall | did you mean \"scrape_interval\"?",
        ],
    );
    let twice = "config: {scrape_configs: [{job_name: j}, {job_name: j}, {}]}";
    assert_eq!(
        faults(twice),
        [
            "config::scrape_configs[1]::job_name: found multiple scrape configs with job name \"j\"",
            "config::scrape_configs[2]::job_name: job_name is empty",
        ]
    );
    let targets = "config: {scrape_configs: [{job_name: j, target_limit: 1, static_configs: [{targets: ['http://a/b', 'b:1', 'c:1', '']}]}]}";
    assert_eq!(
        faults(targets),
        [
            "config::scrape_configs[0]::static_configs::0::targets::0: \"http://a/b\" is not a valid hostname",
            "config::scrape_configs[0]::static_configs::0::targets::3: no address",
            "config::scrape_configs[0]::static_configs: 2 targets, more than target_limit (1)",
        ]
    );
}

#[test]
fn credentials_come_from_one_place() {
    let of = |keys: &str| plans(&job_with(keys)).remove(0).auth;
    let text = |text: &str| Word::Text(Secret::new(text.to_owned()));
    assert_eq!(
        of("basic_auth: {username: u, password_file: /p}"),
        Auth::Basic {
            username: text("u"),
            password: Word::File("/p".into())
        }
    );
    assert_eq!(
        of("authorization: {credentials: t}"),
        Auth::Scheme {
            scheme: "Bearer".into(),
            credentials: text("t")
        }
    );
    assert_eq!(
        of("authorization: {type: Token, credentials_file: /t}"),
        Auth::Scheme {
            scheme: "Token".into(),
            credentials: Word::File("/t".into())
        }
    );
    assert_eq!(
        of("bearer_token: t"),
        Auth::Scheme {
            scheme: "Bearer".into(),
            credentials: text("t")
        }
    );
    assert_eq!(
        of("bearer_token_file: /t"),
        Auth::Scheme {
            scheme: "Bearer".into(),
            credentials: Word::File("/t".into())
        }
    );
    let shown = format!("{:?}", of("basic_auth: {username: u, password: hunter2}"));
    assert!(!shown.contains("hunter2"), "{shown}");
    let tls = plans(&job_with("scheme: https, tls_config: {ca_file: ca.pem, server_name: s, insecure_skip_verify: true, min_version: TLS12}")).remove(0).config.tls;
    assert_eq!(
        (
            tls.ca_file.as_str(),
            tls.server_name_override.as_str(),
            tls.insecure_skip_verify,
            tls.min_version.as_str()
        ),
        ("ca.pem", "s", true, "1.2")
    );
}
