//! OTLP/JSON over HTTP: what is taken, what is answered, and what bad texts cost.

use super::*;

const JSON: &str = "content-type: application/json\r\n";

async fn json_post(addr: SocketAddr, headers: &str, body: impl AsRef<[u8]>) -> (u16, String, String) {
    let request = post("/v1/logs", &format!("{JSON}{headers}"), body.as_ref());
    let (status, head, body) = http_raw(addr, &request).await;
    (status, head, String::from_utf8(body).unwrap())
}

/// What [`logs`] is in JSON.
fn json_logs(n: usize) -> String {
    let records = vec!["{}"; n].join(",");
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#)
}

#[tokio::test]
async fn json_becomes_protobuf_and_is_answered_in_json() {
    let running = start().await;
    let text = json_logs(3);
    for (headers, body) in [
        (JSON.to_owned(), text.clone().into_bytes()),
        (
            "content-type: Application/JSON ; charset=utf-8\r\n".to_owned(),
            text.clone().into_bytes(),
        ),
        (
            format!("{JSON}content-encoding: gzip\r\n"),
            encode(Encoding::Gzip, 0, &[text.clone().into()]).to_vec(),
        ),
    ] {
        let (status, head, answer) = http_raw(running.http, &post("/v1/logs", &headers, &body)).await;
        assert_eq!(status, 200, "{headers}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        assert_eq!(answer, br#"{"partialSuccess":{}}"#);
        let payload = running.pipeline.seen.lock().pop().unwrap();
        assert_eq!((payload.items, &payload.chunks[0].bytes()[..]), (3, &logs(3)[..]));
        assert!(
            payload.chunks[0].twin.is_none(),
            "the compressed body is no protobuf"
        );
    }
    // Nothing in it: a success, and nothing to hand on.
    for empty in ["{}", "null", r#"{"resourceLogs":[{"scopeLogs":[]}]}"#] {
        let (status, _, answer) = json_post(running.http, "", empty).await;
        assert_eq!(
            (status, answer.as_str()),
            (200, r#"{"partialSuccess":{}}"#),
            "{empty}"
        );
    }
    assert!(running.pipeline.seen.lock().is_empty());
    assert_eq!(running.receiver.cx.memory.used(Class::Door), 0);
    running.telemetry.ledger.check().unwrap();
}

#[tokio::test]
async fn says_every_verdict_in_json() {
    let running = start().await;
    for (verdict, (code, hint), (http, _)) in verdicts() {
        running.next_verdict(verdict.clone());
        let (status, head, body) = json_post(running.http, "", json_logs(3)).await;
        assert_eq!(status, http, "{verdict:?}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = match &verdict {
            Ok(_) => serde_json::json!({ "partialSuccess": {} }),
            Err(refusal) => {
                let mut expected = serde_json::json!({ "code": code, "message": refusal.message() });
                if let Some(ms) = hint {
                    expected["details"] = serde_json::json!([{
                        "@type": "type.googleapis.com/google.rpc.RetryInfo",
                        "retryDelay": format!("{}.{:03}s", ms / 1000, ms % 1000),
                    }]);
                }
                expected
            }
        };
        assert_eq!(body, expected, "{verdict:?}");
    }
    running.next_verdict(Ok(Outcome {
        rejected: vec![Rejection {
            rule: "r".into(),
            items: 2,
            message: "over the rate".into(),
        }],
    }));
    let (status, _, body) = json_post(running.http, "", json_logs(3)).await;
    let expected = r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"over the rate"}}"#;
    assert_eq!((status, body.as_str()), (200, expected));
    running.telemetry.ledger.check().unwrap();
}

#[tokio::test]
async fn refuses_what_is_no_json_request() {
    let running = start().await;
    let value = |value: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#)
    };
    let nested = |n: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(n);
        value(&format!("{open}{}", "]}}".repeat(n)))
    };
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (
            "".into(),
            "malformed OTLP/JSON at byte 0: unexpected end of the text",
        ),
        (
            "<html>".into(),
            "malformed OTLP/JSON at byte 0: expected an object",
        ),
        (logs(1), "malformed OTLP/JSON at byte 1: expected an object"),
        (
            value("{,").into(),
            "malformed OTLP/JSON at byte 55, in body: expected a key",
        ),
        (
            value(r#"{"intValue":"x"}"#).into(),
            "byte 66, in intValue: not an integer in the range of this field",
        ),
        (value(r#"{"bytesValue":"*"}"#).into(), "in bytesValue: not base64"),
        (
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"12"}]}]}]}"#.into(),
            "in traceId: length mismatch",
        ),
        // The door's own limit, which is protobuf's too, and the reader's.
        (nested(66).into(), "malformed OTLP/JSON: values nested too deep"),
        (nested(10_000).into(), "values nested too deep"),
        (
            json_logs(2).as_bytes()[..50].to_vec(),
            "byte 50, in logRecords: unexpected end of the text",
        ),
    ];
    for (n, (body, text)) in rows.iter().enumerate() {
        let (status, head, answer) = json_post(running.http, "", body).await;
        assert_eq!(status, 400, "{text}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["code"], 3, "{text}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(text), "{message} instead of {text}");
        assert_eq!(running.counted("http", "malformed"), n as u64 + 1);
    }
    let (status, ..) = json_post(running.http, "", nested(65)).await;
    assert_eq!(status, 200);
    // The limit holds before and after inflation, and is said in JSON.
    let long = format!("{}{}", " ".repeat(21 << 20), json_logs(1));
    let packed = encode(Encoding::Gzip, 0, &[long.into()]);
    let (status, head, answer) = json_post(running.http, "content-encoding: gzip\r\n", &packed).await;
    assert_eq!(status, 413);
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert_eq!(answer, r#"{"code":8,"message":"http: request body too large"}"#);
    assert_eq!(running.receiver.cx.memory.used(Class::Door), 0);
    running.telemetry.ledger.check().unwrap();
}

#[tokio::test]
async fn text_that_is_not_utf8_passes_unless_strict() {
    let body = b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"severityText\":\"\xff\"}]}]}]}";
    let running = start().await;
    assert_eq!(json_post(running.http, "", body).await.0, 200);
    let payload = running.pipeline.seen.lock().pop().unwrap();
    assert!(payload.chunks[0].bytes().ends_with(b"\x1a\x01\xff"));
    let strict = "{strict_utf8: true, protocols: {http: {endpoint: '127.0.0.1:0'}}}";
    let running = start_with(strict, Pipeline::default(), 1 << 30).await;
    let (status, _, answer) = json_post(running.http, "", body).await;
    assert_eq!(status, 400);
    assert!(
        answer.contains("malformed OTLP/JSON: text is not utf-8"),
        "{answer}"
    );
}

/// Texts made to be dear, a megabyte each: all are answered, what they may become is reserved before it is made,
/// nothing stays reserved, and a good request is served while they run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dear_texts_are_bounded() {
    const SIZE: usize = 1 << 20;
    let within = |open: &str, fill: &str, close: &str| {
        let fill = fill.repeat((SIZE - open.len() - close.len()) / fill.len());
        format!("{open}{fill}{close}")
    };
    let rows = [
        ("brackets without end", within("", "[", ""), 400),
        ("unknown brackets without end", within(r#"{"x":"#, "[", ""), 400),
        (
            "values without end",
            within(
                r#"{"resourceLogs":[{"resource":{"attributes":[{"value":"#,
                r#"{"arrayValue":{"values":["#,
                "",
            ),
            400,
        ),
        (
            "a number of many digits",
            within(
                r#"{"resourceLogs":[{"resource":{"droppedAttributesCount":"#,
                "9",
                "}}]}",
            ),
            400,
        ),
        (
            "a fraction of many zeros",
            within(
                r#"{"resourceLogs":[{"resource":{"droppedAttributesCount":1."#,
                "0",
                "}}]}",
            ),
            200,
        ),
        (
            "a double of many digits",
            within(
                r#"{"resourceLogs":[{"resource":{"attributes":[{"value":{"doubleValue":0."#,
                "7",
                "}}]}}]}",
            ),
            200,
        ),
        (
            "an unknown number of many digits",
            within(r#"{"x":1"#, "0", "}"),
            200,
        ),
        ("a string that does not end", within(r#"{"x":""#, "a", ""), 400),
        (
            "lone surrogates",
            within(r#"{"resourceLogs":[{"schemaUrl":""#, r"\ud800", r#""}]}"#),
            200,
        ),
        (
            "a key of many escapes",
            within(r#"{""#, r"\u0041", r#"":1}"#),
            200,
        ),
        (
            "one key again and again",
            within(
                r#"{"resourceLogs":[{"#,
                r#""schemaUrl":"a","#,
                r#""schemaUrl":"b"}]}"#,
            ),
            200,
        ),
        (
            "many unknown keys",
            within("{", r#""unknown":0,"#, r#""x":0}"#),
            200,
        ),
        (
            "groups of nothing",
            within(r#"{"resourceLogs":["#, "{},", "{}]}"),
            200,
        ),
        ("white space", within("{", " \n", "}"), 200),
        (
            "bytes that are no text",
            within(r#"{"x":""#, "\u{fffd}", r#""}"#),
            200,
        ),
        (
            "a long string, many levels down",
            within(
                &format!(
                    r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"value":{}{{"stringValue":""#,
                    r#"{"arrayValue":{"values":["#.repeat(60)
                ),
                "a",
                &format!(r#""}}{}}}]}}}}]}}"#, "]}}".repeat(60)),
            ),
            200,
        ),
    ];
    // Room for five times the body (itself, and what it may become) and for a small request beside it.
    let running = start_with(BOTH, Pipeline::default(), 5 * SIZE + 1000).await;
    let small = logs(1);
    for (name, body, expected) in &rows {
        let (dear, good) = tokio::join!(
            json_post(running.http, "", body),
            http_post(running.http, "", &small)
        );
        assert_eq!(dear.0, *expected, "{name}: {}", dear.2);
        assert_eq!(good.0, 200, "beside {name}");
        assert_eq!(running.receiver.cx.memory.used(Class::Door), 0, "{name}");
    }
    // Without that room it is not begun.
    let running = start_with(BOTH, Pipeline::default(), 4 * SIZE).await;
    let (status, head, _) = json_post(running.http, "", &rows[12].1).await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 1"), "{head}");
    assert_eq!(running.counted("http", "busy"), 1);
    assert_eq!(running.receiver.cx.memory.used(Class::Door), 0);
}
