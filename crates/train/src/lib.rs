//! The batch driver: recipes, steps, metrics, checkpoints, reports.
#![forbid(unsafe_code)]
