//! Every path of every context: what it gives, and what becomes of it when it is set.

use super::kit::{after, value_of};
use crate::Context;

#[test]
fn paths_of_logs() {
    let get = |path: &str, expected: &str| assert_eq!(value_of(Context::Log, 0, path), expected, "{path}");
    get("log.time_unix_nano", "1700000000123456789");
    get("time", "time 2023-11-14T22:13:20.123456789Z");
    get("observed_time_unix_nano", "1700000001000000000");
    get("observed_time", "time 2023-11-14T22:13:21Z");
    get("severity_number", "9");
    get("severity_text", "\"INFO\"");
    get("body", "\"hello world\"");
    get("body.string", "\"hello world\"");
    get(
        "body[\"a\"]",
        "error: expected a log body that is map or list but got string",
    );
    get("attributes[\"s\"]", "\"text\"");
    get("attributes[\"none\"]", "nil");
    get("attributes[\"none\"][\"deeper\"]", "nil");
    get("attributes[\"e\"]", "nil");
    get("attributes[\"m\"][\"deep\"][\"y\"]", "7");
    get("attributes[\"m\"][\"none\"][\"y\"]", "nil");
    get("attributes[\"l\"][1]", "\"two\"");
    get("attributes[\"l\"][2]", "error: index out of range of the list");
    get(
        "attributes[\"l\"][-1]",
        "error: a list's index cannot be negative",
    );
    get(
        "attributes[\"l\"][\"x\"]",
        "error: list does not support string indexing",
    );
    get(
        "attributes[\"m\"][0]",
        "error: a map does not support int indexing",
    );
    get(
        "attributes[\"s\"][\"x\"]",
        "error: string does not support string indexing",
    );
    get("attributes[0]", "error: a map does not support int indexing");
    get("attributes[severity_text]", "nil");
    get(
        "attributes[time]",
        "error: expected a key that is string or int64 but got time",
    );
    get("dropped_attributes_count", "2");
    get("flags", "1");
    get("trace_id", "trace 0x0102030405060708090a0b0c0d0e0f10");
    get("trace_id.string", "\"0102030405060708090a0b0c0d0e0f10\"");
    get("span_id", "span 0x0102030405060708");
    get("span_id.string", "\"0102030405060708\"");
    get("event_name", "\"event\"");
    get("cache", "{}");
    get("cache[\"a\"]", "nil");
    get("resource.attributes[\"host\"]", "\"h1\"");
    get("resource.attributes", "{host: \"h1\"}");
    get("resource.dropped_attributes_count", "3");
    get("resource.schema_url", "\"resource-url\"");
    get("scope.name", "\"lib\"");
    get("instrumentation_scope.version", "\"1.2\"");
    get("scope.attributes[\"k\"]", "\"v\"");
    get("scope.dropped_attributes_count", "4");
    get("scope.schema_url", "\"scope-url\"");
    get("otelcol.client.addr", "\"10.0.0.1:99\"");
    get("otelcol.client.metadata", "{x-tenant: [\"a\", \"b\"]}");
    get("otelcol.client.metadata[\"X-Tenant\"]", "[\"a\", \"b\"]");
    get("otelcol.client.metadata[\"x-tenant\"][1]", "\"b\"");
    get(
        "otelcol.client.metadata[\"x-tenant\"][2]",
        "error: index out of range of the list",
    );
    get("otelcol.client.metadata[\"none\"]", "nil");
    get("otelcol.client.auth.attributes[\"sub\"]", "\"me\"");
    get("otelcol.client.auth.attributes", "{sub: \"me\"}");
    get("otelcol.grpc.metadata[\"x-tenant\"][0]", "\"a\"");
}

#[test]
fn paths_of_spans() {
    let get = |path: &str, expected: &str| assert_eq!(value_of(Context::Span, 0, path), expected, "{path}");
    get("span.name", "\"GET /\"");
    get("trace_id.string", "\"0102030405060708090a0b0c0d0e0f10\"");
    get("span_id.string", "\"0102030405060708\"");
    get("parent_span_id", "span 0x0909090909090909");
    get("parent_span_id.string", "\"0909090909090909\"");
    get("trace_state", "\"a=1,b=2\"");
    get("trace_state[\"b\"]", "\"2\"");
    get("trace_state[\"z\"]", "\"\"");
    get(
        "trace_state[name]",
        "fault: the trace state is indexed by one key, a text literal",
    );
    get("kind", "2");
    get("kind.string", "\"Server\"");
    get("kind.deprecated_string", "\"SPAN_KIND_SERVER\"");
    get("start_time_unix_nano", "1000000000");
    get("end_time - start_time", "2500000000ns");
    get("status", "status None");
    get("status.code", "2");
    get("status.message", "\"bad\"");
    get("Len(events)", "2");
    get("Len(links)", "1");
    get("dropped_events_count", "2");
    get("dropped_links_count", "3");
    get("flags", "257");
    get("STATUS_CODE_ERROR", "2");
}

#[test]
fn paths_of_span_events() {
    let get = |nth, path: &str, expected: &str| {
        assert_eq!(value_of(Context::SpanEvent, nth, path), expected, "{path}")
    };
    get(0, "spanevent.name", "\"one\"");
    get(1, "name", "\"two\"");
    get(0, "event_index", "0");
    get(1, "event_index", "1");
    get(0, "time_unix_nano", "9");
    get(0, "time", "time 1970-01-01T00:00:00.000000009Z");
    get(1, "attributes[\"i\"]", "5");
    get(0, "dropped_attributes_count", "1");
    get(0, "span.name", "\"GET /\"");
    get(0, "resource.attributes[\"host\"]", "\"h1\"");
}

#[test]
fn paths_of_metrics() {
    let get = |nth, path: &str, expected: &str| {
        assert_eq!(value_of(Context::Metric, nth, path), expected, "{path}")
    };
    get(0, "metric.name", "\"sum\"");
    get(0, "description", "\"what\"");
    get(0, "unit", "\"1\"");
    get(0, "metadata[\"meta\"]", "\"data\"");
    for (nth, (kind, temporality, monotonic)) in [
        ("2", "2", "true"),
        ("1", "nil", "nil"),
        ("3", "1", "nil"),
        ("4", "2", "nil"),
        ("5", "nil", "nil"),
    ]
    .into_iter()
    .enumerate()
    {
        get(nth, "type", kind);
        get(nth, "aggregation_temporality", temporality);
        get(nth, "is_monotonic", monotonic);
        get(nth, "Len(data_points)", "1");
        get(
            nth,
            "HasAttrKeyOnDatapoint(\"s\")",
            "fault: this component does not have the function \"HasAttrKeyOnDatapoint\"",
        );
    }
}

#[test]
fn paths_of_data_points() {
    let get = |path: &str, expected: [&str; 5]| {
        for (nth, expected) in expected.into_iter().enumerate() {
            assert_eq!(value_of(Context::DataPoint, nth, path), expected, "{path} {nth}");
        }
    };
    const NIL: &str = "nil";
    // Sum, gauge, histogram, exponential histogram, summary.
    get("datapoint.value_int", ["-4", "0", NIL, NIL, NIL]);
    get("value_double", ["0.0", "2.5", NIL, NIL, NIL]);
    get("count", [NIL, NIL, "6", "8", "2"]);
    get("sum", [NIL, NIL, "12.5", "3.5", "9.0"]);
    get("bucket_counts", [NIL, NIL, "[1, 2, 3]", NIL, NIL]);
    get("explicit_bounds", [NIL, NIL, "[0.5, 1.5]", NIL, NIL]);
    get("scale", [NIL, NIL, NIL, "-2", NIL]);
    get("zero_count", [NIL, NIL, NIL, "4", NIL]);
    get("positive", [NIL, NIL, NIL, "buckets None", NIL]);
    get("positive.offset", [NIL, NIL, NIL, "-3", NIL]);
    get("negative.offset", [NIL, NIL, NIL, "5", NIL]);
    get("positive.bucket_counts", [NIL, NIL, NIL, "[1, 300]", NIL]);
    get("quantile_values", [NIL, NIL, NIL, NIL, "quantile values Some(3)"]);
    get(
        "exemplars",
        [
            "exemplars Some(1)",
            "exemplars Some(1)",
            "exemplars Some(0)",
            "exemplars Some(0)",
            NIL,
        ],
    );
    get("flags", ["1", "1", "0", "0", "0"]);
    get("start_time_unix_nano", ["1", "1", "0", "0", "0"]);
    get(
        "time",
        [
            "time 1970-01-01T00:00:00.000000002Z",
            "time 1970-01-01T00:00:00.000000002Z",
            "time 1970-01-01T00:00:00Z",
            "time 1970-01-01T00:00:00Z",
            "time 1970-01-01T00:00:00Z",
        ],
    );
    get("attributes[\"i\"]", ["5"; 5]);
    get(
        "metric.name",
        ["\"sum\"", "\"gauge\"", "\"histogram\"", "\"exp\"", "\"summary\""],
    );
    get("FLAG_NO_RECORDED_VALUE", ["1"; 5]);
}

/// Sets and looks again; what was set is also what the finished request says.
fn set(context: Context, nth: usize, path: &str, value: &str, expected: &str) {
    let statement = format!("set({path}, {value})");
    assert_eq!(after(context, nth, &[&statement], path), expected, "{statement}");
}

#[test]
fn logs_are_set() {
    let set = |path, value, expected| set(Context::Log, 0, path, value, expected);
    set("time_unix_nano", "5", "5");
    set("time_unix_nano", "0", "0");
    set("time_unix_nano", "\"5\"", "error: expected int64 but got string");
    set("time", "Unix(5)", "time 1970-01-01T00:00:05Z");
    set("time", "5", "error: expected time but got int64");
    set("observed_time", "Unix(5)", "time 1970-01-01T00:00:05Z");
    set("severity_number", "SEVERITY_NUMBER_ERROR", "17");
    set("severity_number", "0", "0");
    set("severity_number", "\"9\"", "error: expected int64 but got string");
    set("severity_text", "\"\"", "\"\"");
    set("severity_text", "5", "error: expected string but got int64");
    set("body", "{\"a\": [1]}", "{a: [1]}");
    set("body", "nil", "\"hello world\"");
    set("body.string", "\"x\"", "\"x\"");
    set("body.string", "5", "error: expected string but got int64");
    set("body[\"a\"]", "1", "error: the log body is neither map nor list");
    set("dropped_attributes_count", "4294967297", "1");
    set("flags", "3", "3");
    set(
        "trace_id",
        "TraceID(0x000102030405060708090a0b0c0d0e0f)",
        "trace 0x000102030405060708090a0b0c0d0e0f",
    );
    set(
        "trace_id",
        "TraceID(0x00000000000000000000000000000000)",
        "trace 0x00000000000000000000000000000000",
    );
    set("trace_id", "\"00\"", "error: expected trace id but got string");
    set(
        "trace_id.string",
        "\"000102030405060708090a0b0c0d0e0f\"",
        "\"000102030405060708090a0b0c0d0e0f\"",
    );
    set(
        "trace_id.string",
        "\"00\"",
        "error: an id has 32 (trace) or 16 (span) hexadecimal digits",
    );
    set("span_id", "SpanID(0x0001020304050607)", "span 0x0001020304050607");
    set("span_id.string", "\"0001020304050607\"", "\"0001020304050607\"");
    set("event_name", "\"e\"", "\"e\"");
    set("resource.schema_url", "\"u\"", "\"u\"");
    set("resource.dropped_attributes_count", "9", "9");
    set("resource.attributes[\"a\"][\"b\"]", "9", "9");
    set("scope.name", "\"u\"", "\"u\"");
    set("scope.version", "\"u\"", "\"u\"");
    set("scope.schema_url", "\"u\"", "\"u\"");
    set("scope.dropped_attributes_count", "9", "9");
    set(
        "otelcol.client.metadata[\"a\"]",
        "\"u\"",
        "error: the path is read only",
    );
}

#[test]
fn spans_are_set() {
    let set = |path, value, expected| set(Context::Span, 0, path, value, expected);
    set("name", "\"x\"", "\"x\"");
    set("name", "5", "error: expected string but got int64");
    set("kind", "SPAN_KIND_CLIENT", "3");
    set("kind.string", "\"Producer\"", "\"Producer\"");
    set("kind.string", "\"nope\"", "error: unknown span kind");
    set(
        "kind.deprecated_string",
        "\"SPAN_KIND_CONSUMER\"",
        "\"SPAN_KIND_CONSUMER\"",
    );
    set("trace_state", "\"x=1\"", "\"x=1\"");
    set("trace_state[\"b\"]", "\"3\"", "\"3\"");
    assert_eq!(
        after(
            Context::Span,
            0,
            &["set(trace_state[\"b\"], \"3\")"],
            "trace_state"
        ),
        "\"b=3,a=1\""
    );
    set("start_time_unix_nano", "7", "7");
    set(
        "end_time",
        "start_time + Duration(\"1s\")",
        "time 1970-01-01T00:00:02Z",
    );
    set("status.code", "STATUS_CODE_OK", "1");
    set("status.code", "0", "0");
    set("status.message", "\"fine\"", "\"fine\"");
    assert_eq!(
        after(Context::Span, 0, &["set(status.code, 1)"], "status.message"),
        "\"bad\""
    );
    set("status", "status", "status None");
    set(
        "status",
        "5",
        "error: expected message of the same kind but got int64",
    );
    set("events", "events", "span events Some(2)");
    set(
        "events",
        "links",
        "error: slices cannot be copied from one item to another",
    );
    set(
        "events",
        "5",
        "error: expected slice of the same kind but got int64",
    );
    set("flags", "4294967295", "4294967295");
    set(
        "flags",
        "4294967296",
        "error: flags must fit 32 bits, without a sign",
    );
    set("flags", "-1", "error: flags must fit 32 bits, without a sign");
    set("dropped_events_count", "4", "4");
    set(
        "parent_span_id",
        "SpanID(0x0000000000000000)",
        "span 0x0000000000000000",
    );
}

#[test]
fn events_and_metrics_are_set() {
    set(
        Context::SpanEvent,
        1,
        "name",
        "Concat([\"e\", event_index], \"\")",
        "\"e1\"",
    );
    set(
        Context::SpanEvent,
        1,
        "event_index",
        "5",
        "error: the path is read only",
    );
    set(Context::SpanEvent, 1, "span.name", "spanevent.name", "\"two\"");
    set(Context::Metric, 0, "name", "\"x\"", "\"x\"");
    set(Context::Metric, 0, "description", "\"\"", "\"\"");
    set(Context::Metric, 0, "unit", "\"ms\"", "\"ms\"");
    set(Context::Metric, 0, "type", "5", "2");
    set(
        Context::Metric,
        0,
        "aggregation_temporality",
        "AGGREGATION_TEMPORALITY_DELTA",
        "1",
    );
    set(Context::Metric, 1, "aggregation_temporality", "1", "nil");
    set(Context::Metric, 0, "is_monotonic", "false", "false");
    set(Context::Metric, 2, "is_monotonic", "true", "nil");
    set(
        Context::Metric,
        0,
        "is_monotonic",
        "1",
        "error: expected bool but got int64",
    );
    set(Context::Metric, 0, "metadata[\"a\"]", "1", "1");
}

#[test]
fn data_points_are_set() {
    let set = |nth, path: &str, value: &str, expected: &str| {
        let metric = ["sum", "gauge", "histogram", "exp", "summary"][nth];
        let statement = format!("set({path}, {value}) where metric.name == \"{metric}\"");
        assert_eq!(
            after(Context::DataPoint, nth, &[&statement], path),
            expected,
            "{statement}"
        );
    };
    set(0, "value_int", "7", "7");
    set(0, "value_int", "0", "0");
    set(0, "value_double", "7.5", "7.5");
    set(1, "value_int", "9", "9");
    set(1, "value_int", "9.0", "error: expected int64 but got float64");
    // The other kind of value goes.
    let after_one = |value: &str, shown: &str| after(Context::DataPoint, 0, &[value], shown);
    assert_eq!(
        after_one("set(value_double, 7.5) where metric.name == \"sum\"", "value_int"),
        "0"
    );
    set(
        2,
        "value_int",
        "9",
        "error: this kind of data point has no such field",
    );
    set(
        0,
        "count",
        "9",
        "error: this kind of data point has no such field",
    );
    set(2, "count", "9", "9");
    set(2, "sum", "0.0", "0.0");
    set(2, "bucket_counts", "[4, 5]", "[4, 5]");
    set(
        2,
        "bucket_counts",
        "[4, 5.0]",
        "error: expected list of int64 but got float64",
    );
    set(2, "explicit_bounds", "[4.5]", "[4.5]");
    set(2, "explicit_bounds", "[]", "[]");
    set(3, "scale", "-7", "-7");
    set(3, "zero_count", "0", "0");
    set(3, "positive.offset", "-100", "-100");
    set(3, "positive.bucket_counts", "[1, 2, 3]", "[1, 2, 3]");
    set(3, "positive.bucket_counts", "[]", "[]");
    set(3, "positive", "negative", "buckets None");
    let moved = after(
        Context::DataPoint,
        3,
        &["set(positive, negative) where metric.name == \"exp\""],
        "positive.offset",
    );
    assert_eq!(moved, "5");
    set(4, "sum", "1.5", "1.5");
    set(4, "quantile_values", "quantile_values", "quantile values Some(3)");
    set(0, "flags", "0", "0");
    set(0, "time_unix_nano", "99", "99");
    set(0, "start_time", "Unix(1)", "time 1970-01-01T00:00:01Z");
    set(3, "attributes[\"n\"]", "negative.offset", "5");
}
