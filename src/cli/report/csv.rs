//! Tables as CSV (RFC 4180, a header line, `\n`).
//!
//! A text that a spreadsheet would take for a formula begins with an apostrophe: names come from clients.

use evidence::time::Time;

use super::document::{Control, Document, Figure, Listing, Part};

const COLUMNS: [&str; 9] = [
    "criterion",
    "control_id",
    "figure",
    "value",
    "unit",
    "from",
    "to",
    "source",
    "evidence_ref",
];

/// `figures.csv`: every figure, its months and its tenants, a line each.
pub(super) fn figures(document: &Document) -> String {
    let mut out = String::new();
    line(&mut out, &COLUMNS);
    let from = document.from.map_or_else(String::new, |t| t.to_string());
    let to = document.to.to_string();
    for control in &document.controls {
        for figure in &control.figures {
            let title = figure.title();
            row(&mut out, control, figure, &title, &figure.text(), [&from, &to]);
            for Part { of, value } in &figure.months {
                let [begin, end] = ends_of(of, document.from, document.to);
                row(
                    &mut out,
                    control,
                    figure,
                    &title,
                    &value.to_string(),
                    [&begin, &end],
                );
            }
            for Part { of, value } in &figure.tenants {
                let title = format!("{}{{tenant={of}}}", figure.name);
                row(
                    &mut out,
                    control,
                    figure,
                    &title,
                    &value.to_string(),
                    [&from, &to],
                );
            }
        }
    }
    out
}

fn row(
    out: &mut String,
    control: &Control,
    figure: &Figure,
    title: &str,
    value: &str,
    [from, to]: [&str; 2],
) {
    let id = control.control.split(' ').next().unwrap_or_default();
    let evidence = control.refs.last().map_or("", String::as_str);
    line(
        out,
        &[
            control.id,
            id,
            title,
            value,
            figure.unit,
            from,
            to,
            figure.source,
            evidence,
        ],
    );
}

/// Begin and end of what of a month is in the period.
fn ends_of(month: &str, from: Option<Time>, to: Time) -> [String; 2] {
    let (year, n) = month.split_once('-').unwrap_or_default();
    let next = match (year.parse::<u32>(), n.parse::<u32>()) {
        (Ok(year), Ok(12)) => format!("{:04}-01", year + 1),
        (Ok(year), Ok(n)) => format!("{year:04}-{:02}", n + 1),
        _ => String::new(),
    };
    let begin = |month: &str| format!("{month}-01T00:00:00.000Z").parse::<Time>().ok();
    let first = begin(month).max(from).map_or_else(String::new, |t| t.to_string());
    let last = begin(&next).map_or(to, |end| end.min(to));
    [first, last.to_string()]
}

/// A population.
pub(super) fn listing(listing: &Listing) -> String {
    let mut out = String::new();
    line(&mut out, listing.columns);
    for cells in &listing.rows {
        line(&mut out, cells);
    }
    out
}

fn line<S: AsRef<str>>(out: &mut String, cells: &[S]) {
    for (n, text) in cells.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        cell(out, text.as_ref());
    }
    out.push('\n');
}

fn cell(out: &mut String, text: &str) {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_quoted = text.contains([',', '"', '\n', '\r']);
    if is_quoted {
        out.push('"');
    }
    if is_formula {
        out.push('\'');
    }
    for c in text.chars() {
        if c == '"' {
            out.push('"');
        }
        out.push(c);
    }
    if is_quoted {
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formula() {
        let check = |text: &str, expected: &str| {
            let mut out = String::new();
            cell(&mut out, text);
            assert_eq!(out, expected, "{text:?}");
        };
        check("", "");
        check("acme", "acme");
        check("12", "12");
        check("a,b", "\"a,b\"");
        check("a\"b", "\"a\"\"b\"");
        check("a\nb", "\"a\nb\"");
        check("=1+1", "'=1+1");
        check("-1", "'-1");
        check("@x,y", "\"'@x,y\"");
        check("a=b", "a=b");
    }

    #[test]
    fn a_month_ends_with_the_period() {
        let at = |text: &str| text.parse::<Time>().expect("a time of the test");
        let (from, to) = (at("2025-11-14T00:00:00.000Z"), at("2026-01-05T12:00:00.000Z"));
        let check = |month: &str, expected: [&str; 2]| {
            assert_eq!(ends_of(month, Some(from), to), expected, "{month}");
        };
        check(
            "2025-11",
            ["2025-11-14T00:00:00.000Z", "2025-12-01T00:00:00.000Z"],
        );
        check(
            "2025-12",
            ["2025-12-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"],
        );
        check(
            "2026-01",
            ["2026-01-01T00:00:00.000Z", "2026-01-05T12:00:00.000Z"],
        );
        assert_eq!(ends_of("2025-11", None, to)[0], "2025-11-01T00:00:00.000Z");
    }
}
