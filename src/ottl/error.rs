//! What goes wrong while a statement runs on an item.

use std::borrow::Cow;
use std::fmt;

use crate::value::Val;

/// A statement or condition that failed on one item. Says types and limits, never values of the item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: Cow<'static, str>,
    /// The value is none that could be taken; for a literal that is known before anything runs.
    mistyped: bool,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) const fn new(message: &'static str) -> Error {
        Error {
            message: Cow::Borrowed(message),
            mistyped: false,
        }
    }

    pub(crate) fn text(message: impl Into<String>) -> Error {
        Error {
            message: Cow::Owned(message.into()),
            mistyped: false,
        }
    }

    /// A value that can never be what the function makes of it, whatever else there is.
    #[cold]
    pub(crate) fn unfit(message: impl Into<Cow<'static, str>>) -> Error {
        Error {
            message: message.into(),
            mistyped: true,
        }
    }

    /// A value of another type than a function takes.
    #[cold]
    pub(crate) fn expected(what: &str, got: &Val<'_>) -> Error {
        Error {
            message: format!("expected {what} but got {}", got.type_name()).into(),
            mistyped: true,
        }
    }

    /// The same, said of a function.
    #[cold]
    pub(crate) fn of(self, function: &str) -> Error {
        Error {
            message: format!("{function}: {}", self.message).into(),
            ..self
        }
    }

    pub(crate) fn is_mistyped(&self) -> bool {
        self.mistyped
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
