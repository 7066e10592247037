//! Events whose input is an image: the path of a file, or the file itself as base64.

use std::path::{Component, Path, PathBuf};

use tidemill_engine::data::images::{Fit, MostPixels, decode_within};
use tidemill_engine::data::normalize::Affine;
use tidemill_engine::data::{DataSpec, ImageDirectorySpec, InputSpec};
use tidemill_recipe::stream::BadEvent;

use crate::base64;
use tidemill_engine::error::Result;
use tidemill_recipe::data::input_of;
use tidemill_recipe::{DataPaths, RecipeFile};

/// A longer file is taken for a mistake; records are shorter anyway.
const MAX_BYTES: u64 = 64 << 20;

/// Makes rows of images, as the recipe's image folder does.
pub struct Images {
    fit: Fit,
    most: MostPixels,
    affine: Affine,
    folder: PathBuf,
}

impl Images {
    /// What the recipe says of the images of its stream, if it has any.
    ///
    /// # Errors
    /// If the recipe's model takes no images.
    pub fn of(file: &RecipeFile) -> Result<Option<Images>> {
        let stream = &file.recipe.stream;
        if stream.image.is_none() {
            return Ok(None);
        }
        let want = input_of(&file.recipe.model);
        let InputSpec::Image { channels, .. } = want else {
            return Err(file.error_at("stream.image", "needs a model whose input is an image"));
        };
        let mut spec = match &file.recipe.batch.data {
            Some(DataSpec::ImageDirectory(spec)) => spec.clone(),
            _ => ImageDirectorySpec::new("stream.image"),
        };
        spec.image_size = None;
        let fit = Fit::new(&spec, want)?;
        let affine = spec.normalize.unwrap_or_default().compile(channels, 1.0 / 255.0)?;
        let folder = stream.image_folder.as_deref().unwrap_or(".");
        let folder = DataPaths::new(&file.path).resolve(folder);
        let most = match stream.image_pixels {
            Some(pixels) => MostPixels::exactly(pixels),
            None => MostPixels::of_event(fit.shape.height * fit.shape.width),
        };
        Ok(Some(Images { fit, most, affine, folder }))
    }

    /// Fills a row with the image that `text` names or holds.
    pub fn fill(&self, text: &str, row: &mut [f32]) -> std::result::Result<(), BadEvent> {
        let bytes = match encoded(text) {
            Some(base64) => base64::decode(base64)
                .ok_or_else(|| BadEvent::new("the image is not base64 throughout"))?,
            None => self.read(text)?,
        };
        let place = "the image";
        let image = decode_within(&bytes, self.fit.shape.color, self.most, place);
        let pixels = image.and_then(|image| self.fit.apply(image, place));
        let pixels = pixels.map_err(|e| BadEvent::new(e.to_string()))?;
        self.affine.fill_u8(&pixels, row);
        Ok(())
    }

    /// Events may come from anywhere, so they name files of one folder only.
    fn read(&self, path: &str) -> std::result::Result<Vec<u8>, BadEvent> {
        let outside = |c: Component<'_>| !matches!(c, Component::Normal(_) | Component::CurDir);
        if Path::new(path).components().any(outside) {
            return Err(BadEvent::new(
                "the image's path must be relative to stream.image_folder and stay in it",
            ));
        }
        let path = self.folder.join(path);
        let fail = |e: std::io::Error| BadEvent::new(format!("{}: {e}", path.display()));
        let meta = std::fs::metadata(&path).map_err(fail)?;
        if !meta.is_file() || meta.len() > MAX_BYTES {
            return Err(BadEvent::new(format!("{}: is no image file", path.display())));
        }
        std::fs::read(&path).map_err(fail)
    }
}

/// What of a text is base64: a data URL, or what PNG and JPEG files begin with.
fn encoded(text: &str) -> Option<&str> {
    if let Some(url) = text.strip_prefix("data:") {
        return url.split_once(";base64,").map(|(_, base64)| base64);
    }
    let known = text.starts_with("iVBORw0KGgo") || text.starts_with("/9j/");
    known.then_some(text)
}
