//! A recipe for a folder or archive of images.

use std::path::Path;

use tidemill_engine::data::images::{LabelSource, is_shards};
use tidemill_engine::data::spec::class_counts;
use tidemill_engine::data::{Dataset, ImageDirectorySpec, ImageFolder, InputSpec};
use tidemill_engine::error::{Error, Result};

use super::text::{argument, few, plural, quoted};
use super::tree::Tree;
use super::{Data, Draft, free_run, no_table};

/// Images that are decoded to see their sizes and colours.
const PROBES: usize = 64;
/// Images of more pixels on a side are made this small.
const LARGEST: usize = 64;

/// Whether a file is called as images are.
pub(super) fn is_image(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ["jpg", "jpeg", "png", "bmp", "gif", "webp"].contains(&ending.as_str())
}

/// The sizes of the images, as far as they were looked at.
struct Look {
    height: usize,
    width: usize,
    same_size: bool,
    channels: usize,
}

pub(super) fn draft(data: &Data, out: &Path) -> Result<Draft> {
    let shards = is_shards(&data.path);
    let all = ImageDirectorySpec {
        labels: if shards { LabelSource::Inferred } else { LabelSource::None },
        ..ImageDirectorySpec::new(data.path.display().to_string())
    };
    let want = InputSpec::Image { height: 1, width: 1, channels: 3 };
    let images = ImageFolder::open(&all, &|name| name.into(), want, &[])?;
    let names: Vec<&str> = (0..images.len()).map(|i| images.name(i)).collect();
    let mut tree = match shards {
        true => {
            let counts = class_counts(&images);
            Tree::of_classes(images.class_names().iter().cloned().zip(counts).collect())
        }
        false => Tree::of(&data.name, "images", &names).map_err(|e| match data.path.is_dir() {
            true => e,
            false => Error::Usage(format!(
                "{e}. Shards with a KEY.cls beside each KEY.jpg must be plain tar files, named .tar"
            )),
        })?,
    };
    let empty = if data.path.is_dir() { tree.add_empty(&data.path) } else { Vec::new() };
    let look = Look::at(&images)?;
    let recipe = out.display().to_string();
    let mut found = found(data, &tree, &look);
    found.extend(super::text::empty(&empty));
    let mut next = vec![
        format!("tidemill train {}", argument(&recipe)),
        format!("tidemill doctor {}", argument(&recipe)),
    ];
    if data.path.is_dir() {
        let train = tree.folder(&data.name, tree.split.as_ref().map(|s| s.0.as_str()));
        let from = argument(&train);
        next.push(format!(
            "tidemill learn {} --from {from} --out {}",
            argument(&recipe),
            free_run("stream")
        ));
    }
    Ok(Draft { found, body: body(data, &tree, &look), next, one_for_both: no_table() })
}

impl Look {
    fn at(images: &ImageFolder) -> Result<Look> {
        let step = images.len().div_ceil(PROBES).max(1);
        let mut sizes = Vec::new();
        let mut grey = true;
        let mut broken = None;
        for i in (0..images.len()).step_by(step) {
            match images.original(i) {
                Ok(image) => {
                    sizes.push((image.height, image.width));
                    grey &= image.pixels.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
                }
                Err(error) => broken = Some(error),
            }
        }
        if let (true, Some(error)) = (sizes.is_empty(), broken) {
            return Err(error.into());
        }
        let same_size = sizes.iter().all(|size| *size == sizes[0]);
        sizes.sort_unstable();
        let (height, width) = sizes[sizes.len() / 2];
        Ok(Look { height, width, same_size, channels: if grey { 1 } else { 3 } })
    }

    /// Rows and columns of the model's input.
    fn input(&self) -> (usize, usize) {
        let (h, w) = (self.height.min(LARGEST), self.width.min(LARGEST));
        if self.same_size && (h, w) == (self.height, self.width) {
            return (h, w);
        }
        let side = if h.max(w) > 32 { LARGEST } else { 32 };
        (side, side)
    }
}

fn found(data: &Data, tree: &Tree, look: &Look) -> Vec<String> {
    let names: Vec<String> = tree.classes.keys().cloned().collect();
    let colour = if look.channels == 1 { "grey" } else { "in colour" };
    let size = match look.same_size {
        true => format!("all of {} x {} pixels", look.height, look.width),
        false => format!("of different sizes, about {} x {} pixels", look.height, look.width),
    };
    let mut found = vec![format!(
        "Found in {}: {} of {} ({}), {size}, {colour}.",
        data.name,
        plural(tree.num_files(), "image"),
        plural(names.len(), "class"),
        few(&names)
    )];
    match &tree.split {
        Some((_, part)) => found.push(format!(
            "The {} in the folder {part} are for validation.",
            plural(tree.validation, "image")
        )),
        None => found.push("A fifth of the images is kept for validation.".into()),
    }
    let fewest = tree.classes.values().filter(|n| **n > 0).min().copied().unwrap_or(0);
    if fewest < 10 {
        found.push(format!(
            "Some classes have only {}: expect a poor model.",
            plural(fewest, "image")
        ));
    }
    found
}

fn body(data: &Data, tree: &Tree, look: &Look) -> String {
    let (height, width) = look.input();
    let channels = look.channels;
    let resized = match (height, width) == (look.height, look.width) && look.same_size {
        true => "The size of the images.",
        false => "Images are resized to this; a larger size is finer and slower.",
    };
    let head = match height.min(width) {
        0..16 => "  { flatten = {} },\n".to_owned(),
        _ => {
            let block = |filters: usize| {
                format!(
                    "  {{ conv2d = {{ filters = {filters}, kernel = 3, padding = \"same\", activation = \
                     \"relu\" }} }},\n  {{ max_pool2d = {{ size = 2 }} }},\n"
                )
            };
            let third = if height.min(width) > 32 { block(64) } else { String::new() };
            block(32)
                + &block(64)
                + &third
                + "  { flatten = {} },\n  { dropout = { rate = 0.3 } },\n"
        }
    };
    let classes = tree.classes.len();
    let (most, least) =
        (tree.classes.values().max(), tree.classes.values().filter(|n| **n > 0).min());
    let balance = match most.zip(least) {
        Some((most, least)) if *most >= 10 * least => {
            "class_weight = \"balanced\" # some classes have ten times the images of others\n"
        }
        _ => "",
    };
    let crop = if look.same_size { "" } else { ", crop_to_aspect_ratio = true" };
    let source = |part: Option<&str>, more: &str| {
        let place = match data.path.is_dir() {
            true => format!("path = {}", quoted(&tree.folder(&data.name, part))),
            false => {
                let root = tree.folder("", part);
                let path = format!("path = {}", quoted(&data.name));
                match root.trim_matches('/') {
                    "" => path,
                    root => format!("{path}, root = {}", quoted(root)),
                }
            }
        };
        format!("{{ image_directory = {{ {place}{crop}{more} }} }}")
    };
    let (train, validation) = match &tree.split {
        Some((train, validation)) => (source(Some(train), ""), source(Some(validation), "")),
        None => {
            let part =
                |subset| format!(", validation_split = 0.2, subset = \"{subset}\", seed = 1");
            (source(None, &part("training")), source(None, &part("validation")))
        }
    };
    let epochs = if tree.num_files() < 2000 { 30 } else { 10 };
    format!(
        r#"[model]
# {resized}
input  = {{ image = {{ height = {height}, width = {width}, channels = {channels} }} }}
layers = [
{head}  {{ dense = {{ units = 128, activation = "relu" }} }},
  {{ dense = {{ units = {classes} }} }}, # one output per class; the loss takes logits, so no softmax
]

[training]
loss      = "sparse_categorical_crossentropy"
optimizer = {{ adam = {{ learning_rate = 1e-3 }} }}
seed      = 1
{balance}
[batch]
data       = {train}
validation = {validation}
batch_size = 32
epochs     = {epochs}

[stop]
# Stop when the validation loss has not improved for 5 epochs, and keep the best weights.
patience = {{ epochs = 5, restore_best = true }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(height: usize, width: usize, same_size: bool) -> (usize, usize) {
        Look { height, width, same_size, channels: 3 }.input()
    }

    #[test]
    fn sizes_of_the_input() {
        assert_eq!(look(28, 28, true), (28, 28));
        assert_eq!(look(8, 30, true), (8, 30));
        assert_eq!(look(30, 28, false), (32, 32));
        assert_eq!(look(500, 375, true), (64, 64));
        assert_eq!(look(500, 375, false), (64, 64));
    }
}
