//! Files of training data.

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_data::images::{ColorMode, Fit, decode};
use tidemill_data::tokens::Tokenizer;
use tidemill_data::{
    Batch, Dataset, ImageDirectorySpec, ImageFolder, InputSpec, NumpySpec, TableSpec,
};

/// The first samples of a dataset, each finite or refused.
fn read(data: &dyn Dataset) {
    let mut batch = Batch::new(Arc::clone(&data.info().signature));
    batch.resize(1);
    for i in 0..data.len().min(50) {
        if data.fill(i, &mut batch.row_mut(0)).is_ok() {
            assert!(!batch.has_non_finite(), "sample {i} is not finite");
        }
    }
}

/// A table in batches; the bits of the first byte choose options.
pub(crate) fn table(bytes: &[u8]) {
    let Some((&options, bytes)) = bytes.split_first() else { return };
    let path = crate::file("table.csv", bytes);
    let mut spec = TableSpec::new(path.to_string_lossy());
    spec.header = [None, Some(true), Some(false)][usize::from(options % 3)];
    if let Ok(data) = spec.open(&|path| PathBuf::from(path), None) {
        read(&data);
    }
}

/// IDX, plain or gzipped.
pub(crate) fn idx(bytes: &[u8]) {
    let path = crate::file("idx", bytes);
    if let Ok(idx) = tidemill_data::idx::read(&path, None) {
        assert_eq!(idx.bytes().len() % idx.dims.iter().product::<usize>().max(1), 0);
    }
}

/// Arrays of NumPy: one, or an archive of them.
pub(crate) fn numpy(bytes: &[u8]) {
    let zipped = bytes.starts_with(b"PK");
    let path = crate::file(if zipped { "x.npz" } else { "x.npy" }, bytes);
    let place = path.to_string_lossy().into_owned();
    let (path, x, y) = match zipped {
        true => (Some(place), "x".to_owned(), "y".to_owned()),
        false => (None, place.clone(), place),
    };
    let spec = NumpySpec { path, x, y: Some(y), ..NumpySpec::default() };
    if let Ok(data) = spec.open(&|path| PathBuf::from(path), None, None) {
        read(&data);
    }
}

/// An image of any format, decoded and made to fit.
pub(crate) fn image(bytes: &[u8]) {
    let color = [ColorMode::Grayscale, ColorMode::Rgb, ColorMode::Rgba][bytes.len() % 3];
    // What is large unpacked is refused by its header where images come from others; here it would take the memory.
    let Ok(image) = decode(bytes, color, "x") else { return };
    assert_eq!(image.pixels.len(), image.width * image.height * image.channels);
    let mut spec = ImageDirectorySpec::new("x");
    spec.color_mode = Some(color);
    let want = InputSpec::Image { height: 28, width: 28, channels: color.channels() };
    let Ok(fit) = Fit::new(&spec, want) else { return };
    let pixels = fit.apply(image, "x").expect("an image of any size fits");
    assert_eq!(pixels.len(), 28 * 28 * color.channels());
}

/// An archive of images.
pub(crate) fn tar(bytes: &[u8]) {
    let path = crate::file("images.tar", bytes);
    let spec = ImageDirectorySpec::new(path.to_string_lossy());
    let want = InputSpec::Image { height: 4, width: 4, channels: 3 };
    if let Ok(data) = ImageFolder::open(&spec, &|path| PathBuf::from(path), want, &[]) {
        read(&data);
    }
}

/// A tokenizer of others: `tokenizer.json`, or a model of SentencePiece.
pub(crate) fn tokenizer(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_bytes(bytes) {
        let mut ids = Vec::new();
        tokenizer.encode("A small text, with 12 numbers and \u{e4}\u{f6}\u{1f600}.", &mut ids);
        let _ = tokenizer.decode(&ids);
    }
}
