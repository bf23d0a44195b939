//! The OpenTelemetry Transformation Language: parsed with places, compiled once, evaluated on views.
//!
//! In: a [`Group`] of statements and conditions, and later a view of one chunk with an [`Env`] (the client, the time of
//! day, chance). Out: a [`Program`] that edits the view, or [`Faults`] that show each place with a caret. Nothing here
//! reads a clock, a file or a socket. The language is that of opentelemetry-collector-contrib 0.155.
//!
//! | part | what exists |
//! |---|---|
//! | contexts | resource, scope, log, span, spanevent, metric, datapoint; `otelcol` in all of them |
//! | paths | all of these contexts; slices (`events`, `data_points`, ...) are counted and compared, not copied |
//! | editors | all of the standard ones, and those that only `transform` has; `route()` of routing tables |
//! | converters | the standard ones; `ParseCLF`, `ParseLEEF` of `transform`, `HasAttr*` of `filter` |
//!
//! Statements that make metrics or change their kind cannot run on a view: [`Program::reshapes`] says so, and
//! [`Program::reshape`] runs them on encoded requests.
//!
//! Where it differs from the collector: maps and lists keep the order in which they are written, text is never cut within a
//! character, and `Time` without a zone is in UTC.

mod access;
mod compare;
mod compile;
mod editors;
mod error;
mod eval;
mod functions;
mod infer;
mod locale;
mod math;
mod metrics;
mod paths;
mod program;
mod quick;
mod syntax;
mod table;
mod time;
mod tracestate;
mod value;

pub use error::Error;
pub use eval::Env;
pub use functions::Functions;
pub use paths::Context;
pub use program::{ErrorMode, Expression, Group, Program, Scratch};
pub use syntax::{Fault, Faults, NESTING_MAX, STATEMENT_BYTES_MAX};
pub use time::Time;

#[cfg(test)]
mod golden;
