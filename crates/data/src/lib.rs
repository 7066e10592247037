//! Datasets, image decoding, deterministic sample order, prefetch.
#![forbid(unsafe_code)]
