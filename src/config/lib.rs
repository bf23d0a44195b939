//! The collector's configuration language, with places.

mod de;
pub mod diag;
pub mod section;
pub mod types;
mod value;
mod yaml;

pub use diag::{Diag, Diags, Place};
pub use section::{Section, Validate};
pub use types::{ByteSize, ComponentId, Duration, Endpoint, MapList, Optional, PipelineId, Secret};
