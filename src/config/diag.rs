//! Messages to the user: where, what, and what to write instead.

use std::fmt;

/// Where something stands in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File name as the user gave it, or `yaml:`, `env:X`.
    pub source: std::sync::Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

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
}

/// All faults found, never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Diags(pub Vec<Diag>);

impl fmt::Display for Diags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for d in &self.0 {
            writeln!(f, "{}: {}", d.path, d.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diags {}
