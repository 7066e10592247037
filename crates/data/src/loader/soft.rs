//! Batches whose samples are mixed, and their labels with them.

use std::sync::Arc;

use tidemill_fields::{Batch, DType, Field, Signature};

use crate::augment::Mix;
use crate::{Dataset, Error, Result};

/// What a sample of a batch is: that of the data, but that a class is a row of values where samples are mixed.
pub(super) fn signature(data: &dyn Dataset, mix: Option<&Mix>) -> Result<Arc<Signature>> {
    let own = &data.info().signature;
    if mix.is_none() {
        return Ok(own.clone());
    }
    let what = "mixup and cutmix need images with a class, or with values, for each";
    if image(own).is_none() {
        return Err(Error::option(what));
    }
    match (own.truth(), data.num_classes()) {
        (Some(truth), _) if truth.time().is_some() => Err(Error::option(what)),
        (Some(truth), _) if truth.dtype == DType::F32 => Ok(own.clone()),
        (Some(_), Some(classes)) => {
            let targets = Field::numbers("targets", &[classes]);
            Ok(Arc::new(Signature::new(own.inputs().to_vec(), Some(targets))))
        }
        _ => Err(Error::option(what)),
    }
}

/// The shape of an image, where samples are one.
fn image(signature: &Signature) -> Option<[usize; 3]> {
    match signature.inputs() {
        [field] => field.longest().try_into().ok(),
        _ => None,
    }
}

/// Mixes the samples of a filled batch, or of a piece of one.
pub(super) fn apply(mix: &Mix, batch: &mut Batch, piece: u64) {
    if let Some(shape) = image(batch.signature()) {
        mix.apply(batch, shape, piece);
    }
}
