//! Tier 1: the whole gateway in one process, on loopback, without peers.

mod tidy;
