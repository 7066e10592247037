//! A recipe for arrays of samples: those that NumPy saved, and what all arrays have in common.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidemill_engine::data::{
    Dataset, LabelKind, Like, MemoryDataset, NumpyLabels, NumpySpec, numpy,
};
use tidemill_engine::error::{Error, Result};

use super::columns::FEW_CLASSES;
use super::text::{argument, plural, quoted};
use super::{Data, Draft, free_run, no_table};

/// What samples and labels are called in archives, the names for training before those for
/// validation.
const NAMES: [(&str, &str); 12] = [
    ("x_train", "y_train"),
    ("X_train", "y_train"),
    ("train_images", "train_labels"),
    ("train_x", "train_y"),
    ("x", "y"),
    ("X", "y"),
    ("data", "target"),
    ("data", "labels"),
    ("images", "labels"),
    ("features", "labels"),
    ("inputs", "targets"),
    ("arr_0", "arr_1"),
];
const VALIDATION: [(&str, &str); 6] = [
    ("x_test", "y_test"),
    ("X_test", "y_test"),
    ("test_images", "test_labels"),
    ("test_x", "test_y"),
    ("x_val", "y_val"),
    ("X_val", "y_val"),
];

/// Of fewer samples none are kept for validation.
pub(super) const FEW: usize = 20;

/// What is said of a split.
pub(super) const FIFTH: &str = "A fifth of the samples is kept for validation.";

/// The keys of a side of a split.
pub(super) fn part(side: &str, share: f64) -> String {
    format!(", validation_split = {share}, subset = \"{side}\", seed = 1")
}

/// Samples, and how a recipe names them.
pub(super) struct Set<'a> {
    pub data: &'a MemoryDataset,
    pub source: String,
}

/// Whether a file is called as NumPy's are.
pub(super) fn is_numpy(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "npz" || end == "npy")
}

/// Arrays of samples and labels, and the keys by which a recipe names them.
type Side = (NumpySpec, String);

/// The arrays for training, and those for validation where an archive has them.
fn sides(given: &[Data]) -> Result<(Side, Option<Side>)> {
    let named = |data: &Data, x: &str, y: &str| {
        let path = Some(data.path.display().to_string());
        let spec = NumpySpec { path, x: x.into(), y: Some(y.into()), ..NumpySpec::default() };
        let (name, x, y) = (quoted(&data.name), quoted(x), quoted(y));
        (spec, format!("path = {name}, x = {x}, y = {y}"))
    };
    match given {
        [archive] if archive.path.extension().is_some_and(|end| end == "npz") => {
            let arrays = numpy::arrays(&archive.path)?;
            let has = |name: &str| arrays.iter().any(|a| a == name);
            let find = |names: &[(&str, &str)]| {
                let found = names.iter().find(|(x, y)| has(x) && has(y));
                found.map(|(x, y)| named(archive, x, y))
            };
            let train = find(&NAMES).ok_or_else(|| {
                Error::Usage(format!(
                    "{}: has the arrays {}; name samples and labels x_train and y_train, or write \
                     data = {{ numpy = {{ path = {}, x = ..., y = ... }} }} into a recipe",
                    archive.name,
                    arrays.join(", "),
                    quoted(&archive.name)
                ))
            })?;
            Ok((train, find(&VALIDATION)))
        }
        [x, y] => {
            let spec = NumpySpec {
                x: x.path.display().to_string(),
                y: Some(y.path.display().to_string()),
                ..NumpySpec::default()
            };
            let (x, y) = (quoted(&x.name), quoted(&y.name));
            Ok(((spec, format!("x = {x}, y = {y}")), None))
        }
        _ => Err(Error::Usage(format!(
            "{}: name an .npz archive, or two .npy files, of samples and of labels",
            given[0].name
        ))),
    }
}

pub(super) fn draft(given: &[Data], out: &Path) -> Result<Draft> {
    let (mut train, mut validation) = sides(given)?;
    let open = |spec: &NumpySpec, like: Option<&Like<'_>>| {
        Ok::<_, Error>(spec.open(
            &|name| PathBuf::from(name),
            like,
            like.and_then(|like| like.known),
        )?)
    };
    let mut data = open(&train.0, None)?;
    // As those of tables: NumPy's arrays have one type, so that classes are floats beside columns that are.
    let whole = whole_numbers(&data);
    if whole.is_some() {
        for (spec, keys) in [Some(&mut train), validation.as_mut()].into_iter().flatten() {
            spec.labels = Some(NumpyLabels::Class);
            keys.push_str(", labels = \"class\"");
        }
        data = open(&train.0, None)?;
    }
    let like = Like::of(&data);
    let held_out = validation.as_ref().map(|v| open(&v.0, Some(&like))).transpose()?;
    // Numbers are standardized, as the columns of a table are.
    let normalize = standardize(&data)?;
    let scale = match data.label_kind() {
        LabelKind::Values { len: 1 } => ", scale_targets = true",
        _ => "",
    };
    let source = |keys: &str| format!("{{ numpy = {{ {keys}{normalize}{scale} }} }}");
    let beside = held_out.as_ref().zip(validation);
    let beside = beside.map(|(data, (_, keys))| Set { data, source: source(&keys) });
    let split = |side: &str| source(&format!("{}{}", train.1, part(side, 0.2)));
    let (set, beside, kept) = match beside {
        None if data.len() >= FEW => {
            let beside = Set { data: &data, source: split("validation") };
            (Set { data: &data, source: split("training") }, Some(beside), FIFTH.to_owned())
        }
        Some(beside) => {
            let kept = format!("{} are for validation.", plural(beside.data.len(), "sample"));
            (Set { data: &data, source: source(&train.1) }, Some(beside), kept)
        }
        None => {
            let kept = "There are no samples for validation.".to_owned();
            (Set { data: &data, source: source(&train.1) }, None, kept)
        }
    };
    let recipe = argument(&out.display().to_string());
    let mut found = found(&given[0].name, &set, kept);
    found.extend(whole.map(|n| {
        format!(
            "The labels are {n} different whole numbers as floats, which are taken as classes; where they are amounts to be predicted, \
             write `labels = \"values\"` into `numpy`, one output and another loss."
        )
    }));
    Ok(Draft {
        found,
        body: body(&set, beside.as_ref()),
        next: vec![
            format!("tidemill train {recipe}"),
            format!("tidemill doctor {recipe}"),
            format!("tidemill learn {recipe} --from data: --out {}", free_run("stream")),
        ],
        one_for_both: no_table(),
    })
}

/// How many different targets there are, where each sample has one and they are few whole numbers.
fn whole_numbers(data: &MemoryDataset) -> Option<usize> {
    let values = data.target_values();
    let is_one = matches!(data.label_kind(), LabelKind::Values { len: 1 });
    let whole = is_one && values.iter().all(|v| v.fract() == 0.0 && v.abs() < 1e6);
    let different: BTreeSet<i64> = values.iter().filter(|_| whole).map(|v| *v as i64).collect();
    (2..=FEW_CLASSES).contains(&different.len()).then_some(different.len())
}

/// `, normalize = ...` by the means and deviations of the features; nothing for images, and where there
/// are too many to be written.
fn standardize(data: &MemoryDataset) -> Result<String> {
    const MOST_FEATURES: usize = 100;
    const SAMPLES: usize = 20_000;
    let &[width] = &data.sample_shape()[..] else { return Ok(String::new()) };
    if width > MOST_FEATURES {
        return Ok(String::new());
    }
    let (mut sums, mut squares) = (vec![0.0; width], vec![0.0; width]);
    let len = data.len().min(SAMPLES);
    for index in 0..len {
        for (i, &x) in data.read(index)?.x().iter().enumerate() {
            sums[i] += f64::from(x);
            squares[i] += f64::from(x) * f64::from(x);
        }
    }
    let n = len.max(1) as f64;
    let number = |v: f64| format!("{:?}", v as f32);
    let deviation = |(sum, square): (&f64, &f64)| {
        let variance = square / n - (sum / n) * (sum / n);
        number(if variance > 1e-12 { variance.sqrt() } else { 1.0 })
    };
    let means: Vec<String> = sums.iter().map(|sum| number(sum / n)).collect();
    let deviations: Vec<String> = sums.iter().zip(&squares).map(deviation).collect();
    let (means, deviations) = (means.join(", "), deviations.join(", "));
    Ok(format!(", normalize = {{ mean = [{means}], std = [{deviations}] }}"))
}

fn found(name: &str, train: &Set<'_>, kept: String) -> Vec<String> {
    let shape: Vec<String> = train.data.sample_shape().iter().map(|d| d.to_string()).collect();
    let labels = match (train.data.num_classes(), train.data.label_kind()) {
        (Some(classes), _) => plural(classes, "class"),
        (None, LabelKind::Values { len }) if is_one_hot(train.data) => {
            format!("{} as one-hot rows", plural(len, "class"))
        }
        (None, LabelKind::Values { len }) if is_sets(train.data) => {
            format!("any number of {}", plural(len, "class"))
        }
        (None, LabelKind::Values { len }) => plural(len, "target"),
        _ => "no labels".into(),
    };
    let samples = plural(train.data.len(), "sample");
    let shape = match &shape[..] {
        [one] => plural(one.parse().unwrap_or(0), "number"),
        several => several.join(" x "),
    };
    let mut found = vec![format!("Found in {name}: {samples} of {shape}, with {labels}."), kept];
    found.extend(labels_note(train.data));
    found
}

/// What should be known of the labels: that they may be something else, or that a network does not learn them as they are.
fn labels_note(data: &MemoryDataset) -> Option<String> {
    const MANY_CLASSES: usize = 100;
    const FAR: f32 = 10.0;
    match (data.label_kind(), data.num_classes()) {
        (LabelKind::Class { .. }, Some(classes)) if classes >= MANY_CLASSES => Some(format!(
            "The labels are whole numbers up to {}, which are taken as {classes} classes; where they are amounts to be predicted, \
             write `labels = \"values\"` into `numpy`, one output and another loss.",
            classes - 1
        )),
        (LabelKind::Values { len: 2.. }, _) if is_one_hot(data) => Some(
            "Each row of labels has exactly one 1: they are taken as one class for each sample. Where several may be true, take the loss \
             binary_crossentropy."
                .to_owned(),
        ),
        (LabelKind::Values { len: 2.. }, _) => {
            let most = data.target_values().iter().fold(0.0_f32, |most, v| most.max(v.abs()));
            (most > FAR).then(|| {
                format!(
                    "The targets go up to {most}, and `scale_targets` is for one target: divide them in NumPy, so that they are near 1, \
                     or nothing is learned."
                )
            })
        }
        _ => None,
    }
}

/// Whether each target is a yes or no for a class.
fn is_sets(data: &MemoryDataset) -> bool {
    let values = data.target_values();
    matches!(data.label_kind(), LabelKind::Values { len: 2.. })
        && values.iter().all(|v| *v == 0.0 || *v == 1.0)
}

/// Whether each row of targets says which one class is true.
fn is_one_hot(data: &MemoryDataset) -> bool {
    let LabelKind::Values { len } = data.label_kind() else { return false };
    let ones = |row: &[f32]| row.iter().filter(|v| **v == 1.0).count() == 1;
    is_sets(data) && data.target_values().chunks(len).all(ones)
}

/// The recipe of a network for these samples.
pub(super) fn body(train: &Set<'_>, validation: Option<&Set<'_>>) -> String {
    let (units, loss, note) = match (train.data.label_kind(), train.data.num_classes()) {
        (LabelKind::Class { .. }, Some(classes)) => (
            classes,
            "sparse_categorical_crossentropy",
            "one output per class; the loss takes logits, so no softmax",
        ),
        (LabelKind::Values { len }, _) if is_one_hot(train.data) => (
            len,
            "categorical_crossentropy",
            "one output per class; the loss takes logits, so no softmax",
        ),
        (LabelKind::Values { len }, _) if is_sets(train.data) => {
            (len, "binary_crossentropy", "one output per class, a yes or no; the loss takes logits")
        }
        (LabelKind::Values { len }, _) => (len, "mean_squared_error", "one output per target"),
        _ => (1, "mean_squared_error", "one output per target"),
    };
    let metrics = match loss {
        "binary_crossentropy" => "metrics   = [\"accuracy\", \"subset_accuracy\", \"f1_micro\"]\n",
        _ => "",
    };
    let (input, layers) = match *train.data.sample_shape() {
        [height, width, channels] if height.min(width) >= 16 => (
            format!("{{ image = {{ height = {height}, width = {width}, channels = {channels} }} }}"),
            "  { conv2d = { filters = 32, kernel = 3, padding = \"same\", activation = \"relu\" } },
  { max_pool2d = { size = 2 } },
  { conv2d = { filters = 64, kernel = 3, padding = \"same\", activation = \"relu\" } },
  { max_pool2d = { size = 2 } },
  { flatten = {} },
  { dropout = { rate = 0.3 } },\n",
        ),
        [height, width, channels] => (
            format!("{{ image = {{ height = {height}, width = {width}, channels = {channels} }} }}"),
            "  { flatten = {} },\n",
        ),
        ref dims => (format!("{{ features = {} }}", dims.iter().product::<usize>()), ""),
    };
    let (validation, stop) = match validation {
        Some(set) => (
            format!("validation = {}\n", set.source),
            "
[stop]
# Stop when the validation loss has not improved for 3 epochs, and keep the best weights.
patience = { epochs = 3, restore_best = true }
",
        ),
        None => (String::new(), ""),
    };
    format!(
        r#"[model]
input  = {input}
layers = [
{layers}  {{ dense = {{ units = 128, activation = "relu" }} }},
  {{ dense = {{ units = {units} }} }}, # {note}
]

[training]
loss      = "{loss}"
{metrics}optimizer = {{ adam = {{ learning_rate = 1e-3 }} }}
seed      = 1

[batch]
data       = {data}
{validation}batch_size = 64
epochs     = 10
{stop}"#,
        data = train.source
    )
}
