//! Renders digit images, so that a first run needs no download.
//!
//! A digit is a skeleton of strokes (`skeleton`), bent and drawn by random amounts
//! (`render`), and written as a folder of PNG files (`write`). Every image is a pure function
//! of (seed, index, class, size), computed without transcendental functions: the same bytes on
//! every machine and for any number of threads.

mod render;
mod skeleton;
mod stream;
mod write;

pub use render::render_digit;
pub use stream::{PHASES, write_stream};
pub use write::{DigitsWritten, write_folder};
