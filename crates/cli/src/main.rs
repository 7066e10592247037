//! The tidemill command line.
#![forbid(unsafe_code)]

fn main() {}
