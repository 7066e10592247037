//! Batch or online? An answer from measurements.
