//! What makes an archive provable: hash chain, manifest, seal, verify. Pure: no clock, no files.
//!
//! Empty until the archive is built.
