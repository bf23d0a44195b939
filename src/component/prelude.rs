//! What nearly every component needs: the only glob import in the house.

pub use std::sync::Arc;

pub use config::{ByteSize, ComponentId, Duration, Endpoint, Optional, Secret, Section};
pub use serde::Deserialize;
pub use wire::{Chunk, Context, Payload, Signal};

pub use crate::exporter::Block;
pub use crate::*;
