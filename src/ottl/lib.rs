//! The OpenTelemetry Transformation Language: parsed with places, compiled once, evaluated on views.
//!
//! Empty until `transform` and `filter` are built.
