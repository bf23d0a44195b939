//! What nearly every component needs: the only glob import in the house.

pub use std::sync::Arc;

pub use config::{ByteSize, ComponentId, Duration, Endpoint, Gates, Optional, Secret, Section, Shape};
pub use schemars::JsonSchema;
pub use serde::{Deserialize, Serialize};
pub use wire::{Chunk, Context, Payload, Signal};

pub use crate::exporter::Block;
pub use crate::*;
