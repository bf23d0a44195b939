//! The collector's configuration language, with places.

pub mod diag;
pub mod section;
pub mod types;

pub use diag::{Diag, Diags, Place};
pub use section::Section;
pub use types::{ByteSize, ComponentId, Duration, Endpoint, MapList, Optional, PipelineId, Secret};
