//! `service::telemetry::metrics::views`: which families are left out, renamed, or shown with fewer labels.
//!
//! As the OpenTelemetry SDK reads them: every view that selects a family makes one of it, a family that no view selects
//! stays as it is. What would need other buckets than those counted is refused by the roof, which reads the keys.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::metrics::{Labels, Reading};
use crate::names::Kind;
use crate::snapshot::{Family, Snapshot};

/// One view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Which families.
    pub selector: Selector,
    /// What becomes of them.
    pub stream: Stream,
}

/// Which families a view is about; what is `None` is not looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    /// Instrument name; `*` stands for any text, `?` for any character.
    pub name: Option<String>,
    /// What the instrument is.
    pub kind: Option<Kind>,
    /// Whether it is a sum that also shrinks; looked at with `kind` gauge.
    pub up_down: bool,
    /// Instrumentation scope.
    pub scope: Option<String>,
    /// Unit.
    pub unit: Option<String>,
}

/// What becomes of a family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Only these labels stay.
    pub included: Option<Vec<String>>,
    /// These labels go.
    pub excluded: Vec<String>,
    /// The family is left out.
    pub is_dropped: bool,
}

impl Snapshot {
    /// This snapshot as the views show it.
    pub fn seen_through(self, views: &[View]) -> Snapshot {
        if views.is_empty() {
            return self;
        }
        let mut families: Vec<Family> = Vec::with_capacity(self.families.len());
        for family in self.families {
            let selecting: Vec<&View> = views.iter().filter(|v| v.selector.selects(&family)).collect();
            if selecting.is_empty() {
                families.push(family);
                continue;
            }
            let streams = selecting.iter().map(|view| &view.stream);
            families.extend(
                streams
                    .filter(|stream| !stream.is_dropped)
                    .map(|stream| stream.of(&family)),
            );
        }
        families.sort_by(|a, b| a.name.cmp(&b.name));
        // Two views may give one name: the first stays, or a reader would find a family twice.
        families.dedup_by(|b, a| a.name == b.name);
        Snapshot { families }
    }
}

impl Selector {
    fn selects(&self, family: &Family) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        self.name
            .as_deref()
            .is_none_or(|pattern| matches(pattern, &family.name))
            && self.kind.is_none_or(|kind| {
                kind == family.kind && (kind != Kind::Gauge || self.up_down == family.up_down)
            })
            && is(&self.scope, family.scope)
            && is(&self.unit, family.unit)
    }
}

/// `*` any text, `?` any character. Linear but for the backing up to the last `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

impl Stream {
    fn of(&self, family: &Family) -> Family {
        let mut series: BTreeMap<Labels, Reading> = BTreeMap::new();
        for (labels, reading) in &family.series {
            let mut labels = labels.clone();
            labels.retain(|(name, _)| self.keeps(name));
            match series.get_mut(&labels) {
                Some(sum) => add(sum, reading, family.kind == Kind::Gauge && !family.up_down),
                None => {
                    series.insert(labels, reading.clone());
                }
            }
        }
        let text = |new: &Option<String>, old: &Cow<'static, str>| match new {
            Some(new) => Cow::Owned(new.clone()),
            None => old.clone(),
        };
        Family {
            name: text(&self.name, &family.name),
            help: text(&self.description, &family.help),
            series: series.into_iter().collect(),
            ..family.clone()
        }
    }

    fn keeps(&self, label: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == label);
        self.included.as_deref().is_none_or(named) && !named(&self.excluded)
    }
}

/// Series that fell together: sums add up, of gauges the last one counts.
fn add(sum: &mut Reading, more: &Reading, is_last_value: bool) {
    match (sum, more) {
        (sum, more) if is_last_value => *sum = more.clone(),
        (Reading::Count(a), Reading::Count(b)) => *a += b,
        (Reading::Number(a), Reading::Number(b)) => *a += b,
        (
            Reading::Histogram { counts, sum, .. },
            Reading::Histogram {
                counts: more,
                sum: more_sum,
                ..
            },
        ) => {
            for (a, b) in counts.iter_mut().zip(more) {
                *a += b;
            }
            *sum += more_sum;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Level;
    use crate::snapshot::tests::gateway;

    #[test]
    fn patterns_match_as_the_sdk_matches_them() {
        #[track_caller]
        fn check(pattern: &str, text: &str, expected: bool) {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        check("http.server.*", "http.server.request.duration", true);
        check("http.server.*", "http.client.request.duration", false);
        check("*", "", true);
        check("*size*", "otelcol_exporter_queue_size_bytes", true);
        check("a*b*c", "axxbxxbc", true);
        check("a*b*c", "axxbxxb", false);
        check("otelcol_?", "otelcol_x", true);
        check("otelcol_?", "otelcol_", false);
        check("exact", "exact", true);
        check("exact", "exactly", false);
    }

    fn view(name: &str, stream: Stream) -> View {
        View {
            selector: Selector {
                name: Some(name.into()),
                ..Selector::default()
            },
            stream,
        }
    }

    #[test]
    fn views_drop_rename_and_merge() {
        let snapshot = Snapshot::take(&gateway(), Level::Detailed);
        let count = snapshot.families.len();
        let seen = snapshot.clone().seen_through(&[
            view(
                "http.*",
                Stream {
                    is_dropped: true,
                    ..Stream::default()
                },
            ),
            view(
                "otelcol_exporter_send_failed_*",
                Stream {
                    name: Some("failures".into()),
                    included: Some(vec!["exporter".into()]),
                    ..Stream::default()
                },
            ),
        ]);
        assert_eq!(seen.families.len(), count - 1);
        assert!(seen.families.iter().all(|f| !f.name.starts_with("http.")));
        let failures = seen.families.iter().find(|f| f.name == "failures").unwrap();
        let exporter = vec![("exporter", "otlp".to_owned())];
        assert_eq!(failures.series, [(exporter, Reading::Count(2))]);
        assert_eq!(snapshot.clone().seen_through(&[]), snapshot);
    }

    #[test]
    fn selectors_look_at_kind_scope_and_unit() {
        let snapshot = Snapshot::take(&gateway(), Level::Detailed);
        let selected = |selector: Selector| -> Vec<String> {
            let chosen = snapshot.families.iter().filter(|f| selector.selects(f));
            chosen.map(|f| f.name.to_string()).collect()
        };
        let of_kind = |kind, up_down| Selector {
            kind: Some(kind),
            up_down,
            ..Selector::default()
        };
        assert_eq!(
            selected(of_kind(Kind::Histogram, false)),
            [
                "http.server.request.duration",
                "otelcol_processor_batch_batch_send_size_bytes"
            ]
        );
        assert_eq!(
            selected(of_kind(Kind::Gauge, true)),
            ["otelcol_exporter_in_flight_requests"]
        );
        let unit = Selector {
            unit: Some("s".into()),
            scope: Some("go.opentelemetry.io/collector/service".into()),
            ..Selector::default()
        };
        assert_eq!(selected(unit), ["otelcol_process_uptime"]);
    }
}
