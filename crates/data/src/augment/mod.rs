//! Training images varied: each is a pure function of (seed, epoch, sample), so that a resumed run makes the same ones, in
//! whatever order and by whichever thread.
//!
//! - [`ImageAugmentSpec`]: what a recipe says; `check`: whether it is valid
//! - [`Augment`]: draws what is done to a sample, and does it; `mix`: what is done to a batch
//! - [`crop`], [`warp`], [`color`], [`filter`], [`policy`]: the operations, with the values of torchvision's on 8-bit images
//!
//! Pixels are 8-bit values until they are normalized; only `erase` and the mixing of samples come after that.
//!
//! ```
//! use tidemill_data::RawImage;
//! use tidemill_data::augment::{Augment, ImageAugmentSpec};
//!
//! let spec = ImageAugmentSpec { horizontal_flip: 0.5, random_crop: Some(Default::default()), ..Default::default() };
//! let augment = Augment::new(spec, 42);
//! let image = RawImage { height: 32, width: 32, channels: 3, pixels: vec![200; 32 * 32 * 3] };
//! let varied = augment.vary(image.clone(), 3, 17); // of epoch 3, sample 17
//! assert_eq!(varied, augment.vary(image, 3, 17));
//! ```

mod check;
pub mod color;
pub mod crop;
pub mod filter;
pub mod mix;
pub mod policy;
mod spec;
pub mod warp;

pub use crop::Window;
pub use mix::Mix;
pub use spec::{
    AffineSpec, BlurSpec, Border, ColorJitterSpec, ElasticSpec, EraseSpec, Erased,
    ImageAugmentSpec, MixSpec, RandAugmentSpec, RandomCropSpec, ResizedCropSpec, Sampling,
    TrivialAugmentSpec,
};

use crate::random::{Stream, key};
use crate::{Error, RawImage, Result};
use warp::{Affine, Beyond};

/// What draws are for: each has a stream of its own, so that another option does not change them.
#[derive(Clone, Copy)]
enum Purpose {
    Window,
    Crop,
    Flips,
    Affine,
    Elastic,
    Policy,
    Jitter,
    Grey,
    Blur,
    Erase,
    Mix,
}

/// Sets the streams of this module apart from others of the same seed.
const STREAM: u64 = 0x0061_7567_6d65_6e74;

fn draws(seed: u64, epoch: u64, index: u64, purpose: Purpose) -> Stream {
    Stream::new(key(seed, &[STREAM, epoch, index, purpose as u64]))
}

/// Varies the samples of a training set.
#[derive(Clone, Debug, PartialEq)]
pub struct Augment {
    spec: ImageAugmentSpec,
    seed: u64,
}

impl Augment {
    /// By these options. Runs with one seed vary samples in one way.
    pub fn new(spec: ImageAugmentSpec, seed: u64) -> Augment {
        Augment { spec, seed }
    }

    /// Whether samples of this shape can be varied; `path` names the data in errors.
    ///
    /// # Errors
    /// If they are no images, or have colours that an option cannot change.
    pub fn fits(&self, shape: &[usize], path: &str) -> Result<()> {
        match *shape {
            [_, _, 1 | 3] => Ok(()),
            [_, _, 4] if !self.spec.changes_colors() => Ok(()),
            [_, _, 4] => Err(Error::option(format!(
                "{path}: batch.augment changes colours, and these images have opacity besides; set color_mode = \"rgb\""
            ))),
            _ => Err(Error::option(format!(
                "{path}: batch.augment varies images ([height, width, channels] with 1, 3 or 4 channels), and a sample has shape {shape:?}"
            ))),
        }
    }

    fn draws(&self, epoch: u64, index: u64, purpose: Purpose) -> Stream {
        draws(self.seed, epoch, index, purpose)
    }

    /// Whether a sample is made of a window of the image as its file has it.
    pub fn takes_windows(&self) -> bool {
        self.spec.random_resized_crop.is_some()
    }

    /// The window of an image of `size` (`[height, width]`) that the sample is made of; none without `random_resized_crop`.
    pub fn window(&self, size: [usize; 2], epoch: u64, index: u64) -> Option<Window> {
        let crop = self.spec.random_resized_crop.as_ref()?;
        let mut draws = self.draws(epoch, index, Purpose::Window);
        Some(Window::resized_crop(size, crop.scale, crop.ratio, &mut draws))
    }

    /// Whether anything but windows, erasing and mixing is done.
    pub fn varies_pixels(&self) -> bool {
        let ImageAugmentSpec { random_resized_crop: _, erase: _, mixup: _, cutmix: _, .. } =
            &self.spec;
        let rest = ImageAugmentSpec {
            random_resized_crop: None,
            erase: None,
            mixup: None,
            cutmix: None,
            ..self.spec.clone()
        };
        rest != ImageAugmentSpec::default()
    }

    /// A sample varied; its size stays.
    pub fn vary(&self, mut image: RawImage, epoch: u64, index: u64) -> RawImage {
        let spec = &self.spec;
        let draws = |purpose| self.draws(epoch, index, purpose);
        if let Some(crop) = &spec.random_crop {
            let mut draws = draws(Purpose::Crop);
            let places = 2 * crop.padding as u64 + 1;
            let (top, left) = (draws.below(places) as usize, draws.below(places) as usize);
            let beyond = Beyond { border: crop.padding_mode, fill: crop.fill };
            image = crop::padded_crop(&image, crop.padding, top, left, beyond);
        }
        let mut flips = draws(Purpose::Flips);
        if flips.double() < spec.horizontal_flip {
            crop::flip_columns(&mut image);
        }
        if flips.double() < spec.vertical_flip {
            crop::flip_rows(&mut image);
        }
        if let Some(affine) = &spec.affine {
            image = affine.apply(image, &mut draws(Purpose::Affine));
        }
        if let Some(elastic) = &spec.elastic {
            image = elastic.apply(image, &mut draws(Purpose::Elastic));
        }
        if let Some(policy) = &spec.rand_augment {
            policy.apply(&mut image, &mut draws(Purpose::Policy));
        }
        if let Some(policy) = &spec.trivial_augment {
            policy.apply(&mut image, &mut draws(Purpose::Policy));
        }
        if let Some(jitter) = &spec.color_jitter {
            jitter.apply(&mut image, &mut draws(Purpose::Jitter));
        }
        if spec.grayscale > 0.0 && draws(Purpose::Grey).double() < spec.grayscale {
            color::grayscale(&mut image);
        }
        if let Some(blur) = &spec.blur {
            let mut draws = draws(Purpose::Blur);
            if draws.double() < blur.probability {
                filter::blur(&mut image, blur.size, draws.between(blur.sigma));
            }
        }
        image
    }

    /// Erases a rectangle of a normalized sample, `[height, width, channels]` values.
    pub fn erase(&self, x: &mut [f32], shape: [usize; 3], epoch: u64, index: u64) {
        let Some(erase) = &self.spec.erase else { return };
        let mut draws = self.draws(epoch, index, Purpose::Erase);
        if draws.double() >= erase.probability {
            return;
        }
        let [height, width, channels] = shape;
        let window = Window::erased([height, width], erase.scale, erase.ratio, &mut draws);
        let Some(window) = window else { return };
        for y in window.top..window.top + window.height {
            let row = &mut x[(y * width + window.left) * channels..][..window.width * channels];
            match erase.value {
                Erased::Zero => row.fill(0.0),
                Erased::Noise => row.iter_mut().for_each(|v| *v = draws.normal()),
            }
        }
    }

    /// What is done to batches; none where samples are not mixed.
    pub fn mix(&self) -> Option<Mix> {
        let (mixup, cutmix) = (self.spec.mixup.clone(), self.spec.cutmix.clone());
        self.spec.mixes().then_some(Mix { mixup, cutmix, seed: self.seed })
    }
}

impl AffineSpec {
    fn apply(&self, image: RawImage, draws: &mut Stream) -> RawImage {
        if draws.double() >= self.probability {
            return image;
        }
        let mut around = |most: f64| draws.between([-most, most]);
        let angle = around(self.rotate);
        let (w, h) = (image.width as f64, image.height as f64);
        let [right, down] = self.translate;
        let translate = [around(right * w).round(), around(down * h).round()];
        let shear = self.shear.map(&mut around);
        let scale = draws.between(self.scale);
        let by = Affine { angle, translate, scale, shear, center: [0.0; 2] };
        let beyond = Beyond { border: self.padding_mode, fill: self.fill };
        warp::affine(&image, &by, self.interpolation, beyond)
    }
}

impl ElasticSpec {
    fn apply(&self, image: RawImage, draws: &mut Stream) -> RawImage {
        if draws.double() >= self.probability {
            return image;
        }
        let (height, width) = (image.height, image.width);
        // x and y of each pixel, smoothed, then in half widths and half heights.
        let noise: Vec<f32> = (0..2 * height * width).map(|_| draws.range(-1.0, 1.0)).collect();
        let size = (8.0 * self.sigma + 1.0) as usize | 1;
        let mut smooth = filter::gaussian(&noise, [height, width, 2], size, self.sigma);
        let strength = [self.alpha / width as f64, self.alpha / height as f64].map(|v| v as f32);
        for v in smooth.as_chunks_mut::<2>().0 {
            *v = [v[0] * strength[0], v[1] * strength[1]];
        }
        let beyond = Beyond { border: self.padding_mode, fill: self.fill };
        warp::displaced(&image, &smooth, Sampling::Bilinear, beyond)
    }
}

impl ColorJitterSpec {
    fn apply(&self, image: &mut RawImage, draws: &mut Stream) {
        if draws.double() >= self.probability {
            return;
        }
        let mut order = [0, 1, 2, 3];
        for i in (1..4).rev() {
            order.swap(i, draws.below(i as u64 + 1) as usize);
        }
        let mut factor =
            |most: f64| (most > 0.0).then(|| draws.between([(1.0 - most).max(0.0), 1.0 + most]));
        let factors = [self.brightness, self.contrast, self.saturation].map(&mut factor);
        let turn = (self.hue > 0.0).then(|| draws.between([-self.hue, self.hue]));
        for which in order {
            match (which, factors.get(which).copied().flatten()) {
                (0, Some(factor)) => color::brightness(image, factor),
                (1, Some(factor)) => color::contrast(image, factor),
                (2, Some(factor)) => color::saturation(image, factor),
                (3, _) => turn.into_iter().for_each(|turn| color::hue(image, turn)),
                _ => {}
            }
        }
    }
}
