//! What a recipe says about augmentation of images.

use tidemill_engine::data::{Augment, DataSpec, ImageAugmentSpec};
use tidemill_engine::error::Result;
use tidemill_engine::nn::LossSpec;

use crate::RecipeFile;

impl RecipeFile {
    /// How training samples are varied, for images; those of other data are as they are.
    pub(crate) fn augment(&self, is_training: bool) -> Option<Augment> {
        let spec = self.recipe.batch.augment.clone().filter(|_| is_training)?;
        (spec != ImageAugmentSpec::default()).then(|| Augment::new(spec, self.recipe.training.seed))
    }

    /// Whether samples of a batch are mixed, and their labels with them.
    fn mixes(&self) -> bool {
        self.recipe.batch.augment.as_ref().is_some_and(ImageAugmentSpec::mixes)
    }

    /// The loss in training on stored data: labels that are mixed have a value for each class.
    pub(crate) fn training_loss(&self) -> LossSpec {
        match self.recipe.training.loss {
            LossSpec::SparseCategoricalCrossentropy { label_smoothing } if self.mixes() => {
                LossSpec::CategoricalCrossentropy { label_smoothing }
            }
            ref loss => loss.clone(),
        }
    }

    /// The section `batch.augment` is for images, and mixes labels for some losses only.
    pub(crate) fn check_augment(&self) -> Result<()> {
        let Some(spec) = &self.recipe.batch.augment else { return Ok(()) };
        let of_images = matches!(
            self.recipe.batch.data,
            Some(DataSpec::ImageDirectory(_) | DataSpec::Idx(_) | DataSpec::Numpy(_))
        );
        if !of_images {
            let what = match self.reads_sounds() {
                true => "varies images; sounds are varied by audio.augment",
                false => "varies images: data of image_directory, idx or numpy; leave it out",
            };
            return Err(self.error_at("batch.augment", what));
        }
        if let Err((key, what)) = spec.check() {
            return Err(self.error_at(&format!("batch.augment.{key}"), &what));
        }
        let loss = &self.recipe.training.loss;
        let mixable = matches!(
            loss,
            LossSpec::SparseCategoricalCrossentropy { .. }
                | LossSpec::CategoricalCrossentropy { .. }
                | LossSpec::BinaryCrossentropy { .. }
        );
        for (key, mix) in [("mixup", &spec.mixup), ("cutmix", &spec.cutmix)] {
            if mix.is_some() && !mixable {
                let what = format!(
                    "mixes labels, which the loss {} does not take; use sparse_categorical_crossentropy, \
                     categorical_crossentropy or binary_crossentropy",
                    loss.name()
                );
                return Err(self.error_at(&format!("batch.augment.{key}"), &what));
            }
        }
        Ok(())
    }
}
