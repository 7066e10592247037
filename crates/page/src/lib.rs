//! HTML pages, SVG charts, and numbers for people. Whoever knows the figures writes the page with it.
//!
//! # Layout
//!
//! - [`html`]: the frame of a page, its cards, escaped text
//! - [`chart`]: line charts as inline SVG, and as pictures that stand alone
//! - [`bars`]: named values as a picture
//! - [`counts`]: histograms, and points of two values
//! - `frame`: the axes that all drawings have
//! - [`matrix`]: counts of classes by classes
//! - [`number`]: counts, shares, bytes, durations and dates as people read them
#![forbid(unsafe_code)]

pub mod bars;
pub mod chart;
pub mod counts;
mod frame;
pub mod html;
pub mod matrix;
pub mod number;
