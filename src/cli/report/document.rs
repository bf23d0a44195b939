//! The report itself, before it is written in any form: controls with their figures, populations and exceptions.
//!
//! A figure has a value and where it was taken from, or says why there is none; nothing that was not looked at is zero.
//! What the figures mean for a criterion is for people to judge: no word here does.

use std::collections::BTreeMap;

use evidence::time::Time;
use evidence::verify::Report;
use serde::Serialize;

use super::fold::{Counts, Facts, List, Period};
use super::texts::Texts;
use super::trail::Trail;

/// Exceptions of a control that are told one by one.
const EXCEPTIONS_MAX: usize = 1_000;

/// What a report is made of.
pub(super) struct Input<'a> {
    pub(super) facts: &'a Facts,
    pub(super) trail: &'a Trail,
    pub(super) verified: &'a Report,
    /// Texts of configurations, by digest.
    pub(super) texts: &'a Texts,
    /// Entries with a proof.
    pub(super) proofs: u64,
    /// Logs that have none although they were wanted.
    pub(super) unproved: &'a List,
    /// Of `evidence/verify.json`.
    pub(super) verify_sha256: String,
    pub(super) period: Period,
    pub(super) made: Time,
    pub(super) entity: Option<&'a str>,
    /// The key under the archive's name that signs, if one does.
    pub(super) signed_by: Option<String>,
    /// Criteria that are asked for; none: all.
    pub(super) criteria: &'a [String],
}

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) v: u64,
    pub(super) framework: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entity: Option<String>,
    /// Name of the archive, if it is known.
    pub(super) system: Option<String>,
    pub(super) tool: String,
    pub(super) made: Time,
    pub(super) from: Option<Time>,
    pub(super) to: Time,
    pub(super) verify: Verified,
    pub(super) summary: Vec<String>,
    pub(super) controls: Vec<Control>,
    pub(super) not_proved: Vec<&'static str>,
    pub(super) signature: Signature,
}

/// What the verification said.
#[derive(Debug, Serialize)]
pub(super) struct Verified {
    pub(super) verdict: &'static str,
    pub(super) exit: u8,
    pub(super) level: evidence::verify::Level,
    pub(super) warnings: u64,
    pub(super) sha256: String,
    pub(super) policy_sha256: String,
    pub(super) claims: Vec<ClaimLine>,
}

/// One claim of it.
#[derive(Debug, Serialize)]
pub(super) struct ClaimLine {
    pub(super) claim: String,
    pub(super) about: &'static str,
    pub(super) result: evidence::verify::Outcome,
    pub(super) checked: u64,
    pub(super) failed: u64,
    pub(super) warnings: u64,
}

/// Whether `report.note` is there.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Signature {
    By { note: &'static str, key: String },
    None { not_available: &'static str },
}

/// What is done for a criterion, and what shows it.
#[derive(Debug, Serialize)]
pub(super) struct Control {
    /// The criterion.
    pub(super) id: &'static str,
    pub(super) control: String,
    /// What the criterion asks, in short.
    pub(super) asks: &'static str,
    /// `yes`, `with exceptions`, or `not shown`: whether the period's evidence shows it at work.
    pub(super) operating: &'static str,
    pub(super) figures: Vec<Figure>,
    pub(super) population: Option<Population>,
    pub(super) exceptions: Vec<Exception>,
    /// With those that are not told one by one.
    pub(super) exceptions_total: u64,
    pub(super) refs: Vec<String>,
}

/// A number, or why there is none.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<Label>,
    pub(super) value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_available: Option<String>,
    pub(super) unit: &'static str,
    pub(super) source: &'static str,
    /// By month of the period, in UTC.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) months: Vec<Part>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tenants: Vec<Part>,
}

/// What tells figures of one name apart.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Label {
    pub(super) key: &'static str,
    pub(super) value: String,
}

/// A figure's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Count(u64),
    Seconds(f64),
    Cores(f64),
    Text(String),
}

/// One month's or tenant's share.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) of: String,
    pub(super) value: u64,
}

/// What the figures were counted over.
#[derive(Debug, Serialize)]
pub(super) struct Population {
    pub(super) what: &'static str,
    pub(super) count: u64,
    /// Where all of it is listed; none if the logs themselves are the list.
    pub(super) list: Option<&'static str>,
    /// Why nothing is missing in it.
    pub(super) complete_by: &'static str,
}

/// Something to look at.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Exception {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) t: Option<Time>,
    pub(super) what: String,
    /// An entry, an object or an audit record.
    #[serde(rename = "ref")]
    pub(super) place: String,
}

/// A population, row by row.
#[derive(Debug)]
pub(super) struct Listing {
    /// Below the report's directory.
    pub(super) file: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<String>>,
}

// --- making ---

impl Figure {
    pub(super) fn new(
        name: &'static str,
        unit: &'static str,
        source: &'static str,
        value: Result<Value, String>,
    ) -> Figure {
        let (value, not_available) = match value {
            Ok(value) => (Some(value), None),
            Err(why) => (None, Some(why)),
        };
        Figure {
            name,
            label: None,
            value,
            not_available,
            unit,
            source,
            months: Vec::new(),
            tenants: Vec::new(),
        }
    }

    pub(super) fn by_month(mut self, parts: impl IntoIterator<Item = (String, u64)>) -> Figure {
        let parts = parts.into_iter().map(|(of, value)| Part { of, value });
        self.months = parts.collect();
        self
    }

    pub(super) fn by_tenant(mut self, parts: impl IntoIterator<Item = (String, u64)>) -> Figure {
        let parts = parts.into_iter().filter(|(_, n)| *n > 0);
        self.tenants = parts.map(|(of, value)| Part { of, value }).collect();
        self
    }

    /// As it is called in tables: `dropped{reason="filter"}`.
    pub(super) fn title(&self) -> String {
        match &self.label {
            Some(Label { key, value }) => format!("{}{{{key}={value}}}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// The value as text; `not available: why` where there is none.
    pub(super) fn text(&self) -> String {
        match (&self.value, &self.not_available) {
            (Some(value), _) => value.to_string(),
            (None, why) => format!("not available: {}", why.as_deref().unwrap_or("not looked at")),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Count(n) => n.fmt(f),
            Value::Seconds(n) | Value::Cores(n) => n.fmt(f),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// A control as it grows.
pub(super) struct Making {
    pub(super) figures: Vec<Figure>,
    exceptions: Vec<Exception>,
    more: u64,
    pub(super) population: Option<Population>,
    /// Whether anything in the period shows the control at work.
    pub(super) is_shown: bool,
}

impl Making {
    pub(super) fn new() -> Making {
        Making {
            figures: Vec::new(),
            exceptions: Vec::new(),
            more: 0,
            population: None,
            is_shown: false,
        }
    }

    pub(super) fn count(
        &mut self,
        name: &'static str,
        unit: &'static str,
        source: &'static str,
        n: Result<u64, String>,
    ) {
        self.figures
            .push(Figure::new(name, unit, source, n.map(Value::Count)));
    }

    pub(super) fn seconds(
        &mut self,
        name: &'static str,
        source: &'static str,
        millis: Result<Option<u64>, String>,
        nothing: &str,
    ) {
        let value = millis.and_then(|millis| millis.ok_or_else(|| nothing.to_owned()));
        let value = value.map(|millis| Value::Seconds(millis as f64 / 1_000.0));
        self.figures.push(Figure::new(name, "s", source, value));
    }

    pub(super) fn missing(
        &mut self,
        names: &[&'static str],
        unit: &'static str,
        source: &'static str,
        why: &str,
    ) {
        for name in names {
            self.figures
                .push(Figure::new(name, unit, source, Err(why.to_owned())));
        }
    }

    /// One figure for each name, or one that says why there is none. Nothing counted is one figure of 0.
    pub(super) fn each(
        &mut self,
        name: &'static str,
        key: &'static str,
        unit: &'static str,
        source: &'static str,
        counts: Result<&Counts, String>,
    ) {
        match counts {
            Ok(counts) if !counts.is_empty() => {
                for (of, n) in counts.iter() {
                    let mut figure = Figure::new(name, unit, source, Ok(Value::Count(n)));
                    let value = if of.is_empty() { "unnamed" } else { of }.to_owned();
                    figure.label = Some(Label { key, value });
                    self.figures.push(figure);
                }
            }
            other => self.count(name, unit, source, other.map(|_| 0)),
        }
    }

    pub(super) fn except(&mut self, t: Option<Time>, what: String, place: &str) {
        if self.exceptions.len() >= EXCEPTIONS_MAX {
            self.more += 1;
            return;
        }
        let place = place.to_owned();
        self.exceptions.push(Exception { t, what, place });
    }

    /// Every row of a list, in words.
    pub(super) fn except_all(&mut self, list: &List, say: impl Fn(&[String]) -> String) {
        for row in &list.rows {
            self.except(Some(row.t), say(&row.cells), &row.place);
        }
        self.more += list.total - list.rows.len() as u64;
    }

    pub(super) fn finish(self, id: &'static str, control: &str, asks: &'static str) -> Control {
        let mut exceptions = self.exceptions;
        exceptions.sort_by(|a, b| (a.t, &a.place, &a.what).cmp(&(b.t, &b.place, &b.what)));
        let exceptions_total = exceptions.len() as u64 + self.more;
        let list = self.population.as_ref().and_then(|population| population.list);
        let mut refs = vec!["evidence/verify.json".to_owned()];
        refs.extend(list.map(str::to_owned));
        Control {
            id,
            control: control.to_owned(),
            asks,
            operating: match (exceptions_total, self.is_shown) {
                (1.., _) => "with exceptions",
                (0, true) => "yes",
                (0, false) => "not shown",
            },
            figures: self.figures,
            population: self.population,
            exceptions,
            exceptions_total,
            refs,
        }
    }
}

/// The months of the facts with one of their sums.
pub(super) fn monthly<S>(months: &BTreeMap<String, S>, of: impl Fn(&S) -> u64) -> Vec<(String, u64)> {
    months
        .iter()
        .map(|(month, sums)| (month.clone(), of(sums)))
        .collect()
}

/// A list as a table, the time first and the place last.
pub(super) fn listing(file: &'static str, columns: &'static [&'static str], list: &List) -> Listing {
    let rows = list.rows.iter().map(|row| {
        let mut cells = vec![row.t.to_string()];
        cells.extend(row.cells.iter().cloned());
        cells.push(row.place.clone());
        cells
    });
    Listing {
        file,
        columns,
        rows: rows.collect(),
    }
}
