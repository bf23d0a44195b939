//! Everything around an exporter; the exporter itself only pushes.
