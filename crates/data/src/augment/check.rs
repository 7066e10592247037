//! Whether the options of augmentation are valid.

use super::{AffineSpec, ImageAugmentSpec};

/// The key below `augment`, and what is wrong with its value.
pub type Wrong = (String, String);

fn within(key: &str, value: f64, low: f64, high: f64) -> Result<(), Wrong> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err((key.to_owned(), format!("must be from {low} to {high}, found {value}"))),
    }
}

/// Two numbers in order, both above 0 and at most `most`.
fn range(key: &str, [low, high]: [f64; 2], most: f64) -> Result<(), Wrong> {
    match low > 0.0 && low <= high && high <= most {
        true => Ok(()),
        false => Err((
            key.to_owned(),
            format!(
                "must be two numbers above 0 and at most {most}, the smaller first; found [{low}, {high}]"
            ),
        )),
    }
}

fn bins(key: &str, bins: usize) -> Result<(), Wrong> {
    match (2..=1000).contains(&bins) {
        true => Ok(()),
        false => Err((key.to_owned(), format!("must be from 2 to 1000, found {bins}"))),
    }
}

impl ImageAugmentSpec {
    /// The first value that is invalid: its key, and what is wrong with it.
    ///
    /// # Errors
    /// If there is one.
    pub fn check(&self) -> Result<(), Wrong> {
        within("horizontal_flip", self.horizontal_flip, 0.0, 1.0)?;
        within("vertical_flip", self.vertical_flip, 0.0, 1.0)?;
        within("grayscale", self.grayscale, 0.0, 1.0)?;
        if let Some(crop) = &self.random_resized_crop {
            range("random_resized_crop.scale", crop.scale, 1.0)?;
            range("random_resized_crop.ratio", crop.ratio, 100.0)?;
        }
        if let Some(crop) = &self.random_crop
            && !(1..=1024).contains(&crop.padding)
        {
            let what = format!("must be from 1 to 1024, found {}", crop.padding);
            return Err(("random_crop.padding".into(), what));
        }
        self.check_warps()?;
        if let Some(policy) = &self.rand_augment {
            bins("rand_augment.bins", policy.bins)?;
            within("rand_augment.operations", policy.operations as f64, 1.0, 20.0)?;
            within(
                "rand_augment.magnitude",
                policy.magnitude as f64,
                0.0,
                policy.bins as f64 - 1.0,
            )?;
        }
        if let Some(policy) = &self.trivial_augment {
            bins("trivial_augment.bins", policy.bins)?;
            if self.rand_augment.is_some() {
                return Err((
                    "trivial_augment".into(),
                    "has no meaning beside rand_augment; leave one out".into(),
                ));
            }
        }
        self.check_colors()?;
        if let Some(erase) = &self.erase {
            within("erase.probability", erase.probability, 0.0, 1.0)?;
            range("erase.scale", erase.scale, 1.0)?;
            range("erase.ratio", erase.ratio, 100.0)?;
        }
        for (name, mix) in [("mixup", &self.mixup), ("cutmix", &self.cutmix)] {
            if let Some(mix) = mix {
                within(&format!("{name}.probability"), mix.probability, 0.0, 1.0)?;
                within(&format!("{name}.alpha"), mix.alpha, 0.001, 1000.0)?;
            }
        }
        Ok(())
    }

    fn check_warps(&self) -> Result<(), Wrong> {
        if let Some(affine) = &self.affine {
            let still = AffineSpec {
                rotate: 0.0,
                translate: [0.0; 2],
                scale: [1.0; 2],
                shear: [0.0; 2],
                ..affine.clone()
            };
            if *affine == still {
                let what = "does nothing: give it rotate, translate, scale or shear";
                return Err(("affine".into(), what.into()));
            }
            within("affine.rotate", affine.rotate, 0.0, 180.0)?;
            within("affine.probability", affine.probability, 0.0, 1.0)?;
            range("affine.scale", affine.scale, 100.0)?;
            for axis in 0..2 {
                within("affine.translate", affine.translate[axis], 0.0, 1.0)?;
                within("affine.shear", affine.shear[axis], 0.0, 80.0)?;
            }
        }
        if let Some(elastic) = &self.elastic {
            within("elastic.alpha", elastic.alpha, 0.0, 1e6)?;
            within("elastic.sigma", elastic.sigma, 0.1, 100.0)?;
            within("elastic.probability", elastic.probability, 0.0, 1.0)?;
        }
        Ok(())
    }

    fn check_colors(&self) -> Result<(), Wrong> {
        if let Some(jitter) = &self.color_jitter {
            within("color_jitter.brightness", jitter.brightness, 0.0, 100.0)?;
            within("color_jitter.contrast", jitter.contrast, 0.0, 100.0)?;
            within("color_jitter.saturation", jitter.saturation, 0.0, 100.0)?;
            within("color_jitter.hue", jitter.hue, 0.0, 0.5)?;
            within("color_jitter.probability", jitter.probability, 0.0, 1.0)?;
        }
        if let Some(blur) = &self.blur {
            within("blur.probability", blur.probability, 0.0, 1.0)?;
            range("blur.sigma", blur.sigma, 100.0)?;
            if blur.size.is_multiple_of(2) || blur.size > 201 {
                let what = format!("must be an odd number up to 201, found {}", blur.size);
                return Err(("blur.size".into(), what));
            }
        }
        Ok(())
    }

    /// Whether something is done to colours, which needs 1 or 3 of them.
    pub(super) fn changes_colors(&self) -> bool {
        self.rand_augment.is_some()
            || self.trivial_augment.is_some()
            || self.color_jitter.is_some()
            || self.grayscale > 0.0
    }

    /// Whether samples of a batch, and their labels, are mixed.
    pub fn mixes(&self) -> bool {
        self.mixup.is_some() || self.cutmix.is_some()
    }
}
