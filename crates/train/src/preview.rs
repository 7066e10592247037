//! What augmentation makes of training images, as one picture to look at.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use tidemill_engine::data::images::write_png;
use tidemill_engine::data::{Batch, Dataset, Order, RawImage};
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::data::open_one;
use tidemill_recipe::{DataPaths, RecipeFile};

/// Small images are shown larger: this wide at least.
const SHOWN: usize = 96;
/// White pixels between images, and after the column of those that are as they are.
const GAP: usize = 4;
const WIDE_GAP: usize = 16;

/// Writes a PNG file with a row for each of `samples` training images: first as it is, then as `variants` epochs vary it. Returns how
/// many samples there are.
///
/// # Errors
/// If the data are no images, cannot be read, or the file cannot be written.
pub fn preview(file: &RecipeFile, samples: usize, variants: usize, to: &Path) -> Result<usize> {
    if to.extension().is_none_or(|end| !end.eq_ignore_ascii_case("png")) {
        let what = format!("{}: is to be a PNG file, whose name ends in .png", to.display());
        return Err(Error::Usage(what));
    }
    let paths = DataPaths::new(&file.path);
    let data = open_one(file, "batch.data", file.batch_data()?, &paths, None, || None)?;
    let samples = samples.min(data.len());
    let rows = rows(data.as_ref(), file.recipe.training.seed, samples, variants)?;
    let Some(rows) = rows else {
        return Err(
            file.error_at("batch.data", "has samples that are no images; preview shows images")
        );
    };
    let failed = |e: std::io::Error| Error::Io { verb: "written", path: to.to_owned(), source: e };
    let out = BufWriter::new(File::create(to).map_err(failed)?);
    write_png(&sheet(&rows), out).map_err(failed)?;
    Ok(samples)
}

/// For each sample the image as it is, then its variants; none where samples are no images. Those that cannot be read lack.
fn rows(
    data: &dyn Dataset,
    seed: u64,
    samples: usize,
    variants: usize,
) -> Result<Option<Vec<Vec<Option<RawImage>>>>> {
    let order = Order::Shuffled { seed }.epoch(0, data.len());
    let chosen: Vec<u32> = (0..samples).map(|at| order.index(at) as u32).collect();
    let mut rows: Vec<Vec<Option<RawImage>>> = Vec::new();
    for &index in &chosen {
        rows.push(vec![data.raw_image(index as usize)?]);
    }
    let Some(first) = rows.iter().find_map(|row| row[0].as_ref()) else { return Ok(None) };
    let shape = [first.height, first.width, first.channels];
    let mut batch = Batch::new(data.info().signature.clone());
    for epoch in 0..variants {
        batch.resize(samples);
        batch.epoch = epoch as u64;
        batch.indices.clone_from(&chosen);
        let (mut row, indices) = batch.rows_and_indices();
        for (at, &index) in indices.iter().enumerate() {
            row.select(at);
            row.set_weight(1.0);
            data.fill(index as usize, &mut row)?;
        }
        drop(row);
        if let Some(mix) = data.mix() {
            mix.apply(&mut batch, shape, 0);
        }
        for (at, row) in rows.iter_mut().enumerate() {
            let read = batch.weights[at] != 0.0;
            row.push(read.then(|| data.shown(batch.x_mut(at))).flatten());
        }
    }
    Ok(Some(rows))
}

/// All images side by side, on white.
fn sheet(rows: &[Vec<Option<RawImage>>]) -> RawImage {
    let first = rows.iter().flatten().flatten().next();
    let (height, width) = first.map_or((1, 1), |image| (image.height, image.width));
    let zoom = SHOWN.div_ceil(width).max(1);
    let (cell_height, cell_width) = (height * zoom, width * zoom);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(1);
    let sheet_width = columns * (cell_width + GAP) + GAP + WIDE_GAP;
    let sheet_height = rows.len() * (cell_height + GAP) + GAP;
    let mut pixels = vec![255; sheet_height * sheet_width * 3];
    for (r, row) in rows.iter().enumerate() {
        for (c, image) in row.iter().enumerate() {
            let Some(image) = image else { continue };
            let top = GAP + r * (cell_height + GAP);
            let left = GAP + c * (cell_width + GAP) + if c > 0 { WIDE_GAP } else { 0 };
            for y in 0..cell_height.min(image.height * zoom) {
                for x in 0..cell_width.min(image.width * zoom) {
                    let from = (y / zoom * image.width + x / zoom) * image.channels;
                    let to = ((top + y) * sheet_width + left + x) * 3;
                    let own = &image.pixels[from..from + image.channels];
                    let rgb = if own.len() < 3 { [own[0]; 3] } else { [own[0], own[1], own[2]] };
                    pixels[to..to + 3].copy_from_slice(&rgb);
                }
            }
        }
    }
    RawImage { height: sheet_height, width: sheet_width, channels: 3, pixels }
}
