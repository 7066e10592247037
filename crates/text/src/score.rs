//! The figures of generated texts.
