//! Whole statements on whole requests.

mod editors;
mod functions;
mod kit;
mod oracle;
mod paths;
mod programs;
