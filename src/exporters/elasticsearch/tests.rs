use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use component::test_kit::{Lonely, context, faults, section};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::{Chunk, Context, Limits};

use super::*;

component::component_tests!(FACTORY, "endpoint: http://127.0.0.1:1");

// --- Documents ---

fn batch(signal: Signal, request: &Json) -> Payload {
    let mut bytes = Vec::new();
    codec::otlp_json::read(signal, request.to_string().as_bytes(), &mut bytes).unwrap();
    let shape = wire::validate(signal, &bytes, &Limits::default()).unwrap();
    Payload::new(signal, Chunk::new(bytes.into(), shape), Arc::default())
}

fn settings(yaml: &str) -> Settings {
    let config: Config = section(yaml).parse_valid().unwrap();
    config.settings()
}

fn lines(yaml: &str, batch: &Payload) -> (Vec<Json>, Bulk) {
    let settings = settings(yaml);
    let mut bulk = Bulk::default();
    bulk::encode(&settings, settings.mode, batch, &mut bulk).unwrap();
    assert_eq!(bulk.fates.len(), batch.items);
    let text = std::str::from_utf8(&bulk.body).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let lines: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), bulk.documents.len() * 2);
    (lines, bulk)
}

#[track_caller]
fn check(yaml: &str, signal: Signal, request: &Json, expected: Json) {
    let (lines, _) = lines(yaml, &batch(signal, request));
    assert_eq!(Json::Array(lines), expected, "{yaml}");
}

fn attributes(all: Json) -> Json {
    let entry = |(key, value): (&String, &Json)| {
        let value = match value {
            Json::String(text) => json!({"stringValue": text}),
            Json::Bool(value) => json!({"boolValue": value}),
            Json::Number(n) if n.is_i64() => json!({"intValue": n}),
            Json::Number(n) => json!({"doubleValue": n}),
            other => other.clone(),
        };
        json!({"key": key, "value": value})
    };
    all.as_object().unwrap().iter().map(entry).collect()
}

/// A log record as a request; `more` are fields of the record.
fn log(more: Json) -> Json {
    let mut record = json!({
        "timeUnixNano": "1721314113467654123",
        "observedTimeUnixNano": "1721314113467654124",
        "severityNumber": 9,
        "severityText": "INFO",
        "body": {"stringValue": "hello"},
        "attributes": attributes(json!({"http.method": "GET", "status": 200})),
        "traceId": "0102030405060708090a0b0c0d0e0f10",
        "spanId": "0102030405060708",
        "flags": 1,
    });
    for (key, value) in more.as_object().unwrap() {
        record[key] = value.clone();
    }
    json!({"resourceLogs": [{
        "resource": {"attributes": attributes(json!({"service.name": "shop", "host.name": "h1"})), "droppedAttributesCount": 2},
        "schemaUrl": "https://r",
        "scopeLogs": [{
            "scope": {"name": "lib", "version": "1.2", "attributes": attributes(json!({"team": "a"}))},
            "schemaUrl": "https://s",
            "logRecords": [record],
        }],
    }]})
}

#[test]
fn otel_logs_keep_the_shape_of_otlp() {
    let document = json!({
        "@timestamp": "1721314113467.654123",
        "observed_timestamp": "1721314113467.654124",
        "data_stream": {"type": "logs", "dataset": "generic.otel", "namespace": "default"},
        "severity_text": "INFO",
        "severity_number": 9,
        "trace_id": "0102030405060708090a0b0c0d0e0f10",
        "span_id": "0102030405060708",
        "attributes": {"http.method": "GET", "status": 200},
        "resource": {
            "schema_url": "https://r",
            "attributes": {"service.name": "shop", "host.name": "h1"},
            "dropped_attributes_count": 2,
        },
        "scope": {"schema_url": "https://s", "name": "lib", "version": "1.2", "attributes": {"team": "a"}},
        "body": {"text": "hello"},
    });
    let action = json!({"create": {"_index": "logs-generic.otel-default"}});
    check("{}", Signal::Logs, &log(json!({})), json!([action, document]));
    let with = |change: &dyn Fn(&mut Json)| {
        let mut document = document.clone();
        change(&mut document);
        json!([action, document])
    };
    // Bodies.
    let body = |given: Json, expected: Json| {
        let expected = with(&|document| document["body"] = expected.clone());
        check("{}", Signal::Logs, &log(json!({"body": given})), expected);
    };
    let map = json!({"kvlistValue": {"values": attributes(json!({"a": 1, "b.c": 1.0}))}});
    body(map.clone(), json!({"structured": {"a": 1, "b.c": 1.0}}));
    body(json!({"intValue": "7"}), json!({"text": 7}));
    let list = |value: Json| json!({"arrayValue": {"values": [value, map]}});
    body(
        list(map.clone()),
        json!({"structured": [{"a": 1, "b.c": 1.0}, {"a": 1, "b.c": 1.0}]}),
    );
    body(
        list(json!({"intValue": 1})),
        json!({"structured": {"value": [1, {"a": 1, "b.c": 1.0}]}}),
    );
    let expected = with(&|document| {
        document.as_object_mut().unwrap().remove("body");
    });
    check("{}", Signal::Logs, &log(json!({"body": {}})), expected);
    // An event's name, by its field or by an attribute; the field is the one that counts.
    let expected = with(&|document| document["event_name"] = json!("login"));
    check("{}", Signal::Logs, &log(json!({"eventName": "login"})), expected);
    let named = attributes(json!({"event.name": "by attribute"}));
    let expected = with(&|document| {
        document["event_name"] = json!("by attribute");
        document["attributes"] = json!({"event.name": "by attribute"});
    });
    check("{}", Signal::Logs, &log(json!({"attributes": named})), expected);
    // Without a time of its own it is when it was seen; a zero is a time, too.
    let expected = with(&|document| document["@timestamp"] = json!("1721314113467.654124"));
    check("{}", Signal::Logs, &log(json!({"timeUnixNano": "0"})), expected);
    // Attributes twice, and coordinates.
    let mut twice = attributes(json!({"x": 1}));
    twice
        .as_array_mut()
        .unwrap()
        .push(json!({"key": "x", "value": {"intValue": 2}}));
    let expected = with(&|document| document["attributes"] = json!({"x": 2}));
    check("{}", Signal::Logs, &log(json!({"attributes": twice})), expected);
    let places = attributes(json!({
        "geo.location.lat": 1.5, "geo.location.lon": 2.5, "a.geo.location.lon": 3.5, "b.geo.location.lat": 4.5,
        "ageo.location.lat": 5.5, "c.geo.location.lat": "text",
    }));
    let expected = with(&|document| {
        document["attributes"] = json!({
            "geo.location": [2.5, 1.5], "a.geo.location.lon": 3.5, "b.geo.location.lat": 4.5,
            "ageo.location.lat": 5.5, "c.geo.location.lat": "text",
        });
    });
    check("{}", Signal::Logs, &log(json!({"attributes": places})), expected);
    // A document with a key twice is refused.
    let places = json!({"geo.location.lat": 1.5, "geo.location.lon": 2.5, "geo.location": "here"});
    let expected = with(&|document| document["attributes"] = places.clone());
    let (all, bulk) = lines(
        "{}",
        &batch(Signal::Logs, &log(json!({"attributes": attributes(places)}))),
    );
    assert_eq!(Json::Array(all), expected);
    let text = String::from_utf8(bulk.body).unwrap();
    assert_eq!(text.matches("\"geo.location\"").count(), 1);
}

#[test]
fn attributes_say_where_and_how_a_document_is_stored() {
    let hints = attributes(json!({
        "data_stream.dataset": "shop", "data_stream.namespace": "prod", "elasticsearch.document_id": "id-1",
        "elasticsearch.ingest_pipeline": "clean", "elastic.mapping.mode": "raw", "kept": true,
    }));
    let request = log(json!({"attributes": hints}));
    let action = |yaml: &str| lines(yaml, &batch(Signal::Logs, &request)).0;
    let all = action("{}");
    assert_eq!(all[0], json!({"create": {"_index": "logs-shop.otel-prod"}}));
    assert_eq!(all[1]["attributes"], json!({"kept": true}));
    let expected = json!({"type": "logs", "dataset": "shop.otel", "namespace": "prod"});
    assert_eq!(all[1]["data_stream"], expected);
    let all =
        action("{logs_dynamic_id: {enabled: true}, logs_dynamic_pipeline: {enabled: true}, logs_index: app}");
    let expected = json!({"create": {"_index": "app", "_id": "id-1", "pipeline": "clean"}});
    assert_eq!(all[0], expected);
    assert_eq!(all[1]["data_stream"], Json::Null);
    let all = action("{logstash_format: {enabled: true}, logs_index: app, mapping: {mode: none}}");
    assert_eq!(all[0]["create"]["_index"], "app-2024.07.18");
    let long = |len: usize| {
        let hints = attributes(json!({"elasticsearch.document_id": "i".repeat(len)}));
        let (_, bulk) = lines(
            "logs_dynamic_id: {enabled: true}",
            &batch(Signal::Logs, &log(json!({"attributes": hints}))),
        );
        (bulk.documents.len(), bulk.fates)
    };
    assert_eq!(long(512), (1, vec![Fate::Stored]));
    assert_eq!(long(513), (0, vec![Fate::Refused(0)]));
    // An old configuration with an index and attributes beside.
    let all = action("{logs_index: app, logs_dynamic_index: {enabled: true}, mapping: {mode: raw}}");
    assert_eq!(all[0]["create"]["_index"], "logs-shop-prod");
}

#[test]
fn other_modes_of_logs() {
    let request = log(json!({"attributes": attributes(json!({"a.b": 1, "Body": "mine", "empty": {}}))}));
    let common = json!({
        "@timestamp": "2024-07-18T14:48:33.467654123Z",
        "TraceId": "0102030405060708090a0b0c0d0e0f10",
        "SpanId": "0102030405060708",
        "TraceFlags": 1,
        "SeverityText": "INFO",
        "SeverityNumber": 9,
        "Body": "hello",
        "Resource.service.name": "shop",
        "Resource.host.name": "h1",
        "Scope.name": "lib",
        "Scope.version": "1.2",
        "Scope.team": "a",
    });
    let action = json!({"create": {"_index": "logs-generic-default"}});
    let with = |more: Json| {
        let mut document = common.clone();
        for (key, value) in more.as_object().unwrap() {
            document[key] = value.clone();
        }
        json!([action, document])
    };
    let none = json!({
        "Attributes.a.b": 1, "Attributes.Body": "mine", "Attributes.data_stream.type": "logs",
        "Attributes.data_stream.dataset": "generic", "Attributes.data_stream.namespace": "default",
    });
    check(
        "mapping: {mode: none}",
        Signal::Logs,
        &request,
        with(none.clone()),
    );
    check("mapping: {mode: 'NO'}", Signal::Logs, &request, with(none));
    let raw = json!({
        "a.b": 1, "Body": "mine", "data_stream.type": "logs", "data_stream.dataset": "generic",
        "data_stream.namespace": "default",
    });
    check("mapping: {mode: raw}", Signal::Logs, &request, with(raw));
    let map = json!({"kvlistValue": {"values": attributes(json!({"message": "m", "n": 1, "f": 2.0}))}});
    check(
        "mapping: {mode: bodymap}",
        Signal::Logs,
        &log(json!({"body": map})),
        json!([action, {"message": "m", "n": 1, "f": 2.0}]),
    );
    let (none, bulk) = lines("mapping: {mode: bodymap}", &batch(Signal::Logs, &log(json!({}))));
    assert!(none.is_empty());
    assert_eq!(bulk.fates, [Fate::Refused(0)]);
    assert_eq!(bulk.reasons[0].message, "mode bodymap: the body is no map");
}

#[test]
fn ecs_logs_have_the_names_of_the_common_schema() {
    let mut request = log(json!({"attributes": attributes(json!({
        "event.name": "user-password-change", "exception.type": "E", "exception.message": "m",
        "http.response.body.size": 1024, "process.executable.name": "ssh", "process.executable.foo.bar": "baz",
    }))}));
    let tags = json!({"arrayValue": {"values": [{"stringValue": "v3.4.0"}]}});
    request["resourceLogs"][0]["resource"]["attributes"] = attributes(json!({
        "service.name": "foo.bar", "service.instance.id": "i-1", "deployment.environment.name": "BETA",
        "telemetry.sdk.name": "opentelemetry", "cloud.platform": "gke", "cloud.provider": "gcp",
        "host.name": "h1", "host.arch": "x86_64", "os.type": "darwin", "os.name": "Mac OS X",
        "k8s.namespace.name": "default", "k8s.pod.name": "p", "k8s.cluster.name": "c", "process.pid": 9833,
        "process.executable.path": "/usr/bin/ssh", "container.image.tags": tags, "client.address": "12.53.12.1",
    }));
    let document = json!({
        "@timestamp": "2024-07-18T14:48:33.467654123Z",
        "client": {"ip": "12.53.12.1"},
        "cloud": {"provider": "gcp", "service": {"name": "gke"}},
        "container": {"image": {"tag": ["v3.4.0"]}},
        "data_stream": {"type": "logs", "dataset": "generic", "namespace": "default"},
        "error": {"type": "E", "message": "m"},
        "event": {"action": "user-password-change", "severity": 9},
        "host": {
            "name": "h1", "hostname": "h1", "architecture": "x86_64",
            "os": {"platform": "darwin", "name": "Mac OS X", "type": "macos"},
        },
        "http": {"response": {"encoded_body_size": 1024}},
        "kubernetes": {"namespace": "default", "pod": {"name": "p"}},
        "log": {"level": "INFO"},
        "message": "hello",
        "orchestrator": {"cluster": {"name": "c"}},
        "process": {"pid": 9833, "executable": "/usr/bin/ssh"},
        "service": {"name": "foo.bar", "environment": "BETA", "node": {"name": "i-1"}},
        "span": {"id": "0102030405060708"},
        "team": "a",
        "trace": {"id": "0102030405060708090a0b0c0d0e0f10"},
    });
    let action = json!({"create": {"_index": "logs-generic-default"}});
    check(
        "mapping: {mode: ecs}",
        Signal::Logs,
        &request,
        json!([action, document]),
    );
    let body = json!({"kvlistValue": {"values": [{"key": "n", "value": {"doubleValue": "NaN"}}, {"key": "m", "value": {"intValue": "1"}}]}});
    let (odd, _) = lines(
        "mapping: {mode: ecs}",
        &batch(Signal::Logs, &log(json!({"body": body}))),
    );
    assert_eq!(odd[1]["message"], r#"{"n":null,"m":1}"#);
    let os = |resource: Json| {
        let mut request = log(json!({}));
        request["resourceLogs"][0]["resource"]["attributes"] = attributes(resource);
        let (lines, _) = lines("mapping: {mode: ecs}", &batch(Signal::Logs, &request));
        lines[1]["host"]["os"]["type"].as_str().map(str::to_owned)
    };
    for (kind, name, expected) in [
        ("linux", "x", Some("linux")),
        ("windows", "x", Some("windows")),
        ("solaris", "x", Some("unix")),
        ("linux", "Android", Some("android")),
        ("x", "iOS", Some("ios")),
        ("x", "x", None),
    ] {
        let found = os(json!({"os.type": kind, "os.name": name}));
        assert_eq!(found.as_deref(), expected, "{kind} {name}");
    }
    let other = os(json!({"host.name": "a", "host.hostname": "b"}));
    assert_eq!(other, None);
}

fn span(more: Json) -> Json {
    let mut span = json!({
        "traceId": "01020304050607080807060504030201",
        "spanId": "1920212223242526",
        "parentSpanId": "0102030405060708",
        "traceState": "a=b",
        "name": "client span",
        "kind": 3,
        "startTimeUnixNano": "1681873445000000006",
        "endTimeUnixNano": "1681873446000000006",
        "attributes": attributes(json!({"db.system": "sql", "db.query.text": "SELECT 1", "x": 1})),
        "status": {"code": 2, "message": "Test"},
        "links": [{"traceId": "21222324252627282827262524232221", "spanId": "3132333435363738", "attributes": attributes(json!({"l": 1}))}],
    });
    for (key, value) in more.as_object().unwrap() {
        span[key] = value.clone();
    }
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes(json!({"service.name": "shop"}))},
        "scopeSpans": [{"scope": {"name": "lib"}, "spans": [span]}],
    }]})
}

#[test]
fn spans_and_their_events() {
    let document = json!({
        "@timestamp": "1681873445000.000006",
        "data_stream": {"type": "traces", "dataset": "generic.otel", "namespace": "default"},
        "trace_id": "01020304050607080807060504030201",
        "span_id": "1920212223242526",
        "trace_state": "a=b",
        "parent_span_id": "0102030405060708",
        "name": "client span",
        "kind": "Client",
        "duration": 1_000_000_000,
        "attributes": {"db.system": "sql", "db.query.text": "SELECT 1", "x": 1},
        "links": [{"trace_id": "21222324252627282827262524232221", "span_id": "3132333435363738", "attributes": {"l": 1}}],
        "status": {"code": "Error", "message": "Test"},
        "resource": {"attributes": {"service.name": "shop"}},
        "scope": {"name": "lib"},
    });
    let action = json!({"create": {"_index": "traces-generic.otel-default"}});
    check("{}", Signal::Traces, &span(json!({})), json!([action, document]));
    let events = json!({"events": [
        {"timeUnixNano": "1681873445000000007", "name": "exception", "attributes": attributes(json!({"event.name": "other", "m": 1}))},
        {"timeUnixNano": "1681873445000000008", "name": "bare"},
        {"timeUnixNano": "1681873445000000009", "attributes": attributes(json!({"data_stream.dataset": "mine"}))},
    ]});
    let payload = batch(Signal::Traces, &span(events));
    let (all, bulk) = lines("{}", &payload);
    assert_eq!((all.len(), &*bulk.members), (8, &[0, 0, 0, 0][..]));
    // With ids of the content: one that is sent again meets the one that is there.
    let id = all[0]["create"]["_id"].as_str().unwrap();
    assert_eq!(id.len(), 32);
    for (at, dataset) in [(1, "generic"), (2, "generic"), (3, "mine")] {
        let index = format!("logs-{dataset}.otel-default");
        assert_eq!(
            all[at * 2]["create"],
            json!({"_index": index, "_id": format!("{id}-{at}")})
        );
        assert_eq!(
            all[at * 2 + 1]["data_stream"]["dataset"],
            format!("{dataset}.otel")
        );
    }
    assert_eq!(lines("{}", &payload).0, all);
    let attributes_of = |at: usize| &all[at * 2 + 1]["attributes"];
    assert_eq!(attributes_of(1), &json!({"m": 1, "event.name": "exception"}));
    assert_eq!(attributes_of(2), &json!({"event.name": "bare"}));
    assert_eq!(all[3]["event_name"], "exception");
    assert_eq!(all[3]["span_id"], "1920212223242526");
    assert_eq!(
        all[3]["resource"],
        json!({"attributes": {"service.name": "shop"}})
    );
    // Elsewhere events are part of the span.
    let link =
        r#"[{"attribute":{"l":1},"spanID":"3132333435363738","traceID":"21222324252627282827262524232221"}]"#;
    let none = json!({
        "@timestamp": "2023-04-19T03:04:05.000000006Z",
        "EndTimestamp": "2023-04-19T03:04:06.000000006Z",
        "Duration": 1_000_000,
        "TraceId": "01020304050607080807060504030201",
        "SpanId": "1920212223242526",
        "ParentSpanId": "0102030405060708",
        "Name": "client span",
        "Kind": "SPAN_KIND_CLIENT",
        "TraceStatus": 2,
        "TraceStatusDescription": "Test",
        "Link": link,
        "Resource.service.name": "shop",
        "Scope.name": "lib",
        "Scope.version": "",
        "Attributes.db.system": "sql",
        "Attributes.db.query.text": "SELECT 1",
        "Attributes.x": 1,
        "Attributes.data_stream.type": "traces",
        "Attributes.data_stream.dataset": "generic",
        "Attributes.data_stream.namespace": "default",
        "Events.e.time": "2023-04-19T03:04:05.000000007Z",
        "Events.e.k": "v",
    });
    let action = json!({"create": {"_index": "traces-generic-default"}});
    let event = json!({"timeUnixNano": "1681873445000000007", "name": "e", "attributes": attributes(json!({"k": "v"}))});
    let request = span(json!({"events": [event]}));
    check(
        "mapping: {mode: none}",
        Signal::Traces,
        &request,
        json!([action, none]),
    );
    let (raw, _) = lines("mapping: {mode: raw}", &batch(Signal::Traces, &request));
    assert_eq!((&raw[1]["e.k"], &raw[1]["x"]), (&json!("v"), &json!(1)));
    let ecs = json!({
        "@timestamp": "2023-04-19T03:04:05.000000006Z",
        "trace": {"id": "01020304050607080807060504030201"},
        "span": {
            "id": "1920212223242526", "name": "client span", "kind": "CLIENT",
            "db": {"type": "sql", "statement": "SELECT 1"},
            "links": [{"span": {"id": "3132333435363738"}, "trace": {"id": "21222324252627282827262524232221"}}],
        },
        "parent": {"id": "0102030405060708"},
        "event": {"outcome": "failure"},
        "service": {"name": "shop"},
        "x": 1,
        "data_stream": {"type": "traces", "dataset": "generic", "namespace": "default"},
    });
    check(
        "mapping: {mode: ecs}",
        Signal::Traces,
        &span(json!({})),
        json!([action, ecs]),
    );
    let (none, bulk) = lines("mapping: {mode: bodymap}", &payload);
    assert_eq!((none.len(), &*bulk.fates), (0, &[Fate::Refused(0)][..]));
    let unset = lines("{}", &batch(Signal::Traces, &span(json!({"status": {}}))));
    assert_eq!(unset.0[1]["status"], json!({}));
}

#[test]
fn events_of_spans_are_documents_of_their_own_in_mode_ecs() {
    let exception = json!({"exception.type": "t", "exception.message": "m", "exception.stacktrace": "s", "exception.escaped": true, "k": 1});
    let request = |of_span: Json| {
        let events = json!([
            {"timeUnixNano": "1681873445000000007", "name": "exception", "attributes": attributes(exception.clone())},
            {"timeUnixNano": "1681873445000000008", "name": "exception", "attributes": attributes(json!({"elasticsearch.document_id": "mine"}))},
            {"name": "unwanted", "attributes": attributes(json!({"data_stream.namespace": "n"}))},
        ]);
        span(json!({"events": events, "attributes": attributes(of_span)}))
    };
    let yaml = "{mapping: {mode: ecs}, traces_dynamic_id: {enabled: true}}";
    let payload = batch(Signal::Traces, &request(json!({})));
    let (all, bulk) = lines(yaml, &payload);
    assert_eq!((all.len(), &*bulk.members), (8, &[0, 0, 0, 0][..]));
    let id = all[0]["create"]["_id"].as_str().unwrap();
    let expected = json!({"_index": "logs-apm.error-default", "_id": format!("{id}-1")});
    assert_eq!(all[2]["create"], expected);
    let error = json!({
        "@timestamp": "2023-04-19T03:04:05.000000007Z",
        "data_stream": {"type": "logs", "dataset": "apm.error", "namespace": "default"},
        "service": {"name": "shop"},
        "error": {"exception": {"type": "t", "message": "m"}, "stack_trace": "s"},
        "trace": {"id": "01020304050607080807060504030201"},
        "parent": {"id": "1920212223242526"},
        "k": 1,
    });
    assert_eq!(all[3], error);
    let expected = json!({"_index": "logs-apm.app.shop-default", "_id": "mine"});
    assert_eq!(all[4]["create"], expected);
    assert_eq!(all[5]["span"], json!({"id": "1920212223242526"}));
    assert_eq!(all[5]["event"], json!({"kind": "event"}));
    assert_eq!(all[6]["create"]["_index"], "logs-apm.app.shop-n");
    // Those of a transaction say so.
    let (all, _) = lines(
        yaml,
        &batch(Signal::Traces, &request(json!({"transaction.id": "tx"}))),
    );
    assert_eq!(
        (&all[3]["transaction"], &all[3]["span"], &all[3]["parent"]),
        (&json!({"id": "tx"}), &json!({"id": "tx"}), &json!({"id": "tx"}))
    );
    assert_eq!(
        (&all[5]["span"]["id"], &all[5]["parent"]),
        (&json!("tx"), &Json::Null)
    );
}

#[test]
fn what_no_document_is_wished_of_is_not_sent() {
    let unwanted =
        json!({"elasticsearch.mapping.hints": {"arrayValue": {"values": [{"stringValue": "_noindex"}]}}});
    let unwanted = || attributes(unwanted.clone());
    for mode in ["otel", "ecs", "raw"] {
        let yaml = format!("mapping: {{mode: {mode}}}");
        let (all, bulk) = lines(
            &yaml,
            &batch(Signal::Logs, &log(json!({"attributes": unwanted()}))),
        );
        assert_eq!((all.len(), &*bulk.fates), (0, &[Fate::Stored][..]), "{mode}");
        let events = json!({"attributes": unwanted(), "events": [{"name": "a"}, {"name": "b", "attributes": unwanted()}]});
        let (all, bulk) = lines(&yaml, &batch(Signal::Traces, &span(events)));
        let documents = if mode == "raw" { 0 } else { 2 };
        assert_eq!(
            (all.len(), &*bulk.fates),
            (documents, &[Fate::Stored][..]),
            "{mode}"
        );
    }
    let (all, bulk) = lines(
        "{}",
        &points("gauge", 1, &json!({"asInt": "1", "attributes": unwanted()})),
    );
    assert_eq!((all.len(), &*bulk.fates), (0, &[Fate::Stored][..]));
}

#[test]
fn the_first_mode_that_is_allowed_stands_in_for_otel() {
    let mode = |yaml: &str| settings(yaml).mode;
    assert_eq!(mode("{}"), Mode::Otel);
    assert_eq!(mode("mapping: {allowed_modes: [RAW, ecs]}"), Mode::Raw);
    assert_eq!(mode("mapping: {allowed_modes: [ecs, otel]}"), Mode::Otel);
    assert_eq!(mode("mapping: {mode: ecs, allowed_modes: [raw, ecs]}"), Mode::Ecs);
    assert_eq!(mode("mapping: {allowed_modes: []}"), Mode::Otel);
}

#[test]
fn points_of_one_time_and_place_are_one_document() {
    let at = |more: Json| {
        let mut point =
            json!({"timeUnixNano": "1000000000", "attributes": attributes(json!({"route": "/a"}))});
        for (key, value) in more.as_object().unwrap() {
            point[key] = value.clone();
        }
        point
    };
    let sum = |temporality: u8, point: Json| json!({"aggregationTemporality": temporality, "isMonotonic": true, "dataPoints": [point]});
    let histogram = json!({"count": "6", "sum": 12.0, "bucketCounts": ["1", "2", "0", "3"], "explicitBounds": [2.0, 4.0, 8.0]});
    let wished = json!({"attributes": attributes(json!({
        "route": "/a",
        "elasticsearch.mapping.hints": {"arrayValue": {"values": [{"stringValue": "aggregate_metric_double"}, {"stringValue": "_doc_count"}]}},
    }))});
    let mut aggregate = histogram.clone();
    aggregate["attributes"] = wished["attributes"].clone();
    let exponential = json!({
        "count": "6", "sum": 1.0, "scale": 0, "zeroCount": "1",
        "positive": {"offset": 0, "bucketCounts": ["2", "0", "1"]}, "negative": {"offset": 1, "bucketCounts": ["2"]},
    });
    let request = json!({"resourceMetrics": [{
        "resource": {"attributes": attributes(json!({"service.name": "shop"}))},
        "scopeMetrics": [{"scope": {"name": "lib"}, "metrics": [
            {"name": "a", "unit": "1", "gauge": {"dataPoints": [at(json!({"asInt": "5"})), at(json!({"asDouble": 2.0, "timeUnixNano": "2000000000"}))]}},
            {"name": "b", "unit": "1", "sum": sum(2, at(json!({"asDouble": 1.0})))},
            {"name": "c", "unit": "1", "sum": sum(1, at(json!({"asInt": "1"})))},
            {"name": "d", "unit": "s", "histogram": {"aggregationTemporality": 1, "dataPoints": [at(histogram.clone())]}},
            {"name": "e", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [at(histogram.clone()), at(histogram)]}},
            {"name": "f", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [at(exponential)]}},
            {"name": "g", "unit": "s", "summary": {"dataPoints": [at(json!({"count": "3", "sum": 4.5}))]}},
            {"name": "h", "unit": "1", "gauge": {"dataPoints": [at(json!({})), at(json!({"asDouble": "NaN"}))]}},
            {"name": "a", "unit": "1", "gauge": {"dataPoints": [at(json!({"asInt": "6"}))]}},
            {"name": "i", "unit": "s", "histogram": {"aggregationTemporality": 1, "dataPoints": [at(aggregate)]}},
        ]}],
    }]});
    let payload = batch(Signal::Metrics, &request);
    assert_eq!(payload.items, 13);
    let (all, bulk) = lines("{}", &payload);
    let metrics: Vec<&Json> = all
        .iter()
        .skip(1)
        .step_by(2)
        .map(|document| &document["metrics"])
        .collect();
    let expected = [
        json!({"a": 5, "b": 1.0, "c": 1}),
        json!({"a": 2.0}),
        json!({
            "d": {"counts": [1, 2, 3], "values": [1.0, 3.0, 8.0]},
            "f": {"counts": [2, 1, 2, 1], "values": [-3.0, 0.0, 1.5, 6.0]},
            "g": {"sum": 4.5, "value_count": 3},
        }),
        json!({"a": 6}),
        json!({"i": {"sum": 12.0, "value_count": 6}}),
    ];
    assert_eq!(metrics, expected.iter().collect::<Vec<_>>());
    assert_eq!(
        all[0],
        json!({"create": {"_index": "metrics-generic.otel-default", "dynamic_templates": {
            "metrics.a": "gauge_long", "metrics.b": "counter_double", "metrics.c": "gauge_long",
        }}})
    );
    let templates = json!({"metrics.d": "histogram", "metrics.f": "histogram", "metrics.g": "summary"});
    assert_eq!(all[4]["create"]["dynamic_templates"], templates);
    let mut first = all[1].clone();
    let hash = first.as_object_mut().unwrap().remove("_metric_names_hash");
    // XXH64 of "abc".
    assert_eq!(hash, Some(json!("44bc2cf5ad770999")));
    let document = json!({
        "@timestamp": 1000,
        "unit": "1",
        "data_stream": {"type": "metrics", "dataset": "generic.otel", "namespace": "default"},
        "attributes": {"route": "/a"},
        "resource": {"attributes": {"service.name": "shop"}},
        "scope": {"name": "lib"},
        "metrics": {"a": 5, "b": 1.0, "c": 1},
    });
    assert_eq!(first, document);
    assert_eq!(
        (&all[9]["_doc_count"], &all[9]["attributes"]),
        (&json!(6), &json!({"route": "/a"}))
    );
    // Points 5 and 6 are cumulative histograms, 9 has no value and 10 is no number.
    let refused: Vec<usize> = (0..13).filter(|at| bulk.fates[*at] != Fate::Stored).collect();
    assert_eq!(refused, [5, 6, 9, 10]);
    let reasons: Vec<&str> = bulk
        .reasons
        .iter()
        .map(|reason| reason.message.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            metrics::CUMULATIVE,
            "the data point has no value",
            "the value is not finite"
        ]
    );
    let (ecs, _) = lines("mapping: {mode: ecs}", &payload);
    let document = json!({
        "@timestamp": "1970-01-01T00:00:01.000000000Z",
        "service": {"name": "shop"},
        "data_stream": {"type": "metrics", "dataset": "generic", "namespace": "default"},
        "route": "/a",
        "a": 5, "b": 1.0, "c": 1,
        "d": {"counts": [1, 2, 3], "values": [1.0, 3.0, 8.0]},
        "f": {"counts": [2, 1, 2, 1], "values": [-3.0, 0.0, 1.5, 6.0]},
        "g": {"sum": 4.5, "value_count": 3},
    });
    assert_eq!(ecs[1], document);
    let aggregated = ecs.iter().find(|line| line["i"] != Json::Null).unwrap();
    assert_eq!(aggregated["_doc_count"], 6);
    assert_eq!(ecs[0], json!({"create": {"_index": "metrics-generic-default"}}));
    // Dimensions are plain: a map is its text, in a list as well.
    let map = json!({"kvlistValue": {"values": [{"key": "k", "value": {"intValue": "1"}}]}});
    let list =
        json!({"arrayValue": {"values": [{"boolValue": true}, map, {"arrayValue": {"values": [map]}}]}});
    let of_list = json!({"asInt": "1", "attributes": attributes(json!({"l": list, "m": map}))});
    let (all, _) = lines("{}", &points("gauge", 1, &of_list));
    let text = r#"{"k":1}"#;
    assert_eq!(
        all[1]["attributes"],
        json!({"l": [true, text, [text]], "m": text})
    );
    let (none, bulk) = lines("mapping: {mode: none}", &payload);
    assert!(none.is_empty() && bulk.fates.iter().all(|fate| *fate == Fate::Refused(0)));
}

/// Points of one metric, each with these fields.
fn points(kind: &str, count: usize, more: &Json) -> Payload {
    let mut point = json!({"timeUnixNano": "1"});
    for (key, value) in more.as_object().unwrap() {
        point[key] = value.clone();
    }
    let metric = json!({"name": "m", kind: {"aggregationTemporality": 1, "dataPoints": vec![point; count]}});
    let request = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
    batch(Signal::Metrics, &request)
}

#[test]
fn numbers_at_their_ends_are_documents_or_refused() {
    let check = |kind: &str, point: Json, expected: &[Fate]| {
        let payload = points(kind, 1, &point);
        let (all, bulk) = lines("{}", &payload);
        assert_eq!(bulk.fates, expected, "{kind} {point}");
        all.last()
            .map_or(Json::Null, |document| document["metrics"]["m"].clone())
    };
    for (scale, offset) in [(i32::MIN, 0), (i32::MIN, 1), (i32::MAX, i32::MAX), (20, i32::MIN)] {
        let buckets = json!({"offset": offset, "bucketCounts": ["1", "2"]});
        let point = json!({"count": "3", "scale": scale, "positive": buckets});
        let held = check("exponentialHistogram", point, &[Fate::Stored]);
        let counts = held["counts"].as_array().unwrap();
        assert_eq!(
            counts.iter().filter_map(Json::as_u64).sum::<u64>(),
            3,
            "{scale} {offset}"
        );
        assert!(
            held["values"].as_array().unwrap().iter().all(Json::is_f64),
            "{held}"
        );
    }
    let held = check("summary", json!({"count": "1", "sum": 2.0}), &[Fate::Stored]);
    assert_eq!(held, json!({"sum": 2.0, "value_count": 1}));
    for sum in ["NaN", "Infinity"] {
        check("summary", json!({"count": "1", "sum": sum}), &[Fate::Refused(0)]);
    }
}

#[test]
fn equal_points_are_documents_of_their_own() {
    let count = 2000;
    let (all, bulk) = lines("{}", &points("gauge", count, &json!({"asInt": "1"})));
    assert_eq!((all.len(), bulk.documents.len()), (2 * count, count));
}

#[test]
fn equal_spans_of_two_resources_are_two_documents() {
    let mut request = span(json!({"events": [{"timeUnixNano": "1", "name": "e"}]}));
    let mut other = request["resourceSpans"][0].clone();
    other["resource"] = json!({"attributes": attributes(json!({"service.name": "other"}))});
    request["resourceSpans"].as_array_mut().unwrap().push(other);
    let (all, _) = lines("{}", &batch(Signal::Traces, &request));
    let ids: std::collections::BTreeSet<&str> = all
        .iter()
        .filter_map(|line| line["create"]["_id"].as_str())
        .collect();
    assert_eq!((all.len(), ids.len()), (8, 4));
}

/// Small records behind a large resource, or events behind a large span's: what they become is bounded, and goes in
/// pieces.
#[tokio::test]
async fn what_becomes_too_much_for_a_request_goes_in_halves() {
    let large = attributes(json!({"large": "x".repeat(32 << 10)}));
    let mut logs = log(json!({}));
    logs["resourceLogs"][0]["resource"]["attributes"] = large.clone();
    let records = &mut logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    *records = vec![records[0].clone(); 200].into();
    let events = vec![json!({"timeUnixNano": "1", "name": "e"}); 200];
    let mut spans = span(json!({"events": events}));
    spans["resourceSpans"][0]["resource"]["attributes"] = large;
    let metric = |i: usize| {
        let point = json!({"timeUnixNano": i.to_string(), "asInt": "1"});
        json!({"name": "m", "gauge": {"dataPoints": [point]}})
    };
    let metrics: Vec<Json> = (0..200).map(metric).collect();
    let mut points = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]});
    points["resourceMetrics"][0]["resource"] = logs["resourceLogs"][0]["resource"].clone();
    let built = build("endpoint: 'http://a'").unwrap();
    for (signal, request) in [
        (Signal::Logs, logs),
        (Signal::Traces, spans),
        (Signal::Metrics, points),
    ] {
        let batch = batch(signal, &request);
        let mut bulk = Bulk::default();
        bulk::encode(&built.settings, Mode::Otel, &batch, &mut bulk).unwrap();
        assert!(bulk.is_full && bulk.body.len() < 17 << 16, "{}", bulk.body.len());
        let made = built.lines(&batch, Mode::Otel).await;
        assert!(matches!(made, Err(ExportError::TooLarge { .. })), "{signal:?}");
        let few = wire::slice(signal, &batch.chunks[0], 0, 20);
        let few = Payload::new(signal, few.unwrap(), Arc::default());
        assert_eq!(
            built.lines(&few, Mode::Otel).await.is_ok(),
            signal != Signal::Traces
        );
    }
}

#[test]
fn scopes_choose_their_mode_if_it_is_allowed() {
    let request = |mode: &str| {
        let mut request = log(json!({}));
        request["resourceLogs"][0]["scopeLogs"][0]["scope"]["attributes"] =
            attributes(json!({"elastic.mapping.mode": mode}));
        batch(Signal::Logs, &request)
    };
    let (all, bulk) = lines("{}", &request("ecs"));
    assert_eq!((&all[1]["message"], bulk.is_otel), (&json!("hello"), false));
    let only = "mapping: {mode: otel, allowed_modes: [otel, raw]}";
    assert!(lines(only, &request("otel")).1.is_otel);
    for mode in ["ecs", "rubbish"] {
        let (all, bulk) = lines(only, &request(mode));
        assert_eq!((all.len(), &*bulk.fates), (0, &[Fate::Refused(0)][..]), "{mode}");
    }
}

// --- Configuration ---

fn build(yaml: &str) -> Result<Elasticsearch, Fault> {
    Elasticsearch::build(section(yaml), &context("elasticsearch/test"))
}

#[test]
fn addresses_and_queries() {
    let check = |yaml: &str, urls: &[&str], query: &str| {
        let built = build(yaml).unwrap();
        let found: Vec<String> = built.discovery.seeds().iter().map(Uri::to_string).collect();
        assert_eq!(
            (found, built.query.as_str()),
            (urls.iter().map(|u| (*u).to_owned()).collect(), query)
        );
    };
    const FILTER: &str = "filter_path=items.*._index,items.*.status,items.*.failure_store,items.*.error.type,items.*.error.reason,errors";
    check("endpoint: https://es:9200/", &["https://es:9200/_bulk"], FILTER);
    check(
        "endpoints: ['http://a:9200/prefix?x=1', 'http://b:9200']",
        &["http://a:9200/prefix/_bulk", "http://b:9200/_bulk"],
        &format!("x=1&{FILTER}"),
    );
    check(
        "{cloudid: 'foo:YmFyLmNsb3VkLmVzLmlvJGFiYzEyMyRkZWY0NTY=', pipeline: 'a b', include_source_on_error: false}",
        &["https://abc123.bar.cloud.es.io:443/_bulk"],
        &format!("{FILTER}&pipeline=a%20b&include_source_on_error=false"),
    );
    check(
        "{endpoint: 'http://a', bulk_response_filter_path: took}",
        &["http://a/_bulk"],
        "filter_path=took,errors,items.*.status,items.*.error.type",
    );
}

#[test]
fn faults_name_their_key() {
    let check = |yaml: &str, expected: &str| {
        let fault = faults(build(yaml));
        assert!(fault.contains(expected), "{yaml}: {fault}");
    };
    check("{endpoint: 'http://a', cloudid: x}", "cloudid");
    check(
        "{endpoint: 'http://a', endpoints: ['http://b']}",
        "exactly one of [endpoint, endpoints, cloudid]",
    );
    check("endpoint: 'ftp://a'", "invalid scheme \"ftp\"");
    check("endpoints: ['http://a', '']", "endpoint must not be empty");
    check("endpoint: 'http://u:p@a'", "use user and password");
    check("endpoint: 'http://a?x=a b'", "not a URL");
    check("{endpoint: 'http://a', compression: zstd}", "one of [none, gzip]");
    check(
        "{endpoint: 'http://a', mapping: {mode: flat}}",
        "invalid or disallowed default mapping mode \"flat\"",
    );
    check(
        "{endpoint: 'http://a', mapping: {mode: otel, allowed_modes: [ecs]}}",
        "invalid or disallowed default mapping mode \"otel\"",
    );
    check(
        "{endpoint: 'http://a', mapping: {allowed_modes: [otel, x]}}",
        "unknown allowed mapping mode name \"x\"",
    );
    check(
        "{endpoint: 'http://a', retry: {max_requests: 1, max_retries: 2}}",
        "must not specify both",
    );
    check(
        "{endpoint: 'http://a', retry: {max_retries: -1}}",
        "should be non-negative",
    );
    check(
        "{endpoint: 'http://a', metadata_keys: [a, A]}",
        "duplicate entry \"A\"",
    );
    check("{endpoint: 'http://a', index: a, logs_index: b}", "old name");
    check(
        "{endpoint: 'http://a', logstash_format: {date_format: '%Q'}}",
        "unknown conversion %Q",
    );
}

#[test]
fn credentials_are_sent_and_never_shown() {
    let check = |yaml: &str, expected: Option<&str>| {
        let built = build(&format!("{{endpoint: 'http://a', {yaml}}}")).unwrap();
        let shown = built.credentials.as_ref().map(|value| value.to_str().unwrap());
        assert_eq!(shown, expected, "{yaml}");
        assert!(!format!("{:?} {:?}", built.config, built.credentials).contains("s3cret"));
    };
    check("user: u, password: s3cret", Some("Basic dTpzM2NyZXQ="));
    check("api_key: s3cretKey", Some("ApiKey s3cretKey"));
    check(
        "user: u, password: s3cret, api_key: s3cretKey",
        Some("ApiKey s3cretKey"),
    );
    check("headers: {Authorization: Bearer x}, api_key: s3cret", None);
    check("pipeline: p", None);
}

#[test]
fn the_harness_reads_the_exporters_defaults_and_old_spellings() {
    let check = |yaml: &str, keys: &[(&str, &str)]| {
        let mut prepared = section(yaml);
        config::prepare(&mut prepared).unwrap();
        for (way, expected) in keys {
            let mut at = prepared.clone();
            for step in way.split('.') {
                at = at.take_raw(step).unwrap_or_else(|| panic!("{yaml}: no {way}"));
            }
            let found: Json = at.parse().unwrap();
            assert_eq!(found.to_string(), *expected, "{yaml} {way}");
        }
    };
    check(
        "endpoint: http://a",
        &[
            ("sending_queue.queue_size", "10"),
            ("sending_queue.block_on_overflow", "true"),
            ("sending_queue.batch.min_size", "1000000"),
            ("sending_queue.batch.max_size", "5000000"),
            ("sending_queue.batch.flush_timeout", "\"10s\""),
            ("sending_queue.batch.sizer", "\"bytes\""),
            ("retry_on_failure.initial_interval", "\"100ms\""),
            ("retry_on_failure.max_interval", "\"60000ms\""),
            ("retry_on_failure.enabled", "true"),
        ],
    );
    check(
        "{num_workers: 3, flush: {bytes: 2000000, interval: 5s}, retry: {enabled: false, initial_interval: 1s}, metadata_keys: [x-tenant]}",
        &[
            ("sending_queue.num_consumers", "3"),
            ("sending_queue.batch.max_size", "2000000"),
            ("sending_queue.batch.min_size", "1000000"),
            ("sending_queue.batch.flush_timeout", "\"5000ms\""),
            ("sending_queue.batch.partition.metadata_keys", "[\"x-tenant\"]"),
            ("retry_on_failure.enabled", "false"),
            ("retry_on_failure.initial_interval", "\"1000ms\""),
        ],
    );
    check(
        "retry: {max_retries: 5}",
        &[
            ("retry_on_failure.max_retries", "5"),
            ("retry_on_failure.max_elapsed_time", "\"0s\""),
        ],
    );
    check(
        "{retry: {max_requests: 5}, retry_on_failure: {max_elapsed_time: 1m}}",
        &[
            ("retry_on_failure.max_retries", "4"),
            ("retry_on_failure.max_elapsed_time", "\"1m\""),
        ],
    );
    for yaml in ["retry: {max_requests: 1}", "retry: {max_retries: 0}"] {
        let mut unlimited = section(yaml);
        config::prepare(&mut unlimited).unwrap();
        assert!(!unlimited.has(&["retry_on_failure"], "max_retries"), "{yaml}");
    }
    // What is written stays.
    check(
        "{sending_queue: {queue_size: 7, batch: {flush_timeout: 1s}}, retry_on_failure: {initial_interval: 3s}}",
        &[
            ("sending_queue.queue_size", "7"),
            ("sending_queue.batch.flush_timeout", "\"1s\""),
            ("sending_queue.batch.max_size", "5000000"),
            ("retry_on_failure.initial_interval", "\"3s\""),
        ],
    );
    let mut partly = section("sending_queue: {batch: {min_size: 100}}");
    config::prepare(&mut partly).unwrap();
    assert!(!partly.has(&["sending_queue", "batch"], "max_size"));
}

#[test]
fn old_keys_are_told() {
    let check = |yaml: &str, expected: &[&str]| {
        let built = build(&format!("{{endpoint: 'http://a', {yaml}}}")).unwrap();
        let keys: Vec<&str> = built.config.notices().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, expected, "{yaml}");
    };
    check("logs_index: a, logs_dynamic_id: {enabled: true}", &[]);
    check(
        "mapping: {mode: ecs, dedup: true, dedot: true}",
        &["mapping.mode", "mapping.dedup", "mapping.dedot"],
    );
    check(
        "flush: {bytes: 1}, num_workers: 1, index: x",
        &["index", "flush", "num_workers"],
    );
    check(
        "discover: {on_start: true}, retry: {max_requests: 3}",
        &["retry.max_requests"],
    );
    check("telemetry: {log_request_body: true}", &["telemetry"]);
}

// --- Answers ---

/// Answers each request with the next of its texts, and counts them; closes the connection where a text is empty.
async fn peer(answers: Vec<String>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let calls = count.clone();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            let end = loop {
                if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                    break end + 4;
                }
                if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                    break 0;
                }
            };
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let len = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            let len: usize = len.map_or(0, |len| len.parse().unwrap());
            while read.len() < end + len {
                assert!(stream.read_buf(&mut read).await.unwrap() > 0);
            }
            calls.fetch_add(1, Ordering::SeqCst);
            let _ = stream
                .write_all(answers.next().unwrap_or_default().as_bytes())
                .await;
        }
    });
    (addr, count)
}

fn answer_of(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn items(statuses: &[u16]) -> String {
    let item = |status: &u16| match status {
        200..=299 | 409 => json!({"create": {"_index": "i", "status": status}}),
        status => {
            json!({"create": {"_index": "i", "status": status, "error": {"type": "t", "reason": "holds s3cret"}}})
        }
    };
    let all: Vec<Json> = statuses.iter().map(item).collect();
    answer_of(200, "", &json!({"errors": true, "items": all}).to_string())
}

/// Five log records in two chunks.
fn five() -> Payload {
    let mut payload = batch(Signal::Logs, &log(json!({})));
    let several = |bodies: &[&str]| {
        let mut request = log(json!({}));
        let pattern = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0].clone();
        let records: Vec<Json> = bodies
            .iter()
            .map(|body| {
                let mut record = pattern.clone();
                record["body"] = json!({"stringValue": body});
                record
            })
            .collect();
        request["resourceLogs"][0]["scopeLogs"][0]["logRecords"] = records.into();
        batch(Signal::Logs, &request).chunks.remove(0)
    };
    payload.chunks.clear();
    payload.items = 0;
    payload.push(several(&["a", "b"]));
    payload.push(several(&["c", "d", "e"]));
    payload
}

fn single() -> Payload {
    batch(Signal::Logs, &log(json!({})))
}

/// The bodies of a payload's records.
fn bodies(payload: &Payload) -> String {
    let mut out = String::new();
    for chunk in &payload.chunks {
        let bytes = chunk.bytes();
        for group in fields::Message(&bytes).each(1) {
            for scope in group.each(2) {
                for record in scope.each(2) {
                    out.push_str(std::str::from_utf8(record.sub(5).sub(1).0).unwrap());
                }
            }
        }
    }
    out
}

fn told(result: Result<Outcome, ExportError>) -> String {
    match result {
        Ok(outcome) if outcome.rejected.is_empty() => "all".into(),
        Ok(outcome) => format!("all but {:?}", outcome.rejected),
        Err(ExportError::Retry {
            after,
            remaining:
                Some(Remaining {
                    owed,
                    rejected,
                    refused,
                }),
            ..
        }) => {
            let refused = refused.map(|refused| bodies(&refused)).unwrap_or_default();
            let rules: Vec<String> = rejected
                .iter()
                .map(|r| format!("{} {}", r.items, r.rule))
                .collect();
            assert!(rejected.iter().all(|r| !r.message.contains("s3cret")));
            let after = after.map(|after| format!(" after {after:?}")).unwrap_or_default();
            format!("owed {}; refused {refused} {rules:?}{after}", bodies(&owed))
        }
        Err(ExportError::Retry { after, .. }) => format!("retry {after:?}"),
        Err(ExportError::TooLarge { .. }) => "too large".into(),
        Err(ExportError::Apart { .. }) => "apart".into(),
        Err(ExportError::Rejected { code, .. }) => format!("rejected {code}"),
        Err(ExportError::Unauthorized { .. }) => "unauthorized".into(),
    }
}

async fn sent(yaml: &str, answer: String, batch: &Payload) -> String {
    let (addr, _) = peer(vec![answer]).await;
    let built = build(&format!("{{endpoint: 'http://{addr}', {yaml}}}")).unwrap();
    built.start(Arc::new(Lonely::default())).await.unwrap();
    told(built.export(batch).await)
}

#[tokio::test]
async fn each_answer_means_something_for_each_document() {
    let batch = five();
    let ok = |body: &str| answer_of(200, "", body);
    let after = |status: u16| answer_of(status, "retry-after: 7\r\n", "busy");
    for (answer, expected) in [
        (items(&[201, 201, 201, 201, 201]), "all"),
        (ok(r#"{"errors":false,"took":1}"#), "all"),
        // VictoriaLogs, to a request whose documents it has not seen.
        (ok(r#"{"took":0,"errors":false,"items":[]}"#), "retry None"),
        // There already: by an id.
        (items(&[201, 409, 201, 201, 201]), "all"),
        (items(&[429, 201, 201, 503, 500]), "owed ade; refused  []"),
        (items(&[201, 400, 201, 400, 201]), "owed ; refused bd [\"2 t\"]"),
        (
            items(&[400, 400, 400, 400, 400]),
            "owed ; refused abcde [\"5 t\"]",
        ),
        (items(&[201, 400, 429, 201, 201]), "owed c; refused b [\"1 t\"]"),
        (items(&[429, 429, 429, 429, 429]), "owed abcde; refused  []"),
        // The cluster lacks something, or keeps us out: long pauses, nothing lost.
        (
            items(&[404, 404, 404, 404, 403]),
            "owed abcde; refused  [] after 30s",
        ),
        // Not all documents have an answer.
        (items(&[201, 201, 201]), "owed de; refused  []"),
        (items(&[201, 201, 201, 201, 201]).replace("]}", ""), "retry None"),
        // Somebody else.
        (ok("<html>"), "retry None"),
        (ok(""), "retry None"),
        (ok("{}"), "retry None"),
        (ok(r#"{"errors":true}"#), "retry None"),
        // The whole request.
        (after(429), "retry Some(7s)"),
        (after(503), "retry Some(7s)"),
        (after(502), "retry None"),
        (after(504), "retry None"),
        (after(500), "retry None"),
        (after(413), "too large"),
        (after(401), "unauthorized"),
        (after(403), "unauthorized"),
        (after(404), "retry Some(30s)"),
        (after(400), "too large"),
        (
            answer_of(400, "", "request [/_bulk] contains unrecognized parameter: [x]"),
            "retry Some(30s)",
        ),
        (after(302), "retry Some(30s)"),
        (after(418), "rejected UNKNOWN"),
        (String::new(), "retry None"),
    ] {
        let shown = answer.clone();
        assert_eq!(sent("", answer, &batch).await, expected, "{shown}");
    }
    let one = single();
    assert_eq!(sent("", after(400), &one).await, "rejected INVALID_ARGUMENT");
    let more = "retry: {retry_on_status: [400, 418]}";
    assert_eq!(sent(more, after(418), &batch).await, "retry Some(7s)");
    assert_eq!(
        sent(more, items(&[400, 201, 201, 201, 201]), &batch).await,
        "owed a; refused  []"
    );
}

#[test]
fn words_of_errors_are_kept_only_if_that_is_wished() {
    let body = json!({"items": [{"create": {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "holds s3cret"}}}]});
    for (words, expected) in [
        (false, "Elasticsearch answered 400 mapper_parsing_exception"),
        (
            true,
            "Elasticsearch answered 400 mapper_parsing_exception: holds s3cret",
        ),
    ] {
        let (_, mut bulk) = lines("{}", &batch(Signal::Logs, &log(json!({}))));
        let verdicts = answer::read(body.to_string().as_bytes(), &[], words, &mut bulk);
        assert_eq!(verdicts, [answer::Verdict::Refused(0)]);
        assert_eq!(bulk.reasons[0].message, expected);
        assert_eq!(bulk.reasons[0].rule, "mapper_parsing_exception");
    }
}

#[test]
fn an_error_that_cannot_be_read_hides_no_answer_behind_it() {
    for error in [
        &br#"{"type":"t","reason":"half a \ud83d"}"#[..],
        b"{\"type\":\"t\",\"reason\":\"no \xff text\"}",
        br#"{"type":"t","reason":null,"caused_by":{"type":"x","reason":"\udc00"}}"#,
    ] {
        for words in [false, true] {
            let (_, mut bulk) = lines("{}", &five());
            let item = |rest: &[u8]| [br#"{"create":{"_index":"i","status":"#, rest, b"}}"].concat();
            let refused = item(&[b"400,\"error\":", error].concat());
            let all = [item(b"201"), refused.clone(), item(b"201"), refused, item(b"201")];
            let body = [
                b"{\"errors\":true,\"items\":[".as_slice(),
                &all.join(&b','),
                b"]}",
            ]
            .concat();
            use answer::Verdict::{Refused, Stored};
            let verdicts = answer::read(&body, &[], words, &mut bulk);
            assert_eq!(verdicts, [Stored, Refused(0), Stored, Refused(0), Stored]);
            assert_eq!(bulk.reasons[0].rule, "t");
        }
    }
    let (_, mut bulk) = lines("{}", &five());
    let body =
        br#"{"items":[{"create":{"status":400,"error":"an old server's words"}},{"create":{"status":201}}]}"#;
    let verdicts = answer::read(body, &[], true, &mut bulk);
    assert_eq!(verdicts, [answer::Verdict::Refused(0), answer::Verdict::Stored]);
    assert_eq!(
        (bulk.reasons[0].rule.as_str(), bulk.reasons[0].message.as_str()),
        ("status_400", "Elasticsearch answered 400: an old server's words")
    );
}

#[test]
fn what_an_answer_says_too_much_is_ignored() {
    let (_, mut bulk) = lines("{}", &batch(Signal::Logs, &log(json!({}))));
    let many = json!({"items": vec![json!({"create": {"status": 429}}); 1000]});
    let verdicts = answer::read(many.to_string().as_bytes(), &[], false, &mut bulk);
    assert_eq!(verdicts, [answer::Verdict::Owed(429)]);
    for rubbish in [
        "[",
        "{\"items\":[{}]}",
        "{\"items\":[{\"create\":{\"status\":99999}}]}",
        "null",
        "{\"errors\":7}",
    ] {
        let verdicts = answer::read(rubbish.as_bytes(), &[], false, &mut bulk);
        assert!(verdicts.is_empty(), "{rubbish}");
    }
}

#[test]
fn spans_and_points_share_the_fate_of_their_documents() {
    let events = json!({"events": [{"timeUnixNano": "1", "name": "e"}]});
    let spans = batch(Signal::Traces, &span(events));
    for (statuses, owed, refused) in [
        ([201, 429], 1, 0),
        ([429, 201], 1, 0),
        ([201, 400], 0, 1),
        ([400, 429], 1, 0),
        ([409, 201], 0, 0),
    ] {
        let (_, mut bulk) = lines("{}", &spans);
        let text = items(&statuses);
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        let verdicts = answer::read(body.as_bytes(), &[], false, &mut bulk);
        answer::settle(&verdicts, &mut bulk);
        let count = |wanted: fn(Fate) -> bool| answer::pieces(&spans, &bulk.fates, wanted).items;
        assert_eq!(count(|fate| fate == Fate::Owed), owed, "{statuses:?}");
        assert_eq!(
            count(|fate| matches!(fate, Fate::Refused(_))),
            refused,
            "{statuses:?}"
        );
    }
}

#[tokio::test]
async fn nodes_take_turns() {
    let all = || items(&[201, 201, 201, 201, 201]);
    let (a, calls_a) = peer(vec![all(), all(), all(), all()]).await;
    let (b, calls_b) = peer(vec![all(), String::new(), all()]).await;
    let built = build(&format!("endpoints: ['http://{a}', 'http://{b}']")).unwrap();
    built.start(Arc::new(Lonely::default())).await.unwrap();
    let batch = five();
    let mut results = Vec::new();
    for _ in 0..5 {
        results.push(told(built.export(&batch).await));
    }
    // The fourth met a node that hung up.
    assert_eq!(results, ["all", "all", "all", "retry None", "all"]);
    let calls = (calls_a.load(Ordering::SeqCst), calls_b.load(Ordering::SeqCst));
    assert_eq!(calls, (3, 2));
}

#[tokio::test]
async fn clients_choose_the_mode_if_it_is_allowed() {
    let of = |wish: &str| {
        let mut batch = five();
        batch.context = Arc::new(Context {
            metadata: vec![(MODE_KEY.into(), vec![wish.into()])],
            ..Context::default()
        });
        batch
    };
    let built = build("{endpoint: 'http://a', mapping: {allowed_modes: [otel, raw]}}").unwrap();
    assert_eq!(built.mode(&five()).unwrap(), Mode::Otel);
    assert_eq!(built.mode(&of("RAW")).unwrap(), Mode::Raw);
    assert!(matches!(
        built.mode(&of("ecs")),
        Err(ExportError::Rejected { .. })
    ));
    assert_eq!(built.context_keys(), [MODE_KEY]);
}

#[test]
fn tenants_have_indices_and_headers_of_their_own() {
    let built = build("{endpoint: 'http://a', logs_index: 'app-%{tenant}'}").unwrap();
    assert!(built.by_tenant());
    let mut batch = five();
    for chunk in &mut batch.chunks {
        chunk.origin.tenant = Some("Acme".into());
    }
    assert_eq!(built.settings_of(&batch).unwrap().logs.index, "app-acme");
    batch.chunks[0].origin.tenant = None;
    assert!(built.settings_of(&batch).is_err());
    assert!(
        build("{endpoint: 'http://a', headers: {x: '%{tenant}'}}")
            .unwrap()
            .by_tenant()
    );
    assert!(!build("endpoint: 'http://a'").unwrap().by_tenant());
}

#[test]
fn pieces_are_the_items_that_are_wanted() {
    let batch = five();
    for bits in 0..32u32 {
        let fates: Vec<Fate> = (0..5)
            .map(|at| {
                if bits >> at & 1 == 1 {
                    Fate::Owed
                } else {
                    Fate::Stored
                }
            })
            .collect();
        let expected: String = "abcde"
            .chars()
            .enumerate()
            .filter(|(at, _)| bits >> at & 1 == 1)
            .map(|(_, c)| c)
            .collect();
        let found = answer::pieces(&batch, &fates, |fate| fate == Fate::Owed);
        assert_eq!((bodies(&found), found.items), (expected.clone(), expected.len()));
    }
}
