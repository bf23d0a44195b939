//! What makes an archive provable: entries in a Merkle tree, signed heads, and who checks them. Pure: no clock, no
//! files, no sockets.
//!
//! A writer keeps a [`log::Log`]: it appends [`entry::Kind`]s, seals segments and signs a head over each. A reader
//! feeds what it finds in a store to [`verify::Verifier`] and gets a verdict for each claim. Both sides use the same
//! lines, names and notes; the leaf of the tree is the exact line, so nobody has to agree on how to write JSON.

pub mod audit;
pub mod digest;
pub mod entry;
pub mod founding;
pub mod log;
pub mod names;
pub mod note;
#[cfg(any(test, feature = "test-kit"))]
pub mod test_kit;
pub mod time;
pub mod tree;
pub mod verify;
