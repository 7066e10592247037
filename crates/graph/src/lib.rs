//! What is computed: ops, shapes, autodiff and the reference interpreter.
#![forbid(unsafe_code)]

pub mod update;

pub use update::{Clip, Rule, WeightDecay, hyper};
