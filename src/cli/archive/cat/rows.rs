//! Records as short rows for people and spreadsheets, made of OTLP/JSON.

use evidence::time::Time;
use serde::Serialize;
use serde_json::{Map, Value};
use wire::Signal;

/// Titles of a CSV.
pub(super) const COLUMNS: &str = "time,signal,tenant,service,severity,name,value,trace_id,span_id,attributes";

/// A log record, a span or a data point; what it has not is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    severity: String,
    /// Of an event, a span, a metric.
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    /// Of a data point: its number, or its count and sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    span_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parent_span_id: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    attributes: Map<String, Value>,
}

impl Row {
    /// A line of JSON.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A line of a CSV.
    pub(super) fn csv(&self, signal: Signal, tenant: &str) -> String {
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let value = match (&self.body, &self.value, self.duration_ms) {
            (Some(value), _, _) | (_, Some(value), _) => plain(value),
            (_, _, Some(ms)) => format!("{ms} ms"),
            _ => String::new(),
        };
        let attributes = match self.attributes.is_empty() {
            true => String::new(),
            false => Value::Object(self.attributes.clone()).to_string(),
        };
        let severity = if self.severity.is_empty() {
            &self.status
        } else {
            &self.severity
        };
        let cells = [
            &self.time,
            signal.as_str(),
            tenant,
            &self.service,
            severity,
            &self.name,
            &value,
            &self.trace_id,
            &self.span_id,
            &attributes,
        ];
        cells.map(cell).join(",")
    }
}

/// Quoted where it must be. Control characters that a terminal would act on are taken out.
fn cell(text: &str) -> String {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let text = text.replace(is_odd, "?");
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

/// The rows of a request in OTLP/JSON.
pub(super) fn of(signal: Signal, json: &[u8]) -> Result<Vec<Row>, String> {
    let request: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    let (groups, scopes, records) = match signal {
        Signal::Logs => ("resourceLogs", "scopeLogs", "logRecords"),
        Signal::Traces => ("resourceSpans", "scopeSpans", "spans"),
        Signal::Metrics => ("resourceMetrics", "scopeMetrics", "metrics"),
        Signal::Profiles => return Err("profiles have no rows: -o otlp-json or -o otlp-proto".to_owned()),
    };
    let mut rows = Vec::new();
    for group in list(&request, groups) {
        let resource = attributes(&group["resource"]);
        let service = resource
            .get("service.name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        for record in list(group, scopes).iter().flat_map(|scope| list(scope, records)) {
            let begin = rows.len();
            match signal {
                Signal::Logs => rows.push(log(record)),
                Signal::Traces => rows.push(span(record)),
                _ => points(record, &mut rows),
            }
            for row in &mut rows[begin..] {
                service.clone_into(&mut row.service);
            }
        }
    }
    Ok(rows)
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

/// A number of 64 bits, which JSON has as text.
fn number(of: &Value, key: &str) -> u64 {
    let value = &of[key];
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| value.as_u64()).unwrap_or_default()
}

fn time(of: &Value, key: &str) -> String {
    match number(of, key) {
        0 => String::new(),
        nanos => Time::from_nanos(nanos).to_string(),
    }
}

fn attributes(of: &Value) -> Map<String, Value> {
    let entries = list(of, "attributes").iter();
    entries
        .map(|entry| (text(entry, "key"), any(&entry["value"])))
        .collect()
}

/// A value without the name of its type.
fn any(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|of| of.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "intValue" => {
            let number = inner.as_str().and_then(|text| text.parse::<i64>().ok());
            number.map_or_else(|| inner.clone(), Value::from)
        }
        "arrayValue" => list(inner, "values").iter().map(any).collect(),
        "kvlistValue" => {
            let entries = list(inner, "values").iter();
            Value::Object(
                entries
                    .map(|entry| (text(entry, "key"), any(&entry["value"])))
                    .collect(),
            )
        }
        _ => inner.clone(),
    }
}

fn log(record: &Value) -> Row {
    let severity = match text(record, "severityText") {
        text if text.is_empty() => severity(number(record, "severityNumber")),
        text => text,
    };
    let time = match time(record, "timeUnixNano") {
        time if time.is_empty() => self::time(record, "observedTimeUnixNano"),
        time => time,
    };
    Row {
        time,
        severity,
        name: text(record, "eventName"),
        body: record.get("body").map(any),
        trace_id: text(record, "traceId"),
        span_id: text(record, "spanId"),
        attributes: attributes(record),
        ..Row::default()
    }
}

/// `INFO`, `INFO2`; nothing for what has none.
fn severity(number: u64) -> String {
    const NAMES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    match number {
        1..=24 => {
            let (name, step) = (NAMES[(number as usize - 1) / 4], (number - 1) % 4);
            match step {
                0 => name.to_owned(),
                step => format!("{name}{}", step + 1),
            }
        }
        _ => String::new(),
    }
}

fn span(span: &Value) -> Row {
    let (begin, end) = (number(span, "startTimeUnixNano"), number(span, "endTimeUnixNano"));
    let status = match number(&span["status"], "code") {
        1 => "Ok",
        2 => "Error",
        _ => "",
    };
    Row {
        time: time(span, "startTimeUnixNano"),
        name: text(span, "name"),
        duration_ms: end.checked_sub(begin).map(|nanos| nanos as f64 / 1e6),
        status: status.to_owned(),
        trace_id: text(span, "traceId"),
        span_id: text(span, "spanId"),
        parent_span_id: text(span, "parentSpanId"),
        attributes: attributes(span),
        ..Row::default()
    }
}

fn points(metric: &Value, rows: &mut Vec<Row>) {
    let kinds = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];
    for point in kinds.iter().flat_map(|kind| list(&metric[*kind], "dataPoints")) {
        let value = match (point.get("asInt"), point.get("asDouble")) {
            (Some(int), _) => any(&serde_json::json!({ "intValue": int })),
            (_, Some(double)) => double.clone(),
            _ => serde_json::json!({"count": number(point, "count"), "sum": point["sum"]}),
        };
        rows.push(Row {
            time: time(point, "timeUnixNano"),
            name: text(metric, "name"),
            unit: text(metric, "unit"),
            value: Some(value),
            attributes: attributes(point),
            ..Row::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(signal: Signal, request: &Value, expected: &[&str]) {
        let rows = of(signal, request.to_string().as_bytes()).expect("a request");
        let lines: Vec<String> = rows.iter().map(Row::json).collect();
        assert_eq!(lines, expected);
    }

    fn kv(key: &str, value: Value) -> Value {
        json!({"key": key, "value": value})
    }

    #[test]
    fn logs_are_rows() {
        let resource = json!({"attributes": [kv("service.name", json!({"stringValue": "checkout"}))]});
        let first = json!({
            "timeUnixNano": "1763647561000000000", "severityNumber": 17, "severityText": "ERROR",
            "body": {"stringValue": "db timeout"},
        });
        let second = json!({
            "observedTimeUnixNano": "1763647561000000000", "severityNumber": 10, "eventName": "e", "traceId": "0a", "spanId": "0b",
            "body": {"kvlistValue": {"values": [kv("a", json!({"intValue": "9007199254740993"}))]}},
            "attributes": [kv("l", json!({"arrayValue": {"values": [{"boolValue": true}, {"doubleValue": 1.5}, {}]}}))],
        });
        let request = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [first, second, {}]}]}]});
        check(
            Signal::Logs,
            &request,
            &[
                r#"{"time":"2025-11-20T14:06:01.000Z","service":"checkout","severity":"ERROR","body":"db timeout"}"#,
                r#"{"time":"2025-11-20T14:06:01.000Z","service":"checkout","severity":"INFO2","name":"e","body":{"a":9007199254740993},"trace_id":"0a","span_id":"0b","attributes":{"l":[true,1.5,null]}}"#,
                r#"{"time":"","service":"checkout"}"#,
            ],
        );
    }

    #[test]
    fn spans_are_rows() {
        let span = json!({
            "name": "GET /", "traceId": "0a", "spanId": "0b", "parentSpanId": "0c", "status": {"code": 2},
            "startTimeUnixNano": "1763647561000000000", "endTimeUnixNano": "1763647561002500000",
        });
        check(
            Signal::Traces,
            &json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}),
            &[
                r#"{"time":"2025-11-20T14:06:01.000Z","name":"GET /","duration_ms":2.5,"status":"Error","trace_id":"0a","span_id":"0b","parent_span_id":"0c"}"#,
            ],
        );
    }

    #[test]
    fn points_are_rows() {
        let at = "1763647561000000000";
        let metrics = json!([
            {"name": "a", "unit": "By", "gauge": {"dataPoints": [{"timeUnixNano": at, "asInt": "-3"}, {"timeUnixNano": at, "asDouble": 0.5}]}},
            {"name": "h", "histogram": {"dataPoints": [{"timeUnixNano": at, "count": "4", "sum": 2.5}]}},
        ]);
        check(
            Signal::Metrics,
            &json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}),
            &[
                r#"{"time":"2025-11-20T14:06:01.000Z","name":"a","unit":"By","value":-3}"#,
                r#"{"time":"2025-11-20T14:06:01.000Z","name":"a","unit":"By","value":0.5}"#,
                r#"{"time":"2025-11-20T14:06:01.000Z","name":"h","value":{"count":4,"sum":2.5}}"#,
            ],
        );
    }

    #[test]
    fn cells_are_quoted_and_cannot_move_the_cursor() {
        let check = |text: &str, expected: &str| assert_eq!(cell(text), expected);
        check("plain", "plain");
        check("a,b", "\"a,b\"");
        check("say \"no\"", "\"say \"\"no\"\"\"");
        check("two\nlines", "\"two\nlines\"");
        check("\u{1b}[2J", "?[2J");
    }

    #[test]
    fn severities_have_names() {
        let check = |number: u64, expected: &str| assert_eq!(severity(number), expected, "{number}");
        check(0, "");
        check(1, "TRACE");
        check(9, "INFO");
        check(12, "INFO4");
        check(24, "FATAL4");
        check(25, "");
    }
}
