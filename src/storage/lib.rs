//! Named stores, and the journal behind durable queues.
//!
//! Empty until queues go to disk: its place on floor 2 is held, so that what is built before knows its neighbours.
