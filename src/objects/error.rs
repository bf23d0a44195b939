//! Why a store did not do what it was asked, in classes that a caller can act on.

use std::fmt;
use std::time::Duration;

/// What can be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// May pass: no connection, no answer in time, the store is busy or broken. Of a write it is **not known** whether
    /// it happened; the same write again finds out.
    Retry {
        /// How long the store asks to wait, if it said so.
        after: Option<Duration>,
    },
    /// The credentials are known and may not do this: a permission, a policy, a key, or the lock itself.
    Denied,
    /// The credentials are not known, expired or wrongly signed.
    Unauthorized,
    /// Neither the bucket nor its settings are as configured: no such bucket, another region, no object lock.
    Config,
    /// No such object or version, or the version is a delete marker.
    NotFound,
    /// Larger than the store takes: it could go in parts.
    TooLarge,
    /// Refused for what it is; again would be refused again.
    Rejected,
}

/// An error of a store: what was tried, on what, and what the store said. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// What can be done about it.
    pub class: Class,
    /// What was tried, in the store's own word: `PutObject`, `open`.
    pub operation: &'static str,
    /// The store's code for it: `AccessDenied`, `ENOSPC`; empty if it gave none.
    pub code: String,
    /// What it said, at most 512 bytes of it, and what might help.
    pub message: String,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
}

/// Bytes of a store's message that are kept.
const MESSAGE_BYTES_MAX: usize = 512;

impl StoreError {
    /// An error without an answer from the store.
    pub fn new(class: Class, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            class,
            operation,
            code: String::new(),
            message: shortened(message.into()),
            status: None,
        }
    }

    /// The same, with the store's code.
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = shortened(code.into());
        self
    }

    /// The same, with the status of the answer.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Whether the same call again may succeed without anybody changing anything.
    pub fn may_pass(&self) -> bool {
        matches!(self.class, Class::Retry { .. })
    }
}

/// Control characters would let a store write into our log's next line.
fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    }
    match text.contains(char::is_control) {
        true => text.replace(char::is_control, " "),
        false => text,
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        match self.message.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.message),
        }
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_names_operation_status_code_and_message() {
        let check = |error: StoreError, expected: &str| assert_eq!(error.to_string(), expected);
        check(StoreError::new(Class::Denied, "PutObject", ""), "PutObject");
        check(
            StoreError::new(Class::Denied, "PutObject", "no")
                .with_code("AccessDenied")
                .with_status(403),
            "PutObject 403 AccessDenied: no",
        );
        check(
            StoreError::new(Class::Rejected, "open", "a\nb\u{1b}[0m"),
            "open: a b [0m",
        );
        let long = StoreError::new(Class::Rejected, "x", "é".repeat(400));
        assert_eq!(long.message, "é".repeat(256));
    }

    #[test]
    fn only_what_may_pass_may_pass() {
        let check = |class, expected| assert_eq!(StoreError::new(class, "x", "").may_pass(), expected);
        check(Class::Retry { after: None }, true);
        check(Class::Denied, false);
        check(Class::Unauthorized, false);
        check(Class::Config, false);
        check(Class::NotFound, false);
        check(Class::TooLarge, false);
        check(Class::Rejected, false);
    }
}
