//! How it is computed: fusion, memory planning, kernel calls, explain.
#![forbid(unsafe_code)]

pub mod eltwise;
