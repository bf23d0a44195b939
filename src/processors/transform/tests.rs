use component::test_kit::{context, section};
use component::{Drops, ReshapeCx};
use wire::view::{Finished, Scratch};

use super::*;

fn build(yaml: &str, signal: Signal) -> Result<Arc<dyn Tree>, String> {
    build_in(&context("transform/t"), yaml, signal)
}

fn build_in(cx: &BuildContext, yaml: &str, signal: Signal) -> Result<Arc<dyn Tree>, String> {
    match (FACTORY.build)(section(yaml), cx, signal) {
        Ok(Processor::Tree(tree)) => Ok(tree),
        Ok(_) => panic!("it is a tree"),
        Err(fault) => Err(fault.to_string()),
    }
}

fn encode(signal: Signal, json: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::otlp_json::read(signal, json.as_bytes(), &mut bytes).unwrap();
    bytes
}

fn decode(signal: Signal, bytes: &[u8]) -> String {
    let mut json = Vec::new();
    codec::otlp_json::write(signal, bytes, &mut json).unwrap();
    String::from_utf8(json).unwrap()
}

fn run(yaml: &str, signal: Signal, bytes: &[u8]) -> Result<Finished, Refusal> {
    run_in(&context("transform/t"), yaml, signal, bytes)
}

fn run_in(cx: &BuildContext, yaml: &str, signal: Signal, bytes: &[u8]) -> Result<Finished, Refusal> {
    let tree = build_in(cx, yaml, signal).unwrap_or_else(|e| panic!("{yaml}: {e}"));
    let mut scratch = Scratch::default();
    let mut view = View::new(&mut scratch, signal, bytes, tree.touches().depth).unwrap();
    let mut drops = Drops::default();
    let client = Context::default();
    tree.apply(
        &mut view,
        &mut SegmentCx {
            context: &client,
            tenant: None,
            drops: &mut drops,
        },
    )?;
    assert!(drops.is_empty(), "statements end nothing");
    Ok(view.finish())
}

#[track_caller]
fn check(signal: Signal, yaml: &str, json: &str, expected: &str) {
    let bytes = encode(signal, json);
    let out = match run(yaml, signal, &bytes).unwrap_or_else(|e| panic!("{yaml}: {e:?}")) {
        Finished::Unchanged => bytes,
        Finished::Edited { bytes, .. } => bytes,
    };
    let expected = encode(signal, expected);
    assert_eq!(decode(signal, &out), decode(signal, &expected), "{yaml}");
}

/// Log records with bodies and attributes, in one resource with the attribute `service.name`.
fn logs(resource: &str, records: &[(&str, &str)]) -> String {
    let records: Vec<String> = records
        .iter()
        .map(|(body, attributes)| {
            format!(r#"{{"body": {{"stringValue": "{body}"}}, "attributes": [{attributes}]}}"#)
        })
        .collect();
    format!(
        r#"{{"resourceLogs": [{{"resource": {{"attributes": [{resource}]}}, "scopeLogs": [{{"logRecords": [{}]}}]}}]}}"#,
        records.join(", ")
    )
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key": "{key}", "value": {{"stringValue": "{value}"}}}}"#)
}

#[track_caller]
fn check_logs(yaml: &str, resource: &str, records: [&str; 2]) {
    let expected = logs(resource, &[("a", records[0]), ("b", records[1])]);
    check(
        Signal::Logs,
        yaml,
        &logs(&text("service.name", "cart"), &[("a", ""), ("b", "")]),
        &expected,
    );
}

#[test]
fn statements_are_written_in_either_style() {
    let cart = text("service.name", "cart");
    let both = |key: &str, a: &str, b: &str| [text(key, a), text(key, b)];
    for yaml in [
        r#"{log_statements: ['set(log.attributes["k"], log.body)']}"#,
        r#"{log_statements: [{statements: ['set(log.attributes["k"], log.body)']}]}"#,
        r#"{log_statements: [{context: log, statements: ['set(attributes["k"], body)']}]}"#,
        r#"{log_statements: [{context: log, statements: ['set(log.attributes["k"], body)']}]}"#,
        r#"{log_statements: [{context: resource, statements: []}, 'set(log.attributes["k"], log.body)']}"#,
    ] {
        let [a, b] = both("k", "a", "b");
        check_logs(yaml, &cart, [&a, &b]);
    }
    check_logs("{}", &cart, ["", ""]);
    check_logs(r#"{trace_statements: ['set(span.name, "x")']}"#, &cart, ["", ""]);
}

#[test]
fn conditions_are_asked_before_the_statements() {
    let cart = text("service.name", "cart");
    let set = r#"'set(log.attributes["k"], "x")'"#;
    let hit = text("k", "x");
    let group = |conditions: &str| {
        format!("{{log_statements: [{{conditions: [{conditions}], statements: [{set}]}}]}}")
    };
    check_logs(&group(r#"'log.body == "a"'"#), &cart, [&hit, ""]);
    check_logs(
        &group(r#"'log.body == "z"', 'log.body == "b"'"#),
        &cart,
        ["", &hit],
    );
    check_logs(&group(r#"'log.body == "z"'"#), &cart, ["", ""]);
    // A condition that fails does not hold.
    check_logs(
        &group(r#"'Len(log.severity_number) > 0', 'log.body == "b"'"#),
        &cart,
        ["", &hit],
    );
}

#[test]
fn groups_run_one_after_another_over_all() {
    // The second group sees what the first made of the last record; the cache of the first is gone.
    check_logs(
        r#"{log_statements: [
            {statements: ['set(log.cache["c"], log.body)', 'set(resource.attributes["last"], log.cache["c"])']},
            {statements: ['set(log.attributes["l"], resource.attributes["last"])', 'set(log.attributes["c"], log.cache["c"])']}]}"#,
        &[text("service.name", "cart"), text("last", "b")].join(", "),
        [&text("l", "b"), &text("l", "b")],
    );
    // The cache is fresh for each item.
    check_logs(
        r#"{log_statements: ['set(log.attributes["c"], log.cache["c"])', 'set(log.cache["c"], log.body)']}"#,
        &text("service.name", "cart"),
        ["", ""],
    );
}

#[test]
fn resources_scopes_and_their_records() {
    let traces = r#"{"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "s"}, "spans": [
        {"name": "n", "kind": 2, "events": [{"name": "e"}, {"name": "f"}]}]}]}]}"#;
    check(
        Signal::Traces,
        r#"{trace_statements: [
            {context: resource, statements: ['set(attributes["r"], "1")']},
            {context: scope, statements: ['set(name, Concat([name, "x"], "-"))']},
            {context: span, statements: ['set(name, "m") where kind == SPAN_KIND_SERVER']},
            {context: spanevent, statements: ['set(attributes["i"], event_index)', 'set(name, "g") where span.name == "m" and name == "f"']}]}"#,
        traces,
        r#"{"resourceSpans": [{"resource": {"attributes": [{"key": "r", "value": {"stringValue": "1"}}]},
            "scopeSpans": [{"scope": {"name": "s-x"}, "spans": [{"name": "m", "kind": 2, "events": [
                {"name": "e", "attributes": [{"key": "i", "value": {"intValue": "0"}}]},
                {"name": "g", "attributes": [{"key": "i", "value": {"intValue": "1"}}]}]}]}]}]}"#,
    );
    check(
        Signal::Metrics,
        r#"{metric_statements: ['set(metric.unit, "s") where metric.name == "m"', 'set(datapoint.attributes["k"], metric.name)']}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": [{"asInt": "1"}]}}]}]}]}"#,
        r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "unit": "s", "gauge": {"dataPoints": [
            {"asInt": "1", "attributes": [{"key": "k", "value": {"stringValue": "m"}}]}]}}]}]}]}"#,
    );
}

#[test]
fn what_is_not_written_to_stays_as_it_came() {
    let bytes = encode(
        Signal::Logs,
        &logs(&text("service.name", "cart"), &[("a", ""), ("b", "")]),
    );
    for yaml in [
        "{}",
        r#"{log_statements: ['set(log.attributes["k"], "x") where log.body == "z"']}"#,
        r#"{log_statements: ['delete_key(log.attributes, "none")', 'set(log.severity_text, nil)']}"#,
    ] {
        assert_eq!(
            run(yaml, Signal::Logs, &bytes).unwrap(),
            Finished::Unchanged,
            "{yaml}"
        );
    }
}

#[test]
fn an_error_skips_the_statement_or_refuses_the_request() {
    let bytes = encode(
        Signal::Logs,
        &logs(&text("service.name", "cart"), &[("a", ""), ("b", "")]),
    );
    let yaml = |mode: &str, of_group: &str| {
        format!(
            r#"{{{mode} log_statements: [{{{of_group} statements: ['set(log.severity_text, 5)', 'set(log.attributes["k"], "x")']}}]}}"#
        )
    };
    let hit = text("k", "x");
    for (mode, of_group) in [
        ("", ""),
        ("error_mode: Ignore,", ""),
        ("error_mode: silent,", ""),
        ("error_mode: propagate,", "error_mode: silent,"),
    ] {
        check_logs(&yaml(mode, of_group), &text("service.name", "cart"), [&hit, &hit]);
    }
    for (mode, of_group) in [("error_mode: propagate,", ""), ("", "error_mode: propagate,")] {
        let refusal = run(&yaml(mode, of_group), Signal::Logs, &bytes).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Unavailable { message: text, .. } if text.starts_with("transform/t: ")),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_gate_says_what_an_error_mode_is_that_nobody_wrote() {
    let bytes = encode(
        Signal::Logs,
        &logs(&text("service.name", "cart"), &[("a", &text("k", "v"))]),
    );
    let is_refused = |argument: &str, mode: &str| {
        let (gates, _) = Gates::parse([argument]).unwrap();
        let cx = BuildContext {
            gates: Arc::new(gates),
            ..context("transform/t")
        };
        let yaml = format!("{{{mode} log_statements: ['set(log.severity_text, 5)']}}");
        run_in(&cx, &yaml, Signal::Logs, &bytes).is_err()
    };
    let off = "-processor.transform.defaultErrorModeIgnore";
    assert!(!is_refused("", ""));
    assert!(is_refused(off, ""));
    assert!(!is_refused(off, "error_mode: silent,"));
    assert!(!is_refused("-processor.filter.defaultErrorModeIgnore", ""));
}

#[test]
fn what_is_wrong_is_found_for_every_signal_and_has_its_place() {
    let check = |yaml: &str, expected: &[&str]| {
        let error = build(yaml, Signal::Logs)
            .err()
            .unwrap_or_else(|| panic!("{yaml} was built"));
        for part in expected {
            assert!(error.contains(part), "{yaml}: {error}");
        }
    };
    check(
        r#"{log_statements: ['set(log.body, "x")', 'set(log.bdy, 1)'], trace_statements: [{statements: ['limit(span.attributes, -1, [])']}]}"#,
        &["log_statements::1", "trace_statements::0::statements::0", "^^^"],
    );
    check(
        r#"{log_statements: [{conditions: ['log.body =='], statements: ['set(log.body, 1)']}]}"#,
        &["log_statements::0::conditions::0"],
    );
    check(
        r#"{log_statements: [{context: nothing, statements: ['set(body, 1)']}]}"#,
        &["log_statements::0::context", "unknown context nothing"],
    );
    check(
        r#"{metric_statements: [{context: log, statements: ['set(body, 1)']}]}"#,
        &["metric_statements::0", "does not belong"],
    );
    check(
        r#"{log_statements: [{statements: ['set(body, 1)']}]}"#,
        &["log_statements::0", "unable to infer context"],
    );
    check(
        r#"{log_statements: ['set(log.body, 1)', {context: log, statements: []}]}"#,
        &["multiple configuration styles"],
    );
    check(
        r#"{log_statements: [{context: log, statements: []}, 'set(log.bdy, 1)']}"#,
        &["log_statements::1"],
    );
    check(
        "{flatten_data: true}",
        &[
            "flatten_data",
            "requires the 'transform.flatten.logs' feature gate",
        ],
    );
    check("{error_mode: loud}", &["error_mode", "unknown error mode loud"]);
    check(
        r#"{log_statements: [{context: log, statement: ['set(body, 1)']}]}"#,
        &["statement"],
    );
}

component::component_tests!(FACTORY);

/// A sum with one point a value, of time 1 and on.
fn sum(name: &str, values: &[i64]) -> String {
    let points = values.iter().enumerate().map(|(i, value)| {
        format!(
            r#"{{"timeUnixNano":"{}","attributes":[{{"key":"k","value":{{"intValue":"{value}"}}}}],"asInt":"{value}"}}"#,
            i / 2 + 1
        )
    });
    let points = points.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{name}","sum":{{"dataPoints":[{points}],"aggregationTemporality":2}}}}]}}]}}]}}"#
    )
}

fn reshaped(yaml: &str, json: &str) -> (String, Result<usize, String>, String) {
    let signal = Signal::Metrics;
    let built = (FACTORY.build)(section(yaml), &context("transform/t"), signal);
    let Ok(Processor::Reshape(reshape)) = built else {
        panic!("{yaml}: it reshapes");
    };
    let bytes = encode(signal, json);
    let shape = wire::validate(signal, &bytes, &wire::Limits::default()).unwrap();
    let payload = Payload::new(signal, Chunk::new(bytes.into(), shape), Arc::default());
    let mut cx = ReshapeCx::new(false);
    let out = reshape.reshape(payload, &mut cx);
    let told: Vec<String> = cx.told().iter().map(|(c, _, n)| format!("{c:?} {n}")).collect();
    match out {
        Ok(out) => {
            let items = wire::count_items(signal, &out.to_bytes()) as usize;
            assert_eq!(items, out.items, "what it says is what it holds");
            (decode(signal, &out.to_bytes()), Ok(out.items), told.join(", "))
        }
        Err(refusal) => (String::new(), Err(format!("{refusal:?}")), told.join(", ")),
    }
}

#[test]
fn metrics_are_made_and_merged_and_both_are_told() {
    let (json, items, told) = reshaped(
        r#"metric_statements: ['set(metric.unit, "s")', 'copy_metric(name="b") where metric.name == "a"']"#,
        &sum("a", &[1, 2]),
    );
    assert_eq!((items, told.as_str()), (Ok(4), "Created 2"));
    assert_eq!(json.matches(r#""unit":"s""#).count(), 2, "{json}");
    assert!(json.find(r#""name":"a""#) < json.find(r#""name":"b""#), "{json}");

    // A group that only edits runs between two that reshape.
    let (json, items, told) = reshaped(
        r#"metric_statements: [
            {context: metric, statements: ['aggregate_on_attributes("sum", [])']},
            {context: datapoint, statements: ['set(attributes["n"], value_int)']},
            {statements: ['convert_sum_to_gauge() where metric.name == "a"']}]"#,
        &sum("a", &[1, 2, 3]),
    );
    assert_eq!((items, told.as_str()), (Ok(2), "Merged 1"));
    assert_eq!(json.matches(r#""gauge""#).count(), 1, "{json}");
    assert!(json.contains(r#""key":"n","value":{"intValue":"3"}"#), "{json}");

    let (_, items, told) = reshaped(
        r#"{error_mode: propagate, metric_statements: ['extract_count_metric(true) where metric.name == "a"']}"#,
        &sum("a", &[1]),
    );
    let refusal = "transform/t: failed to execute statement: extract_count_metric requires an input metric of type Histogram, ExponentialHistogram or Summary, got Sum";
    assert_eq!(items, Err(format!("{:?}", Refusal::unavailable(refusal))));
    assert_eq!(told, "");

    // Where the collector has it: in the context of points.
    let points = r#"{"timeUnixNano":"1","count":"3","sum":6.5,"quantileValues":[]}"#;
    let summary = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"s","summary":{{"dataPoints":[{points},{points}]}}}}]}}]}}]}}"#
    );
    let (json, items, told) = reshaped(
        r#"metric_statements: [{context: datapoint, statements: ['convert_summary_sum_val_to_sum("delta", true) where metric.name == "s"']}]"#,
        &summary,
    );
    assert_eq!((items, told.as_str()), (Ok(4), "Created 2"), "{json}");
    assert_eq!(json.matches(r#""name":"s_sum""#).count(), 1, "{json}");
}

/// Runs statements on log records that are flattened first.
fn flattened(yaml: &str, json: &str) -> String {
    let cx = BuildContext {
        gates: Arc::new(Gates::with(&[Gates::FLATTEN_LOGS])),
        ..context("transform/t")
    };
    let yaml = format!("{{flatten_data: true, {yaml}}}");
    let Ok(Processor::Reshape(reshape)) = (FACTORY.build)(section(&yaml), &cx, Signal::Logs) else {
        panic!("{yaml}: it reshapes");
    };
    let bytes = encode(Signal::Logs, json);
    let shape = wire::validate(Signal::Logs, &bytes, &wire::Limits::default()).unwrap();
    let items = shape.items as usize;
    let payload = Payload::new(Signal::Logs, Chunk::new(bytes.into(), shape), Arc::default());
    let mut cx = ReshapeCx::new(false);
    let out = reshape.reshape(payload, &mut cx).unwrap();
    assert!(cx.told().is_empty(), "no record ends or begins");
    assert_eq!(out.items, items);
    let bytes = out.to_bytes();
    let shape = wire::validate(Signal::Logs, &bytes, &wire::Limits::default()).unwrap();
    assert_eq!(shape.items as usize, items);
    decode(Signal::Logs, &bytes)
}

#[test]
fn a_flattened_record_has_a_resource_and_a_scope_of_its_own() {
    #[track_caller]
    fn check(yaml: &str, json: &str, expected: &str) {
        let expected = decode(Signal::Logs, &encode(Signal::Logs, expected));
        assert_eq!(flattened(yaml, json), expected, "{yaml}");
    }
    let body = |text: &str| format!(r#"{{"body":{{"stringValue":"{text}"}}}}"#);
    let key = |key: &str, value: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    let group = |attributes: &[String], scopes: &[String]| {
        format!(
            r#"{{"resource":{{"attributes":[{}]}},"scopeLogs":[{}]}}"#,
            attributes.join(","),
            scopes.join(",")
        )
    };
    let scope = |name: &str, records: &[&str]| {
        let records: Vec<String> = records.iter().map(|text| body(text)).collect();
        format!(
            r#"{{"scope":{{"name":"{name}"}},"logRecords":[{}],"schemaUrl":"s"}}"#,
            records.join(",")
        )
    };
    let request = |groups: &[String]| format!(r#"{{"resourceLogs":[{}]}}"#, groups.join(","));
    let host = [key("host", "a")];
    let came = request(&[group(&host, &[scope("x", &["1", "2"]), scope("y", &["3", "1"])])]);
    // Nobody writes: together again, as it came.
    check("log_statements: []", &came, &came);
    // What each record says of itself decides where it goes; records keep their order within.
    let by_body = "log_statements: ['set(resource.attributes[\"n\"], log.body)']";
    let of = |n: &str| [key("host", "a"), key("n", n)];
    check(
        by_body,
        &came,
        &request(&[
            group(&of("1"), &[scope("x", &["1"]), scope("y", &["1"])]),
            group(&of("2"), &[scope("x", &["2"])]),
            group(&of("3"), &[scope("y", &["3"])]),
        ]),
    );
    check(
        "log_statements: ['set(scope.name, \"z\") where log.body == \"1\"']",
        &came,
        &request(&[group(
            &host,
            &[scope("z", &["1", "1"]), scope("x", &["2"]), scope("y", &["3"])],
        )]),
    );
    // Equal whatever the order; the first one's header stays. A resource's schema URL does not.
    let (a, b) = (key("a", "1"), key("b", "2"));
    let twice = request(&[
        group(&[a.clone(), b.clone()], &[scope("x", &["1"])]),
        group(&[b.clone(), a.clone()], &[scope("x", &["2"]), scope("y", &[])])
            .replace(r#"{"resource""#, r#"{"schemaUrl":"gone","resource""#),
    ]);
    check(
        "log_statements: []",
        &twice,
        &request(&[group(&[a, b], &[scope("x", &["1", "2"])])]),
    );
    // Other signals are not flattened.
    let cx = BuildContext {
        gates: Arc::new(Gates::with(&[Gates::FLATTEN_LOGS])),
        ..context("transform/t")
    };
    let yaml = "{flatten_data: true, trace_statements: ['set(span.name, \"x\")']}";
    assert!(build_in(&cx, yaml, Signal::Traces).is_ok());
}
