//! The report as one HTML page: styles inside, no script, nothing loaded from anywhere; for a screen and for paper.
//!
//! Whatever is not from this file is escaped; characters that would turn the direction of a line or be invisible are
//! shown as `\u{fffd}`.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use evidence::verify::{Level, Outcome};

use super::document::{Control, Document, Exception, Figure, Signature, Value};
use crate::cli::archive::text::grouped;

const STYLE: &str = include_str!("report.css");
/// Rows of a table by tenant; the CSV has all.
const TENANTS_SHOWN: usize = 20;
/// Exceptions of a control; the JSON has more.
const EXCEPTIONS_SHOWN: usize = 100;

/// A text that stands in HTML as what it is.
struct Safe<'a>(&'a str);

impl Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if hides(c) => f.write_str("\u{fffd}")?,
                c => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

/// Controls, and what changes the direction of writing or has no width.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// The page.
pub(super) fn page(document: &Document) -> String {
    let mut out = String::with_capacity(64 << 10);
    head(&mut out, document);
    claims(&mut out, document);
    let mut before = "";
    for control in &document.controls {
        if control.id != before {
            out.push_str(&format!(
                "<h2 id=\"{0}\">{0} <span class=\"soft small\">{1}</span></h2>\n",
                control.id, control.asks
            ));
            before = control.id;
        }
        section(&mut out, control);
    }
    tail(&mut out, document);
    out
}

fn head(out: &mut String, document: &Document) {
    let system = document.system.as_deref().unwrap_or("an archive without a name");
    let from = document
        .from
        .map_or_else(|| "its begin".to_owned(), |t| t.to_string());
    let title = format!("Evidence report: {system}");
    // In a style only what cannot end a string.
    let running: String = format!("{system}   {from} .. {}", document.to)
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || " .:/-".contains(c) {
                c
            } else {
                '?'
            }
        })
        .collect();
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n");
    out.push_str(&format!("<title>{}</title>\n<style>\n{STYLE}", Safe(&title)));
    out.push_str(&format!(
        "@page {{ size: A4; margin: 18mm 15mm 17mm; @top-left {{ content: \"{running}\"; font: 8pt sans-serif; color: #55616e; }} \
         @bottom-right {{ content: counter(page) \" of \" counter(pages); font: 8pt sans-serif; color: #55616e; }} }}\n"
    ));
    out.push_str("</style>\n</head>\n<body>\n<header>\n<h1>Evidence report</h1>\n<dl class=\"head\">\n");
    let mut pair = |name: &str, value: &str| {
        out.push_str(&format!("<dt>{name}</dt><dd>{value}</dd>\n"));
    };
    if let Some(entity) = &document.entity {
        pair("Entity", &Safe(entity).to_string());
    }
    pair("Archive", &Safe(system).to_string());
    pair("Period", &format!("{from} to {} (UTC)", document.to));
    pair("Framework", document.framework);
    pair("Made", &format!("{} by {}", document.made, Safe(&document.tool)));
    let verify = &document.verify;
    let class = match verify.verdict {
        "verified" if verify.warnings == 0 => "good",
        "verified" | "unknown" => "look",
        _ => "bad",
    };
    let level = match verify.level {
        Level::Log => "logs alone",
        Level::Heads => "logs, and objects by what the store says",
        Level::Full => "logs, and objects by reading them",
        Level::Decode => "logs, and objects by counting their records",
    };
    let warnings = match verify.warnings {
        0 => "no warnings".to_owned(),
        1 => "1 warning".to_owned(),
        n => format!("{} warnings", grouped(n)),
    };
    let verdict = verify.verdict.replace('_', " ");
    pair(
        "Verification",
        &format!("{} {level}; {warnings}", word(class, &verdict)),
    );
    let signed = match &document.signature {
        Signature::By { note, key } => format!("<code>{note}</code>, key <code>{}</code>", Safe(key)),
        Signature::None { not_available } => format!("not available: {not_available}"),
    };
    pair("Signature", &signed);
    out.push_str("</dl>\n</header>\n<main>\n<h2>Summary</h2>\n<ol class=\"summary\">\n");
    for sentence in &document.summary {
        out.push_str(&format!("<li>{}</li>\n", Safe(sentence)));
    }
    out.push_str("</ol>\n<p class=\"soft small\">Figures are taken from the archive and the audit trail in it, and from nothing else. A figure that cannot be taken from there is not available; it is not zero. Whether a criterion is met is not said here.</p>\n");
    contents(out, document);
}

fn contents(out: &mut String, document: &Document) {
    out.push_str("<div class=\"wide\"><table>\n<caption>Controls</caption>\n<thead><tr><th scope=\"col\">Criterion</th><th scope=\"col\">Control</th><th scope=\"col\">Shown at work</th><th scope=\"col\" class=\"n\">Exceptions</th></tr></thead>\n<tbody>\n");
    for control in &document.controls {
        out.push_str(&format!(
            "<tr><td><a href=\"#{0}\">{0}</a></td><td><a href=\"#{1}\">{2}</a></td><td>{3}</td><td class=\"n\">{4}</td></tr>\n",
            control.id,
            anchor(control),
            Safe(&control.control),
            operating(control),
            grouped(control.exceptions_total),
        ));
    }
    out.push_str("</tbody></table></div>\n");
}

fn anchor(control: &Control) -> &str {
    control.control.split(' ').next().unwrap_or_default()
}

fn operating(control: &Control) -> String {
    let class = match control.operating {
        "yes" => "good",
        "with exceptions" => "look",
        _ => "none",
    };
    word(class, control.operating)
}

/// The class is colour and frame; the meaning is the text.
fn word(class: &str, text: &str) -> String {
    format!("<span class=\"word {class}\">{}</span>", Safe(text))
}

fn claims(out: &mut String, document: &Document) {
    out.push_str("<h2>Verification</h2>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Claim</th><th scope=\"col\">Result</th><th scope=\"col\" class=\"n\">Checked</th><th scope=\"col\" class=\"n\">Failed</th><th scope=\"col\" class=\"n\">Warnings</th></tr></thead>\n<tbody>\n");
    for line in &document.verify.claims {
        let (class, text) = match line.result {
            Outcome::Pass => ("good", "pass"),
            Outcome::Warn => ("look", "pass, to look at"),
            Outcome::Fail => ("bad", "fail"),
            Outcome::NotMet => ("look", "not met"),
            Outcome::NotChecked => ("none", "not checked"),
        };
        out.push_str(&format!(
            "<tr><th scope=\"row\"><b>{}</b> {}</th><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            line.claim,
            line.about,
            word(class, text),
            grouped(line.checked),
            grouped(line.failed),
            grouped(line.warnings),
        ));
    }
    out.push_str("</tbody></table></div>\n");
    let verify = &document.verify;
    out.push_str(&format!(
        "<p class=\"small soft\">Whole document: <code>evidence/verify.json</code>, SHA-256 <code>{}</code>; trust policy SHA-256 <code>{}</code>.</p>\n",
        verify.sha256, verify.policy_sha256
    ));
}

fn section(out: &mut String, control: &Control) {
    out.push_str(&format!(
        "<section class=\"control\" id=\"{}\">\n<header><h3>{}</h3>{}</header>\n",
        anchor(control),
        Safe(&control.control),
        operating(control)
    ));
    out.push_str("<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Figure</th><th scope=\"col\" class=\"n\">Value</th><th scope=\"col\">Unit</th><th scope=\"col\" class=\"source\">Taken from</th></tr></thead>\n<tbody>\n");
    for figure in &control.figures {
        row(out, figure);
    }
    out.push_str("</tbody></table></div>\n");
    parts(out, control, "month", |figure| &figure.months);
    parts(out, control, "tenant", |figure| &figure.tenants);
    if let Some(population) = &control.population {
        let list = population.list.map_or_else(
            || "The logs are the list.".to_owned(),
            |list| format!("Listed in <code>{list}</code>."),
        );
        out.push_str(&format!(
            "<p class=\"small\"><b>Population:</b> {} ({}). {list} Complete by: {}.</p>\n",
            Safe(population.what),
            grouped(population.count),
            Safe(population.complete_by)
        ));
    }
    exceptions(out, control);
    out.push_str("</section>\n");
}

fn row(out: &mut String, figure: &Figure) {
    let value = match &figure.value {
        Some(Value::Count(n)) => format!("<td class=\"n\">{}</td><td>{}</td>", grouped(*n), figure.unit),
        Some(Value::Seconds(s) | Value::Cores(s)) => {
            format!("<td class=\"n\">{s}</td><td>{}</td>", figure.unit)
        }
        Some(Value::Text(text)) => format!("<td class=\"n\">{}</td><td>{}</td>", Safe(text), figure.unit),
        None => format!("<td class=\"why\" colspan=\"2\">{}</td>", Safe(&figure.text())),
    };
    out.push_str(&format!(
        "<tr><th scope=\"row\">{}</th>{value}<td class=\"source soft\">{}</td></tr>\n",
        Safe(&figure.title()),
        figure.source
    ));
}

/// A table of the figures that have months, or tenants.
fn parts(
    out: &mut String,
    control: &Control,
    what: &str,
    of: impl Fn(&Figure) -> &Vec<super::document::Part>,
) {
    let figures: Vec<&Figure> = control
        .figures
        .iter()
        .filter(|figure| !of(figure).is_empty())
        .collect();
    let Some(first) = figures.first() else { return };
    let mut rows: BTreeMap<&str, Vec<Option<u64>>> = BTreeMap::new();
    for (n, figure) in figures.iter().enumerate() {
        for part in of(figure) {
            let cells = rows.entry(&part.of).or_insert_with(|| vec![None; figures.len()]);
            cells[n] = Some(part.value);
        }
    }
    let mut rows: Vec<(&str, Vec<Option<u64>>)> = rows.into_iter().collect();
    let all = rows.len();
    if what == "tenant" && all > TENANTS_SHOWN {
        // Those with the most come first.
        rows.sort_by(|a, b| (b.1[0], a.0).cmp(&(a.1[0], b.0)));
        rows.truncate(TENANTS_SHOWN);
    }
    out.push_str(&format!(
        "<div class=\"wide\"><table>\n<caption>By {what}</caption>\n<thead><tr><th scope=\"col\">{what}</th>"
    ));
    for figure in &figures {
        out.push_str(&format!(
            "<th scope=\"col\" class=\"n\">{}</th>",
            Safe(&figure.title())
        ));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (name, cells) in &rows {
        out.push_str(&format!("<tr><th scope=\"row\">{}</th>", Safe(name)));
        for cell in cells {
            // In these parts nothing counted is nothing.
            out.push_str(&format!("<td class=\"n\">{}</td>", grouped(cell.unwrap_or(0))));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    if rows.len() < all {
        out.push_str(&format!(
            "<p class=\"small soft\">The {} with the most {} of {}; all are in <code>figures.csv</code>.</p>\n",
            rows.len(),
            first.name,
            grouped(all as u64)
        ));
    }
}

fn exceptions(out: &mut String, control: &Control) {
    if control.exceptions_total == 0 {
        out.push_str("<p class=\"small\"><b>Exceptions:</b> none.</p>\n");
        return;
    }
    let total = grouped(control.exceptions_total);
    out.push_str(&format!(
        "<h4>Exceptions: {total}</h4>\n<ul class=\"plain small\">\n"
    ));
    for Exception { t, what, place } in control.exceptions.iter().take(EXCEPTIONS_SHOWN) {
        let t = t.map_or_else(String::new, |t| format!("{t} "));
        out.push_str(&format!(
            "<li>{t}{} <code class=\"soft\">{}</code></li>\n",
            Safe(what),
            Safe(place)
        ));
    }
    out.push_str("</ul>\n");
    if control.exceptions_total > EXCEPTIONS_SHOWN as u64 {
        out.push_str("<p class=\"small soft\">More are in <code>report.json</code> and <code>evidence/verify.json</code>.</p>\n");
    }
}

fn tail(out: &mut String, document: &Document) {
    out.push_str("<h2>What no archive can show</h2>\n<ul class=\"plain\">\n");
    for not in &document.not_proved {
        out.push_str(&format!("<li>{}</li>\n", Safe(not)));
    }
    out.push_str("</ul>\n<p class=\"small soft\">Whoever can read the archive can make this report again from the same period, and gets the same figures.</p>\n</main>\n</body>\n</html>\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_leaves_its_place(text in any::<String>()) {
            let safe = Safe(&text).to_string();
            prop_assert!(!safe.contains(['<', '>', '"', '\'']), "{}", safe);
            prop_assert!(!safe.chars().any(hides), "{:?}", safe);
            let back = safe
                .replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&");
            let expected: String = text.chars().map(|c| if hides(c) { '\u{fffd}' } else { c }).collect();
            prop_assert_eq!(back, expected);
        }
    }
}
