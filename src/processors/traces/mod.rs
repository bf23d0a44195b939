//! Spans gathered by trace: what `tail_sampling` and `groupbytrace` have in common.
//!
//! [`pieces`] cuts requests without copying and lays traces together again, [`store`] says when a trace is due and which
//! one has to make room, [`durable`] keeps what is held on disk, [`outbox`] hands on and tries again.

pub(crate) mod durable;
pub(crate) mod outbox;
pub(crate) mod pieces;
pub(crate) mod store;

pub(crate) use pieces::TraceId;
