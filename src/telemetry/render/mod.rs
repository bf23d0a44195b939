//! The page at `/metrics`: Prometheus text 0.0.4 out of a [`Snapshot`], or the same families as delimited protobuf
//! ([`Format`]).
//!
//! A reader's three `without_*` keys decide between the collector's two spellings ([`Shape`]), the scraper's `Accept`
//! header how names with dots are written ([`Escaping`]). Beside the families of the snapshot the page has
//! `target_info` with the gateway's resource, and the two counters that the collector's handler shows. Serving is the
//! roof's.
//!
//! Rules: prometheus/otlptranslator (suffixes) and prometheus/common/expfmt (escaping, negotiation).

mod proto;

use std::borrow::Cow;
use std::fmt::Write;

use wire::varint;

use crate::metrics::Reading;
use crate::names::{Kind, Level};
use crate::snapshot::{Family, Snapshot};
use crate::{Resource, Telemetry};

/// How one reader spells names and labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Counters end in `_total`, names in their unit. The collector couples both: one of `without_units` and
    /// `without_type_suffix` being false switches on the two.
    pub suffixes: bool,
    /// Every series has `otel_scope_name`, `otel_scope_version` and `otel_scope_schema_url`.
    pub scope: bool,
    /// Resource attributes that every series has as labels.
    pub constant_labels: Vec<(String, String)>,
}

/// How a name is written that has other characters than letters, digits, `_` and `:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escaping {
    /// Such characters become `_`: for scrapers that do not say what they want.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`.
    Dots,
    /// `U__` before the name, and the character's number in hex between `_`.
    Values,
    /// As it is, in quotes.
    AllowUtf8,
}

impl Escaping {
    const ALL: [Escaping; 4] = [
        Escaping::Underscores,
        Escaping::Dots,
        Escaping::Values,
        Escaping::AllowUtf8,
    ];

    /// `underscores`, `dots`, `values`, `allow-utf-8`.
    pub fn as_str(self) -> &'static str {
        match self {
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
            Escaping::AllowUtf8 => "allow-utf-8",
        }
    }

    /// A name as it is written. `is_metric`: colons are letters then.
    fn write(self, name: &str, is_metric: bool) -> Cow<'_, str> {
        let is_plain = is_plain(name, is_metric);
        match self {
            Escaping::Dots => Cow::Owned(name.chars().fold(String::new(), |mut out, c| {
                match c {
                    '_' => out.push_str("__"),
                    '.' => out.push_str("_dot_"),
                    c if is_letter(c, out.is_empty(), is_metric) => out.push(c),
                    _ => out.push_str("__"),
                }
                out
            })),
            _ if is_plain => Cow::Borrowed(name),
            Escaping::AllowUtf8 => Cow::Borrowed(name),
            Escaping::Underscores => {
                let lead = if name.starts_with(|c: char| c.is_ascii_digit()) {
                    "_"
                } else {
                    ""
                };
                let rest = name
                    .chars()
                    .map(|c| if is_letter(c, false, is_metric) { c } else { '_' });
                Cow::Owned(lead.chars().chain(rest).collect())
            }
            Escaping::Values => Cow::Owned(name.chars().fold("U__".to_owned(), |mut out, c| {
                match c {
                    '_' => out.push_str("__"),
                    c if is_letter(c, false, is_metric) => out.push(c),
                    c => {
                        let _ = write!(out, "_{:x}_", u32::from(c));
                    }
                }
                out
            })),
        }
    }
}

/// How a page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Of names.
    pub escaping: Escaping,
    /// `io.prometheus.client.MetricFamily`, each behind its length, instead of text.
    pub is_protobuf: bool,
}

impl Format {
    /// What a scraper's `Accept` header asks for: the clauses are read by weight, up to a format that is served; the
    /// last `escaping` that was seen counts, unknown ones do not.
    pub fn negotiate(accept: &str) -> Format {
        let mut clauses: Vec<Clause<'_>> = accept.split(',').map(Clause::parse).collect();
        clauses.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let mut format = Format::default();
        for clause in clauses {
            let asked = Escaping::ALL.iter().find(|e| e.as_str() == clause.escaping);
            format.escaping = asked.copied().unwrap_or(format.escaping);
            format.is_protobuf = clause.is_protobuf();
            if format.is_protobuf || (clause.kind == "text/plain" && matches!(clause.version, "" | "0.0.4")) {
                break;
            }
        }
        format
    }

    /// `Content-Type` of a page that is written like this.
    pub fn content_type(self) -> String {
        let escaping = self.escaping.as_str();
        match self.is_protobuf {
            true => format!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                 escaping={escaping}"
            ),
            false => format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"),
        }
    }
}

struct Clause<'a> {
    kind: &'a str,
    proto: &'a str,
    encoding: &'a str,
    version: &'a str,
    escaping: &'a str,
    weight: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Clause<'a> {
        let mut parts = text.split(';').map(str::trim);
        let mut clause = Clause {
            kind: parts.next().unwrap_or_default(),
            proto: "",
            encoding: "",
            version: "",
            escaping: "",
            weight: 1.,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "version" => clause.version = value.trim(),
                "proto" => clause.proto = value.trim(),
                "encoding" => clause.encoding = value.trim(),
                "escaping" => clause.escaping = value.trim(),
                "q" => clause.weight = value.trim().parse().unwrap_or(0.),
                _ => {}
            }
        }
        clause
    }

    fn is_protobuf(&self) -> bool {
        self.kind == "application/vnd.google.protobuf"
            && self.proto == "io.prometheus.client.MetricFamily"
            && self.encoding == "delimited"
    }
}

fn is_letter(c: char, is_first: bool, is_metric: bool) -> bool {
    c.is_ascii_alphabetic() || c == '_' || (c == ':' && is_metric) || (c.is_ascii_digit() && !is_first)
}

fn is_plain(name: &str, is_metric: bool) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| is_letter(c, true, is_metric))
        && chars.all(|c| is_letter(c, false, is_metric))
}

/// All there is, in the collector's default spelling.
pub fn prometheus(telemetry: &Telemetry, resource: &Resource) -> String {
    let snapshot = Snapshot::take(telemetry, Level::Detailed);
    text(&snapshot, resource, &Shape::default(), Escaping::default())
}

/// Renders a page.
pub fn page(snapshot: &Snapshot, resource: &Resource, shape: &Shape, format: Format) -> Vec<u8> {
    match format.is_protobuf {
        true => protobuf(snapshot, resource, shape, format.escaping),
        false => text(snapshot, resource, shape, format.escaping).into_bytes(),
    }
}

fn text(snapshot: &Snapshot, resource: &Resource, shape: &Shape, escaping: Escaping) -> String {
    let mut page = Page {
        shape,
        escaping,
        out: String::with_capacity(16 << 10),
    };
    for (name, family) in families(snapshot, shape) {
        page.family(&name, &family, resource);
    }
    page.out
}

fn protobuf(snapshot: &Snapshot, resource: &Resource, shape: &Shape, escaping: Escaping) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 << 10);
    for (name, family) in families(snapshot, shape) {
        let name = escaping.write(&name, true);
        let mut message = Vec::new();
        proto::family(&name, &family, &mut message, |own| {
            labels_of(shape, escaping, &family, own, resource)
        });
        varint::write(message.len() as u64, &mut out);
        out.append(&mut message);
    }
    out
}

/// All families with the names that are shown, ordered by them.
fn families<'a>(snapshot: &'a Snapshot, shape: &Shape) -> Vec<(String, Cow<'a, Family>)> {
    let mut families: Vec<(String, Cow<'a, Family>)> = snapshot
        .families
        .iter()
        .map(|f| (shape.name(f).into_owned(), Cow::Borrowed(f)))
        .chain(fixed().map(|f| (f.name.to_string(), Cow::Owned(f))))
        .collect();
    families.sort_by(|a, b| a.0.cmp(&b.0));
    families
}

const TARGET_INFO: &str = "target_info";
const HANDLER_ERRORS: &str = "promhttp_metric_handler_errors_total";

/// What the collector's page has beside its instruments.
fn fixed() -> impl Iterator<Item = Family> {
    let family = |name: &'static str, help: &'static str, kind, series| Family {
        name: name.into(),
        help: help.into(),
        unit: "",
        kind,
        up_down: false,
        scope: "",
        series,
    };
    let causes =
        ["encoding", "gathering"].map(|cause| (vec![("cause", cause.to_owned())], Reading::Count(0)));
    [
        family(
            HANDLER_ERRORS,
            "Errors while this page was made; always zero, making it cannot fail.",
            Kind::Counter,
            causes.to_vec(),
        ),
        family(
            TARGET_INFO,
            "Target metadata",
            Kind::Gauge,
            vec![(vec![], Reading::Count(1))],
        ),
    ]
    .into_iter()
}

impl Shape {
    /// A family's name with the suffixes that are asked for.
    fn name<'a>(&self, family: &'a Family) -> Cow<'a, str> {
        if !self.suffixes {
            return Cow::Borrowed(&family.name);
        }
        let is_counter = family.kind == Kind::Counter;
        let base = match is_counter {
            true => family.name.strip_suffix("_total").unwrap_or(&family.name),
            false => &family.name,
        };
        let mut name = base.to_owned();
        let unit = unit_suffix(family.unit);
        if !unit.is_empty() && !name.ends_with(unit) {
            name.push('_');
            name.push_str(unit);
        }
        if is_counter {
            name.push_str("_total");
        }
        Cow::Owned(name)
    }
}

/// Units in braces are words of no meaning, and add nothing.
fn unit_suffix(unit: &str) -> &str {
    match unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "By" => "bytes",
        "%" => "percent",
        _ => "",
    }
}

type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

struct Page<'a> {
    shape: &'a Shape,
    escaping: Escaping,
    out: String,
}

impl Page<'_> {
    fn family(&mut self, name: &str, family: &Family, resource: &Resource) {
        let name = self.escaping.write(name, true);
        let is_quoted = !is_plain(&name, true);
        let title = match is_quoted {
            true => format!("\"{}\"", escaped(&name)),
            false => name.to_string(),
        };
        if !family.help.is_empty() {
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(self.out, "# HELP {title} {help}");
        }
        let _ = writeln!(self.out, "# TYPE {title} {}", family.kind.as_str());
        for (labels, reading) in &family.series {
            let labels = labels_of(self.shape, self.escaping, family, labels, resource);
            self.series(
                &Name {
                    name: &name,
                    is_quoted,
                },
                &labels,
                reading,
            );
        }
    }

    fn series(&mut self, name: &Name<'_>, labels: &Labels<'_>, reading: &Reading) {
        let out = &mut self.out;
        match reading {
            Reading::Count(n) => line(name, "", labels, None, &n.to_string(), out),
            Reading::Number(n) => line(name, "", labels, None, &number(*n), out),
            Reading::Histogram { bounds, counts, sum } => {
                let mut below = 0;
                for (i, count) in counts.iter().enumerate() {
                    below += count;
                    let le = bounds.get(i).map_or("+Inf".to_owned(), |bound| number(*bound));
                    line(name, "_bucket", labels, Some(&le), &below.to_string(), out);
                }
                line(name, "_sum", labels, None, &number(*sum), out);
                line(name, "_count", labels, None, &below.to_string(), out);
            }
        }
    }
}

/// All labels of a series, as they are written, ordered by name.
fn labels_of<'b>(
    shape: &'b Shape,
    escaping: Escaping,
    family: &'b Family,
    own: &'b [(&'static str, String)],
    resource: &'b Resource,
) -> Labels<'b> {
    let mut labels: Labels<'b> = own.iter().map(|(n, v)| (Cow::from(*n), Cow::from(v))).collect();
    match &*family.name {
        TARGET_INFO => labels.extend(resource.texts().map(|(n, v)| (Cow::from(n), Cow::from(v)))),
        HANDLER_ERRORS => {}
        _ => {
            if shape.scope {
                for (name, value) in [("name", family.scope), ("version", ""), ("schema_url", "")] {
                    labels.push((format!("otel_scope_{name}").into(), value.into()));
                }
            }
            for (name, value) in &shape.constant_labels {
                labels.push((name.clone().into(), value.clone().into()));
            }
        }
    }
    for (name, _) in &mut labels {
        *name = Cow::Owned(escaping.write(name, false).into_owned());
    }
    labels.sort();
    // A label of the series itself wins over one of the resource.
    labels.dedup_by(|b, a| a.0 == b.0);
    labels
}

struct Name<'a> {
    name: &'a str,
    is_quoted: bool,
}

fn line(name: &Name<'_>, suffix: &str, labels: &Labels<'_>, le: Option<&str>, value: &str, out: &mut String) {
    let mut open = '{';
    if name.is_quoted {
        let _ = write!(out, "{{\"{}{suffix}\"", escaped(name.name));
        open = ',';
    } else {
        out.push_str(name.name);
        out.push_str(suffix);
    }
    let labels = labels.iter().map(|(label, text)| (label.as_ref(), text.as_ref()));
    for (label, text) in labels.chain(le.map(|le| ("le", le))) {
        out.push(open);
        open = ',';
        match is_plain(label, false) {
            true => out.push_str(label),
            false => {
                let _ = write!(out, "\"{}\"", escaped(label));
            }
        }
        let _ = write!(out, "=\"{}\"", escaped(text));
    }
    if open == ',' {
        out.push('}');
    }
    out.push(' ');
    out.push_str(value);
    out.push('\n');
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '\n', '"']) {
        return Cow::Borrowed(text);
    }
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    Cow::Owned(text.replace('"', "\\\""))
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0. { "+Inf" } else { "-Inf" }.into()
    } else if value.abs() >= 1e21 || (value != 0. && value.abs() < 1e-6) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::gateway;

    fn resource() -> Resource {
        let attributes = [
            ("service.instance.id", "6f0c"),
            ("service.name", "weir"),
            ("service.version", "0.1.0\n"),
        ];
        Resource {
            attributes: attributes.map(|(k, v)| (k.to_owned(), v.into())).to_vec(),
            schema_url: String::new(),
        }
    }

    #[track_caller]
    fn check(golden: &str, level: Level, shape: &Shape, escaping: Escaping) {
        let snapshot = Snapshot::take(&gateway(), level);
        let page = text(&snapshot, &resource(), shape, escaping);
        let golden = format!("{}/testdata/{golden}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &page).unwrap();
        }
        assert_eq!(page, std::fs::read_to_string(&golden).unwrap(), "{golden}");
    }

    #[test]
    fn the_page_as_the_collector_shows_it_by_default() {
        check(
            "metrics.txt",
            Level::Normal,
            &Shape::default(),
            Escaping::Underscores,
        );
    }

    #[test]
    fn the_page_with_suffixes_and_scopes() {
        let shape = Shape {
            suffixes: true,
            scope: true,
            constant_labels: vec![("service.name".into(), "weir".into())],
        };
        check(
            "metrics_suffixes.txt",
            Level::Normal,
            &shape,
            Escaping::Underscores,
        );
    }

    #[test]
    fn the_page_in_detail_for_a_scraper_that_reads_utf_8() {
        check(
            "metrics_utf8.txt",
            Level::Detailed,
            &Shape::default(),
            Escaping::AllowUtf8,
        );
    }

    #[test]
    fn suffixes_follow_kind_and_unit() {
        #[track_caller]
        fn check(name: &'static str, expected: &str) {
            let def = crate::names::find(name).unwrap();
            let family = Family {
                name: name.into(),
                help: "".into(),
                unit: def.unit,
                kind: def.kind,
                up_down: false,
                scope: "",
                series: vec![],
            };
            let shape = Shape {
                suffixes: true,
                ..Shape::default()
            };
            assert_eq!(shape.name(&family), expected);
            assert_eq!(Shape::default().name(&family), name);
        }
        check("otelcol_process_uptime", "otelcol_process_uptime_seconds_total");
        check("otelcol_process_cpu_seconds", "otelcol_process_cpu_seconds_total");
        check("otelcol_process_memory_rss", "otelcol_process_memory_rss_bytes");
        check(
            "otelcol_process_runtime_heap_alloc_bytes",
            "otelcol_process_runtime_heap_alloc_bytes",
        );
        check("otelcol_exporter_sent_spans", "otelcol_exporter_sent_spans_total");
        check("otelcol_exporter_queue_size", "otelcol_exporter_queue_size");
        check(
            "otelcol_processor_internal_duration",
            "otelcol_processor_internal_duration_seconds",
        );
        check(
            "http.server.request.duration",
            "http.server.request.duration_seconds",
        );
    }

    #[test]
    fn scrapers_get_the_escaping_that_they_ask_for() {
        #[track_caller]
        fn check(accept: &str, expected: Escaping) {
            let format = Format::negotiate(accept);
            assert_eq!(
                (format.escaping, format.is_protobuf),
                (expected, false),
                "{accept}"
            );
            assert!(format.content_type().ends_with(expected.as_str()));
        }
        check("", Escaping::Underscores);
        check("*/*", Escaping::Underscores);
        check("text/plain;version=0.0.4", Escaping::Underscores);
        check(
            "text/plain;version=0.0.4;escaping=allow-utf-8",
            Escaping::AllowUtf8,
        );
        check("text/plain; escaping=dots", Escaping::Dots);
        check("text/plain; escaping=values", Escaping::Values);
        check("text/plain; escaping=other", Escaping::Underscores);
        // Prometheus 2
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Escaping::Underscores,
        );
        // Prometheus 3
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Escaping::AllowUtf8,
        );
        // What weighs less than the text format is not looked at.
        check(
            "text/plain;version=0.0.4;q=0.9,application/x;escaping=dots;q=0.1",
            Escaping::Underscores,
        );
    }

    #[test]
    fn protobuf_is_served_to_who_likes_it_best() {
        let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                      text/plain;version=0.0.4;q=0.6";
        let format = Format::negotiate(accept);
        assert!(format.is_protobuf);
        assert_eq!(
            format.content_type(),
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
             escaping=underscores"
        );
        assert!(!Format::negotiate(&accept.replace("q=0.7", "q=0.5")).is_protobuf);
        assert!(!Format::negotiate(&accept.replace("delimited", "text")).is_protobuf);
    }

    #[test]
    fn names_are_escaped_as_prometheus_does() {
        #[track_caller]
        fn check(escaping: Escaping, name: &str, expected: &str) {
            assert_eq!(escaping.write(name, false), expected);
        }
        check(Escaping::Underscores, "otel.signal", "otel_signal");
        check(Escaping::Underscores, "2nd", "_2nd");
        check(Escaping::Underscores, "größe", "gr__e");
        check(Escaping::Underscores, "a:b", "a_b");
        check(Escaping::Dots, "otel.signal_x", "otel_dot_signal__x");
        check(Escaping::Values, "otel.signal", "U__otel_2e_signal");
        check(Escaping::Values, "plain_name", "plain_name");
        check(Escaping::AllowUtf8, "otel.signal", "otel.signal");
        assert_eq!(Escaping::Underscores.write("a:b", true), "a:b");
    }

    #[test]
    fn numbers_are_readable_by_go() {
        #[track_caller]
        fn check(value: f64, expected: &str) {
            assert_eq!(number(value), expected);
            if value.is_finite() {
                assert_eq!(expected.parse::<f64>().unwrap(), value);
            }
        }
        check(0., "0");
        check(0.005, "0.005");
        check(16_777_216., "16777216");
        check(-1.5, "-1.5");
        check(1e300, "1e300");
        check(1e-9, "1e-9");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }
}
