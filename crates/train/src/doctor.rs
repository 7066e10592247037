//! What is likely wrong with a run before its first step.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tidemill_engine::data::spec::class_counts;
use tidemill_engine::data::{Batch, Dataset, FillCost, LabelKind, Loader, LoaderOptions};
use tidemill_engine::nn::check::{Facts, Labels, Severity, check};

use crate::estimate::{Estimate, Planned};
use crate::targets::{check_range, check_sums, check_targets};
use tidemill_engine::data::images::near::{self, Print};
use tidemill_engine::engine::Engine;
use tidemill_engine::error::Result;
use tidemill_engine::evaluate::skipped;
use tidemill_engine::metrics::Task;
use tidemill_recipe::data::RunData;
use tidemill_recipe::{DataPaths, RecipeFile};
use tidemill_recipe::{engine_spec, training_spec};

/// Something that is, or may be, wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether training cannot work, as opposed to being unlikely to be what was meant.
    pub is_error: bool,
    /// Where in the recipe, such as `layers[3]` or `batch.data`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it; empty where that is plain.
    pub help: String,
}

impl Finding {
    fn new(is_error: bool, key: &str, what: String, help: &str) -> Finding {
        Finding { is_error, key: key.to_string(), what, help: help.to_string() }
    }

    pub(crate) fn error(key: &str, what: String, help: &str) -> Finding {
        Finding::new(true, key, what, help)
    }

    fn warning(key: &str, what: String, help: &str) -> Finding {
        Finding::new(false, key, what, help)
    }

    /// What is wrong and what to do, to follow the key.
    pub fn message(&self) -> String {
        if self.help.is_empty() {
            format!(": {}", self.what)
        } else {
            format!(": {}; help: {}", self.what, self.help)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.key, self.message())
    }
}

/// The checks that every run makes: they read no sample.
pub fn check_all(file: &RecipeFile, data: &RunData) -> Vec<Finding> {
    let mut findings = check_model(file, data);
    findings.extend(check_labels(file, data));
    for (i, step) in file.recipe.training.unfreeze.iter().enumerate() {
        let (epochs, layers) = (file.recipe.epochs(), step.layers.join(", "));
        if step.epoch > epochs {
            let what = format!("the run has {epochs} epochs, so that {layers} never learn");
            let key = format!("training.unfreeze[{i}].epoch");
            findings.push(Finding::warning(&key, what, "make batch.epochs more, or this less"));
        }
    }
    // What the model itself says of it comes first.
    if findings.iter().all(|f| !f.is_error) {
        findings.extend(check_last_batch(file, data));
    }
    findings.sort_by_key(|f| !f.is_error);
    findings
}

/// What was found about a recipe, its data and the run.
pub struct Examined {
    /// Mistakes and doubts, errors first.
    pub findings: Vec<Finding>,
    /// What a table's columns and labels are taken for, and notes about it.
    pub understood: Vec<String>,
    /// What the run will take, where there are no errors.
    pub estimate: Option<Estimate>,
}

/// Everything: the data are read, and a second of steps is made, with `threads` and within `memory` bytes if these are
/// given.
///
/// # Errors
/// If the data cannot be read, or the run does not fit into the memory.
pub fn examine(file: &RecipeFile, threads: Option<usize>, memory: Option<u64>) -> Result<Examined> {
    file.only_network()?;
    let data = RunData::open(file, &DataPaths::new(&file.path), None)?;
    let mut file = file.clone();
    file.set_tokenizer_of(data.train.as_ref())?;
    let file = &file;
    let mut findings = check_all(file, &data);
    let sound = |findings: &[Finding]| findings.iter().all(|f| !f.is_error);
    // Before all samples are looked at, which leaves more of them in memory than a run has.
    // Of layers that learn later, too: its steps are the largest and slowest.
    let mut whole = file.clone();
    if sound(&findings) && whole.next_thaw(0).is_some() {
        whole.thaw(u64::MAX - 1)?;
    }
    let planned = match sound(&findings) {
        true => Some(Planned::new(&whole, &data, threads, memory)?),
        false => None,
    };
    let train = data.train.as_ref();
    let mut prints = Vec::new();
    findings.extend(check_samples("batch.data", train, &mut prints));
    findings.extend(check_copies(train, &prints, train, &prints));
    if let Some(validation) = &data.validation {
        let validation = validation.as_ref();
        let mut others = Vec::new();
        findings.extend(check_samples("batch.validation", validation, &mut others));
        findings.extend(match check_duplicates(train, validation) {
            Some(finding) => Some(finding),
            None => check_copies(validation, &others, train, &prints),
        });
    }
    if sound(&findings) {
        findings.extend(check_first_loss(file, &data)?);
    }
    let estimate = match planned {
        Some(planned) if sound(&findings) => Some(planned.measure(file, &data)?),
        _ => None,
    };
    findings.sort_by_key(|f| !f.is_error);
    let mut understood = data.train.understood().map(|u| u.lines()).unwrap_or_default();
    let (notes, others) = (data.train.notes(), data.validation.iter().flat_map(|d| d.notes()));
    let others = others.filter(|note| !notes.contains(note));
    let others = others.map(|note| format!("validation data: {note}"));
    understood.extend(notes.iter().cloned().chain(others).map(|note| format!("note: {note}")));
    Ok(Examined { findings, understood, estimate })
}

fn check_model(file: &RecipeFile, data: &RunData) -> Vec<Finding> {
    let r = &file.recipe;
    let labels = match data.train.label_kind() {
        LabelKind::Class { num_classes } => Labels::Classes(num_classes),
        LabelKind::Values { len } => Labels::Values(len),
        LabelKind::None => Labels::Unknown,
    };
    let facts = Facts { labels, batch_size: r.batch.batch_size };
    let found = check(&r.model, &r.training.loss, &r.training.optimizer, facts);
    let to_finding = |f: tidemill_engine::nn::check::Finding| Finding {
        is_error: f.severity == Severity::Error,
        key: f.key(),
        what: f.message,
        help: f.help,
    };
    found.into_iter().map(to_finding).collect()
}

/// The size of a smaller last batch of a pass over `samples`; none where there is none.
pub(crate) fn last_batch(file: &RecipeFile, samples: usize) -> Option<usize> {
    let batch = &file.recipe.batch;
    let last = match samples < batch.batch_size {
        true => samples,
        false => samples % batch.batch_size,
    };
    (!batch.drop_remainder && last > 0).then_some(last)
}

/// Whether the last batch of a pass can be trained on.
fn check_last_batch(file: &RecipeFile, data: &RunData) -> Option<Finding> {
    let n = data.train.len();
    let last = last_batch(file, n)?;
    let spec = training_spec(file, None);
    if let Err(error) = spec.check_training(spec.batch_size) {
        return Some(whole_batch(&error.to_string()));
    }
    let error = spec.check_training(last).err()?;
    let what = format!("the last batch of the {n} samples has {last}, and {error}");
    let help = "drop_remainder = true leaves it out; or choose another batch_size";
    Some(Finding::error("batch.batch_size", what, help))
}

/// What is wrong with a step whatever its batch, at the key that the error begins with.
fn whole_batch(error: &str) -> Finding {
    let (what, help) = error.split_once("; help: ").unwrap_or((error, ""));
    let (key, what) = match what.split_once(": ") {
        Some(("optimizer.rates", what)) => ("training.optimizer", what),
        Some(("frozen", what)) => ("model.frozen", what),
        _ => ("model", what),
    };
    Finding::error(key, what.to_owned(), help)
}

fn kind_in_words(kind: LabelKind) -> String {
    match kind {
        LabelKind::Class { .. } => "the number of a class".to_owned(),
        LabelKind::Values { len: 1 } => "a number".to_owned(),
        LabelKind::Values { len } => format!("rows of {len} numbers, such as one-hot rows"),
        LabelKind::None => "none".to_owned(),
    }
}

/// What the labels alone tell.
fn check_labels(file: &RecipeFile, data: &RunData) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sets = [("batch.data", Some(&data.train)), ("batch.validation", data.validation.as_ref())];
    for (key, set) in sets {
        let Some(set) = set else { continue };
        if set.label_kind() == LabelKind::None {
            let help = "name a label, or a folder for each class";
            findings.push(Finding::error(key, "has no labels to learn from".into(), help));
            continue;
        }
        let truth = |set: &Arc<dyn Dataset>| set.info().signature.truth().cloned();
        if truth(set) != truth(&data.train) {
            let (own, other) =
                (kind_in_words(set.label_kind()), kind_in_words(data.train.label_kind()));
            let what = format!(
                "has labels of another kind than batch.data: {own}, and batch.data {other}"
            );
            findings.push(Finding::error(
                key,
                what,
                "give both the same options, or save both alike",
            ));
            continue;
        }
        findings.extend(check_range(file, key, set.as_ref()));
        let targets = check_targets(file, key, set.as_ref());
        findings.extend(targets.or_else(|| check_sums(file, key, set.as_ref())));
        // Where positions have classes, samples have none.
        let by_position = set.info().signature.truth().is_some_and(|f| f.time().is_some());
        let counts = if by_position { Vec::new() } else { class_counts(set.as_ref()) };
        let name = |class: usize| data.class_names.get(class).map_or("?", String::as_str);
        let empty: Vec<&str> =
            counts.iter().enumerate().filter(|(_, n)| **n == 0).map(|(c, _)| name(c)).collect();
        if !empty.is_empty() {
            let what = format!("no sample of {}", list(&empty));
            findings.push(Finding::warning(key, what, "add some, or leave the classes out"));
        }
        let most = counts.iter().enumerate().max_by_key(|(_, n)| **n);
        let least = counts.iter().enumerate().filter(|(_, n)| **n > 0).min_by_key(|(_, n)| **n);
        if let (Some((big, &most)), Some((small, &least))) = (most, least)
            && most >= 10 * least
            && key == "batch.data"
            && file.recipe.training.class_weight.is_none()
            && !file.recipe.batch.balanced
        {
            let what =
                format!("class {} has {most} samples, {} has {least}", name(big), name(small));
            let help =
                "training.class_weight = \"balanced\" or batch.balanced = true makes up for it";
            findings.push(Finding::warning(key, what, help));
        }
    }
    if file.recipe.batch.batch_size > data.train.len() {
        let what = format!(
            "batches of {} are more than the {} samples there are",
            file.recipe.batch.batch_size,
            data.train.len()
        );
        findings.push(Finding::warning("batch.batch_size", what, "make it smaller"));
    }
    if !file.recipe.batch.shuffle && is_sorted(data.train.as_ref()) {
        let what = "the samples come class after class".to_string();
        findings.push(Finding::warning("batch.shuffle", what, "set it to true"));
    }
    findings
}

fn is_sorted(data: &dyn Dataset) -> bool {
    let class = |i| data.class(i).unwrap_or(0);
    let (first, last) = (class(0), class(data.len().saturating_sub(1)));
    first < last && (1..data.len()).all(|i| class(i - 1) <= class(i))
}

/// How many samples are looked at, spread over the data.
const PROBES: usize = 64;

fn probes(data: &dyn Dataset, most: usize) -> impl Iterator<Item = usize> {
    let step = data.len().div_ceil(most).max(1);
    (0..data.len()).step_by(step)
}

/// Reads all samples, by several threads: the errors of those that cannot be read, and what images are compared by.
fn read_all(data: &dyn Dataset) -> (Vec<String>, Vec<(usize, Print)>) {
    type Read = std::result::Result<Option<Print>, String>;
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let one = |i: usize| -> Read {
        let sample = data.read(i).map_err(|e| e.to_string())?;
        // One that is left out is no copy of another.
        let kept = sample.weights[0] != 0.0;
        Ok(data.shown(sample.x()).filter(|_| kept).map(|image| Print::of(&image)))
    };
    let share = |thread: usize| -> Vec<(usize, Read)> {
        (thread..data.len()).step_by(threads).map(|i| (i, one(i))).collect()
    };
    let mut read: Vec<(usize, Read)> = std::thread::scope(|scope| {
        let share = &share;
        let running: Vec<_> = (0..threads).map(|t| scope.spawn(move || share(t))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    read.sort_by_key(|(i, _)| *i);
    let (mut errors, mut prints) = (Vec::new(), Vec::new());
    for (i, result) in read {
        match result {
            Ok(print) => prints.extend(print.map(|print| (i, print))),
            Err(error) => errors.push(error),
        }
    }
    (errors, prints)
}

/// Whether samples can be read, and differ.
fn check_samples(key: &str, data: &dyn Dataset, prints: &mut Vec<(usize, Print)>) -> Vec<Finding> {
    // Files are read all: one that is broken would end a run, however late it comes.
    if data.fill_cost() == FillCost::Decode {
        let (broken, read) = read_all(data);
        *prints = read;
        match &broken[..] {
            [] => {}
            [one] => return vec![Finding::error(key, one.clone(), "")],
            [first, second, ..] => {
                let n = broken.len();
                let what = format!("{n} samples cannot be read: {first}; {second}");
                return vec![Finding::error(key, what, "")];
            }
        }
        if let Some(what) = skipped(data) {
            return vec![Finding::warning(key, what, "")];
        }
    }
    let (mut constant, mut looked) = (0, 0);
    let mut largest = 0.0f32;
    for i in probes(data, PROBES) {
        let row = match data.read(i) {
            Ok(row) => row,
            Err(e) => return vec![Finding::error(key, e.to_string(), "")],
        };
        let mut values = row.columns.iter().flat_map(|column| column.f32());
        if let Some(bad) = values.find(|v| !v.is_finite()) {
            let what = format!("{} holds the value {bad}", data.describe(i));
            return vec![Finding::error(key, what, "fix the file")];
        }
        let x = row.x();
        looked += 1;
        constant += usize::from(x.len() > 1 && x.iter().all(|&v| v == x[0]));
        largest = x.iter().fold(largest, |m, v| m.max(v.abs()));
    }
    let mut findings = Vec::new();
    if constant * 2 > looked {
        let what = format!("{constant} of {looked} samples looked at have one value everywhere");
        findings.push(Finding::warning(key, what, "look at the files, and at normalize"));
    }
    if largest > 100.0 {
        let what = format!("values go up to {largest:.0}, which slows learning down");
        findings.push(Finding::warning(key, what, "scale them to about 0 to 1 with normalize"));
    }
    findings
}

/// Samples that are in both sets, by the hash of their values; only where reading them is cheap.
fn check_duplicates(train: &dyn Dataset, validation: &dyn Dataset) -> Option<Finding> {
    const MOST_VALUES: usize = 100_000_000;
    let cost = |d: &dyn Dataset| d.len() * d.sample_len();
    if cost(train) + cost(validation) > MOST_VALUES || train.sample_len() != validation.sample_len()
    {
        return None;
    }
    let mut seen: HashMap<u64, (usize, usize)> = HashMap::with_capacity(validation.len());
    for i in 0..validation.len() {
        seen.entry(hash(&validation.read(i).ok()?)).or_insert((i, 0)).1 += 1;
    }
    let (mut count, mut example) = (0, None);
    for i in 0..train.len() {
        // Each sample of the validation data counts once, however often it is learned from.
        if let Some((other, alike)) = seen.remove(&hash(&train.read(i).ok()?)) {
            count += alike;
            example.get_or_insert((i, other));
        }
    }
    let (i, other) = example?;
    let what = format!(
        "{count} samples are also in the training data, such as {} and {}",
        validation.describe(other),
        train.describe(i)
    );
    let help = "measure on data that is not learned from";
    Some(Finding::warning("batch.validation", what, help))
}

/// Images of files that are nearly the same as others, of the same set or of the training data.
fn check_copies(
    set: &dyn Dataset,
    images: &[(usize, Print)],
    train: &dyn Dataset,
    others: &[(usize, Print)],
) -> Option<Finding> {
    let copies = near::copies(images, others);
    let &(image, other) = copies.first()?;
    let (count, within) = (copies.len(), std::ptr::eq(images, others));
    let (key, of, help) = match within {
        true => {
            ("batch.data", "others there", "leave copies out, unless they are to count more often")
        }
        false => (
            "batch.validation",
            "images of the training data",
            "measure on data that is not learned from",
        ),
    };
    let verb = if count == 1 { "image is" } else { "images are" };
    let pair = |(image, other)| format!("{} and {}", set.describe(image), train.describe(other));
    let mut what =
        format!("{count} {verb} nearly the same as {of}, such as {}", pair((image, other)));
    let unlike = |&(image, other): &(usize, usize)| set.class(image) != train.class(other);
    if let Some(&example) = copies.iter().find(|pair| unlike(pair)) {
        let n = copies.iter().filter(|pair| unlike(pair)).count();
        what += &format!("; {n} of them of another class, such as {}", pair(example));
    }
    Some(Finding::warning(key, what, help))
}

/// FNV-1a over the bits, eight bytes at a time; a chance hit among 10^5 samples is unlikely.
/// Of the inputs of one sample.
fn hash(sample: &Batch) -> u64 {
    let mix = |h: u64, bits: u32| {
        (h ^ u64::from(bits)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
    };
    let inputs = sample.signature().inputs().len();
    sample.columns[..inputs].iter().fold(0xcbf2_9ce4_8422_2325, |h, column| {
        let h = column.f32().iter().fold(h, |h, v| mix(h, v.to_bits()));
        column.i32().iter().fold(h, |h, &v| mix(h, v as u32))
    })
}

/// A model that knows nothing should start near the loss of guessing.
fn check_first_loss(file: &RecipeFile, data: &RunData) -> Result<Option<Finding>> {
    if file.recipe.task() != Task::Classes {
        return Ok(None);
    }
    let mut spec = engine_spec(file, None);
    spec.batch_size = spec.batch_size.min(data.train.len());
    let mut engine = Engine::compile(spec)?;
    let train: Arc<dyn Dataset> = data.train.clone();
    let options = LoaderOptions::new(
        file.recipe.batch.batch_size,
        tidemill_engine::data::Order::Shuffled { seed: file.recipe.training.seed },
    );
    let mut loader = Loader::new(train, options)?;
    let (mut sum, mut count) = (0.0, 0);
    for _ in 0..PROBES.div_ceil(file.recipe.batch.batch_size).max(1) {
        let Some(batch) = loader.next_batch()? else { break };
        let outputs = engine.evaluate(batch)?;
        sum += outputs.losses.iter().map(|&l| f64::from(l)).sum::<f64>();
        count += outputs.losses.len();
    }
    let (loss, guess) = (sum / count.max(1) as f64, (engine.num_outputs() as f64).ln());
    if loss.is_finite() && loss < 2.5 * guess + 0.5 {
        return Ok(None);
    }
    let what = format!(
        "the first loss is {loss:.2}, where guessing among {} classes has {guess:.2}",
        engine.num_outputs()
    );
    let help = "check the scale of the inputs and the kernel initializers";
    Ok(Some(Finding::warning("model", what, help)))
}

/// `a, b, c and 5 more`
fn list(names: &[&str]) -> String {
    match names.len() {
        0..=6 => names.join(", "),
        n => format!("{} and {} more", names[..5].join(", "), n - 5),
    }
}
