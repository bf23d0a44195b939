use proptest::prelude::*;

use super::*;

/// A text's lines, each in a short form.
fn lines(text: &str, format: Format) -> Result<Vec<String>, String> {
    let mut reader = Reader::new(text, format);
    let mut out = Vec::new();
    while let Some(line) = reader.read().map_err(|e| e.to_string())? {
        out.push(match line {
            Line::Type(name, kind) => format!("type {name} {}", kind.as_str()),
            Line::Help(name, text) => format!("help {name} {text:?}"),
            Line::Unit(name, unit) => format!("unit {name} {unit}"),
            Line::Sample(sample) => {
                let pairs = |labels: &[Label<'_>]| {
                    let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
                    pairs.join(",")
                };
                let mut text = format!("{}{{{}}} {:?}", sample.name, pairs(&reader.labels), sample.value);
                if let Some(ms) = sample.timestamp_ms {
                    text += &format!(" @{ms}");
                }
                if let Some(e) = sample.exemplar {
                    text += &format!(
                        " # {{{}}} {:?} {:?}",
                        pairs(&reader.exemplar_labels),
                        e.value,
                        e.timestamp_ms
                    );
                }
                text
            }
        });
    }
    Ok(out)
}

#[track_caller]
fn check(format: Format, text: &str, expected: Result<&[&str], &str>) {
    let got = lines(text, format);
    let expected = expected
        .map(|lines| lines.iter().map(ToString::to_string).collect::<Vec<_>>())
        .map_err(str::to_owned);
    assert_eq!(got, expected, "{text}");
}

#[test]
fn reads_the_text_format() {
    let text = |text: &str, expected: &[&str]| check(Format::Text, text, Ok(expected));
    text("", &[]);
    text("\n \t\n# just a comment\n#\n# EOF\n", &[]);
    text("a 1", &["a{} 1.0"]);
    text("a 1\r\nb 2\r\n", &["a{} 1.0", "b{} 2.0"]);
    text("  a_b:c9 {} 1.5e3 -7 ", &["a_b:c9{} 1500.0 @-7"]);
    text(
        "a{x=\"1\",y=\"2\",} 1 1700000000000",
        &["a{x=\"1\",y=\"2\"} 1.0 @1700000000000"],
    );
    text("a{ x = \"1\" , y=\"2\" }1", &["a{x=\"1\",y=\"2\"} 1.0"]);
    text(r#"a{x="q\"b\\n\nz\t"} 1"#, &[r#"a{x="q\"b\\n\nz\\t"} 1.0"#]);
    text("a{x=\"}, y=\\\"\"} 1", &["a{x=\"}, y=\\\"\"} 1.0"]);
    text("a{x=\"ü\"} 1", &["a{x=\"ü\"} 1.0"]);
    text(
        "{\"http.requests\",\"a.b\"=\"1\",c=\"2\"} 1",
        &["http.requests{a.b=\"1\",c=\"2\"} 1.0"],
    );
    text(
        "a NaN\na +Inf\na -Inf\na Inf\na .5\na 1.\na -0",
        &[
            "a{} NaN", "a{} inf", "a{} -inf", "a{} inf", "a{} 0.5", "a{} 1.0", "a{} -0.0",
        ],
    );
    text(
        "# TYPE a counter\n#TYPE b untyped\n#  TYPE\tc  histogram ",
        &["type a counter", "type b unknown", "type c histogram"],
    );
    text(
        "# HELP a A \\\"text\\\" \\\\ \\n end\n# HELP b\n# UNIT a s",
        &[r#"help a "A \\\"text\\\" \\ \n end""#, "help b \"\"", "unit a s"],
    );
    text("# TYPE \"a.b\" gauge", &["type a.b gauge"]);
    text("# TYPES a b", &[]);
}

#[test]
fn reads_openmetrics() {
    let text = |text: &str, expected: &[&str]| check(Format::OpenMetrics, text, Ok(expected));
    text("# EOF\n", &[]);
    text("# EOF", &[]);
    text(
        "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n# EOF\n",
        &[
            "type a_seconds gauge",
            "unit a_seconds seconds",
            "a_seconds{} 1.0",
        ],
    );
    text("# HELP a say \\\"so\\\"\n# EOF", &["help a \"say \\\"so\\\"\""]);
    text("a 1 1700000000.25\n# EOF", &["a{} 1.0 @1700000000250"]);
    text(
        "a_total 1 # {trace_id=\"ab\",x=\"1\"} 0.5 12.5\n# EOF",
        &["a_total{} 1.0 # {trace_id=\"ab\",x=\"1\"} 0.5 Some(12500)"],
    );
    text(
        "a_total{l=\"#\"} 1 2 # {} 0.5\n# EOF",
        &["a_total{l=\"#\"} 1.0 @2000 # {} 0.5 None"],
    );
    for kind in [
        "counter",
        "gauge",
        "histogram",
        "summary",
        "gaugehistogram",
        "stateset",
        "info",
        "unknown",
    ] {
        text(&format!("# TYPE a {kind}\n# EOF"), &[&format!("type a {kind}")]);
    }
}

#[test]
fn refuses_what_breaks_the_format() {
    let text = |text: &str, expected: &str| check(Format::Text, text, Err(expected));
    text("a 1\nb", "line 2: a value that is no number");
    text("a", "line 1: a value that is no number");
    text("a x", "line 1: a value that is no number");
    text("a 1_000", "line 1: a value that is no number");
    text("a 1 x", "line 1: a timestamp that is no number");
    text("a 1 1.5", "line 1: a timestamp that is no number");
    text(
        "a 1 99999999999999999999",
        "line 1: a timestamp that is no number",
    );
    text("a 1 2 3", "line 1: something behind the sample");
    text("a 1 # {} 1", "line 1: something behind the sample");
    text("9a 1", "line 1: a name of a metric was expected");
    text("-a 1", "line 1: a name of a metric was expected");
    text("{a=\"1\"} 1", "line 1: a sample without a name");
    text("a{x=1} 1", "line 1: a value of a label without quotes");
    text("a{x} 1", "line 1: a label without a value");
    text("a{\"b\"} 1", "line 1: a label without a value");
    text("{\"a\",\"b\"} 1", "line 1: a label without a value");
    text("a{x=\"1\" y=\"2\"} 1", "line 1: a comma or a brace was expected");
    text("a{x=\"1\"", "line 1: a comma or a brace was expected");
    text("a{x=\"1", "line 1: a quote that does not end");
    text("a{x=\"1\\", "line 1: a quote that does not end");
    text("a{,} 1", "line 1: a name of a label was expected");
    text("a{x:y=\"1\"} 1", "line 1: a label without a value");
    text("# TYPE a number", "line 1: unknown type of a metric");
    text("# TYPE 9 gauge", "line 1: a name of a metric was expected");
    let many = |n: usize| format!("a{{{}}} 1", "x=\"\",".repeat(n));
    assert!(lines(&many(LABELS_MAX), Format::Text).is_ok());
    text(&many(LABELS_MAX + 1), "line 1: too many labels");

    let text = |text: &str, expected: &str| check(Format::OpenMetrics, text, Err(expected));
    text("", "line 0: the text ends without # EOF");
    text("a 1\n", "line 1: the text ends without # EOF");
    text("# EOF\na 1\n", "line 2: the text goes on behind # EOF");
    text("a 1 NaN\n# EOF", "line 1: a timestamp that is no number");
    text("a 1 1e300\n# EOF", "line 1: a timestamp that is no number");
    text("a 1 # 5\n# EOF", "line 1: an exemplar without labels");
    text("a 1 # {} x\n# EOF", "line 1: a value that is no number");
    text("a 1 # {} 1 2 3\n# EOF", "line 1: something behind the sample");
}

#[test]
fn a_content_type_names_the_format() {
    let check = |value, expected| assert_eq!(Format::of_content_type(value), expected, "{value}");
    check("text/plain; version=0.0.4; charset=utf-8", Some(Format::Text));
    check("text/plain", Some(Format::Text));
    check(
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Some(Format::OpenMetrics),
    );
    check(
        "Application/OpenMetrics-Text;version=1.0.0",
        Some(Format::OpenMetrics),
    );
    check("text/html", None);
    check("", None);
}

proptest! {
    /// Any names, values and labels, written down, are read as they were.
    #[test]
    fn what_is_written_is_read(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}",
        labels in prop::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,8}", "\\PC{0,8}|[\\\\\"\n]{0,4}"), 0..5),
        value in any::<f64>(),
        timestamp in prop::option::of(any::<i64>()),
    ) {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
        let mut text = format!("{name}{{{}}} {value:?}", pairs.join(","));
        if let Some(timestamp) = timestamp {
            text += &format!(" {timestamp}");
        }
        let mut reader = Reader::new(&text, Format::Text);
        let Some(Line::Sample(sample)) = reader.read().unwrap() else {
            panic!("no sample: {text}");
        };
        prop_assert_eq!(&*sample.name, &name);
        prop_assert!(sample.value == value || (sample.value.is_nan() && value.is_nan()));
        prop_assert_eq!(sample.timestamp_ms, timestamp);
        let read: Vec<(String, String)> = reader.labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        prop_assert_eq!(read, labels);
    }
}
