//! The text of `verbosity: detailed`: every field on a line of its own, in the collector's words.

use std::fmt::Write;

use codec::time::Civil;
use wire::Signal;
use wire::view::Value;

use super::message::{Data, Message, bound, hex, typed};

/// Appends the text of one encoded request. Profiles have none.
pub(super) fn write(signal: Signal, request: &[u8], out: &mut String) {
    let (resource_title, scope_title) = match signal {
        Signal::Logs => ("ResourceLog", "ScopeLogs"),
        Signal::Traces => ("ResourceSpans", "ScopeSpans"),
        Signal::Metrics => ("ResourceMetrics", "ScopeMetrics"),
        Signal::Profiles => return,
    };
    for (i, group) in Message(request).each(1).enumerate() {
        line(out, format_args!("{resource_title} #{i}"));
        line(out, format_args!("Resource SchemaURL: {}", group.text(3)));
        attributes("Resource attributes", group.sub(1), 1, out);
        for (j, scope_group) in group.each(2).enumerate() {
            let scope = scope_group.sub(1);
            line(out, format_args!("{scope_title} #{j}"));
            line(
                out,
                format_args!("{scope_title} SchemaURL: {}", scope_group.text(3)),
            );
            line(
                out,
                format_args!("InstrumentationScope {} {}", scope.text(1), scope.text(2)),
            );
            attributes("InstrumentationScope attributes", scope, 3, out);
            for (k, record) in scope_group.each(2).enumerate() {
                match signal {
                    Signal::Logs => log_record(k, record, out),
                    Signal::Traces => span(k, record, out),
                    _ => metric(k, record, out),
                }
            }
        }
    }
}

fn line(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
    out.push('\n');
}

/// A title and a line an attribute; nothing if there is none. Below an arrow, everything stands further right.
fn attributes(title: &str, of: Message<'_>, number: u32, out: &mut String) {
    let indent = title.split_once("->").map_or("", |(before, _)| before);
    for (i, (key, value)) in of.attributes(number).enumerate() {
        if i == 0 {
            line(out, format_args!("{title}:"));
        }
        line(out, format_args!("{indent}     -> {key}: {}", typed(value)));
    }
}

fn time(nanos: u64) -> impl std::fmt::Display {
    Civil::from_unix_nanos(nanos).go()
}

fn log_record(k: usize, record: Message<'_>, out: &mut String) {
    line(out, format_args!("LogRecord #{k}"));
    line(out, format_args!("ObservedTimestamp: {}", time(record.fixed(11))));
    line(out, format_args!("Timestamp: {}", time(record.fixed(1))));
    line(out, format_args!("SeverityText: {}", record.text(3)));
    let severity = record.int(2);
    line(
        out,
        format_args!("SeverityNumber: {}({severity})", severity_name(severity)),
    );
    if !record.sub(12).0.is_empty() {
        line(out, format_args!("EventName: {}", record.text(12)));
    }
    line(out, format_args!("Body: {}", typed(Value::new(record.sub(5).0))));
    attributes("Attributes", record, 6, out);
    line(out, format_args!("Trace ID: {}", hex(record.sub(9).0)));
    line(out, format_args!("Span ID: {}", hex(record.sub(10).0)));
    line(out, format_args!("Flags: {}", record.fixed(8)));
}

fn severity_name(number: u64) -> String {
    const NAMES: [&str; 6] = ["Trace", "Debug", "Info", "Warn", "Error", "Fatal"];
    match number {
        0 => "Unspecified".into(),
        1..=24 if number % 4 == 1 => NAMES[(number as usize - 1) / 4].into(),
        1..=24 => format!("{}{}", NAMES[(number as usize - 1) / 4], (number - 1) % 4 + 1),
        _ => String::new(),
    }
}

fn span(k: usize, span: Message<'_>, out: &mut String) {
    line(out, format_args!("Span #{k}"));
    let mut field =
        |name: &str, value: &dyn std::fmt::Display| line(out, format_args!("    {name:<15}: {value}"));
    field("Trace ID", &hex(span.sub(1).0));
    field("Parent ID", &hex(span.sub(4).0));
    field("ID", &hex(span.sub(2).0));
    field("Name", &span.text(5));
    field(
        "Kind",
        &name_of(
            span.int(6),
            &[
                "Unspecified",
                "Internal",
                "Server",
                "Client",
                "Producer",
                "Consumer",
            ],
        ),
    );
    if !span.sub(3).0.is_empty() {
        field("TraceState", &span.text(3));
    }
    field("Start time", &time(span.fixed(7)));
    field("End time", &time(span.fixed(8)));
    field(
        "Status code",
        &name_of(span.sub(15).int(3), &["Unset", "Ok", "Error"]),
    );
    field("Status message", &span.sub(15).text(2));
    for (name, number) in [
        ("DroppedAttributesCount", 10),
        ("DroppedEventsCount", 12),
        ("DroppedLinksCount", 14),
    ] {
        if span.int(number) > 0 {
            field(name, &span.int(number));
        }
    }
    attributes("Attributes", span, 9, out);
    for (i, event) in span.each(11).enumerate() {
        if i == 0 {
            line(out, format_args!("Events:"));
        }
        line(out, format_args!("SpanEvent #{i}"));
        line(out, format_args!("     -> Name: {}", event.text(2)));
        line(out, format_args!("     -> Timestamp: {}", time(event.fixed(1))));
        line(
            out,
            format_args!("     -> DroppedAttributesCount: {}", event.int(4)),
        );
        attributes("     -> Attributes:", event, 3, out);
    }
    for (i, link) in span.each(13).enumerate() {
        if i == 0 {
            line(out, format_args!("Links:"));
        }
        line(out, format_args!("SpanLink #{i}"));
        line(out, format_args!("     -> Trace ID: {}", hex(link.sub(1).0)));
        line(out, format_args!("     -> ID: {}", hex(link.sub(2).0)));
        line(out, format_args!("     -> TraceState: {}", link.text(3)));
        line(
            out,
            format_args!("     -> DroppedAttributesCount: {}", link.int(5)),
        );
        attributes("     -> Attributes:", link, 4, out);
    }
}

fn name_of(number: u64, names: &[&'static str]) -> &'static str {
    names.get(number as usize).copied().unwrap_or("")
}

fn metric(k: usize, metric: Message<'_>, out: &mut String) {
    line(out, format_args!("Metric #{k}"));
    line(out, format_args!("Descriptor:"));
    line(out, format_args!("     -> Name: {}", metric.text(1)));
    line(out, format_args!("     -> Description: {}", metric.text(2)));
    line(out, format_args!("     -> Unit: {}", metric.text(3)));
    let data = Data::of(metric);
    let (kind, points, monotonic, temporality) = match data {
        Data::None => ("Empty", Message(&[]), false, false),
        Data::Gauge(points) => ("Gauge", points, false, false),
        Data::Sum(points) => ("Sum", points, true, true),
        Data::Histogram(points) => ("Histogram", points, false, true),
        Data::ExponentialHistogram(points) => ("ExponentialHistogram", points, false, true),
        Data::Summary(points) => ("Summary", points, false, false),
    };
    line(out, format_args!("     -> DataType: {kind}"));
    if monotonic {
        line(out, format_args!("     -> IsMonotonic: {}", points.int(3) != 0));
    }
    if temporality {
        let name = name_of(points.int(2), &["Unspecified", "Delta", "Cumulative"]);
        line(out, format_args!("     -> AggregationTemporality: {name}"));
    }
    for (n, point) in points.each(1).enumerate() {
        match data {
            Data::Gauge(_) | Data::Sum(_) => number_point(n, point, out),
            Data::Histogram(_) => histogram_point(n, point, out),
            Data::ExponentialHistogram(_) => exponential_point(n, point, out),
            Data::Summary(_) => summary_point(n, point, out),
            Data::None => {}
        }
    }
}

fn point_head(title: &str, n: usize, point: Message<'_>, attributes_number: u32, out: &mut String) {
    line(out, format_args!("{title} #{n}"));
    attributes("Data point attributes", point, attributes_number, out);
    line(out, format_args!("StartTimestamp: {}", time(point.fixed(2))));
    line(out, format_args!("Timestamp: {}", time(point.fixed(3))));
}

fn number_point(n: usize, point: Message<'_>, out: &mut String) {
    point_head("NumberDataPoints", n, point, 7, out);
    value("Value", point, 6, 4, out);
    exemplars(point, 5, out);
}

/// An integer as it is, a double with six decimals.
fn value(title: &str, of: Message<'_>, int: u32, double: u32, out: &mut String) {
    if of.has(int) {
        line(out, format_args!("{title}: {}", of.fixed(int) as i64));
    } else {
        line(out, format_args!("{title}: {:.6}", of.double(double)));
    }
}

fn extremes(point: Message<'_>, numbers: [u32; 3], out: &mut String) {
    line(out, format_args!("Count: {}", point.fixed(4)));
    for (name, number) in ["Sum", "Min", "Max"]
        .iter()
        .zip(numbers)
        .filter(|(_, n)| point.has(*n))
    {
        line(out, format_args!("{name}: {:.6}", point.double(number)));
    }
}

fn histogram_point(n: usize, point: Message<'_>, out: &mut String) {
    point_head("HistogramDataPoints", n, point, 9, out);
    extremes(point, [5, 11, 12], out);
    for (i, bound) in point.fixed_list(7).into_iter().enumerate() {
        line(
            out,
            format_args!("ExplicitBounds #{i}: {:.6}", f64::from_bits(bound)),
        );
    }
    for (i, count) in point.fixed_list(6).into_iter().enumerate() {
        line(out, format_args!("Buckets #{i}, Count: {count}"));
    }
    exemplars(point, 8, out);
}

fn exponential_point(n: usize, point: Message<'_>, out: &mut String) {
    point_head("ExponentialHistogramDataPoints", n, point, 1, out);
    extremes(point, [5, 12, 13], out);
    let scale = point.sint(6);
    let (positive, negative) = (point.sub(8), point.sub(9));
    for (i, count) in negative.int_list(2).into_iter().enumerate().rev() {
        let index = i64::from(negative.sint(1)) + i as i64;
        let (low, high) = (-bound(scale, index + 1), -bound(scale, index));
        line(out, format_args!("Bucket [{low:.6}, {high:.6}), Count: {count}"));
    }
    if point.fixed(7) > 0 {
        line(out, format_args!("Bucket [0, 0], Count: {}", point.fixed(7)));
    }
    for (i, count) in positive.int_list(2).into_iter().enumerate() {
        let index = i64::from(positive.sint(1)) + i as i64;
        let (low, high) = (bound(scale, index), bound(scale, index + 1));
        line(out, format_args!("Bucket ({low:.6}, {high:.6}], Count: {count}"));
    }
    exemplars(point, 11, out);
}

fn summary_point(n: usize, point: Message<'_>, out: &mut String) {
    point_head("SummaryDataPoints", n, point, 7, out);
    line(out, format_args!("Count: {}", point.fixed(4)));
    line(out, format_args!("Sum: {:.6}", point.double(5)));
    for (i, at) in point.each(6).enumerate() {
        let (quantile, value) = (at.double(1), at.double(2));
        line(
            out,
            format_args!("QuantileValue #{i}: Quantile {quantile:.6}, Value {value:.6}"),
        );
    }
}

fn exemplars(point: Message<'_>, number: u32, out: &mut String) {
    for (i, exemplar) in point.each(number).enumerate() {
        if i == 0 {
            line(out, format_args!("Exemplars:"));
        }
        line(out, format_args!("Exemplar #{i}"));
        line(out, format_args!("     -> Trace ID: {}", hex(exemplar.sub(5).0)));
        line(out, format_args!("     -> Span ID: {}", hex(exemplar.sub(4).0)));
        line(
            out,
            format_args!("     -> Timestamp: {}", time(exemplar.fixed(2))),
        );
        value("     -> Value", exemplar, 6, 3, out);
        attributes("     -> FilteredAttributes:", exemplar, 7, out);
    }
}
