//! Object stores with locks: put with retention and checksum, get, list, head.
//!
//! Empty until the archive is built; the only crate that may know a cloud's SDK.
