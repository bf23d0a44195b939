//! ottl
