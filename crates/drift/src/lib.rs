//! Drift detectors: they read a stream of numbers, such as the errors of a model, and say when it
//! is no longer the stream that it was.
//!
//! # Layout
//!
//! - [`DetectorSpec`]: which detector, as a recipe names it; [`SpecError`] if a parameter makes no
//!   sense
//! - [`Detector`]: a detector with its state; [`Detector::update`] gives a [`Signal`]
//! - [`FeatureDrift`]: one detector for each input, which names the inputs that moved
#![forbid(unsafe_code)]

mod adwin;
mod bits;
mod check;
mod ddm;
mod detector;
mod eddm;
mod features;
mod hddm_a;
mod hddm_w;
mod ks_test;
mod kswin;
mod mean;
mod page_hinkley;
mod spec;
mod twister;

pub use detector::{Change, Detector, LARGEST_VALUE, Signal};
pub use features::{FeatureDrift, FeatureDriftSpec, FeatureMove};
pub use spec::{
    AdwinSpec, DdmSpec, DetectorSpec, Direction, EddmSpec, HddmASpec, HddmWSpec, KswinSpec,
    PageHinkleySpec, SpecError,
};
