//! The pages: `compare.html` and `advise.html`.

mod advice;
mod comparison;

pub(crate) use advice::write_advice;
pub(crate) use comparison::write_comparison;
