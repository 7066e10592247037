//! An image folder as a dataset.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tidemill_fields::{Field, Row};

use super::archive::{self, Store};
use super::cache::SampleCache;
use super::listing::{self, Listing};
use super::shards;
use super::{
    BrokenFiles, Cache, ColorMode, Fit, ImageDirectorySpec, LabelMode, LabelSource, decode,
    decode_reduced, decode_window, pixels_of, split,
};
use crate::augment::{Augment, Mix};
use crate::fingerprint::Hash;
use crate::groups::group;
use crate::names::Names;
use crate::normalize::Affine;
use crate::source::read_within;
use crate::{Dataset, Error, FillCost, Info, InputSpec, LabelKind, RawImage, Result};

/// Reasons kept for people; the count goes on.
const MAX_REASONS: usize = 20;

/// Images in a folder or archive, decoded when a sample is asked for.
pub struct ImageFolder {
    store: Store,
    info: Info,
    listing: Listing,
    fit: Fit,
    shape: [usize; 3],
    affine: Affine,
    label_mode: LabelMode,
    broken_files: BrokenFiles,
    augment: Option<Augment>,
    reduced_decoding: bool,
    cache: Option<SampleCache>,
    /// Broken samples and why; the reasons of all but the first few are empty.
    skipped: Mutex<BTreeMap<u32, String>>,
}

thread_local! {
    /// A file's bytes, before they are decoded.
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl ImageFolder {
    /// Lists the images that `spec` names; `like` are the classes of the training set, if this is
    /// another one. Nothing is decoded yet.
    pub fn open(
        spec: &ImageDirectorySpec,
        resolve: &dyn Fn(&str) -> PathBuf,
        want: InputSpec,
        like: &[String],
    ) -> Result<Self> {
        let fit = Fit::new(spec, want)?;
        let path = resolve(&spec.path);
        let several = path.to_str().and_then(shards::shards).filter(|_| !path.exists());
        let (mut listing, mut store) = if let Some(several) = several {
            shards::list(several.iter().map(PathBuf::from).collect(), spec, like)?
        } else if path.is_file() && shards::is_one(&path) {
            shards::list(vec![path], spec, like)?
        } else if path.is_file() {
            archive::list(&path, spec, like)?
        } else {
            let root = spec.root.as_ref().map_or(path.clone(), |root| path.join(root));
            (listing::list(&root, spec, like)?, Store::Folder(root))
        };
        let groups = groups(spec, &listing)?;
        let parts = split::Parts::of(spec.validation_split, spec.subset, spec.seed);
        let parts = parts.together(groups.as_deref());
        let class = |i: usize| listing.classes.get(i).copied();
        if let Some(kept) = parts.kept(&spec.path, listing.names.len(), &class)? {
            let mut names = listing::Names::default();
            kept.iter().for_each(|&i| names.push(listing.names.get(i as usize)));
            listing.classes = kept.iter().map(|&i| listing.classes[i as usize]).collect();
            listing.names = names;
            store.keep(&kept);
        }
        let label_mode = match spec.labels {
            LabelSource::None => LabelMode::None,
            LabelSource::Inferred => spec.label_mode,
        };
        Self::new(store, listing, fit, label_mode, spec)
    }

    /// Single image files without labels, for predictions.
    pub fn from_files(
        files: &[PathBuf],
        spec: &ImageDirectorySpec,
        want: InputSpec,
    ) -> Result<Self> {
        let fit = Fit::new(spec, want)?;
        let mut listing = Listing::default();
        for file in files {
            let Some(name) = file.to_str() else {
                return Err(Error::format(file, "has a name that is not UTF-8; rename it"));
            };
            listing.names.push(name);
            listing.classes.push(0);
        }
        // Joining a path to an empty one leaves it as it is.
        Self::new(Store::Folder(PathBuf::new()), listing, fit, LabelMode::None, spec)
    }

    fn new(
        store: Store,
        listing: Listing,
        fit: Fit,
        label_mode: LabelMode,
        spec: &ImageDirectorySpec,
    ) -> Result<Self> {
        let num_classes = listing.class_names.len();
        if label_mode == LabelMode::Binary && num_classes != 2 {
            return Err(Error::option(format!(
                "{}: label_mode = \"binary\" needs 2 classes, found {num_classes}",
                spec.path
            )));
        }
        let windows = spec.augment.as_ref().is_some_and(Augment::takes_windows);
        if windows && !matches!(spec.cache, Cache::Auto | Cache::Never) {
            return Err(Error::option(format!(
                "{}: cache keeps samples of one size, and batch.augment.random_resized_crop cuts each out of its file's image; leave cache out",
                spec.path
            )));
        }
        let n = listing.names.len();
        let bytes = (n * fit.shape.len()) as u64;
        let cached = match spec.cache {
            Cache::Always => true,
            Cache::Never => false,
            Cache::Auto => !windows && bytes <= Cache::AUTO_BYTES,
            Cache::Bytes(limit) => bytes <= limit,
        };
        let channels = fit.shape.color.channels();
        let affine = spec.normalize.clone().unwrap_or_default().compile(channels, 1.0 / 255.0)?;
        let shape = [fit.shape.height, fit.shape.width, channels];
        if let Some(augment) = &spec.augment {
            augment.fits(&shape, &spec.path)?;
        }
        let kind = match label_mode {
            LabelMode::Int => LabelKind::Class { num_classes },
            LabelMode::Categorical => LabelKind::Values { len: num_classes },
            LabelMode::Binary => LabelKind::Values { len: 1 },
            LabelMode::None => LabelKind::None,
        };
        let mut info = Info::of(n, vec![Field::numbers("x", &shape)], kind);
        info.num_classes = (label_mode != LabelMode::None).then_some(num_classes);
        info.class_names = listing.class_names.clone();
        Ok(Self {
            store,
            info,
            listing,
            fit,
            shape,
            affine,
            label_mode,
            broken_files: spec.broken_files,
            augment: spec.augment.clone(),
            reduced_decoding: spec.reduced_decoding,
            cache: cached.then(|| SampleCache::new(n)),
            skipped: Mutex::default(),
        })
    }

    /// The path of image `index` relative to the folder.
    pub fn name(&self, index: usize) -> &str {
        self.listing.names.get(index)
    }

    /// The class of image `index` by its sub-folder, whatever the label mode.
    pub fn class(&self, index: usize) -> u32 {
        self.listing.classes[index]
    }

    /// Image `index` as its file has it, in RGB: not resized, and whatever the policy for broken files.
    ///
    /// # Errors
    /// If the file cannot be read or decoded.
    pub fn original(&self, index: usize) -> Result<RawImage> {
        let name = self.listing.names.get(index);
        decode(&self.file(index)?, ColorMode::Rgb, &self.store.describe(index, name))
    }

    /// The bytes of the file of image `index`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn file(&self, index: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.store.read(index, self.listing.names.get(index), &mut bytes)?;
        Ok(bytes)
    }

    /// Reads and decodes image `index` by `decode`, which gets the file's bytes and what people call it.
    fn decode(
        &self,
        index: usize,
        decode: impl FnOnce(&[u8], &str) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let name = self.listing.names.get(index);
        BYTES.with_borrow_mut(|bytes| {
            self.store.read(index, name, bytes)?;
            let pixels = decode(bytes, &self.store.describe(index, name));
            // One huge file must not make every thread hold its size for ever.
            if bytes.capacity() > 4 << 20 {
                *bytes = Vec::new();
            }
            pixels
        })
    }

    /// The pixels of sample `index`, fitted to its shape.
    fn pixels(&self, index: usize) -> Result<Vec<u8>> {
        let (color, [height, width, _]) = (self.fit.shape.color, self.shape);
        self.usable(index, |bytes, place| {
            let image = match self.reduced_decoding {
                true => decode_reduced(bytes, color, [height, width], place)?,
                false => decode(bytes, color, place)?,
            };
            self.fit.apply(image, place)
        })
    }

    /// The pixels of a window of image `index`, as it is drawn for an epoch, in the sample's size.
    fn window(&self, augment: &Augment, epoch: u64, index: usize) -> Result<Vec<u8>> {
        let [height, width, _] = self.shape;
        let draw = |size| augment.window(size, epoch, index as u64);
        self.usable(index, |bytes, place| {
            decode_window(bytes, self.fit.shape.color, [height, width], &draw, place)
        })
    }

    /// Sample `index` as it is varied in an epoch.
    fn fill_varied(
        &self,
        augment: &Augment,
        epoch: u64,
        index: usize,
        row: &mut Row<'_>,
    ) -> Result<()> {
        let pixels = match &self.cache {
            _ if augment.takes_windows() => self.window(augment, epoch, index)?,
            Some(cache) => match cache.get(index) {
                Some(pixels) => pixels.to_vec(),
                None => cache.put(index, self.pixels(index)?).to_vec(),
            },
            None => self.pixels(index)?,
        };
        let [height, width, channels] = self.shape;
        let mut image = RawImage { height, width, channels, pixels };
        if !image.pixels.is_empty() {
            image = augment.vary(image, epoch, index as u64);
        }
        self.put(index, &image.pixels, row)?;
        if !image.pixels.is_empty() {
            augment.erase(row.f32(0)?, self.shape, epoch, index as u64);
        }
        Ok(())
    }

    /// [`Self::decode`] under the policy for broken files: those of skipped ones are empty.
    fn usable(
        &self,
        index: usize,
        by: impl FnOnce(&[u8], &str) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        match self.decode(index, by) {
            Err(error) if self.broken_files == BrokenFiles::Skip => {
                let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
                let few = skipped.len() < MAX_REASONS;
                skipped
                    .entry(index as u32)
                    .or_insert_with(|| if few { error.to_string() } else { String::new() });
                Ok(Vec::new())
            }
            Err(Error::Image { place, what }) => Err(Error::Image {
                place,
                what: format!("{what}; repair or remove it, or set broken_files = \"skip\""),
            }),
            other => other,
        }
    }

    fn put(&self, index: usize, pixels: &[u8], row: &mut Row<'_>) -> Result<()> {
        if pixels.is_empty() {
            row.skip();
            return Ok(());
        }
        self.affine.fill_u8(pixels, row.f32(0)?);
        let class = self.listing.classes[index];
        match self.label_mode {
            LabelMode::Int => row.set_class(class)?,
            LabelMode::Categorical => {
                let targets = row.targets()?;
                targets.fill(0.0);
                targets[class as usize] = 1.0;
            }
            LabelMode::Binary => row.targets()?[0] = class as f32,
            LabelMode::None => {}
        }
        Ok(())
    }
}

/// The group of each image by its name, where the split keeps groups together.
fn groups(spec: &ImageDirectorySpec, listing: &Listing) -> Result<Option<Vec<u64>>> {
    let Some(pattern) = &spec.group else { return Ok(None) };
    let option = |what: String| Error::option(format!("{}: group {what}", spec.path));
    if spec.validation_split.is_none() {
        return Err(option("needs validation_split, whose sides it keeps groups on".into()));
    }
    let names = Names::of_groups(pattern).map_err(option)?;
    let one = |i: usize| {
        let name = listing.names.get(i);
        let named = names.read(name);
        named.map(|named| group(&named.group)).ok_or_else(|| {
            option(format!(
                "= {pattern:?} does not fit the name {name:?}; rename the file, or change it"
            ))
        })
    };
    (0..listing.names.len()).map(one).collect::<Result<Vec<u64>>>().map(Some)
}

impl Dataset for ImageFolder {
    fn info(&self) -> &Info {
        &self.info
    }

    fn fill(&self, index: usize, row: &mut Row<'_>) -> Result<()> {
        if let (Some(augment), Some(epoch)) = (&self.augment, row.epoch()) {
            return self.fill_varied(augment, epoch, index, row);
        }
        let Some(cache) = &self.cache else {
            return self.put(index, &self.pixels(index)?, row);
        };
        match cache.get(index) {
            Some(pixels) => self.put(index, pixels, row),
            None => self.put(index, cache.put(index, self.pixels(index)?), row),
        }
    }

    fn class(&self, index: usize) -> Option<u32> {
        (self.label_mode != LabelMode::None).then(|| self.listing.classes[index])
    }

    fn describe(&self, index: usize) -> String {
        self.store.describe(index, self.listing.names.get(index))
    }

    fn raw_image(&self, index: usize) -> Result<Option<RawImage>> {
        let [height, width, channels] = self.shape;
        let pixels = match self.cache.as_ref().and_then(|c| c.get(index)) {
            Some(pixels) => pixels.to_vec(),
            None => self.pixels(index)?,
        };
        let image = RawImage { height, width, channels, pixels };
        Ok((!image.pixels.is_empty()).then_some(image))
    }

    fn shown(&self, values: &[f32]) -> Option<RawImage> {
        let [height, width, channels] = self.shape;
        let pixels = self.affine.undo_u8(values);
        Some(RawImage { height, width, channels, pixels })
    }

    fn mix(&self) -> Option<Mix> {
        self.augment.as_ref()?.mix()
    }

    fn fill_cost(&self) -> FillCost {
        match &self.cache {
            Some(cache) if cache.is_full() => match self.augment {
                Some(_) => FillCost::Compute,
                None => FillCost::Copy,
            },
            _ => FillCost::Decode,
        }
    }

    fn bytes_to_come(&self) -> u64 {
        self.cache.as_ref().map_or(0, |_| (self.info.len * self.fit.shape.len()) as u64)
    }

    fn bytes_to_read(&self) -> u64 {
        const PROBES: usize = 16;
        let step = self.info.len.div_ceil(PROBES).max(1);
        let mut bytes = Vec::new();
        let of = |index: usize| {
            let read = self.store.read(index, self.listing.names.get(index), &mut bytes);
            let pixels = read.ok().and_then(|()| pixels_of(&bytes)).unwrap_or(0);
            // The file, what it decodes to in its own colours, and in the sample's.
            bytes.len() as u64 + pixels * 2 + self.fit.shape.len() as u64
        };
        (0..self.info.len).step_by(step).map(of).max().unwrap_or(0)
    }

    /// From names and classes; no file is opened.
    fn fingerprint(&self) -> u64 {
        let mut hash = Hash::new();
        for (index, &class) in self.listing.classes.iter().enumerate() {
            hash.text(self.listing.names.get(index));
            hash.add(u64::from(class));
        }
        hash.finish()
    }

    fn notes(&self) -> Vec<String> {
        let (loose, links) = (self.listing.loose, self.listing.links);
        let mut notes = Vec::new();
        if loose > 0 {
            notes.push(format!("{loose} images that are in no folder of a class are left out"));
        }
        let others = &self.listing.others;
        if others.count > 0 {
            let (files, are) = if others.count == 1 { ("file", "is") } else { ("files", "are") };
            notes.push(format!(
                "{} {files} in folders of classes {are} left out, such as {}: read are .jpg, .jpeg, .png, .bmp, .gif and .webp",
                others.count, others.first
            ));
        }
        if links > 0 {
            notes.push(format!(
                "{links} links to folders are not followed; follow_links = true follows them"
            ));
        }
        notes
    }

    fn num_skipped(&self) -> usize {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn skipped_examples(&self) -> Vec<String> {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.values().filter(|s| !s.is_empty()).cloned().collect()
    }
}

/// Reads and decodes one image file to the sample that a model takes; 8-bit values.
pub fn load(path: &Path, fit: &Fit) -> Result<RawImage> {
    let mut bytes = Vec::new();
    read_within(path, archive::MOST_FILE_BYTES, &mut bytes)?;
    let place = path.display().to_string();
    let pixels = fit.apply(decode(&bytes, fit.shape.color, &place)?, &place)?;
    let (height, width) = (fit.shape.height, fit.shape.width);
    Ok(RawImage { height, width, channels: fit.shape.color.channels(), pixels })
}
