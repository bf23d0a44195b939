//! Why a run of the deserializer ended, and where the fault is.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::Ident;
use crate::diag::nearest;
use crate::{Diag, Stage};

/// Why a run ended.
#[derive(Debug)]
pub(crate) struct Error {
    pub(super) kind: Kind,
    /// Without a place until the deserializer has located it.
    pub(super) diag: Option<Box<Diag>>,
    pub(super) located: bool,
    /// The innermost entry around the fault.
    pub(super) entry: Option<Ident>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Fault,
    /// A null where the default of the field counts.
    Null,
    Missing(&'static str),
    /// Something was learnt; read again.
    Retry,
    /// Follows from a fault that is noted already.
    Consequence,
}

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Fault,
            diag: Some(Box::new(Diag::new(None, "", message).at(Stage::Decode))),
            located: false,
            entry: None,
        }
    }

    pub(super) fn of_kind(kind: Kind) -> Self {
        Self {
            kind,
            diag: None,
            located: false,
            entry: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(diag) = &mut self.diag {
            diag.help = Some(help.into());
        }
        self
    }

    pub(super) fn within(mut self, entry: Ident) -> Self {
        if !matches!(self.kind, Kind::Retry) {
            self.entry.get_or_insert(entry);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.diag.as_ref().map_or("", |diag| &diag.message))
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    /// Types only: the value may be a secret.
    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, got {}", kind_of(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!(
            "expected {expected}, got another {}",
            kind_of(unexpected)
        ))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("invalid value \"{variant}\"")).help(suggest(variant, expected, "valid values"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("has invalid keys: {field}")).help(suggest(field, expected, "valid keys"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            kind: Kind::Missing(field),
            ..Self::new(format!("missing key \"{field}\""))
        }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("key \"{field}\" is given under two of its names"))
    }
}

fn kind_of(unexpected: Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "integer",
        Unexpected::Float(_) => "float",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "text",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "list",
        _ => "map",
    }
}

/// `did you mean "x"?`, or the list of what there is.
pub(crate) fn suggest(name: &str, valid: &[&str], what: &str) -> String {
    match nearest(name, valid.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if valid.is_empty() => "no keys are known here".into(),
        None => {
            let more = if valid.len() > SUGGESTED_MAX { ", ..." } else { "" };
            format!(
                "{what}: {}{more}",
                valid[..valid.len().min(SUGGESTED_MAX)].join(", ")
            )
        }
    }
}

const SUGGESTED_MAX: usize = 12;
