//! Exporter `archive`: gathers records into objects in a write-once store, under a log that proves what is there.
//!
//! In: payloads with receipts, by the harness's [`Collect`]. Out: objects of one class, tenant, signal and hour of
//! admission, and a signed log of them. A record's life: split into pieces, buffered, compressed into a part, sealed
//! under a number, claimed in the journal, put, logged, covered by a signed head, complete.

mod buffer;
mod config;
mod facts;
mod frames;
mod partition;
mod rules;
mod split;
mod spool;
mod units;
