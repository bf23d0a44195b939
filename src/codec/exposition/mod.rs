//! The texts that Prometheus scrapes: text format 0.0.4 and OpenMetrics 1.0, line by line.
//!
//! [`Reader`] gives one [`Line`] at a time and borrows from the text; only what holds an escape is copied. It keeps
//! nothing of the lines before, so its memory does not grow with the text. A line that breaks the format is an error with
//! its number: a scrape is taken whole or not at all. Quoted (UTF-8) names are read as well. Source: the exposition
//! format pages of Prometheus and the OpenMetrics specification.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// Which of the two texts it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`: timestamps in milliseconds, no exemplars, no end mark.
    Text,
    /// `application/openmetrics-text`: timestamps in seconds, exemplars, `# UNIT`, and `# EOF` at the end.
    OpenMetrics,
}

impl Format {
    /// By the media type of a `Content-Type`. `None` if it names neither.
    pub fn of_content_type(value: &str) -> Option<Format> {
        let media = value.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            Some(Format::OpenMetrics)
        } else if media.eq_ignore_ascii_case("text/plain") {
            Some(Format::Text)
        } else {
            None
        }
    }
}

/// What `# TYPE` says of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, or begins again.
    Counter,
    /// Any value at any time.
    Gauge,
    /// Cumulative buckets, a count and a sum.
    Histogram,
    /// Quantiles, a count and a sum.
    Summary,
    /// Buckets of a present state.
    GaugeHistogram,
    /// One series for each state.
    StateSet,
    /// A value of 1 with labels that matter.
    Info,
    /// Nothing was said.
    Unknown,
}

impl Kind {
    /// As OpenMetrics spells it; the text format's `untyped` is `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::GaugeHistogram => "gaugehistogram",
            Kind::StateSet => "stateset",
            Kind::Info => "info",
            Kind::Unknown => "unknown",
        }
    }

    fn parse(text: &str) -> Option<Kind> {
        Some(match text {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "summary" => Kind::Summary,
            "gaugehistogram" => Kind::GaugeHistogram,
            "stateset" => Kind::StateSet,
            "info" => Kind::Info,
            "unknown" | "untyped" => Kind::Unknown,
            _ => return None,
        })
    }
}

/// A label: name and value.
pub type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One line that says something.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// `# TYPE name kind`.
    Type(Cow<'a, str>, Kind),
    /// `# HELP name text`.
    Help(Cow<'a, str>, Cow<'a, str>),
    /// `# UNIT name unit`.
    Unit(Cow<'a, str>, &'a str),
    /// A sample; its labels are in [`Reader::labels`].
    Sample(Sample<'a>),
}

/// A sample without its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Of the metric.
    pub name: Cow<'a, str>,
    /// Not a number and infinities included.
    pub value: f64,
    /// Milliseconds since 1970, if the line has one.
    pub timestamp_ms: Option<i64>,
    /// The exemplar behind the value, without its labels: they are in [`Reader::exemplar_labels`].
    pub exemplar: Option<Exemplar>,
}

/// An exemplar without its labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// What was observed.
    pub value: f64,
    /// Milliseconds since 1970, if the line has one.
    pub timestamp_ms: Option<i64>,
}

/// Where a text breaks the format, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Malformed {
    /// From 1.
    pub line: usize,
    /// In words.
    pub reason: &'static str,
}

/// More labels than this in one sample are refused; no exporter of sense has a tenth of it.
pub const LABELS_MAX: usize = 1024;

/// Reads a text line by line.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a str,
    format: Format,
    line: usize,
    ended: bool,
    /// Labels of the sample last read, in the order written. A caller may take or change them.
    pub labels: Vec<Label<'a>>,
    /// Labels of that sample's exemplar.
    pub exemplar_labels: Vec<Label<'a>>,
}

impl<'a> Reader<'a> {
    /// Begins with the first line.
    pub fn new(text: &'a str, format: Format) -> Reader<'a> {
        Reader {
            rest: text,
            format,
            line: 0,
            ended: false,
            labels: Vec::new(),
            exemplar_labels: Vec::new(),
        }
    }

    /// The next line that is neither empty nor a comment; `None` at the end.
    ///
    /// Errors: the line breaks the format, or OpenMetrics ends without `# EOF` or goes on behind it. Nothing of use
    /// comes after an error.
    pub fn read(&mut self) -> Result<Option<Line<'a>>, Malformed> {
        loop {
            if self.rest.is_empty() {
                return match self.format == Format::OpenMetrics && !self.ended {
                    true => Err(self.malformed("the text ends without # EOF")),
                    false => Ok(None),
                };
            }
            self.line += 1;
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            if self.ended {
                return Err(self.malformed("the text goes on behind # EOF"));
            }
            let line = line.trim_matches([' ', '\t', '\r']);
            let read = match line.strip_prefix('#') {
                Some(comment) => self.comment(comment),
                None if line.is_empty() => Ok(None),
                None => self.sample(line).map(|sample| Some(Line::Sample(sample))),
            };
            match read {
                Ok(None) => {}
                Ok(some) => return Ok(some),
                Err(reason) => return Err(self.malformed(reason)),
            }
        }
    }

    fn malformed(&self, reason: &'static str) -> Malformed {
        Malformed {
            line: self.line,
            reason,
        }
    }

    /// What stands behind the `#`.
    fn comment(&mut self, text: &'a str) -> Result<Option<Line<'a>>, &'static str> {
        let mut cursor = Cursor(text);
        cursor.blanks();
        let word = cursor.word();
        if word == "EOF" && self.format == Format::OpenMetrics && cursor.0.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        if !matches!(word, "TYPE" | "HELP" | "UNIT") {
            return Ok(None);
        }
        cursor.blanks();
        let name = cursor.metric_name()?;
        cursor.blanks();
        Ok(Some(match word {
            "TYPE" => Line::Type(name, Kind::parse(cursor.0).ok_or("unknown type of a metric")?),
            "HELP" => Line::Help(name, unescape(cursor.0, self.format == Format::OpenMetrics)),
            _ => Line::Unit(name, cursor.0),
        }))
    }

    fn sample(&mut self, line: &'a str) -> Result<Sample<'a>, &'static str> {
        self.labels.clear();
        self.exemplar_labels.clear();
        let mut cursor = Cursor(line);
        let mut name = match cursor.0.starts_with('{') {
            true => None,
            false => Some(cursor.metric_name()?),
        };
        cursor.blanks();
        if cursor.eat('{') {
            cursor.labels(&mut self.labels, Some(&mut name))?;
            cursor.blanks();
        }
        let name = name.ok_or("a sample without a name")?;
        let value = float(cursor.word())?;
        cursor.blanks();
        let timestamp_ms = match cursor.0.is_empty() || cursor.0.starts_with('#') {
            true => None,
            false => Some(self.timestamp(cursor.word())?),
        };
        cursor.blanks();
        let mut exemplar = None;
        if self.format == Format::OpenMetrics && cursor.eat('#') {
            cursor.blanks();
            if !cursor.eat('{') {
                return Err("an exemplar without labels");
            }
            cursor.labels(&mut self.exemplar_labels, None)?;
            cursor.blanks();
            let value = float(cursor.word())?;
            cursor.blanks();
            let timestamp_ms = match cursor.word() {
                "" => None,
                text => Some(self.timestamp(text)?),
            };
            cursor.blanks();
            exemplar = Some(Exemplar { value, timestamp_ms });
        }
        match cursor.0.is_empty() {
            true => Ok(Sample {
                name,
                value,
                timestamp_ms,
                exemplar,
            }),
            false => Err("something behind the sample"),
        }
    }

    fn timestamp(&self, text: &str) -> Result<i64, &'static str> {
        const WRONG: &str = "a timestamp that is no number";
        match self.format {
            Format::Text => text.parse().map_err(|_| WRONG),
            Format::OpenMetrics => {
                let ms = float(text).map_err(|_| WRONG)? * 1000.0;
                match ms.is_finite() && ms.abs() < i64::MAX as f64 {
                    true => Ok(ms as i64),
                    false => Err(WRONG),
                }
            }
        }
    }
}

/// A number as Prometheus writes it: `NaN`, `+Inf` and what Rust reads.
fn float(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "a value that is no number")
}

/// What is left of a line.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, wanted: char) -> bool {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Up to the next blank, or to the end; may be empty.
    fn word(&mut self) -> &'a str {
        let end = self.0.find([' ', '\t']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    fn metric_name(&mut self) -> Result<Cow<'a, str>, &'static str> {
        self.name(true).ok_or("a name of a metric was expected")
    }

    /// A plain or quoted name; only those of metrics may hold a colon.
    fn name(&mut self, colon: bool) -> Option<Cow<'a, str>> {
        if self.eat('"') {
            return self.quoted().ok().filter(|name| !name.is_empty());
        }
        let is_part = |(i, c): (usize, char)| {
            c.is_ascii_alphabetic() || c == '_' || (colon && c == ':') || (i > 0 && c.is_ascii_digit())
        };
        let end = self
            .0
            .char_indices()
            .find(|at| !is_part(*at))
            .map_or(self.0.len(), |(i, _)| i);
        let (name, rest) = self.0.split_at(end);
        self.0 = rest;
        (!name.is_empty()).then_some(Cow::Borrowed(name))
    }

    /// What stands between quotes; the first of them was eaten.
    fn quoted(&mut self) -> Result<Cow<'a, str>, &'static str> {
        let mut from = 0;
        loop {
            let at = self.0[from..]
                .find(['"', '\\'])
                .ok_or("a quote that does not end")?
                + from;
            if self.0.as_bytes()[at] == b'"' {
                let text = unescape(&self.0[..at], true);
                self.0 = &self.0[at + 1..];
                return Ok(text);
            }
            // the escape, and whatever character it escapes
            let escaped = self.0[at + 1..]
                .chars()
                .next()
                .ok_or("a quote that does not end")?;
            from = at + 1 + escaped.len_utf8();
        }
    }

    /// Labels up to the closing brace; the opening one was eaten. Where a metric may be named within the braces, a
    /// quoted text without a value is that name.
    fn labels(
        &mut self,
        labels: &mut Vec<Label<'a>>,
        mut metric: Option<&mut Option<Cow<'a, str>>>,
    ) -> Result<(), &'static str> {
        loop {
            self.blanks();
            if self.eat('}') {
                return Ok(());
            }
            let is_quoted = self.0.starts_with('"');
            let name = self.name(false).ok_or("a name of a label was expected")?;
            self.blanks();
            if self.eat('=') {
                self.blanks();
                if !self.eat('"') {
                    return Err("a value of a label without quotes");
                }
                if labels.len() == LABELS_MAX {
                    return Err("too many labels");
                }
                labels.push((name, self.quoted()?));
            } else {
                match &mut metric {
                    Some(metric) if is_quoted && metric.is_none() => **metric = Some(name),
                    _ => return Err("a label without a value"),
                }
            }
            self.blanks();
            if !self.eat(',') && !self.0.starts_with('}') {
                return Err("a comma or a brace was expected");
            }
        }
    }
}

/// `\\` and `\n`, and `\"` where quotes are escaped; other escapes stay as they are.
fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if quotes => out.push('"'),
            other => {
                out.push('\\');
                out.extend(other);
            }
        }
    }
    Cow::Owned(out)
}
