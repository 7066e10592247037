//! The vocabulary from file to kernel: what a sample is, and how samples are held.
//!
//! A sample is a row of named fields. Each field has a type and dims, of which the first may be
//! time: as long as the sample is. A batch is one column for each field, with the lengths of its
//! samples where the field has time, and a weight for each sample. Datasets and encoders fill rows,
//! models declare the fields that they read, and the engine binds one to the other by name, once.
//!
//! # Layout
//! - [`field`]: [`Field`], [`Dim`], [`Signature`]: what a sample is.
//! - [`mod@column`]: [`Column`], [`Values`]: one field of many samples.
//! - [`row`]: [`Row`]: a sample that is being filled.
//! - [`batch`]: [`Batch`]: the samples of a step, and any other rows that are kept.
//! - [`truth`]: [`Truth`]: what is true of one sample; [`argmax`].
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use tidemill_fields::{Batch, Field, Signature, Truth};
//!
//! let inputs = vec![Field::numbers("x", &[2]), Field::ids("words", 16)];
//! let signature = Arc::new(Signature::new(inputs, Some(Field::class("labels"))));
//! let mut batch = Batch::new(signature);
//! batch.resize(1);
//! {
//!     let mut row = batch.row_mut(0);
//!     row.f32(0)?.copy_from_slice(&[0.5, -0.5]);
//!     row.set_ids(1, &[7, 8, 9])?;
//!     row.set_class(1)?;
//! }
//! batch.pad();
//! assert_eq!(batch.columns[1].lengths, [3]);
//! assert_eq!(batch.columns[1].time, 8);
//! assert_eq!(batch.truth(0), Truth::Class(1));
//! # Ok::<(), tidemill_fields::FieldError>(())
//! ```
#![forbid(unsafe_code)]

pub mod batch;
pub mod column;
pub mod field;
pub mod row;
pub mod truth;

pub use batch::Batch;
pub use column::{Column, Values};
pub use field::{DType, Dim, Field, Signature};
pub use row::{FieldError, Row};
pub use truth::{Truth, argmax};
