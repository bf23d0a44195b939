//! The text of `verbosity: normal`: a line a resource, a scope, and a record or point.

use std::fmt::Write;

use wire::Signal;

use super::message::{Data, Message, as_string, bound, hex};

/// Appends the text of one encoded request. Profiles have none.
pub(super) fn write(signal: Signal, request: &[u8], out: &mut String) {
    let (resource_title, scope_title) = match signal {
        Signal::Logs => ("ResourceLog", "ScopeLog"),
        Signal::Traces => ("ResourceTraces", "ScopeTraces"),
        Signal::Metrics => ("ResourceMetrics", "ScopeMetrics"),
        Signal::Profiles => return,
    };
    for (i, group) in Message(request).each(1).enumerate() {
        let _ = write!(out, "{resource_title} #{i}");
        schema_url(group.text(3).as_ref(), out);
        attributes(group.sub(1), 1, out);
        out.push('\n');
        for (j, scope_group) in group.each(2).enumerate() {
            let scope = scope_group.sub(1);
            let _ = write!(out, "{scope_title} #{j}");
            if !scope.sub(1).0.is_empty() {
                let _ = write!(out, " {}", scope.text(1));
            }
            if !scope.sub(2).0.is_empty() {
                let _ = write!(out, "@{}", scope.text(2));
            }
            schema_url(scope_group.text(3).as_ref(), out);
            attributes(scope, 3, out);
            out.push('\n');
            for record in scope_group.each(2) {
                match signal {
                    Signal::Logs => log_record(record, out),
                    Signal::Traces => span(record, out),
                    _ => metric(record, out),
                }
            }
        }
    }
}

fn schema_url(url: &str, out: &mut String) {
    if !url.is_empty() {
        let _ = write!(out, " [{url}]");
    }
}

fn attributes(of: Message<'_>, number: u32, out: &mut String) {
    for (key, value) in of.attributes(number) {
        let _ = write!(out, " {key}={}", as_string(value));
    }
}

fn log_record(record: Message<'_>, out: &mut String) {
    out.push_str(&as_string(wire::view::Value::new(record.sub(5).0)));
    attributes(record, 6, out);
    out.push('\n');
}

fn span(span: Message<'_>, out: &mut String) {
    let _ = write!(
        out,
        "{} {} {}",
        span.text(5),
        hex(span.sub(1).0),
        hex(span.sub(2).0)
    );
    attributes(span, 9, out);
    out.push('\n');
}

fn metric(metric: Message<'_>, out: &mut String) {
    let name = metric.text(1);
    let mut points = |points: Message<'_>, attributes: u32, value: fn(Message<'_>, &mut String)| {
        for point in points.each(1) {
            out.push_str(&name);
            out.push('{');
            for (i, (key, value)) in point.attributes(attributes).enumerate() {
                let _ = write!(out, "{}{key}={}", if i > 0 { "," } else { "" }, as_string(value));
            }
            out.push('}');
            value(point, out);
            out.push('\n');
        }
    };
    match Data::of(metric) {
        Data::None => {}
        Data::Gauge(data) | Data::Sum(data) => points(data, 7, number),
        Data::Histogram(data) => points(data, 9, histogram),
        Data::ExponentialHistogram(data) => points(data, 1, exponential_histogram),
        Data::Summary(data) => points(data, 7, summary),
    }
}

fn number(point: Message<'_>, out: &mut String) {
    let _ = if point.has(6) {
        write!(out, " {}", point.fixed(6) as i64)
    } else {
        write!(out, " {}", point.double(4))
    };
}

fn histogram(point: Message<'_>, out: &mut String) {
    let _ = write!(out, " count={}", point.fixed(4));
    extremes(point, [5, 11, 12], out);
    let bounds = point.fixed_list(7);
    for (i, count) in point.fixed_list(6).into_iter().enumerate() {
        let _ = match bounds.get(i) {
            Some(bound) => write!(out, " le{}={count}", f64::from_bits(*bound)),
            None => write!(out, " {count}"),
        };
    }
}

fn exponential_histogram(point: Message<'_>, out: &mut String) {
    let _ = write!(out, " count={}", point.fixed(4));
    extremes(point, [5, 12, 13], out);
    let scale = point.sint(6);
    let (positive, negative) = (point.sub(8), point.sub(9));
    for (i, count) in negative
        .int_list(2)
        .into_iter()
        .enumerate()
        .rev()
        .filter(|(_, n)| *n > 0)
    {
        let lower = bound(scale, i64::from(negative.sint(1)) + i as i64);
        let _ = write!(out, " le{}={count}", -lower);
    }
    if point.fixed(7) > 0 {
        let _ = write!(out, " zero={}", point.fixed(7));
    }
    for (i, count) in positive
        .int_list(2)
        .into_iter()
        .enumerate()
        .filter(|(_, n)| *n > 0)
    {
        let upper = bound(scale, i64::from(positive.sint(1)) + i as i64 + 1);
        let _ = write!(out, " le{upper}={count}");
    }
}

/// Sum, least and greatest, where they are known.
fn extremes(point: Message<'_>, numbers: [u32; 3], out: &mut String) {
    for (name, number) in ["sum", "min", "max"]
        .iter()
        .zip(numbers)
        .filter(|(_, n)| point.has(*n))
    {
        let _ = write!(out, " {name}={}", point.double(number));
    }
}

fn summary(point: Message<'_>, out: &mut String) {
    let _ = write!(out, " count={} sum={:.6}", point.fixed(4), point.double(5));
    for quantile in point.each(6) {
        let _ = write!(out, " q{}={}", quantile.double(1), quantile.double(2));
    }
}
