//! Text to tree: the grammar of OTTL, read by recursive descent with bounded depth.
//!
//! In: one statement, condition or value. Out: an [`ast`], or a [`Fault`] that shows the place. Where the collector's
//! grammar tries one alternative after the other, a table of matching brackets says which one it is, so that reading
//! is linear in the length of the text.

pub(crate) mod ast;
mod lexer;
mod parser;

pub(crate) use ast::Span;
pub(crate) use parser::{condition, statement, value};

use std::fmt;

/// Longest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 << 10;
/// How deep brackets, calls, lists and maps may nest.
pub const NESTING_MAX: u32 = 64;

/// A statement that cannot be compiled: where, what is wrong, what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The statement, condition or value as it was written.
    pub statement: Box<str>,
    pub(crate) span: Span,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// All that is wrong with a list of statements; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

pub(crate) fn fault(statement: &str, span: Span, message: impl Into<String>) -> Fault {
    Fault {
        statement: statement.into(),
        span,
        message: message.into(),
        help: None,
    }
}

impl Fault {
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// Where in the statement: line and column from 1, the column in characters.
    pub fn place(&self) -> (usize, usize) {
        let before = &self.statement[..self.floor(self.span.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    fn floor(&self, at: u32) -> usize {
        self.statement.floor_char_boundary(at as usize)
    }

    /// The line of the statement and a caret under the place, cut to what a terminal shows.
    pub fn excerpt(&self) -> String {
        let start = self.floor(self.span.start);
        let line_start = self.statement[..start].rfind('\n').map_or(0, |i| i + 1);
        let line = &self.statement[line_start..];
        let line = &line[..line.find('\n').unwrap_or(line.len())];
        let shown = |text: &str| -> Vec<char> {
            text.chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect()
        };
        let before = shown(&self.statement[line_start..start]);
        let all = shown(line);
        let stop = self.floor(self.span.end).clamp(start, line_start + line.len());
        let width = self.statement[start..stop].chars().count().max(1);
        let from = before.len().saturating_sub(EXCERPT_BEFORE);
        let to = (from + EXCERPT).min(all.len());
        let (left, right) = (
            if from > 0 { "... " } else { "" },
            if to < all.len() { " ..." } else { "" },
        );
        let text: String = all[from..to].iter().collect();
        let blank = " ".repeat(left.len() + before.len() - from);
        let carets = "^".repeat(width.min(EXCERPT - (before.len() - from)));
        format!("  {left}{text}{right}\n  {blank}{carets}")
    }
}

/// Characters of an excerpt, and how many of them may stand before the place.
const EXCERPT: usize = 100;
const EXCERPT_BEFORE: usize = 60;

impl fmt::Display for Fault {
    /// `message; help`, then the excerpt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        write!(f, "\n{}", self.excerpt())
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
