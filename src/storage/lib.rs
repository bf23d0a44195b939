//! Where things are kept on disk: the journal behind durable queues.
//!
//! Storage sees opaque records behind a small typed header and knows no payload. In: bytes and for whom they are. Out: a
//! promise that holds across crashes, and the bytes again until every destination is done with them.

#![allow(clippy::single_range_in_vec_init, reason = "ranges of items are values here")]

pub mod crash;
pub mod journal;

pub use journal::{Journal, Options};
