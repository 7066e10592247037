//! What is computed: ops, shapes, autodiff and the reference interpreter.
#![forbid(unsafe_code)]
