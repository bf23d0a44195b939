//! Messages to the user: where, what, and what to write instead.
//!
//! A [`Diag`] is one fault and prints as one line, `file:line:column path: message; help`; what was found while
//! decoding has the collector's words in the place of the path. [`Diags`] is all that was found, and prints each
//! with an excerpt of its source line and a caret; [`Diags::report`] puts the collector's headings over them. An excerpt shows the
//! faulty key or value and its indentation and elides all else on the line: a neighbour on the line may be a
//! password. Values that came from the environment have their place at the `${...}` that named them, so that
//! what they expanded to is never shown.

use std::fmt;
use std::sync::Arc;

/// Where something stands in a source.
#[derive(Clone)]
pub struct Place {
    /// File name as the user gave it, or `yaml:`, `env:X`.
    pub source: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Characters of the key or value on that line; 0 if not known.
    pub(crate) width: u32,
    /// The whole source; `None` where it must not be shown.
    pub(crate) text: Option<Arc<str>>,
}

impl Place {
    /// A place without an excerpt. Line and column count from 1.
    pub fn new(source: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self {
            source: source.into(),
            line,
            column,
            width: 0,
            text: None,
        }
    }

    /// The source line and a caret under the fault, two lines without a final newline; `None` where the
    /// source has no such line or must not be shown. All but the faulty key or value is elided.
    pub fn excerpt(&self) -> Option<String> {
        let text = self.text.as_deref()?;
        let line = text.lines().nth(self.line.checked_sub(1)? as usize)?;
        let at = self.column.checked_sub(1)? as usize;
        let shown: Vec<char> = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if at > shown.len() {
            return None;
        }
        let mut left: String = shown[..at].iter().collect();
        if !is_plain_lead(&left) {
            left = indent_of(&left) + "... ";
        }
        if left.chars().count() > LEFT_MAX {
            left = "... ".into();
        }
        let width = (self.width.max(1) as usize).min(shown.len() - at);
        let cut = width.min(TOKEN_MAX);
        let mut token: String = shown[at..at + cut].iter().collect();
        let mut rest = &shown[at + width..];
        if cut < width {
            token.push_str("...");
            rest = &[];
        }
        if let Some((':', after)) = rest.split_first() {
            token.push(':');
            rest = after;
        }
        if !rest.iter().all(|c| c.is_whitespace()) {
            token.push_str(" ...");
        }
        let gutter = self.line.to_string();
        Some(format!(
            "  {gutter} | {left}{token}\n  {blank} | {lead}{carets}",
            blank = " ".repeat(gutter.len()),
            lead = " ".repeat(left.chars().count()),
            carets = "^".repeat(cut.max(1)),
        ))
    }
}

/// The excerpt stays below 80 columns with these two.
const TOKEN_MAX: usize = 36;
const LEFT_MAX: usize = 30;

/// Indentation, list dashes, and at most one `key:` before a value.
fn is_plain_lead(left: &str) -> bool {
    let body = left.trim_start_matches([' ', '-']).trim_end();
    body.is_empty()
        || body.strip_suffix(':').is_some_and(|key| {
            key.chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '"' | '\''))
        })
}

fn indent_of(left: &str) -> String {
    left.chars().take_while(|c| *c == ' ').collect()
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.line, self.column) == (&other.source, other.line, other.column)
    }
}

impl Eq for Place {}

impl fmt::Debug for Place {
    /// Without the text: a source may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

// --- Diag ---

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Diag {
    /// Where, if the fault has a place.
    pub place: Option<Place>,
    /// `exporters::otlp::endpoint`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// When it was found.
    pub stage: Stage,
    /// What stands in the place of the path, where [`lead`] would say something else.
    pub(crate) lead: Option<String>,
}

/// At which step a fault was found, in their order; each has its heading in the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A source cannot be had, is no YAML, or names something that cannot be had.
    Resolve,
    /// A key or the type of a value is not what the configuration has there.
    Decode,
    /// The values are not what they must be.
    #[default]
    Validate,
    /// The components cannot be connected.
    Build,
}

impl Stage {
    /// The collector's words over the faults of this step.
    pub fn heading(self) -> &'static str {
        match self {
            Stage::Resolve => "failed to get config: cannot resolve the configuration:",
            Stage::Decode => {
                "failed to get config: cannot unmarshal the configuration: decoding failed due to the following \
                 error(s):\n"
            }
            Stage::Validate => "invalid configuration:",
            Stage::Build => "failed to build pipelines:",
        }
    }
}

impl Diag {
    /// A fault without help, against a rule; see [`Diag::at`].
    pub fn new(place: Option<Place>, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place,
            path: path.into(),
            message: message.into(),
            help: None,
            stage: Stage::default(),
            lead: None,
        }
    }

    /// Says when it was found.
    pub fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// Says what to write instead.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// For sorting by source, line and column; what has no place comes first.
    pub fn place_order(&self) -> Option<(&str, u32, u32)> {
        self.place
            .as_ref()
            .map(|place| (&*place.source, place.line, place.column))
    }
}

impl fmt::Display for Diag {
    /// One line: `file:line:column path: message; help`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head())?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl Diag {
    fn head(&self) -> String {
        let place = self.place.as_ref().map(ToString::to_string).unwrap_or_default();
        if self.stage == Stage::Decode {
            let lead = self.lead.clone().unwrap_or_else(|| lead(&self.path));
            let colon = if place.is_empty() { "" } else { ": " };
            return format!("{place}{colon}{lead} {}", self.message);
        }
        let gap = if place.is_empty() || self.path.is_empty() {
            ""
        } else {
            " "
        };
        let colon = if place.is_empty() && self.path.is_empty() {
            ""
        } else {
            ": "
        };
        format!("{place}{gap}{}{colon}{}", self.path, self.message)
    }
}

/// The collector's way to say where decoding failed: each part with a decoder of its own begins anew, and its map's
/// keys stand in brackets.
fn lead(path: &str) -> String {
    let steps: Vec<&str> = path.split("::").filter(|step| !step.is_empty()).collect();
    match steps.as_slice() {
        [
            kind @ ("receivers" | "processors" | "exporters" | "connectors" | "extensions"),
            id,
            rest @ ..,
        ] => {
            let rest = rest.join(".");
            format!("'{kind}' error reading configuration for \"{id}\": {DECODING_FAILED} '{rest}'")
        }
        ["service", "pipelines", id, rest @ ..] => {
            let rest: String = rest.iter().map(|step| format!(".{step}")).collect();
            format!("'service.pipelines' {DECODING_FAILED} '[{id}]{rest}'")
        }
        steps => format!("'{}'", steps.join(".")),
    }
}

/// The collector's words over what one decoder found.
pub(crate) const DECODING_FAILED: &str = "decoding failed due to the following error(s):";

// --- Diags ---

/// All faults found, never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Diags(pub Vec<Diag>);

impl Diags {
    /// `Err` with the faults if there are any.
    pub fn check(faults: Vec<Diag>) -> Result<(), Diags> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Diags(faults))
        }
    }
}

impl Diags {
    /// All faults below the headings of their steps, without a final newline. `bare` leaves out the heading over
    /// broken rules, as `validate` does.
    pub fn report(&self, bare: bool) -> String {
        let mut text = String::new();
        for stage in [Stage::Resolve, Stage::Decode, Stage::Validate, Stage::Build] {
            let faults: Vec<Diag> = self
                .0
                .iter()
                .filter(|diag| diag.stage == stage)
                .cloned()
                .collect();
            if faults.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            // What is said of building carries its words in each message.
            if !(stage == Stage::Build || bare && stage == Stage::Validate) {
                text.push_str(stage.heading());
                text.push('\n');
            }
            text.push_str(&Diags(faults).to_string());
        }
        text
    }
}

impl From<Diag> for Diags {
    fn from(diag: Diag) -> Self {
        Diags(vec![diag])
    }
}

impl IntoIterator for Diags {
    type Item = Diag;
    type IntoIter = std::vec::IntoIter<Diag>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Diags {
    /// Each fault with its excerpt; help goes on a line of its own where the first would pass 80 columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diag) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            let line = diag.to_string();
            match &diag.help {
                Some(help) if line.chars().count() > 80 => write!(f, "{}\n  help: {help}", diag.head())?,
                _ => f.write_str(&line)?,
            }
            if let Some(excerpt) = diag.place.as_ref().and_then(Place::excerpt) {
                write!(f, "\n{excerpt}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diags {}

// --- Nearest name ---

/// The candidate that `name` most probably means, if one is near enough: at most a third of its letters
/// wrong, with a swap of neighbours as one error, and letter case, `-` and `_` as none.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |s: &str| -> Vec<char> {
        s.chars()
            .take(NAME_MAX)
            .filter(|c| !matches!(c, '_' | '-'))
            .flat_map(char::to_lowercase)
            .collect()
    };
    let wanted = plain(name);
    let limit = (wanted.len() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters = plain(candidate);
            let prefix = wanted.len() >= 3 && letters.starts_with(&wanted);
            let distance = if prefix { 1 } else { distance(&wanted, &letters) };
            (distance <= limit && distance < letters.len().max(1)).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer names are compared by their beginning.
const NAME_MAX: usize = 64;

/// Edits and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let (mut before, mut last) = (vec![0; b.len() + 1], (0..=b.len()).collect::<Vec<_>>());
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let change = last[j] + usize::from(a[i] != b[j]);
            row[j + 1] = change.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        (before, last) = (last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, line: u32, column: u32, width: u32) -> Place {
        Place {
            source: "gw.yaml".into(),
            line,
            column,
            width,
            text: Some(text.into()),
        }
    }

    #[test]
    fn prints_one_line_for_one_fault() {
        let diag = Diag::new(
            Some(Place::new("gw.yaml", 41, 7)),
            "exporters::loki",
            "has invalid keys: endpont",
        );
        assert_eq!(
            diag.to_string(),
            "gw.yaml:41:7 exporters::loki: has invalid keys: endpont"
        );
        let helped = diag.with_help("did you mean \"endpoint\"?");
        assert!(
            helped
                .to_string()
                .ends_with("endpont; did you mean \"endpoint\"?")
        );
        assert_eq!(
            Diag::new(None, "", "empty configuration file").to_string(),
            "empty configuration file"
        );
        assert_eq!(Diag::new(None, "a::b", "bad").to_string(), "a::b: bad");
    }

    #[test]
    fn excerpts_elide_all_but_the_fault() {
        let check = |text: &str, column, width, expected: &str| {
            assert_eq!(
                place(text, 1, column, width).excerpt().as_deref(),
                Some(expected),
                "{text}"
            );
        };
        check("  endpont: x", 3, 7, "  1 |   endpont: ...\n    |   ^^^^^^^");
        check("  endpont:", 3, 7, "  1 |   endpont:\n    |   ^^^^^^^");
        check(
            "  timeout: 5q # why",
            12,
            2,
            "  1 |   timeout: 5q ...\n    |            ^^",
        );
        check("- - a", 5, 1, "  1 | - - a\n    |     ^");
        check(
            "x: {password: hunter2, foo: 1}",
            24,
            3,
            "  1 | ... foo: ...\n    |     ^^^",
        );
        check(
            &format!("k: {}", "y".repeat(90)),
            4,
            90,
            &format!("  1 | k: {}...\n    |    {}", "y".repeat(36), "^".repeat(36)),
        );
        check("\tx", 1, 1, "  1 |   ...\n    | ^");
        assert_eq!(place("", 1, 1, 1).excerpt(), None);
        assert_eq!(place("x", 2, 1, 1).excerpt(), None);
        assert_eq!(place("x", 1, 9, 1).excerpt(), None);
    }

    #[test]
    fn help_moves_to_its_own_line_when_the_first_is_full() {
        let long = Diag::new(
            Some(Place::new("a-rather-long-file-name.yaml", 1, 1)),
            "receivers::otlp",
            "is wrong",
        )
        .with_help("write something else here");
        let text = Diags(vec![long, Diag::new(None, "b", "x")]).to_string();
        assert_eq!(
            text,
            "a-rather-long-file-name.yaml:1:1 receivers::otlp: is wrong\n  help: write something else here\nb: x"
        );
    }

    #[test]
    fn names_the_nearest() {
        let keys = [
            "endpoint",
            "tls",
            "timeout",
            "limit_percentage",
            "sending_queue",
            "ca_file",
            "key_file",
        ];
        let check = |name, expected| assert_eq!(nearest(name, keys), expected, "{name}");
        check("endpont", Some("endpoint"));
        check("enpdoint", Some("endpoint"));
        check("Endpoint", Some("endpoint"));
        check("tsl", Some("tls"));
        check("limit_percent", Some("limit_percentage"));
        check("sending-queue", Some("sending_queue"));
        check("cafile", Some("ca_file"));
        check("completely_else", None);
        check("", None);
        check("x", None);
    }
}
