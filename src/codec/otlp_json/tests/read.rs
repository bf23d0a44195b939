use wire::otlp::{self, Message};
use wire::{Limits, Signal};

use crate::otlp_json::{read, read_message, write_message};

/// Reads `json` as this message and writes it again.
fn again(shape: &'static Message, json: &[u8]) -> Result<String, String> {
    let mut bytes = b"before".to_vec();
    match read_message(shape, json, &mut bytes) {
        Ok(()) => {
            let mut text = Vec::new();
            write_message(shape, &bytes[6..], &mut text).expect("what was read is well formed");
            Ok(String::from_utf8(text).expect("the writer makes UTF-8"))
        }
        Err(invalid) => {
            assert_eq!(bytes, b"before", "nothing is left of a text that fails");
            Err(invalid.to_string())
        }
    }
}

#[track_caller]
fn check(shape: &'static Message, json: &str, expected: &str) {
    assert_eq!(again(shape, json.as_bytes()).as_deref(), Ok(expected), "{json}");
}

#[track_caller]
fn bytes(shape: &'static Message, json: &str, expected: &[u8]) {
    let mut out = Vec::new();
    assert_eq!(read_message(shape, json.as_bytes(), &mut out), Ok(()), "{json}");
    assert_eq!(out, expected, "{json}");
}

/// `expected`: what stands behind "malformed OTLP/JSON at byte ".
#[track_caller]
fn refused(shape: &'static Message, json: impl AsRef<[u8]>, expected: &str) {
    let json = json.as_ref();
    let text = String::from_utf8_lossy(json);
    let error = again(shape, json).expect_err(&text);
    assert_eq!(
        error.strip_prefix("malformed OTLP/JSON at byte "),
        Some(expected),
        "{text}"
    );
}

use otlp::{
    ANY_VALUE, BUCKETS, EXEMPLAR, EXP_HISTOGRAM_POINT, EXPORT_LOGS, HISTOGRAM, HISTOGRAM_POINT, KEY_VALUE,
    LINK, LOG_RECORD, METRIC, NUMBER_POINT, PROFILE, RESOURCE, RESOURCE_LOGS, SAMPLE, SPAN, STATUS, SUM,
};

#[test]
fn names_in_both_spellings() {
    check(
        &LOG_RECORD,
        r#"{"severityText":"a"}"#,
        r#"{"severityText":"a","body":{}}"#,
    );
    check(
        &LOG_RECORD,
        r#"{"severity_text":"a"}"#,
        r#"{"severityText":"a","body":{}}"#,
    );
    check(
        &LOG_RECORD,
        r#"{"severity\u0054ext":"a"}"#,
        r#"{"severityText":"a","body":{}}"#,
    );
    check(
        &LOG_RECORD,
        r#"{"severity_Text":"a","SeverityText":"a"}"#,
        r#"{"body":{}}"#,
    );
    check(
        &SPAN,
        r#"{"flags":1,"name":"n","traceState":"s"}"#,
        r#"{"traceState":"s","name":"n","status":{},"flags":1}"#,
    );
    check(&ANY_VALUE, r#"{"string_value":"a"}"#, r#"{"stringValue":"a"}"#);
    check(
        &ANY_VALUE,
        r#"{"string_value_strindex":3}"#,
        r#"{"stringValueStrindex":3}"#,
    );
    check(
        &ANY_VALUE,
        r#"{"stringValueStrindex":"-3"}"#,
        r#"{"stringValueStrindex":-3}"#,
    );
    check(
        &KEY_VALUE,
        r#"{"key_strindex":3}"#,
        r#"{"value":{},"keyStrindex":3}"#,
    );
}

#[test]
fn the_scopes_of_before_0_15() {
    for name in [
        "instrumentationLibraryLogs",
        "instrumentation_library_logs",
        "deprecatedScopeLogs",
        "deprecated_scope_logs",
        "deprecated\\u0053copeLogs",
    ] {
        let json = format!(
            r#"{{"resourceLogs":[{{"{name}":[{{"instrumentationLibrary":{{"name":"n"}},"logRecords":[{{}}]}}]}}]}}"#
        );
        let mut out = Vec::new();
        read(Signal::Logs, json.as_bytes(), &mut out).unwrap();
        let shape = wire::validate(Signal::Logs, &out, &Limits::default()).unwrap();
        assert_eq!((shape.items, shape.non_canonical), (1, true), "{name}");
        let normal = wire::normalize(Signal::Logs, &out, true).unwrap();
        assert_eq!(normal, b"\x0a\x09\x12\x07\x0a\x03\x0a\x01n\x12\x00", "{name}");
    }
}

#[test]
fn unknown_fields_are_skipped_whatever_they_hold() {
    for value in [
        "null",
        "true",
        "-1.5e+300",
        r#""a\"b""#,
        "[]",
        "{}",
        "[[],{},[{}],1]",
        r#"{"a":[{"b":{"c":[1,2,{"d":null}]}},"x"],"e":{}}"#,
        " [ 1 , { \"a\" : 2 } ] ",
    ] {
        let json = format!(r#"{{"new":{value},"name":"n","":{value},"other": {value} }}"#);
        check(&otlp::INSTRUMENTATION_SCOPE, &json, r#"{"name":"n"}"#);
    }
    refused(&SPAN, r#"{"new":[1,]}"#, "10: expected a value");
    refused(&SPAN, r#"{"new":{"a":1,}}"#, "14: expected a key");
    refused(&SPAN, r#"{"new":{"a" 1}}"#, "12: expected ':'");
    refused(&SPAN, r#"{"new":[1 2]}"#, "10: expected ',' or ']'");
    refused(&SPAN, r#"{"new":[1}"#, "9: expected ',' or ']'");
    refused(&SPAN, r#"{"new":{"a":1]}"#, "13: expected ',' or '}'");
    refused(&SPAN, r#"{"new":nul}"#, "7: expected null");
    refused(&SPAN, r#"{"new":01}"#, "7: illegal number");
    refused(&SPAN, r#"{"new":"\x"}"#, "8: illegal escape in a string");
}

#[test]
fn ids() {
    const HEX: &str = "5b8efff798038103d269b633813fc60c";
    check(
        &LINK,
        &format!(r#"{{"traceId":"{HEX}","spanId":"EEE19B7EC3C1B174"}}"#),
        &format!(r#"{{"traceId":"{HEX}","spanId":"eee19b7ec3c1b174"}}"#),
    );
    check(&LINK, r#"{"traceId":"","span_id":null}"#, "{}");
    check(
        &LINK,
        r#"{"spanId":"\u0065ee19b7ec3c1b174"}"#,
        r#"{"spanId":"eee19b7ec3c1b174"}"#,
    );
    check(
        &PROFILE,
        &format!(r#"{{"profileId":"{HEX}"}}"#),
        &format!(r#"{{"profileId":"{HEX}"}}"#),
    );
    // The last one counts, also if it is none.
    bytes(
        &LINK,
        r#"{"spanId":"eee19b7ec3c1b174","spanId":""}"#,
        b"\x12\x08\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74\x12\x00",
    );
    refused(&LINK, r#"{"traceId":"00"}"#, "11, in traceId: length mismatch");
    refused(
        &LINK,
        r#"{"traceId": "5b8efff798038103d269b633813fc60"}"#,
        "12, in traceId: length mismatch",
    );
    refused(
        &LINK,
        r#"{"spanId":"W47/95gDgQPSabYzgT/GDA=="}"#,
        "10, in spanId: length mismatch",
    );
    refused(
        &LINK,
        r#"{"spanId":"eee19b7ec3c1b17g"}"#,
        "10, in spanId: not hexadecimal",
    );
    refused(&LINK, r#"{"spanId":7}"#, "10, in spanId: expected a string");
    refused(
        &PROFILE,
        r#"{"profileId":"00"}"#,
        "13, in profileId: length mismatch",
    );
}

#[test]
fn integers_as_numbers_and_in_quotes() {
    check(
        &LOG_RECORD,
        r#"{"timeUnixNano":1581452773000000789}"#,
        r#"{"timeUnixNano":"1581452773000000789","body":{}}"#,
    );
    check(
        &LOG_RECORD,
        r#"{"timeUnixNano":"18446744073709551615"}"#,
        r#"{"timeUnixNano":"18446744073709551615","body":{}}"#,
    );
    check(
        &LOG_RECORD,
        r#"{"timeUnixNano":1.5e3}"#,
        r#"{"timeUnixNano":"1500","body":{}}"#,
    );
    refused(
        &LOG_RECORD,
        r#"{"timeUnixNano":18446744073709551616}"#,
        "16, in timeUnixNano: not an integer in the range of this field",
    );
    refused(
        &LOG_RECORD,
        r#"{"timeUnixNano":-1}"#,
        "16, in timeUnixNano: not an integer in the range of this field",
    );
    refused(
        &LOG_RECORD,
        r#"{"timeUnixNano":""}"#,
        "16, in timeUnixNano: not an integer in the range of this field",
    );
    refused(
        &LOG_RECORD,
        r#"{"timeUnixNano":0.5}"#,
        "16, in timeUnixNano: not an integer in the range of this field",
    );
    refused(
        &LOG_RECORD,
        r#"{"timeUnixNano":true}"#,
        "16, in timeUnixNano: expected a number",
    );
    check(
        &ANY_VALUE,
        r#"{"intValue":-9223372036854775808}"#,
        r#"{"intValue":"-9223372036854775808"}"#,
    );
    check(
        &ANY_VALUE,
        r#"{"intValue":"9223372036854775807"}"#,
        r#"{"intValue":"9223372036854775807"}"#,
    );
    refused(
        &ANY_VALUE,
        r#"{"intValue":9223372036854775808}"#,
        "12, in intValue: not an integer in the range of this field",
    );
    check(
        &NUMBER_POINT,
        r#"{"asInt":"-5","flags":"1"}"#,
        r#"{"asInt":"-5","flags":1}"#,
    );
    refused(
        &NUMBER_POINT,
        r#"{"asInt":9223372036854775808}"#,
        "9, in asInt: not an integer in the range of this field",
    );
    refused(
        &NUMBER_POINT,
        r#"{"flags":4294967296}"#,
        "9, in flags: not an integer in the range of this field",
    );
    check(
        &SPAN,
        r#"{"flags":4294967295}"#,
        r#"{"status":{},"flags":4294967295}"#,
    );
    refused(
        &SPAN,
        r#"{"flags":-1}"#,
        "9, in flags: not an integer in the range of this field",
    );
    check(
        &EXP_HISTOGRAM_POINT,
        r#"{"scale":-2147483648}"#,
        r#"{"scale":-2147483648}"#,
    );
    check(
        &EXP_HISTOGRAM_POINT,
        r#"{"scale":"2147483647"}"#,
        r#"{"scale":2147483647}"#,
    );
    refused(
        &EXP_HISTOGRAM_POINT,
        r#"{"scale":2147483648}"#,
        "9, in scale: not an integer in the range of this field",
    );
    check(
        &BUCKETS,
        r#"{"bucketCounts":["1",2,18446744073709551615],"offset":-1}"#,
        r#"{"offset":-1,"bucketCounts":["1","2","18446744073709551615"]}"#,
    );
    bytes(&BUCKETS, r#"{"bucketCounts":[0,300]}"#, b"\x12\x03\x00\xac\x02");
    bytes(&BUCKETS, r#"{"bucketCounts":[],"offset":0}"#, b"");
    check(
        &SAMPLE,
        r#"{"values":[-1,"2"],"timestampsUnixNano":["1"],"stackIndex":-1}"#,
        r#"{"stackIndex":-1,"values":["-1","2"],"timestampsUnixNano":["1"]}"#,
    );
    refused(
        &BUCKETS,
        r#"{"bucketCounts":[1,null]}"#,
        "19, in bucketCounts: expected a number",
    );
    refused(
        &BUCKETS,
        r#"{"bucketCounts":1}"#,
        "16, in bucketCounts: expected an array",
    );
    refused(
        &BUCKETS,
        r#"{"bucketCounts":[1,]}"#,
        "19, in bucketCounts: expected a number",
    );
}

#[test]
fn doubles() {
    check(&ANY_VALUE, r#"{"doubleValue":1.5}"#, r#"{"doubleValue":1.5}"#);
    check(&ANY_VALUE, r#"{"doubleValue":7}"#, r#"{"doubleValue":7}"#);
    check(
        &ANY_VALUE,
        r#"{"doubleValue":"-1e-7"}"#,
        r#"{"doubleValue":-1e-7}"#,
    );
    check(&ANY_VALUE, r#"{"doubleValue":"NaN"}"#, r#"{"doubleValue":"NaN"}"#);
    check(
        &ANY_VALUE,
        r#"{"doubleValue":"Infinity"}"#,
        r#"{"doubleValue":"Infinity"}"#,
    );
    check(
        &ANY_VALUE,
        r#"{"doubleValue":"-Infinity"}"#,
        r#"{"doubleValue":"-Infinity"}"#,
    );
    check(&ANY_VALUE, r#"{"doubleValue":0}"#, r#"{"doubleValue":0}"#);
    bytes(&ANY_VALUE, r#"{"doubleValue":-0.0}"#, b"\x21\0\0\0\0\0\0\0\x80");
    check(
        &HISTOGRAM_POINT,
        r#"{"explicitBounds":[1,"2.5","Infinity"],"min":0,"max":-0.5,"sum":0.0}"#,
        r#"{"sum":0,"explicitBounds":[1,2.5,"Infinity"],"min":0,"max":-0.5}"#,
    );
    refused(
        &ANY_VALUE,
        r#"{"doubleValue":NaN}"#,
        "15, in doubleValue: expected a number",
    );
    refused(
        &ANY_VALUE,
        r#"{"doubleValue":1e400}"#,
        "15, in doubleValue: not a number in the range of a double",
    );
    refused(
        &ANY_VALUE,
        r#"{"doubleValue":"1e400"}"#,
        "15, in doubleValue: not a number in the range of a double",
    );
    refused(
        &ANY_VALUE,
        r#"{"doubleValue":"fast"}"#,
        "15, in doubleValue: not a number in the range of a double",
    );
    refused(
        &ANY_VALUE,
        r#"{"doubleValue":1.}"#,
        "17, in doubleValue: illegal number",
    );
    refused(
        &ANY_VALUE,
        r#"{"doubleValue":-}"#,
        "15, in doubleValue: illegal number",
    );
    refused(
        &ANY_VALUE,
        r#"{"doubleValue":1e}"#,
        "17, in doubleValue: illegal number",
    );
    refused(
        &ANY_VALUE,
        r#"{"doubleValue":+1}"#,
        "15, in doubleValue: expected a number",
    );
}

#[test]
fn enums_by_number_and_name() {
    check(&SPAN, r#"{"kind":2}"#, r#"{"kind":2,"status":{}}"#);
    check(
        &SPAN,
        r#"{"kind":"SPAN_KIND_SERVER"}"#,
        r#"{"kind":2,"status":{}}"#,
    );
    check(&SPAN, r#"{"kind":"SPAN_KIND_UNSPECIFIED"}"#, r#"{"status":{}}"#);
    check(&SPAN, r#"{"kind":99}"#, r#"{"kind":99,"status":{}}"#);
    check(&SPAN, r#"{"kind":-1}"#, r#"{"kind":-1,"status":{}}"#);
    check(
        &STATUS,
        r#"{"code":"STATUS_CODE_ERROR","message":"m"}"#,
        r#"{"message":"m","code":2}"#,
    );
    check(
        &LOG_RECORD,
        r#"{"severityNumber":"SEVERITY_NUMBER_FATAL4"}"#,
        r#"{"severityNumber":24,"body":{}}"#,
    );
    check(
        &LOG_RECORD,
        r#"{"severityNumber":"SEVERITY_NUMBER_ERROR"}"#,
        r#"{"severityNumber":17,"body":{}}"#,
    );
    check(
        &SUM,
        r#"{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","isMonotonic":true}"#,
        r#"{"aggregationTemporality":2,"isMonotonic":true}"#,
    );
    check(
        &HISTOGRAM,
        r#"{"aggregation_temporality":"AGGREGATION_TEMPORALITY_DELTA"}"#,
        r#"{"aggregationTemporality":1}"#,
    );
    refused(&SPAN, r#"{"kind":"SERVER"}"#, "8, in kind: unknown string value");
    refused(&SPAN, r#"{"kind":"2"}"#, "8, in kind: unknown string value");
    refused(
        &SPAN,
        r#"{"kind":2147483648}"#,
        "8, in kind: not an integer in the range of this field",
    );
    refused(&SPAN, r#"{"kind":[]}"#, "8, in kind: expected a number");
}

#[test]
fn base64() {
    let check = |text: &str, expected: &str| {
        check(
            &ANY_VALUE,
            &format!(r#"{{"bytesValue":"{text}"}}"#),
            &format!(r#"{{"bytesValue":"{expected}"}}"#),
        );
    };
    check("", "");
    check("AA==", "AA==");
    check("AAE=", "AAE=");
    check("AAEC", "AAEC");
    check("AP8BAg==", "AP8BAg==");
    check(r"\/+\/+", "/+/+");
    // By protobuf's mapping; the collector wants the standard alphabet, padded.
    check("_-_-", "/+/+");
    check("AAE", "AAE=");
    check("AA", "AA==");
    // As Go's decoder: line breaks, and bits beyond the last byte.
    check(r"AP8B\r\nAg==\n", "AP8BAg==");
    check("AB==", "AA==");
    for text in [
        "A", "A===", "AA=", "AAE==", "AAEC=", "=AAE", "AA==AAEC", "AA=A", "A A=", "AAé", "AAEC====",
    ] {
        refused(
            &ANY_VALUE,
            format!(r#"{{"bytesValue":"{text}"}}"#),
            "14, in bytesValue: not base64",
        );
    }
    refused(
        &ANY_VALUE,
        r#"{"bytesValue":[1,2]}"#,
        "14, in bytesValue: expected a string",
    );
    check(&"AAAA".repeat(1000), &"AAAA".repeat(1000));
}

#[test]
fn bools_are_literals() {
    check(&ANY_VALUE, r#"{"boolValue":true}"#, r#"{"boolValue":true}"#);
    check(&ANY_VALUE, r#"{"boolValue":false}"#, r#"{"boolValue":false}"#);
    for value in ["\"true\"", "1", "True", "tru", "{}"] {
        let expected = match value {
            "tru" => "13, in boolValue: expected true",
            _ => "13, in boolValue: expected true or false",
        };
        refused(&ANY_VALUE, format!(r#"{{"boolValue":{value}}}"#), expected);
    }
}

#[test]
fn null_is_empty() {
    check(&EXPORT_LOGS, "null", "{}");
    check(&EXPORT_LOGS, r#"{"resourceLogs":null}"#, "{}");
    check(
        &EXPORT_LOGS,
        r#"{"resourceLogs":[null]}"#,
        r#"{"resourceLogs":[{"resource":{}}]}"#,
    );
    check(
        &RESOURCE_LOGS,
        r#"{"resource":null,"scopeLogs":[{"scope":null}],"schemaUrl":null}"#,
        r#"{"resource":{},"scopeLogs":[{"scope":{}}]}"#,
    );
    bytes(&RESOURCE_LOGS, r#"{"resource":null,"schemaUrl":null}"#, b"");
    check(
        &RESOURCE,
        r#"{"attributes":[{"key":null,"value":null}]}"#,
        r#"{"attributes":[{"value":{}}]}"#,
    );
    // A member of a oneof is there, and empty.
    check(&ANY_VALUE, r#"{"stringValue":null}"#, r#"{"stringValue":""}"#);
    check(&ANY_VALUE, r#"{"bytesValue":null}"#, r#"{"bytesValue":""}"#);
    check(&ANY_VALUE, r#"{"arrayValue":null}"#, r#"{"arrayValue":{}}"#);
    check(
        &ANY_VALUE,
        r#"{"kvlistValue":{"values":null}}"#,
        r#"{"kvlistValue":{}}"#,
    );
    check(
        &ANY_VALUE,
        r#"{"arrayValue":{"values":[null,{}]}}"#,
        r#"{"arrayValue":{"values":[{},{}]}}"#,
    );
    check(&METRIC, r#"{"gauge":null}"#, r#"{"gauge":{}}"#);
    // By protobuf's mapping; the collector refuses it for numbers.
    check(
        &SPAN,
        r#"{"kind":null,"flags":null,"endTimeUnixNano":null,"name":"n"}"#,
        r#"{"name":"n","status":{}}"#,
    );
    check(&ANY_VALUE, r#"{"intValue":null}"#, "{}");
    refused(&SPAN, r#"{"name":nil}"#, "8, in name: expected null");
}

#[test]
fn text_is_bytes() {
    check(
        &STATUS,
        r#"{"message":"\"\\\/\b\f\n\r\t\u0000\u00e9\u20ac\ud83d\ude00é😀"}"#,
        "{\"message\":\"\\\"\\\\/\\u0008\\u000c\\n\\r\\t\\u0000é€😀é😀\"}",
    );
    // Halves of pairs that stand alone.
    for (json, expected) in [
        (r"\ud83d", "\u{fffd}"),
        (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ud83d\n", "\u{fffd}\\n"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
    ] {
        check(
            &STATUS,
            &format!(r#"{{"message":"{json}"}}"#),
            &format!(r#"{{"message":"{expected}"}}"#),
        );
    }
    // Not UTF-8: the bytes go through.
    let mut out = Vec::new();
    read_message(&STATUS, b"{\"message\":\"a\xff\xc3\"}", &mut out).unwrap();
    assert_eq!(out, b"\x12\x03a\xff\xc3");
    refused(
        &STATUS,
        "{\"message\":\"a\nb\"}",
        "13, in message: control character in a string",
    );
    refused(
        &STATUS,
        "{\"message\":\"\0\"}",
        "12, in message: control character in a string",
    );
    refused(
        &STATUS,
        r#"{"message":"\x41"}"#,
        "12, in message: illegal escape in a string",
    );
    refused(
        &STATUS,
        r#"{"message":"\u12g4"}"#,
        "12, in message: illegal escape in a string",
    );
    refused(&STATUS, r#"{"message":'a'}"#, "11, in message: expected a string");
}

#[test]
fn what_is_given_twice() {
    // The last scalar counts, even if it is zero; lists go on; messages flow together.
    bytes(&SPAN, r#"{"kind":3,"kind":0}"#, b"\x30\x03\x30\x00");
    bytes(&SPAN, r#"{"kind":0,"kind":3}"#, b"\x30\x03");
    bytes(&SPAN, r#"{"name":"a","name":""}"#, b"\x2a\x01a\x2a\x00");
    check(&SPAN, r#"{"name":"a","name":"b"}"#, r#"{"name":"b","status":{}}"#);
    check(
        &BUCKETS,
        r#"{"bucketCounts":[1],"bucketCounts":[2]}"#,
        r#"{"bucketCounts":["1","2"]}"#,
    );
    check(
        &ANY_VALUE,
        r#"{"stringValue":"a","intValue":1}"#,
        r#"{"intValue":"1"}"#,
    );
    let twice = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a"}]},"resource":{"droppedAttributesCount":2},
        "scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"},"body":{"boolValue":true}}]}]}]}"#;
    let mut out = Vec::new();
    read(Signal::Logs, twice.as_bytes(), &mut out).unwrap();
    let shape = wire::validate(Signal::Logs, &out, &Limits::default()).unwrap();
    assert_eq!((shape.items, shape.non_canonical), (1, true));
    let mut text = Vec::new();
    write_message(
        &EXPORT_LOGS,
        &wire::normalize(Signal::Logs, &out, false).unwrap(),
        &mut text,
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"a","value":{}}],"droppedAttributesCount":2},"scopeLogs":[{"scope":{},"logRecords":[{"body":{"boolValue":true}}]}]}]}"#
    );
}

#[test]
fn what_is_no_request() {
    refused(&EXPORT_LOGS, "", "0: unexpected end of the text");
    refused(&EXPORT_LOGS, " \n", "2: unexpected end of the text");
    refused(&EXPORT_LOGS, "[]", "0: expected an object");
    refused(&EXPORT_LOGS, "\"{}\"", "0: expected an object");
    refused(&EXPORT_LOGS, "nul", "0: expected null");
    refused(&EXPORT_LOGS, "\u{feff}{}", "0: expected an object");
    refused(&EXPORT_LOGS, b"\x0a\x00", "1: expected an object");
    refused(
        &EXPORT_LOGS,
        "{\"resourceLogs\":{}}",
        "16, in resourceLogs: expected an array",
    );
    refused(
        &EXPORT_LOGS,
        "{\"resourceLogs\":[1]}",
        "17, in resourceLogs: expected an object",
    );
    refused(&EXPORT_LOGS, "{resourceLogs:[]}", "1: expected a key");
    refused(&EXPORT_LOGS, "{\"resourceLogs\":[],}", "19: expected a key");
    refused(
        &EXPORT_LOGS,
        "{\"resourceLogs\":[] \"a\":1}",
        "19: expected ',' or '}'",
    );
    check(
        &EXPORT_LOGS,
        " {\r\n\t\"resourceLogs\" : [ { } , { } ] } ",
        r#"{"resourceLogs":[{"resource":{}},{"resource":{}}]}"#,
    );
    // As the collector: nobody looks at what follows.
    check(&EXPORT_LOGS, "{}{\"resourceLogs\":[{}]}", "{}");
    check(&EXPORT_LOGS, "{} trailing", "{}");
}

/// Every beginning of a text is refused, and where it stops is said.
#[test]
fn a_text_that_was_cut() {
    let json = br#"{"resourceLogs":[{"resource":{"attributes":[{"key":"k","value":{"kvlistValue":{"values":[
        {"key":"\u00e9\n","value":{"doubleValue":-1.5e+3}},{"key":"b","value":{"bytesValue":"AAE="}}]}}}]},
        "scopeLogs":[{"logRecords":[{"timeUnixNano":"1","traceId":"5b8efff798038103d269b633813fc60c","flags":1,
        "unknown":{"a":[true,false,null,{"b":"\ud83d\ude00"}]},"body":{"boolValue":true}}]}]}]}"#;
    let mut out = Vec::new();
    read(Signal::Logs, json, &mut out).unwrap();
    for end in 0..json.len() {
        let mut out = Vec::new();
        let invalid = read(Signal::Logs, &json[..end], &mut out).expect_err("it is cut");
        assert!(out.is_empty() && invalid.position <= end, "{end}: {invalid}");
    }
}

#[test]
fn refuses_to_recurse_without_end() {
    let lists = |depth: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(depth);
        format!("{open}{}", "]}}".repeat(depth))
    };
    // The door's limit is 64; what passes here is refused there.
    let mut out = Vec::new();
    read_message(&ANY_VALUE, lists(64).as_bytes(), &mut out).unwrap();
    let refused = |json: &str| {
        let mut out = Vec::new();
        let invalid = read_message(&ANY_VALUE, json.as_bytes(), &mut out).unwrap_err();
        (invalid.reason, out.len())
    };
    use crate::otlp_json::Reason;
    assert_eq!(refused(&lists(101)), (Reason::Depth, 0));
    assert_eq!(refused(&lists(100_000)), (Reason::Depth, 0));
    // In what is skipped, levels cost a bit each.
    let skipped = |depth: usize| format!(r#"{{"new":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    read_message(&ANY_VALUE, skipped(1024).as_bytes(), &mut out).unwrap();
    assert_eq!(refused(&skipped(1025)), (Reason::Depth, 0));
    assert_eq!(
        refused(&format!(r#"{{"new":{}"#, r#"{"a":["#.repeat(1_000_000))),
        (Reason::Depth, 0)
    );
}

/// What the text grows to: at most four bytes for one, in the worst list there is.
#[test]
fn growth_is_bounded() {
    let zeros = format!(r#"{{"explicitBounds":[{}1]}}"#, "0,".repeat(10_000));
    let messages = format!(r#"{{"exemplars":[{}{{}}]}}"#, "{},".repeat(10_000));
    for json in [zeros, messages] {
        let mut out = Vec::new();
        read_message(&HISTOGRAM_POINT, json.as_bytes(), &mut out).unwrap();
        assert!(out.len() <= 4 * json.len(), "{} from {}", out.len(), json.len());
    }
    check(
        &EXEMPLAR,
        r#"{"asDouble":1,"spanId":"eee19b7ec3c1b174"}"#,
        r#"{"asDouble":1,"spanId":"eee19b7ec3c1b174"}"#,
    );
}
