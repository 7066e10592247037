//! What connects the workers of a run that are processes, on one machine or several.
//!
//! # Layout
//!
//! - [`meet`]: how workers find each other: one listens, the others join it
//! - [`tcp`]: the group that they form then, with a connection between each two
//! - [`frame`]: a message as bytes
//! - [`mpi`]: a group that a launcher of MPI has started, by the functions of MPI; the only unsafe code here
//! - [`launch`]: what launchers of processes (`torchrun`, `mpirun`, `srun`) say in the environment
#![deny(unsafe_code)]

pub mod frame;
pub mod launch;
pub mod meet;
#[allow(unsafe_code)]
pub mod mpi;
pub mod tcp;

pub use launch::{Launched, launched};
pub use meet::{join, lead};
pub use mpi::Mpi;
pub use tcp::Tcp;
