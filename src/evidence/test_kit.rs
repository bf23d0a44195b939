//! An archive in memory.
