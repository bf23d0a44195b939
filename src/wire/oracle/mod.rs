//! What this crate does to bytes, compared with the same on prost types.

mod divide;
mod naive;
mod normal;
mod split;
mod validate;
mod view;
