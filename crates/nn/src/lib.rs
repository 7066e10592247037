//! Layers, losses, optimizers, schedules and initializers: builds graphs.
#![forbid(unsafe_code)]
