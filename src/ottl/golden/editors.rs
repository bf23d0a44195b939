//! One row at least for each editor, and for what it refuses.

use super::kit::after;
use crate::{Context, Functions, Group, Program};

/// What the scratch attributes `{...}` become; statements call them `a`.
fn check(before: &str, statement: &str, expected: &str) {
    let start = format!("set(log.attributes, {before})");
    let statement = statement.replace("@", "log.attributes");
    assert_eq!(
        after(Context::Log, 0, &[&start, &statement], "attributes"),
        expected,
        "{before} {statement}"
    );
}

/// The same below a key, where the map is encoded within another.
fn check_nested(before: &str, statement: &str, expected: &str) {
    let start = format!("set(log.attributes, {{\"n\": {before}}})");
    let statement = statement.replace("@", "log.attributes[\"n\"]");
    assert_eq!(
        after(Context::Log, 0, &[&start, &statement], "attributes[\"n\"]"),
        expected,
        "{before} {statement}"
    );
}

fn both(before: &str, statement: &str, expected: &str) {
    check(before, statement, expected);
    check_nested(before, statement, expected);
}

fn refuses(statement: &str, expected: &str) {
    let group = Group {
        signal: wire::Signal::Logs,
        functions: Functions::Transform,
        context: Some(Context::Log),
        conditions: &[],
        statements: &[statement],
    };
    let faults = Program::new(&group).expect_err(statement);
    assert_eq!(faults.0[0].message, expected, "{statement}");
}

#[test]
fn set() {
    both("{}", "set(@[\"a\"], 1)", "{a: 1}");
    both("{\"a\": 1, \"b\": 2}", "set(@[\"a\"], \"x\")", "{a: \"x\", b: 2}");
    both("{\"a\": 1}", "set(@[\"a\"], nil)", "{a: 1}");
    both("{\"a\": 1}", "set(@[\"b\"], @[\"a\"])", "{a: 1, b: 1}");
    both(
        "{\"a\": {\"x\": 1}}",
        "set(@[\"b\"], @[\"a\"])",
        "{a: {x: 1}, b: {x: 1}}",
    );
    both(
        "{}",
        "set(@[\"a\"][\"b\"][2], true)",
        "{a: {b: [nil, nil, true]}}",
    );
    both("{\"a\": [1, 2]}", "set(@[\"a\"][1], 3)", "{a: [1, 3]}");
    both(
        "{\"a\": [1, 2]}",
        "set(@[\"a\"][2], 3)",
        "error: index out of range of the list",
    );
    both(
        "{\"a\": 1}",
        "set(@[\"a\"][\"b\"], 3)",
        "error: the value there cannot be indexed so",
    );
    both(
        "{}",
        "set(@[\"a\"], Now())",
        "error: unsupported type time for an attribute's value",
    );
    both(
        "{}",
        "set(@[\"a\"], trace_id)",
        "error: unsupported type trace id for an attribute's value",
    );
    both("{\"a\": 1}", "set(@, {\"b\": 2})", "{b: 2}");
    check("{\"a\": 1}", "set(@, 5)", "error: expected map but got int64");
    check("{\"a\": {\"b\": 1}}", "set(@, @[\"a\"])", "{b: 1}");
    check("{}", "set(@[Concat([\"a\", \"b\"], \"\")], 1)", "{ab: 1}");
    check("{\"k\": \"x\"}", "set(@[@[\"k\"]], 1)", "{k: \"x\", x: 1}");
    check(
        "{}",
        "set(@[\"a\"], 1) where severity_number == SEVERITY_NUMBER_INFO",
        "{a: 1}",
    );
    check(
        "{}",
        "set(@[\"a\"], 1) where severity_number > SEVERITY_NUMBER_INFO",
        "{}",
    );
    check(
        "{}",
        "set(@[\"a\"], 1) where ParseJSON(body)[\"x\"] == 1",
        "error: ParseJSON: the text is not JSON (line 1, column 1)",
    );
    refuses("set(1, 2)", "argument \"target\" must be a path");
    refuses("set(log.body)", "set needs the argument \"value\"");
    refuses("set(log.body, 1, 2)", "set takes at most 2 arguments but got 3");
}

#[test]
fn append() {
    both("{}", "append(@[\"l\"], \"b\")", "{l: [\"b\"]}");
    both("{\"l\": \"a\"}", "append(@[\"l\"], \"b\")", "{l: [\"a\", \"b\"]}");
    both(
        "{\"l\": [1]}",
        "append(@[\"l\"], values=[2, \"c\"])",
        "{l: [1, 2, \"c\"]}",
    );
    both("{\"l\": [1]}", "append(@[\"l\"], 2, [3])", "{l: [1, 2, 3]}");
    refuses(
        "append(log.body)",
        "append: at least one of \"value\" and \"values\" must be given",
    );
}

#[test]
fn delete_index() {
    both("{\"l\": [1, 2, 3]}", "delete_index(@[\"l\"], 1)", "{l: [1, 3]}");
    both("{\"l\": [1, 2, 3]}", "delete_index(@[\"l\"], 0, 2)", "{l: [3]}");
    both(
        "{\"l\": [1, 2, 3]}",
        "delete_index(@[\"l\"], 0, Len(@[\"l\"]))",
        "{l: []}",
    );
    both(
        "{\"l\": [1]}",
        "delete_index(@[\"l\"], 1)",
        "error: start index 1 is out of bounds of the list of 1",
    );
    both(
        "{\"l\": [1]}",
        "delete_index(@[\"l\"], 0, 2)",
        "error: end index 2 is out of bounds of the list of 1, or before the start",
    );
    both(
        "{\"l\": 5}",
        "delete_index(@[\"l\"], 0)",
        "error: expected list but got int64",
    );
}

#[test]
fn keys() {
    both(
        "{\"a\": 1, \"b\": 2, \"c\": 3}",
        "delete_key(@, \"a\")",
        "{c: 3, b: 2}",
    );
    both("{\"a\": 1}", "delete_key(@, \"b\")", "{a: 1}");
    check(
        "{\"a\": 5}",
        "delete_key(@[\"a\"], \"b\")",
        "error: expected map but got int64",
    );
    check(
        "{}",
        "delete_key(@[\"a\"], \"b\")",
        "error: expected map but got nil",
    );
    both(
        "{\"http.a\": 1, \"b\": 2, \"http.c\": 3}",
        "delete_matching_keys(@, \"^http\\\\.\")",
        "{b: 2}",
    );
    both(
        "{\"http.a\": 1, \"b\": 2, \"http.c\": 3}",
        "keep_matching_keys(@, \"^http\\\\.\")",
        "{http.a: 1, http.c: 3}",
    );
    both(
        "{\"a\": 1, \"p\": \"^a\"}",
        "delete_matching_keys(@, @[\"p\"])",
        "{p: \"^a\"}",
    );
    both(
        "{\"a\": 1, \"b\": 2, \"c\": 3}",
        "keep_keys(@, [\"c\", \"a\", \"z\"])",
        "{a: 1, c: 3}",
    );
    both("{\"a\": 1}", "keep_keys(@, [])", "{}");
    both(
        "{\"a\": 1, \"b\": 2, \"c\": 3}",
        "limit(@, 2, [\"c\"])",
        "{a: 1, c: 3}",
    );
    both("{\"a\": 1, \"b\": 2}", "limit(@, 2, [\"x\"])", "{a: 1, b: 2}");
    both("{\"a\": 1, \"b\": 2}", "limit(@, 0, [])", "{}");
    refuses(
        "limit(log.attributes, -1, [])",
        "limit: the limit must not be negative, but is -1",
    );
    refuses(
        "limit(log.attributes, 0, [\"a\"])",
        "limit: the limit must not be less than the number of priority keys",
    );
    refuses(
        "keep_keys(log.attributes, \"a\")",
        "argument \"keys\" must be a list, [...]",
    );
    refuses(
        "keep_keys(log.attributes, [1])",
        "argument \"keys\" must be a list of texts in double quotes",
    );
}

#[test]
fn maps() {
    both(
        "{\"a\": 1}",
        "merge_maps(@, {\"a\": 2, \"b\": 3}, \"insert\")",
        "{a: 1, b: 3}",
    );
    both(
        "{\"a\": 1}",
        "merge_maps(@, {\"a\": 2, \"b\": 3}, \"update\")",
        "{a: 2}",
    );
    both(
        "{\"a\": 1}",
        "merge_maps(@, {\"a\": 2, \"b\": 3}, \"upsert\")",
        "{a: 2, b: 3}",
    );
    both(
        "{\"a\": 1}",
        "merge_maps(@, ParseJSON(\"{\\\"j\\\":[1]}\"), \"upsert\")",
        "{a: 1, j: [1.0]}",
    );
    both(
        "{\"a\": 1}",
        "merge_maps(@, nil, \"upsert\")",
        "error: expected map but got nil",
    );
    refuses(
        "merge_maps(log.attributes, {}, \"x\")",
        "merge_maps: the strategy must be \"insert\", \"update\" or \"upsert\"",
    );
    both(
        "{\"a\": {\"b\": 1}, \"l\": [\"x\"]}",
        "flatten(@)",
        "{a.b: 1, l.0: \"x\"}",
    );
    both(
        "{\"a\": {\"b\": {\"c\": 1}}}",
        "flatten(@, depth=1)",
        "{a.b: {c: 1}}",
    );
    both(
        "{\"a\": {\"b\": 1}, \"s\": 2}",
        "flatten(@, \"p\")",
        "{p.a.b: 1, p.s: 2}",
    );
    both(
        "{\"l\": [\"x\", \"y\", \"z\", {\"k\": 1}]}",
        "flatten(@, resolve_conflicts=true)",
        "{l: \"x\", l.0: \"y\", l.1: \"z\", l.3.k: 1}",
    );
    both("{\"a.b\": 1, \"a\": {\"b\": 2}}", "flatten(@)", "{a.b: 2}");
    both("{\"e\": {}, \"l\": []}", "flatten(@)", "{}");
    refuses(
        "flatten(log.attributes, depth=0)",
        "flatten: the depth must be at least 1",
    );
    both(
        "{\"a\": 1, \"b\": [true], \"c\": \"x\", \"d\": 1.0}",
        "stringify_all(@)",
        "{a: \"1\", b: \"[true]\", c: \"x\", d: \"1\"}",
    );
    both(
        "{\"a\": \"h\u{e9}llo\", \"b\": 123}",
        "truncate_all(@, 2)",
        "{a: \"h\", b: 123}",
    );
    both(
        "{\"a\": \"hello\", \"b\": \"hi\"}",
        "truncate_all(@, 2, false)",
        "{a: \"he\", b: \"hi\"}",
    );
    both("{\"a\": \"hello\"}", "truncate_all(@, 0)", "{a: \"\"}");
    refuses(
        "truncate_all(log.attributes, -1)",
        "truncate_all: the limit must not be negative",
    );
}

#[test]
fn replacing_whole_texts() {
    both(
        "{\"u\": \"/user/1/list\"}",
        "replace_match(@[\"u\"], \"/user/*/list\", \"/user/{id}/list\")",
        "{u: \"/user/{id}/list\"}",
    );
    both(
        "{\"u\": \"/other\"}",
        "replace_match(@[\"u\"], \"/user/*\", \"x\")",
        "{u: \"/other\"}",
    );
    both("{\"u\": 5}", "replace_match(@[\"u\"], \"*\", \"x\")", "{u: 5}");
    both("{}", "replace_match(@[\"u\"], \"*\", \"x\")", "{}");
    both(
        "{\"u\": \"a\"}",
        "replace_match(@[\"u\"], \"*\", \"x\", ToUpperCase, \"<%s>\")",
        "{u: \"<X>\"}",
    );
    both(
        "{\"a\": \"x1\", \"b\": \"y\", \"c\": 1}",
        "replace_all_matches(@, \"x?\", \"z\")",
        "{a: \"z\", b: \"y\", c: 1}",
    );
    refuses(
        "replace_match(log.body, \"[\", \"x\")",
        "replace_match: the glob has a [ without characters or without ]",
    );
    refuses(
        "replace_match(log.body, \"*\", \"x\", Nope)",
        "undefined function \"Nope\"",
    );
}

#[test]
fn replacing_parts() {
    both(
        "{\"a\": \"x pw=1\"}",
        "replace_pattern(@[\"a\"], \"pw=\\\\S+\", \"pw=***\")",
        "{a: \"x pw=***\"}",
    );
    both(
        "{\"a\": \"k=v q=w\"}",
        "replace_pattern(@[\"a\"], \"(\\\\w)=(?P<v>\\\\w)\", \"${v}:$1\")",
        "{a: \"v:k w:q\"}",
    );
    both(
        "{\"a\": \"k\"}",
        "replace_pattern(@[\"a\"], \"(k)\", \"$1x\")",
        "{a: \"\"}",
    );
    both(
        "{\"a\": \"k\"}",
        "replace_pattern(@[\"a\"], \"(k)\", \"$$1\")",
        "{a: \"$1\"}",
    );
    both("{\"a\": 5}", "replace_pattern(@[\"a\"], \"5\", \"x\")", "{a: 5}");
    both("{}", "replace_pattern(@[\"a\"], \"5\", \"x\")", "{}");
    both(
        "{\"a\": \"abc\"}",
        "replace_pattern(@[\"a\"], \"\", \"-\")",
        "{a: \"-a-b-c-\"}",
    );
    both(
        "{\"a\": \"id=hello!\"}",
        "replace_pattern(@[\"a\"], \"id=(\\\\w+)\", \"$1\", MD5, \"id=%s\")",
        "{a: \"id=5d41402abc4b2a76b9719d911017c592!\"}",
    );
    both(
        "{\"a\": \"b\"}",
        "replace_pattern(@[\"a\"], \"b\", \"$0\", Len)",
        "error: expected string from the function but got int64",
    );
    both(
        "{\"a\": \"x1\", \"b\": \"1\", \"c\": 1}",
        "replace_all_patterns(@, \"value\", \"1\", \"2\")",
        "{a: \"x2\", b: \"2\", c: 1}",
    );
    both(
        "{\"k1\": 1, \"k2\": 2, \"o\": 3}",
        "replace_all_patterns(@, \"key\", \"^k(\\\\d)\", \"n$1\")",
        "{n1: 1, n2: 2, o: 3}",
    );
    both(
        "{\"k1\": 1, \"o\": 3, \"k2\": 2}",
        "replace_all_patterns(@, \"key\", \"\\\\d\", \"\")",
        "{k: 2, o: 3}",
    );
    both(
        "{\"a\": \"x\", \"b\": \"y\"}",
        "replace_all_patterns(@, \"value\", \"x\", \"$0\", Base64Decode)",
        "{a: \"x\", b: \"y\"}",
    );
    both(
        "{\"x\": 1, \"y\": 2}",
        "replace_all_patterns(@, \"key\", \"x\", \"$0\", Base64Decode)",
        "{y: 2}",
    );
    refuses(
        "replace_all_patterns(log.attributes, \"x\", \"a\", \"b\")",
        "replace_all_patterns: the mode must be \"key\" or \"value\"",
    );
    refuses(
        "replace_pattern(log.body, \"a\", \"b\", SHA256, \"x\")",
        "replace_pattern: the replacement format must hold exactly one %s, and no other verb",
    );
    refuses(
        "replace_pattern(log.body, \"a\", \"b\", SHA256, \"%s%d\")",
        "replace_pattern: the replacement format must hold exactly one %s, and no other verb",
    );
}

#[test]
fn other_maps_are_edited_too() {
    let check = |statements: &[&str], shown: &str, expected: &str| {
        assert_eq!(
            after(Context::Log, 0, statements, shown),
            expected,
            "{statements:?}"
        );
    };
    check(
        &["set(body, {\"a\": {\"b\": 1}})", "delete_key(body[\"a\"], \"b\")"],
        "body",
        "{a: {}}",
    );
    check(
        &["set(body, {\"a\": 1, \"b\": 2})", "keep_keys(body, [\"b\"])"],
        "body",
        "{b: 2}",
    );
    check(
        &["delete_key(body, \"b\")"],
        "body",
        "error: expected map but got string",
    );
    check(
        &["delete_key(resource.attributes, \"host\")"],
        "resource.attributes",
        "{}",
    );
    check(
        &["merge_maps(scope.attributes, attributes[\"m\"], \"upsert\")"],
        "scope.attributes",
        "{k: \"v\", x: \"in\", deep: {y: 7}}",
    );
    check(
        &[
            "set(cache[\"a\"], \"b\")",
            "set(cache[\"c\"][\"d\"], 1)",
            "delete_key(cache, \"a\")",
            "set(body, cache)",
        ],
        "body",
        "{c: {d: 1}}",
    );
    check(
        &[
            "set(cache, ParseJSON(\"{\\\"a\\\":1}\"))",
            "set(body, cache[\"a\"])",
        ],
        "body",
        "1.0",
    );
}

#[test]
fn span_names_follow_the_conventions() {
    // The span is a server's, named "GET /".
    let check = |attributes: &[&str], kind: &str, expected: &str| {
        let mut statements = vec![format!("set(span.kind.string, \"{kind}\")")];
        statements.extend(attributes.iter().map(|a| format!("set(span.attributes{a})")));
        statements.push("set_semconv_span_name(\"1.37.0\", \"was\")".into());
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        let name = after(Context::Span, 0, &statements, "span.name");
        assert_eq!(name, format!("{expected:?}"), "{attributes:?}");
        let was = after(Context::Span, 0, &statements, "span.attributes[\"was\"]");
        assert_eq!(was, if expected == "GET /" { "nil" } else { "\"GET /\"" });
    };
    check(&[], "Server", "GET /");
    check(&["[\"http.request.method\"], \"PUT\""], "Server", "PUT");
    check(
        &["[\"http.method\"], \"PUT\"", "[\"http.route\"], \"/a/{id}\""],
        "Server",
        "PUT /a/{id}",
    );
    check(
        &["[\"http.method\"], \"PUT\"", "[\"http.route\"], \"/a/{id}\""],
        "Client",
        "PUT",
    );
    check(&["[\"http.method\"], \"PUT\""], "Internal", "GET /");
    let rpc = "[\"rpc.system\"], \"grpc\"";
    check(&[rpc], "Client", "grpc");
    check(&[rpc, "[\"rpc.method\"], \"M\""], "Client", "M");
    check(&[rpc, "[\"rpc.service\"], \"S\""], "Client", "S/*");
    check(
        &[rpc, "[\"rpc.service\"], \"S\"", "[\"rpc.method\"], \"M\""],
        "Server",
        "S/M",
    );
    let db = "[\"db.system.name\"], \"pg\"";
    check(&[db], "Client", "pg");
    check(&[db], "Server", "GET /");
    check(
        &[db, "[\"db.query.summary\"], \"SELECT t\""],
        "Client",
        "SELECT t",
    );
    check(
        &[
            db,
            "[\"db.operation\"], \"SELECT\"",
            "[\"db.name\"], \"n\"",
            "[\"db.collection.name\"], \"c\"",
        ],
        "Client",
        "SELECT n.c",
    );
    check(
        &[
            db,
            "[\"db.name\"], \"n\"",
            "[\"db.stored_procedure.name\"], \"p\"",
        ],
        "Client",
        "n.p",
    );
    check(
        &[db, "[\"server.address\"], \"h\"", "[\"server.port\"], 5432"],
        "Client",
        "h:5432",
    );
    let messaging = "[\"messaging.system\"], \"kafka\"";
    check(&[messaging], "Consumer", "kafka");
    check(
        &[
            messaging,
            "[\"messaging.operation\"], \"poll\"",
            "[\"messaging.destination\"], \"orders\"",
        ],
        "Producer",
        "poll orders",
    );
    check(
        &[messaging, "[\"messaging.destination.temporary\"], true"],
        "Consumer",
        "(temporary)",
    );
    check(
        &[messaging, "[\"messaging.destination.anonymous\"], true"],
        "Consumer",
        "(anonymous)",
    );
    check(&[messaging, "[\"server.address\"], \"h\""], "Server", "h");
    for (version, good) in [
        ("1.37.0", true),
        ("1.38.2", true),
        ("1.40.0", true),
        ("1.40.1", false),
        ("1.36.0", false),
        ("2.37.0", false),
        ("new", false),
    ] {
        let statement = format!("set_semconv_span_name({version:?})");
        let group = Group {
            signal: wire::Signal::Traces,
            functions: Functions::Transform,
            context: Some(Context::Span),
            conditions: &[],
            statements: &[&statement],
        };
        let found = Program::new(&group)
            .map(|_| ())
            .map_err(|f| format!("fault: {}", f.0[0].message));
        let fault = format!(
            "fault: set_semconv_span_name: unsupported semconv version {version:?}: must be between 1.37.0 and 1.40.0"
        );
        assert_eq!(found, if good { Ok(()) } else { Err(fault) });
    }
}

#[test]
fn buckets_are_merged() {
    // Counts 1, 2, 3 with bounds 0.5 and 1.5 in the third metric, whose point is the third.
    let check = |statement: &str, nth: usize, shown: &str, expected: &str| {
        assert_eq!(
            after(Context::DataPoint, nth, &[statement], shown),
            expected,
            "{statement}"
        );
    };
    check(
        "merge_histogram_buckets(0.5)",
        2,
        "datapoint.bucket_counts",
        "[3, 3]",
    );
    check(
        "merge_histogram_buckets(0.5)",
        2,
        "datapoint.explicit_bounds",
        "[1.5]",
    );
    check(
        "merge_histogram_buckets(1.5)",
        2,
        "datapoint.bucket_counts",
        "[1, 5]",
    );
    check(
        "merge_histogram_buckets(7)",
        2,
        "datapoint.bucket_counts",
        "[1, 2, 3]",
    );
    check(
        "merge_histogram_buckets(2, \"limit_buckets\")",
        2,
        "datapoint.bucket_counts",
        "[3, 3]",
    );
    check(
        "merge_histogram_buckets(1, \"limit_buckets\")",
        2,
        "datapoint.bucket_counts",
        "[6]",
    );
    check(
        "merge_histogram_buckets(1, \"limit_buckets\")",
        2,
        "datapoint.explicit_bounds",
        "[]",
    );
    check("merge_histogram_buckets(1)", 0, "datapoint.value_int", "-4");
    check(
        "merge_histogram_buckets(datapoint.attributes[\"none\"])",
        2,
        "datapoint.count",
        "error: the target value must not be nil",
    );
}

#[test]
fn what_is_no_path_cannot_be_edited() {
    refuses(
        "delete_matching_keys(1, \"x\")",
        "argument \"target\" must be a path",
    );
    refuses(
        "keep_matching_keys(\"x\", \"x\")",
        "argument \"target\" must be a path",
    );
    refuses("stringify_all({})", "argument \"target\" must be a path");
    refuses(
        "replace_all_matches([], \"a\", \"b\")",
        "argument \"target\" must be a path",
    );
    refuses(
        "set_semconv_span_name(\"1.37.0\")",
        "the log context does not have the function \"set_semconv_span_name\"",
    );
}
