//! Strings of spoken digits, made from recordings of single ones, or from computed ones: something to recognize as it is spoken, with what
//! was said known to the sample.

mod clips;
mod spec;
mod synthetic;
mod write;

pub use spec::ConnectedDigitsSpec;
pub use write::{ConnectedDigitsWritten, write_connected_digits};
