//! Whole statements on whole requests.

mod editors;
mod functions;
mod kit;
mod paths;
mod programs;
