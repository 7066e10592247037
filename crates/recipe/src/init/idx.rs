//! A recipe for IDX files, such as those of MNIST.

use std::path::{Path, PathBuf};

use tidemill_engine::data::{Dataset, IdxSpec, MemoryDataset};
use tidemill_engine::error::{Error, Result};

use super::arrays::{FEW, FIFTH, Set, body, part};
use super::text::{argument, plural, quoted};
use super::{Data, Draft, free_run, no_table};

/// Whether a file is called as IDX files are.
pub(super) fn is_idx(path: &Path) -> bool {
    let name = name(path);
    ["-ubyte", ".idx", "-idx"].iter().any(|part| name.contains(part))
}

fn is_labels(path: &Path) -> bool {
    let name = name(path);
    name.contains("label") || name.contains("idx1")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Images and labels that belong together.
struct Pair {
    images: Data,
    labels: Data,
    data: MemoryDataset,
}

impl Pair {
    fn set(&self, part: &str) -> Set<'_> {
        let (images, labels) = (quoted(&self.images.name), quoted(&self.labels.name));
        let source = format!("{{ idx = {{ images = {images}, labels = {labels}{part} }} }}");
        Set { data: &self.data, source }
    }
}

pub(super) fn draft(given: &[Data], out: &Path) -> Result<Draft> {
    let files = files(given)?;
    let (labels, images): (Vec<Data>, Vec<Data>) =
        files.into_iter().partition(|file| is_labels(&file.path));
    let mut pairs = Vec::new();
    for images in images {
        let Some(labels) = labels.iter().max_by_key(|l| common(&images.path, &l.path)) else {
            continue;
        };
        let spec = IdxSpec {
            images: images.path.display().to_string(),
            labels: Some(labels.path.display().to_string()),
            ..IdxSpec::default()
        };
        let data = spec.open(&|name| PathBuf::from(name))?;
        pairs.push(Pair { images, labels: labels.clone(), data });
    }
    // The largest is for training; another of the same shape, if there is one, for validation.
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.data.len()));
    let mut pairs = pairs.into_iter();
    let Some(train) = pairs.next() else {
        let what = "has no pair of IDX files, one of images and one of labels";
        return Err(Error::Usage(format!("{}: {what}", given[0].name)));
    };
    let validation = pairs.find(|p| p.data.sample_shape() == train.data.sample_shape());
    let recipe = argument(&out.display().to_string());
    let next = vec![
        format!("tidemill train {recipe}"),
        format!("tidemill doctor {recipe}"),
        format!("tidemill learn {recipe} --from data: --out {}", free_run("stream")),
    ];
    let split = validation.is_none() && train.data.len() >= FEW;
    let body = match split {
        true => {
            body(&train.set(&part("training", 0.2)), Some(&train.set(&part("validation", 0.2))))
        }
        false => body(&train.set(""), validation.as_ref().map(|v| v.set("")).as_ref()),
    };
    Ok(Draft {
        found: found(&train, validation.as_ref(), split),
        body,
        next,
        one_for_both: no_table(),
    })
}

/// The IDX files that are meant: those of a folder, or those given and, for a single one, its partner
/// beside it.
fn files(given: &[Data]) -> Result<Vec<Data>> {
    let inside = |folder: &Path, name: &dyn Fn(&str) -> String| {
        let entries = std::fs::read_dir(folder).map_err(|e| Error::read(folder, e))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.retain(|path| path.is_file() && is_idx(path));
        paths.sort();
        let named = paths.into_iter().map(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Data { path, name: name(&file) }
        });
        Ok::<Vec<Data>, Error>(named.collect())
    };
    match given {
        [folder] if folder.path.is_dir() => {
            let prefix = folder.name.trim_end_matches('/');
            inside(&folder.path, &|file| format!("{prefix}/{file}"))
        }
        [one] => {
            let folder = one.path.parent().filter(|p| !p.as_os_str().is_empty());
            let prefix = one.name.rsplit_once('/').map_or(String::new(), |(p, _)| format!("{p}/"));
            let all = inside(folder.unwrap_or(Path::new(".")), &|file| format!("{prefix}{file}"))?;
            let partners = all.into_iter().filter(|f| is_labels(&f.path) != is_labels(&one.path));
            let partner = partners.max_by_key(|f| common(&f.path, &one.path));
            Ok([one.clone()].into_iter().chain(partner).collect())
        }
        several => Ok(several.to_vec()),
    }
}

/// How many letters two names start with in common.
fn common(a: &Path, b: &Path) -> usize {
    name(a).bytes().zip(name(b).bytes()).take_while(|(a, b)| a == b).count()
}

fn found(train: &Pair, validation: Option<&Pair>, split: bool) -> Vec<String> {
    let shape: Vec<String> = train.data.sample_shape().iter().map(|d| d.to_string()).collect();
    let mut found = vec![format!(
        "Found in {}: {} of {}, each {}.",
        train.images.name,
        plural(train.data.len(), "sample"),
        plural(train.data.num_classes().unwrap_or(0), "class"),
        shape.join(" x ")
    )];
    found.push(match validation {
        Some(v) => {
            format!(
                "The {} of {} are for validation.",
                plural(v.data.len(), "sample"),
                v.images.name
            )
        }
        None if split => FIFTH.into(),
        None => "There are no other samples of this shape for validation.".into(),
    });
    found
}
