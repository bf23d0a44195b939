//! Types that a user's text is parsed into.

use std::fmt;

/// `type` or `type/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId {
    /// The type, as written (an alias stays an alias).
    pub kind: String,
    /// What follows the first `/`; empty if there is none.
    pub name: String,
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}/{}", self.kind, self.name)
        }
    }
}

/// `signal` or `signal/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId {
    /// `traces`, `metrics`, `logs` or `profiles`.
    pub signal: String,
    /// What follows the first `/`; empty if there is none.
    pub name: String,
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            f.write_str(&self.signal)
        } else {
            write!(f, "{}/{}", self.signal, self.name)
        }
    }
}

/// A duration in Go's syntax (`1h30m`, `1.5s`), or a bare integer of nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

/// A size in bytes (a plain integer, as the collector has it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text that never shows itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

/// A switchable block: otelcol's three states.
#[derive(Clone, Debug, PartialEq)]
pub enum Optional<T> {
    /// Off, without defaults: a null leaves it off.
    None,
    /// Off, with defaults: a null turns it on.
    Default(T),
    /// On.
    Some(T),
}

/// `host:port` or a URL, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint(pub String);
