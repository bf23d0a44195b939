//! One chunk seen through a flat index, with edits.

/// How deep the flat index goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Nothing is read.
    None,
    /// Resources and their attributes.
    Resource,
    /// Scopes and their attributes too.
    Scope,
    /// Records (log records, spans, data points) and their attributes too.
    Record,
    /// Everything with attributes: events, links, exemplars too.
    All,
}

/// One chunk seen through a flat index, with edits.
pub struct View<'a> {
    _bytes: &'a [u8],
}
