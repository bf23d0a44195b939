//! The reader's side.
