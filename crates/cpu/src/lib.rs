//! A plan's kernels on CPUs, and the thread pool: the home of `unsafe`.
//!
//! # Layout
//! - [`isa`]: which instruction set this machine has; kernels are picked from it at run time.
//! - [`simd`]: one vector interface over AVX-512, AVX2+FMA and portable code; kernels are written
//!   once against it and instantiated for each instruction set by [`kernel!`].
//! - `math`: vectorised exp, log, tanh, erf, sigmoid.
//! - `gemm`, `conv`, `pool`, `eltwise`, `norm`, `loss`, `optimizer`, ...: the kernels.
//! - `pool_threads`: the thread pool that runs a step.

#[macro_use]
pub mod simd;
pub mod isa;
pub mod buffer;
pub mod compile;
pub mod kernel;
pub mod rates;
pub mod runtime;
pub mod threads;
pub mod call;
pub mod eltwise;
mod lanes;
pub mod gather;
pub mod layout;
pub mod loss;
mod math;
pub mod moments;
pub mod norm;
pub mod reduce;
mod rows;
pub mod softmax;
#[cfg(test)]
mod testing;
pub mod gemm;
pub mod optimizer;
pub mod conv;
pub mod pooling;
