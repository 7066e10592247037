//! How it is computed: fusion, memory planning, kernel calls, explain.
//!
//! # Layout
//! A graph passes through these in order:
//! - [`lower`]: drops what nothing needs; each op becomes elementwise nodes or a kernel ([`ir`]).
//! - [`fuse`]: epilogues, updates where the gradient is finished, fused elementwise programs.
//! - [`order`]: the order of the kernels. [`memory`]: their buffers' offsets in the arena.
//! - `recompute`: what is computed twice, where the arena has a limit.
//! - [`windows`]: state that is in a file, and in the arena only while kernels need it.
//! - [`plan`]: the result, a flat list of calls of [`kernel`]s and [`eltwise`] programs.
//! - [`explain`]: the plan as text.
//!
//! [`backend`] is what drivers know of a machine that runs plans; [`null`] is one without a machine.
#![forbid(unsafe_code)]

pub mod backend;
pub mod cost;
pub mod eltwise;
pub mod explain;
pub mod fuse;
pub mod ir;
pub mod kernel;
pub mod lower;
pub mod memory;
pub mod null;
pub mod order;
pub mod plan;
mod recompute;
pub mod windows;

pub use backend::{Backend, Beside, Input, InputError, PlanId};
pub use explain::Rates;
pub use kernel::KernelSpec;
pub use plan::{Buffer, Call, Method, Options, Place, Plan, Slot, Target, state_slots};
