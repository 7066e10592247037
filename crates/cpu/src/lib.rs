//! A plan's kernels on CPUs, and the thread pool: the home of `unsafe`.
//!
//! # Layout
//! - [`isa`]: which instruction set this machine has; kernels are picked from it at run time.
//! - [`simd`]: one vector interface over AVX-512, AVX2+FMA and portable code; kernels are written
//!   once against it and instantiated for each instruction set by [`kernel!`].
//! - [`mod@kernel`], [`call`]: what a kernel is. Kernels by family: [`gemm`], [`conv`], [`pooling`],
//!   [`eltwise`], [`moments`], [`norm`], [`softmax`], [`loss`], [`reduce`], [`layout`], [`gather`], [`sequence`],
//!   [`attention`], [`recurrent`], [`optimizer`]; `math` has their elementary functions.
//! - [`compile`]: from a plan's kernel descriptions to kernels.
//! - [`runtime`]: one state, one arena, any number of plans; `step` is one of them made executable,
//!   [`buffer`] their memory, [`threads`] the pool that runs them, [`rates`] what the machine can do.

#[macro_use]
pub mod simd;
pub mod attention;
mod backend;
pub mod buffer;
pub mod call;
pub mod compile;
pub mod conv;
mod copying;
mod ctc;
pub mod eltwise;
pub mod gather;
pub mod gemm;
pub mod isa;
pub mod kernel;
mod lanes;
pub mod layout;
pub mod loss;
mod math;
pub mod moments;
pub mod norm;
pub mod optimizer;
pub mod pooling;
pub mod rates;
pub mod recurrent;
pub mod reduce;
mod ring;
mod rotary;
mod rows;
pub mod runtime;
pub mod sequence;
pub mod softmax;
mod step;
#[cfg(test)]
mod testing;
pub mod threads;
mod transducer;
mod windows;
