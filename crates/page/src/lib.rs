//! HTML pages, SVG charts, and numbers for people. Whoever knows the figures writes the page with it.
//!
//! # Layout
//!
//! - [`html`]: the frame of a page, its cards, escaped text
//! - [`chart`]: line charts as inline SVG, and as pictures that stand alone
//! - [`matrix`]: counts of classes by classes
//! - [`number`]: counts, shares, bytes and durations as people read them
#![forbid(unsafe_code)]

pub mod chart;
pub mod html;
pub mod matrix;
pub mod number;
