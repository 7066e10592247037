//! What connects the workers of a run that are processes, on one machine or several.
//!
//! # Layout
//!
//! - [`meet`]: how workers find each other: one listens, the others join it
//! - [`tcp`]: the group that they form then, with a connection between each two
//! - [`frame`]: a message as bytes
//! - [`launch`]: what launchers of processes (`torchrun`, `mpirun`, `srun`) say in the environment
#![forbid(unsafe_code)]

pub mod frame;
pub mod launch;
pub mod meet;
pub mod tcp;

pub use launch::{Launched, launched};
pub use meet::{join, lead};
pub use tcp::Tcp;
