//! What goes wrong while a statement runs on an item.

use std::borrow::Cow;
use std::fmt;

use crate::value::Val;

/// A statement or condition that failed on one item. Says types and limits, never values of the item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Cow<'static, str>);

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) const fn new(message: &'static str) -> Error {
        Error(Cow::Borrowed(message))
    }

    pub(crate) fn text(message: impl Into<String>) -> Error {
        Error(Cow::Owned(message.into()))
    }

    /// A value of another type than a function takes.
    #[cold]
    pub(crate) fn expected(what: &str, got: &Val<'_>) -> Error {
        Error(format!("expected {what} but got {}", got.type_name()).into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
