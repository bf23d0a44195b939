//! The collector's configuration language, with places.
//!
//! [`load`] takes texts (files, `yaml:` sources, `--set` arguments) and gives a [`Document`]: components as
//! [`Section`]s and pipelines as ids, each knowing its file, line and column. On the way YAML becomes a tree,
//! several trees are merged, and `${...}` is expanded through a [`Provider`]; this crate itself opens no file
//! and reads no environment. A component reads its section into its own structs, and every fault becomes a
//! [`Diag`] that says where, what, and what to write instead. Semantics follow the OpenTelemetry Collector
//! 0.159.

pub mod diag;
pub mod effective;
pub mod section;
pub mod shape;
pub mod types;

mod de;
mod document;
mod expand;
mod gates;
mod merge;
mod value;
mod yaml;

pub use diag::{Diag, Diags, Place, Stage};
pub use document::{AUDIT_PIPELINE, Document, OWN_BLOCKS, Pipeline, Service, load};
pub use effective::{Effective, with_secrets};
pub use expand::{Provider, is_variable, no_variable, source_uri};
pub use gates::{Gate, GateStage, Gates};
pub use merge::set_source;
pub use section::{Keys, Section, Validate};
pub use shape::Shape;
pub use types::{ByteSize, ComponentId, Duration, Endpoint, MapList, Optional, PipelineId, Secret};
