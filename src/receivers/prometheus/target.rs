//! One target: where it is, and the labels that its samples get.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use http::Uri;

use super::relabel::Labels;
use super::scalar::Span;

/// A target after relabelling.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) url: Uri,
    /// Sorted by name; `job` and `instance` are among them.
    pub(super) labels: Vec<(String, String)>,
    /// What the configuration says, whatever relabelling made of it: it becomes `url.scheme`.
    pub(super) scheme: &'static str,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Target {
    /// Out of relabelled labels. Errors: what cannot be a URL, in words.
    pub(super) fn new(
        labels: &Labels<'_>,
        params: &BTreeMap<String, Vec<String>>,
        scheme: &'static str,
    ) -> Result<Target, String> {
        let address = labels.get("__address__");
        if address.is_empty() {
            return Err("no address".into());
        }
        if address.contains('/') {
            return Err(format!("{address:?} is not a valid hostname"));
        }
        let span = |name: &str| Span::parse(labels.get(name)).ok_or_else(|| format!("{name} is no duration"));
        let (interval, timeout) = (span("__scrape_interval__")?.0, span("__scrape_timeout__")?.0);
        if interval.is_zero() || timeout.is_zero() || timeout > interval {
            return Err(
                "interval and timeout must be above 0, and the timeout not longer than the interval".into(),
            );
        }
        let mut query = Vec::new();
        for (name, values) in params {
            let first = labels.get(&format!("__param_{name}"));
            query.extend((!first.is_empty()).then_some((name.as_str(), first)));
            query.extend(values.iter().skip(1).map(|value| (name.as_str(), value.as_str())));
        }
        let set = labels
            .0
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("__param_")?, &**value)));
        query.extend(set.filter(|(name, _)| !params.contains_key(*name)));
        let path = labels.get("__metrics_path__");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut url = format!("{}://{address}{slash}{path}", labels.get("__scheme__"));
        for (i, (name, value)) in query.iter().enumerate() {
            url.push(if i == 0 && !path.contains('?') { '?' } else { '&' });
            encode(name, &mut url);
            url.push('=');
            encode(value, &mut url);
        }
        let url: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
            return Err(format!("\"{url}\" is no URL of http or https"));
        }
        let mut own: Vec<(String, String)> = labels
            .0
            .iter()
            .filter(|(name, _)| !name.starts_with("__"))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        if labels.get("instance").is_empty() {
            own.push(("instance".into(), address.to_owned()));
        }
        own.sort();
        Ok(Target {
            url,
            labels: own,
            scheme,
            interval,
            timeout,
        })
    }

    pub(super) fn label(&self, name: &str) -> &str {
        self.labels
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    }

    /// When in its interval the target is scraped: spread, and the same at every start.
    pub(super) fn offset(&self) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self.url.to_string(), &self.labels).hash(&mut hasher);
        let nanos = self.interval.as_nanos().max(1);
        Duration::from_nanos((u128::from(hasher.finish()) % nanos) as u64)
    }
}

/// As a part of a query: what is neither letter, digit nor one of `-._~` as `%XX`.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}
