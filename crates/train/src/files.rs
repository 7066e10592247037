//! The files that a model is asked about, as the recipe's kind of data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_engine::data::images::{BrokenFiles, LabelSource, images_below};
use tidemill_engine::data::table::{BadRows, Missing};
use tidemill_engine::data::text::files_below;
use tidemill_engine::data::{
    DataSpec, Dataset, ImageDirectorySpec, ImageFolder, InputSpec, NumpySpec, ParallelSpec,
    TableSpec, TextDirectorySpec, TextFileSpec,
};
use tidemill_engine::error::{Error, Result};
use tidemill_recipe::data::input_of;
use tidemill_recipe::stream::Format;

use crate::trained::Trained;

impl Trained {
    pub(crate) fn open_files(&self, files: &[PathBuf]) -> Result<Arc<dyn Dataset>> {
        let spec = &self.data_spec()?;
        let input = input_of(&self.file.recipe.model);
        let folder = match spec {
            DataSpec::ImageDirectory(folder) => Some(folder.clone()),
            // A model that learned images from IDX files is asked about image files as well.
            DataSpec::Idx(idx)
                if matches!(input, InputSpec::Image { .. })
                    && files.iter().all(|f| f.is_dir() || is_image(f) || is_archive(f)) =>
            {
                let normalize = idx.normalize.clone();
                Some(ImageDirectorySpec { normalize, ..ImageDirectorySpec::new("") })
            }
            _ => None,
        };
        if let (Some(folder), [path]) = (&folder, files)
            && is_archive(path)
        {
            let DataSpec::ImageDirectory(archive) =
                self.spec_of(&DataSpec::ImageDirectory(folder.clone()), files)?
            else {
                return Err(Error::Usage("an archive of images is none; please report it".into()));
            };
            let archive = ImageDirectorySpec {
                labels: LabelSource::None,
                broken_files: BrokenFiles::Skip,
                ..archive
            };
            return Ok(Arc::new(ImageFolder::open(&archive, &|name| name.into(), input, &[])?));
        }
        if folder.is_some() && files.len() > 1 && files.iter().any(|path| is_archive(path)) {
            let what = "--data: name one archive, or several shards by a pattern in quotes, such as 'train-{000000..000002}.tar'";
            return Err(Error::Usage(what.into()));
        }
        if let Some(folder) = folder {
            let mut found = Vec::new();
            for path in files {
                match path.is_dir() {
                    true => found.extend(images_below(path, folder.follow_links)?),
                    false => found.push(path.clone()),
                }
            }
            let folder = ImageDirectorySpec { broken_files: BrokenFiles::Skip, ..folder };
            if found.is_empty() {
                let named: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
                return Err(Error::Usage(format!(
                    "--data {}: has no images ({})",
                    named.join(" "),
                    IMAGE_ENDINGS.map(|e| format!(".{e}")).join(", ")
                )));
            }
            let set = ImageFolder::from_files(&found, &folder, input)?;
            return Ok(Arc::new(set));
        }
        if let (DataSpec::TextDirectory(_), InputSpec::Tokens(ids)) = (spec, input) {
            let mut found = Vec::new();
            for path in files {
                match path.is_dir() {
                    true => found.extend(files_below(path)?),
                    false => found.push(path.clone()),
                }
            }
            let set = TextDirectorySpec::from_files(&found, ids)?;
            return Ok(Arc::new(set));
        }
        if let DataSpec::Audio(_) = spec {
            return self.open_sounds(spec, files);
        }
        let mut spec = self.spec_of(spec, files)?;
        match &mut spec {
            DataSpec::Csv(csv) => {
                csv.context.unlabelled = true;
                csv.bad_rows = BadRows::Skip;
                if csv.missing == Missing::Fail {
                    csv.missing = Missing::Skip;
                }
            }
            DataSpec::Idx(idx) => idx.labels = None,
            DataSpec::Numpy(arrays) => arrays.y = None,
            DataSpec::ImageDirectory(_)
            | DataSpec::TextDirectory(_)
            | DataSpec::Tagged(_)
            | DataSpec::Text(_)
            | DataSpec::Parallel(_) => {}
            DataSpec::Documents(documents) => documents.unlabelled = true,
            DataSpec::Audio(_) => {}
        }
        self.open_spec(&spec)
    }

    /// The recipe's training data; a table where the model has learned from a stream of columns.
    pub(crate) fn data_spec(&self) -> Result<DataSpec> {
        match &self.file.recipe.batch.data {
            None if self.known().encoder.is_some() => Ok(DataSpec::Csv(TableSpec::new(""))),
            None if matches!(input_of(&self.file.recipe.model), InputSpec::Image { .. }) => {
                Ok(DataSpec::ImageDirectory(ImageDirectorySpec::new("")))
            }
            _ => self.file.batch_data().cloned(),
        }
    }

    /// The recipe's kind of data, of other files.
    pub(crate) fn spec_of(&self, spec: &DataSpec, files: &[PathBuf]) -> Result<DataSpec> {
        let mut names = Vec::with_capacity(files.len());
        for file in files {
            // Named from where the user is, not from the recipe.
            let path = std::path::absolute(file).map_err(|e| Error::read(file, e))?;
            names.push(path.display().to_string());
        }
        let wrong = |what: &str| Err(Error::Usage(format!("--data: {what}")));
        let mut spec = spec.clone();
        match (&mut spec, names.as_slice()) {
            (DataSpec::ImageDirectory(folder), [path]) => {
                *folder = ImageDirectorySpec {
                    path: path.clone(),
                    validation_split: None,
                    subset: None,
                    group: None,
                    ..folder.clone()
                };
            }
            (DataSpec::ImageDirectory(_), _) => return wrong("name one folder or archive"),
            (DataSpec::Csv(csv), [path]) => {
                // The recipe's format is that of the file that it names.
                csv.format = csv.format.filter(|_| Format::by_name(path).is_none());
                csv.path = path.clone();
                csv.take_all();
            }
            (DataSpec::Csv(_), _) => return wrong("name one table"),
            (DataSpec::TextDirectory(texts), [path]) => {
                *texts = TextDirectorySpec {
                    path: path.clone(),
                    validation_split: None,
                    subset: None,
                    ..texts.clone()
                };
            }
            (DataSpec::TextDirectory(_), _) => return wrong("name one folder"),
            (DataSpec::Audio(sounds), [path]) => sounds.path = path.clone(),
            (DataSpec::Audio(_), _) => return wrong("name one folder or archive"),
            (DataSpec::Tagged(tagged), [path]) => tagged.path = path.clone(),
            (DataSpec::Documents(documents), [path]) => documents.path = path.clone(),
            (DataSpec::Tagged(_) | DataSpec::Documents(_), _) => return wrong("name one file"),
            (DataSpec::Idx(idx), [images, labels @ ..]) if labels.len() < 2 => {
                idx.images = images.clone();
                idx.labels = labels.first().cloned();
                (idx.limit, idx.validation_split, idx.subset) = (None, None, None);
            }
            (DataSpec::Numpy(arrays), [archive]) if archive.ends_with(".npz") => {
                arrays.path = Some(archive.clone());
                arrays.weights = None;
                (arrays.limit, arrays.validation_split, arrays.subset) = (None, None, None);
            }
            (DataSpec::Numpy(arrays), [x, y @ ..]) if y.len() < 2 => {
                *arrays = NumpySpec {
                    path: None,
                    x: x.clone(),
                    y: y.first().cloned(),
                    weights: None,
                    limit: None,
                    validation_split: None,
                    subset: None,
                    ..arrays.clone()
                };
            }
            (DataSpec::Numpy(_), _) => {
                return wrong(
                    "name one .npz archive, or the .npy file of samples and that of labels",
                );
            }
            (DataSpec::Text(text), [path]) => {
                let (stride, texts) = (text.stride, text.texts);
                *text = TextFileSpec { stride, texts, ..TextFileSpec::new(path) };
            }
            (DataSpec::Text(_), _) => return wrong("name one text file"),
            (DataSpec::Parallel(pairs), [source, target]) => {
                *pairs = ParallelSpec::new(source, target);
            }
            (DataSpec::Parallel(_), _) => {
                return wrong("name the file of sources and that of targets");
            }
            (DataSpec::Idx(_), _) => return wrong("name the file of images and that of labels"),
        }
        Ok(spec)
    }
}

const IMAGE_ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "gif", "webp"];

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.is_some_and(|e| IMAGE_ENDINGS.contains(&e.as_str()))
}

/// That what is named on the command line is there: what is found in folders may be broken, and this
/// may be misspelled.
pub(crate) fn check_exist(files: &[PathBuf]) -> Result<()> {
    // `train-{000000..000003}.tar` names several shards, which are looked for where they are opened.
    match files.iter().find(|file| !file.exists() && !file.to_string_lossy().contains('{')) {
        Some(file) => {
            Err(Error::Usage(format!("--data {}: there is no such file", file.display())))
        }
        None => Ok(()),
    }
}

/// Whether a file is called as archives of images are, or a pattern stands for several of them.
fn is_archive(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let name = name.to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending)) && !path.is_dir()
}
