//! Train neural networks from stored data with one compiled step.
#![forbid(unsafe_code)]
